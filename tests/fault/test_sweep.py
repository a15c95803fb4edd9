"""FT1, quick tier: SIGKILL at sampled system calls of deliveries and APPEND loses nothing (reliability.md F01)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fault.sweep import sweep
from tests.fault.tracing import available, parse
from tests.support.daemon_process import READY_S

KILLS = 24


@pytest.mark.skipif(not available(), reason="strace is not installed or may not attach")
@pytest.mark.timeout(240)
def test_kill_at_system_calls_of_an_operation_loses_nothing(tmp_path: Path) -> None:
    report = sweep(tmp_path, seed=1, kills=KILLS)
    assert report.bad == []
    assert report.kills > KILLS // 2
    assert report.slowest_start_s < READY_S


def test_trace_joins_calls_that_were_interrupted_by_another_thread() -> None:
    calls = list(
        parse(
            [
                "10 fsync(5</a/b> <unfinished ...>",
                '11 write(6<TCP:[127.0.0.1:25->127.0.0.1:9]>, "250 2.0.0 accepted as x\\r\\n", 23) = 23',
                "10 <... fsync resumed>) = 0",
                '11 rename("/a/b", "/a/c") = -1 ENOENT (No such file or directory)',
                "11 +++ killed by SIGKILL +++",
            ]
        )
    )
    assert [(call.name, call.began, call.ended, call.result) for call in calls] == [
        ("fsync", 0, 2, 0),
        ("write", 1, 1, 23),
        ("rename", 3, 3, -1),
    ]
    assert calls[2].paths == ["/a/b", "/a/c"]
