"""server.daemon.health and notify: loop lag, watchdog, sd_notify (reliability.md §9, F19)."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.daemon.health import LoopLag, Watchdog
from server.daemon.notify import SystemdNotifier
from server.daemon.service import Probe
from tests.support.clock import FakeClock, settle


@pytest.fixture(params=["path", "abstract"])
def heard(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, SystemdNotifier]]:
    name = str(tmp_path / "notify") if request.param == "path" else f"@mairust-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind("\0" + name[1:] if name.startswith("@") else name)
        receiver.setblocking(False)
        notifier = SystemdNotifier({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "30000000"})
        yield receiver, notifier
        notifier.close()


def messages(receiver: socket.socket) -> list[str]:
    found: list[str] = []
    while True:
        try:
            found.append(receiver.recv(4096).decode())
        except BlockingIOError:
            return found


def test_messages_reach_path_and_abstract_sockets(heard: tuple[socket.socket, SystemdNotifier]) -> None:
    receiver, notifier = heard
    notifier.ready("serving")
    notifier.extend(60)
    notifier.status("two\nlines")
    assert messages(receiver) == ["READY=1\nSTATUS=serving", "EXTEND_TIMEOUT_USEC=60000000", "STATUS=two lines"]


def test_without_systemd_nothing_is_said_and_nothing_fails(tmp_path: Path) -> None:
    SystemdNotifier({}).ready("serving")
    gone = SystemdNotifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    gone.ready("serving")
    gone.close()
    assert gone.ping_interval_s is None


async def test_the_watchdog_is_pinged_each_10_s_while_all_is_well(
    heard: tuple[socket.socket, SystemdNotifier],
) -> None:
    receiver, notifier = heard
    clock = FakeClock()
    task = asyncio.create_task(Watchdog(notifier, LoopLag(clock), (), clock).run())
    await settle()
    await clock.advance(30)
    assert messages(receiver) == ["WATCHDOG=1"] * 4
    task.cancel()


async def test_no_ping_while_a_probe_says_no() -> None:
    reasons: list[str | None] = ["no commit for 61 s", None]

    async def check() -> str | None:
        return reasons.pop(0)

    clock = FakeClock()
    watchdog = Watchdog(SystemdNotifier({}), LoopLag(clock), (Probe(name="committer", check=check),), clock)
    assert await watchdog.sickness() == "committer: no commit for 61 s"
    assert await watchdog.sickness() is None


async def test_a_probe_that_fails_or_hangs_is_sickness(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.daemon.health.PROBE_TIMEOUT_S", 0.01)

    async def fail() -> str | None:
        raise OSError

    async def hang() -> str | None:
        await asyncio.Event().wait()
        return None

    clock = FakeClock()
    for check, reason in ((fail, "OSError"), (hang, "no answer")):
        watchdog = Watchdog(SystemdNotifier({}), LoopLag(clock), (Probe(name="p", check=check),), clock)
        assert reason in str(await watchdog.sickness())


async def test_f19_lag_of_the_loop_over_5_s_withholds_the_ping() -> None:
    clock = FakeClock()
    lag = LoopLag(clock)
    watchdog = Watchdog(SystemdNotifier({}), lag, (), clock)
    task = asyncio.create_task(lag.run())
    await settle()
    clock.step(6.0)
    await clock.advance(0.1)
    assert "late" in str(await watchdog.sickness())
    assert await watchdog.sickness() is None
    task.cancel()


async def test_lag_is_measured_on_the_real_loop() -> None:
    from server.adapters.clock import SystemClock

    lag = LoopLag(SystemClock())
    task = asyncio.create_task(lag.run())
    await asyncio.sleep(0.01)
    time.sleep(0.25)
    await asyncio.sleep(0.01)
    assert lag.take_worst_s() > 0.1
    task.cancel()
