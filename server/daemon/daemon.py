"""The supervisor: starts the services, keeps them running, stops them in order (reliability.md §4.7, §9).

- One TaskGroup holds every task. A critical service that ends takes the process down with 70; another is started
  again after 1 s, doubling to 60 s.
- First SIGTERM or SIGINT: drain. The same signal again: end now; commits under way finish in `Appliance.close`.
- SIGHUP: reload. A fault in the file is logged and changes nothing.
"""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Awaitable, Callable, Sequence

from server.config.load import ConfigError
from server.daemon.exits import ExitCode
from server.daemon.health import LoopLag, Watchdog
from server.daemon.notify import SystemdNotifier
from server.daemon.reload import ReloadFailed, ReloadResult
from server.daemon.service import Probe, Service
from server.domain.ports import Clock
from server.telemetry.log import get_logger

log = get_logger("daemon")

BACKOFF_FIRST_S = 1.0
BACKOFF_MAX_S = 60.0
HEALTHY_AFTER_S = 300.0
"""A loop that ran this long starts its backoff anew."""
DRAIN_SLACK_S = 5.0
"""What a drain may take beyond its grace before it is cut off."""
QUICK_DRAIN_S = 0.3
"""What a drain gets after a second signal or a fatal failure (F04: gone within 1 s)."""


class Supervisor:
    """Runs a list of services until a signal or a fatal failure.

    Args:
        services: In the order of their start.
        grace_s: Asked at the time of the drain, as a reload may change it.
        reload: What SIGHUP does.
    """

    def __init__(
        self,
        services: Sequence[Service],
        *,
        probes: Sequence[Probe],
        notifier: SystemdNotifier,
        clock: Clock,
        grace_s: Callable[[], float],
        reload: Callable[[], Awaitable[ReloadResult]],
    ) -> None:
        self._services = list(services)
        self._probes = probes
        self._notifier = notifier
        self._clock = clock
        self._grace_s = grace_s
        self._reload = reload
        self._stop = asyncio.Event()
        self._quick = asyncio.Event()
        self._code = ExitCode.STOPPED
        self._loop = asyncio.get_running_loop()
        self._seen: set[signal.Signals] = set()

    async def run(self) -> ExitCode:
        """Start, serve, drain; returns the exit code. The error of a failed start is raised after the drain."""
        self._catch_signals()
        started: list[Service] = []
        failure: Exception | None = None
        try:
            async with asyncio.TaskGroup() as group:
                tasks = self._own_tasks(group)
                try:
                    await self._start(group, started, tasks)
                    await self._stop.wait()
                except Exception as error:
                    failure = error
                await self._drain(started)
                for task in tasks:
                    task.cancel()
        finally:
            self._release_signals()
        if failure is not None:
            raise failure
        return self._code

    def stop(self, *, quick: bool = False) -> None:
        """Begin the drain; quick = without waiting for anybody."""
        self._stop.set()
        if quick:
            self._quick.set()

    def fatal(self, code: ExitCode, reason: str) -> None:
        """End at once with this code; the first call counts. May be called from any thread."""
        self._loop.call_soon_threadsafe(self._fail, code, reason)

    def _fail(self, code: ExitCode, reason: str) -> None:
        if self._code is ExitCode.STOPPED:
            log.error("daemon.fatal", code=int(code), reason=reason)
            self._code = code
        self.stop(quick=True)

    def _own_tasks(self, group: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        lag = LoopLag(self._clock)
        watchdog = Watchdog(self._notifier, lag, self._probes, self._clock)
        own = (Service(name="loop-lag", run=lag.run), Service(name="watchdog", run=watchdog.run))
        self._loop.add_signal_handler(signal.SIGHUP, lambda: group.create_task(self._on_hangup()))
        return [group.create_task(self._keep(service), name=service.name) for service in own]

    async def _start(self, group: asyncio.TaskGroup, started: list[Service], tasks: list[asyncio.Task[None]]) -> None:
        for service in self._services:
            if self._stop.is_set():
                return
            await service.start()
            started.append(service)
            tasks.append(group.create_task(self._keep(service), name=service.name))
        gc.collect()
        gc.freeze()
        self._notifier.ready("serving")
        log.info("daemon.ready", services=[service.name for service in self._services])

    async def _keep(self, service: Service) -> None:
        if service.run is None:
            return
        backoff_s = BACKOFF_FIRST_S
        while True:
            began = self._clock.monotonic()
            try:
                await service.run()
                reason = "ended"
            except Exception as error:
                reason = type(error).__name__
                log.exception("service.crashed", error, service=service.name)
            if self._stop.is_set():
                return
            if service.critical:
                self._fail(ExitCode.INTERNAL, f"{service.name}: {reason}")
                return
            if reason == "ended":
                return
            if self._clock.monotonic() - began > HEALTHY_AFTER_S:
                backoff_s = BACKOFF_FIRST_S
            await self._clock.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)

    async def _drain(self, services: Sequence[Service]) -> None:
        """Drain all services at once, for as long as the grace and a second signal allow."""
        self._stop.set()
        grace_s = 0.0 if self._quick.is_set() else self._grace_s()
        self._notifier.stopping("draining")
        self._notifier.extend(grace_s + 2 * DRAIN_SLACK_S)
        draining = asyncio.create_task(self._drain_all(services, grace_s))
        quick = asyncio.create_task(self._wait_quick())
        await asyncio.wait({draining, quick}, timeout=grace_s + DRAIN_SLACK_S, return_when=asyncio.FIRST_COMPLETED)
        if not draining.done():
            await asyncio.wait({draining}, timeout=QUICK_DRAIN_S)
        if not draining.done():
            log.warning("daemon.drain_cut_off", grace_s=grace_s, quick=self._quick.is_set())
        for task in (draining, quick):
            task.cancel()
        await asyncio.gather(draining, quick, return_exceptions=True)

    async def _wait_quick(self) -> None:
        await self._quick.wait()

    async def _drain_all(self, services: Sequence[Service], grace_s: float) -> None:
        async with asyncio.TaskGroup() as group:
            for service in services:
                group.create_task(self._drain_one(service, grace_s))

    async def _drain_one(self, service: Service, grace_s: float) -> None:
        try:
            await service.drain(grace_s)
        except Exception as error:
            log.exception("service.drain_failed", error, service=service.name)

    async def _on_hangup(self) -> None:
        self._notifier.reloading()
        try:
            await self._reload()
        except ConfigError as error:
            log.error("settings.reload_refused", faults=error.lines())
        except ReloadFailed as error:
            log.error("settings.reload_refused", faults=[str(error)])
        except Exception as error:
            log.exception("settings.reload_failed", error)
        self._notifier.ready("serving")

    def _catch_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._on_stop, number)

    def _release_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            self._loop.remove_signal_handler(number)

    def _on_stop(self, number: signal.Signals) -> None:
        log.info("daemon.stopping", signal=number.name, again=number in self._seen)
        self.stop(quick=number in self._seen)
        self._seen.add(number)
