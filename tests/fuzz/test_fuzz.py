"""The quick tier: what broke once, and some thousands of inputs that are the same in every run."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from tests.fuzz.engine import Broken, breaks, check, inputs, kept
from tests.fuzz.targets import TARGETS, Target
from tests.fuzz.whole import ROLES, SETTINGS, WholeServer
from tests.support.daemon_process import DaemonProcess

COUNT = 250
STREAMS = 25


@pytest.mark.parametrize("name", TARGETS)
def test_what_broke_once_is_mended(name: str) -> None:
    assert [path for path in kept(TARGETS[name]) if breaks(TARGETS[name], path.read_bytes())] == []


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", TARGETS)
def test_parsers_take_anything(name: str) -> None:
    target = TARGETS[name]
    for data in itertools.islice(inputs(target, 1), COUNT):
        assert breaks(target, data) == "", data[:2000]


def test_the_engine_sees_what_breaks() -> None:
    def slow(data: bytes) -> None:
        while True:
            sum(range(1_000_000))
            if data:
                raise Broken("never ends")

    with pytest.raises(Broken):
        check(Target("slow", slow, (b"x",), (b"y",)), b"x")
    greedy = Target("greedy", lambda _data: _touch(bytearray(200 << 20)), (b"x",), (b"y",))
    with pytest.raises(Broken, match="MiB"):
        check(greedy, b"x")


def _touch(octets: bytearray) -> None:
    octets[::4096] = b"x" * len(octets[::4096])


@pytest.mark.timeout(180)
def test_the_server_takes_anything(tmp_path: Path) -> None:
    """IMAP, POP3, ManageSieve and SMTP: it lives, logs no error of its own, spends little."""
    with DaemonProcess(tmp_path, roles=ROLES, settings=SETTINGS) as daemon:
        whole = WholeServer(daemon, 1)
        for door in ("imap", "pop3", "managesieve", "smtp"):
            for _ in range(STREAMS):
                assert whole.once(door) == ""
