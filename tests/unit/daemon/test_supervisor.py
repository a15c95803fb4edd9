"""server.daemon.daemon: start, crash, drain, signals (reliability.md §4.7, §9)."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from server.config.load import ConfigError, Fault
from server.daemon import daemon
from server.daemon.daemon import Supervisor
from server.daemon.exits import ExitCode
from server.daemon.notify import SystemdNotifier
from server.daemon.reload import ReloadResult
from server.daemon.service import Probe, Service
from tests.support.clock import FakeClock, settle


class Recorder:
    """A service that writes down what happens to it."""

    def __init__(self, name: str = "smtp", *, drain_s: float = 0.0) -> None:
        self.name = name
        self.calls: list[str] = []
        self.started = asyncio.Event()
        self._drain_s = drain_s

    def service(self, *, critical: bool = True) -> Service:
        return Service(name=self.name, critical=critical, start=self.start, run=self.run, drain=self.drain)

    async def start(self) -> None:
        self.calls.append("start")

    async def run(self) -> None:
        self.started.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.calls.append("ended")

    async def drain(self, grace_s: float) -> None:
        self.calls.append(f"drain {grace_s:g}")
        await asyncio.sleep(self._drain_s)
        self.calls.append("drained")


async def no_reload() -> ReloadResult:
    return ReloadResult(applied=(), restart_required=())


def supervisor(
    *services: Service,
    clock: FakeClock | None = None,
    notifier: SystemdNotifier | None = None,
    reload: Callable[[], Awaitable[ReloadResult]] = no_reload,
    probes: tuple[Probe, ...] = (),
) -> Supervisor:
    return Supervisor(
        services,
        probes=probes,
        notifier=notifier or SystemdNotifier({}),
        clock=clock or FakeClock(),
        grace_s=lambda: 30.0,
        reload=reload,
    )


async def test_sigterm_drains_every_service_and_exits_0() -> None:
    one, two = Recorder("smtp"), Recorder("imap")
    running = asyncio.create_task(supervisor(one.service(), two.service()).run())
    await two.started.wait()
    os.kill(os.getpid(), signal.SIGTERM)
    assert await running is ExitCode.STOPPED
    assert one.calls == two.calls == ["start", "drain 30", "drained", "ended"]


async def test_a_second_sigterm_waits_for_nobody() -> None:
    slow = Recorder(drain_s=60)
    running = asyncio.create_task(supervisor(slow.service()).run())
    await slow.started.wait()
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(0.02)
    began = time.monotonic()
    os.kill(os.getpid(), signal.SIGTERM)
    assert await running is ExitCode.STOPPED
    assert time.monotonic() - began < 1.0
    assert "drained" not in slow.calls


async def test_sigint_then_sigterm_is_one_wish_said_twice() -> None:
    slow = Recorder(drain_s=0.1)
    running = asyncio.create_task(supervisor(slow.service()).run())
    await slow.started.wait()
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGTERM)
    await running
    assert "drained" in slow.calls


async def test_a_drain_is_cut_off_after_its_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "DRAIN_SLACK_S", -29.95)
    monkeypatch.setattr(daemon, "QUICK_DRAIN_S", 0.01)
    slow = Recorder(drain_s=60)
    running = asyncio.create_task(supervisor(slow.service()).run())
    await slow.started.wait()
    os.kill(os.getpid(), signal.SIGTERM)
    assert await running is ExitCode.STOPPED
    assert "drained" not in slow.calls


@pytest.mark.parametrize("ends_by", ["error", "return"])
async def test_a_listener_that_ends_takes_the_process_down_with_70(ends_by: str) -> None:
    async def run() -> None:
        if ends_by == "error":
            raise OSError("accept")

    other = Recorder("imap")
    code = await supervisor(other.service(), Service(name="smtp", critical=True, run=run)).run()
    assert code is ExitCode.INTERNAL
    assert "drain 0" in other.calls


async def test_a_loop_that_crashes_is_started_again_after_1_s_doubling_to_60() -> None:
    clock, starts = FakeClock(), list[float]()

    async def run() -> None:
        starts.append(clock.monotonic())
        raise RuntimeError("loop")

    watched = supervisor(Service(name="queue", run=run), clock=clock)
    running = asyncio.create_task(watched.run())
    for _ in range(9):
        await clock.advance(60)
    watched.stop()
    await running
    waits = [round(after - before) for before, after in itertools.pairwise(starts)]
    assert waits[:8] == [1, 2, 4, 8, 16, 32, 60, 60]


async def test_a_loop_that_ran_well_for_long_starts_its_backoff_anew() -> None:
    clock, starts = FakeClock(), list[float]()

    async def run() -> None:
        starts.append(clock.monotonic())
        await clock.sleep(400)
        raise RuntimeError("loop")

    watched = supervisor(Service(name="queue", run=run), clock=clock)
    running = asyncio.create_task(watched.run())
    for _ in range(10):
        await clock.advance(100)
    watched.stop()
    await running
    assert [round(after - before) for before, after in itertools.pairwise(starts)] == [401, 401]


async def test_f04_a_fatal_failure_ends_the_process_within_a_second_with_its_code() -> None:
    stuck = Recorder(drain_s=60)
    watched = supervisor(stuck.service())
    running = asyncio.create_task(watched.run())
    await stuck.started.wait()
    began = time.monotonic()
    await asyncio.to_thread(watched.fatal, ExitCode.STORAGE, "fsync failed")
    watched.fatal(ExitCode.INTERNAL, "a second one does not count")
    assert await running is ExitCode.STORAGE
    assert time.monotonic() - began < 1.0


async def test_a_failed_start_drains_what_was_started_and_raises() -> None:
    first, never = Recorder("smtp"), Recorder("api")

    async def fail() -> None:
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        await supervisor(first.service(), Service(name="imap", start=fail), never.service()).run()
    assert "drained" in first.calls
    assert never.calls == []


async def test_a_drain_that_fails_does_not_keep_others_from_draining() -> None:
    async def fail(_grace_s: float) -> None:
        raise RuntimeError

    well = Recorder()
    watched = supervisor(Service(name="bad", drain=fail), well.service())
    running = asyncio.create_task(watched.run())
    await well.started.wait()
    watched.stop()
    assert await running is ExitCode.STOPPED
    assert "drained" in well.calls


async def test_sighup_reloads_and_a_faulty_file_changes_nothing() -> None:
    called = asyncio.Event()

    async def refuse() -> ReloadResult:
        called.set()
        raise ConfigError("config.yaml", [Fault(3, "smtp", "bad")])

    service = Recorder()
    watched = supervisor(service.service(), reload=refuse)
    running = asyncio.create_task(watched.run())
    await service.started.wait()
    os.kill(os.getpid(), signal.SIGHUP)
    await called.wait()
    await settle()
    assert not running.done()
    watched.stop()
    assert await running is ExitCode.STOPPED


async def test_systemd_hears_ready_after_the_start_and_stopping_before_the_drain(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(tmp_path / "n"))
        heard.setblocking(False)
        order: list[str] = []

        async def start() -> None:
            with pytest.raises(BlockingIOError):
                heard.recv(1000)
            order.append("start")

        async def drain(_grace_s: float) -> None:
            order.extend(heard.recv(1000).decode().split("\n")[0] for _ in range(3))

        notifier = SystemdNotifier({"NOTIFY_SOCKET": str(tmp_path / "n")})
        watched = supervisor(Service(name="smtp", start=start, drain=drain), notifier=notifier)
        running = asyncio.create_task(watched.run())
        await settle()
        watched.stop()
        await running
        notifier.close()
        assert order[:3] == ["start", "READY=1", "STOPPING=1"]
        assert order[3].startswith("EXTEND_TIMEOUT_USEC=")
