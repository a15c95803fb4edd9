"""The loop's own health: its lag, and the watchdog ping that depends on it (reliability.md §4.13, §9).

- Lag is measured each 100 ms and exported; above `LAG_ALERT_S` it is logged, above `LAG_SICK_S` no ping is sent.
- A ping also needs every probe to answer well in time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from server.daemon.notify import SystemdNotifier
from server.daemon.service import Probe
from server.domain.ports import Clock
from server.telemetry import metrics
from server.telemetry.log import get_logger

log = get_logger("daemon")

TICK_S = 0.1
LAG_ALERT_S = 0.5
LAG_SICK_S = 5.0
PING_MAX_S = 10.0
PROBE_TIMEOUT_S = 5.0


class LoopLag:
    """Measures how late the loop wakes what is due."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._worst_s = 0.0

    async def run(self) -> None:
        while True:
            due = self._clock.monotonic() + TICK_S
            await self._clock.sleep(TICK_S)
            lag_s = max(0.0, self._clock.monotonic() - due)
            metrics.LOOP_LAG.observe(lag_s)
            self._worst_s = max(self._worst_s, lag_s)
            if lag_s > LAG_ALERT_S:
                log.warning("loop.lag", lag_s=round(lag_s, 3))

    def take_worst_s(self) -> float:
        """The worst lag since the last call."""
        worst, self._worst_s = self._worst_s, 0.0
        return worst


class Watchdog:
    """Pings systemd while everything is well."""

    def __init__(self, notifier: SystemdNotifier, lag: LoopLag, probes: Sequence[Probe], clock: Clock) -> None:
        self._notifier = notifier
        self._lag = lag
        self._probes = probes
        self._clock = clock

    async def run(self) -> None:
        interval_s = self._notifier.ping_interval_s
        while interval_s is not None:
            reason = await self.sickness()
            if reason is None:
                self._notifier.watchdog()
            else:
                log.error("watchdog.withheld", reason=reason)
            await self._clock.sleep(min(interval_s, PING_MAX_S))

    async def sickness(self) -> str | None:
        """Why no ping may be sent; None = well."""
        lag_s = self._lag.take_worst_s()
        if lag_s > LAG_SICK_S:
            return f"the event loop was {lag_s:.1f} s late"
        for probe in self._probes:
            try:
                async with asyncio.timeout(PROBE_TIMEOUT_S):
                    reason = await probe.check()
            except TimeoutError:
                reason = f"no answer in {PROBE_TIMEOUT_S:g} s"
            except Exception as error:
                reason = type(error).__name__
            if reason is not None:
                return f"{probe.name}: {reason}"
        return None
