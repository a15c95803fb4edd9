"""Refusals on their way into the event log: gathered, bounded, written a batch at a time.

- A dictionary attack refuses thousands of recipients a minute: one write takes all that wait, and beyond a limit they
  are counted instead of kept, so that nobody fills the disk or the commit queue by being refused.
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial

from server.domain.changes import Severity, TraceEvent
from server.domain.errors import MaiRustError
from server.store.database import Database
from server.store.transaction import Transaction
from server.telemetry.log import get_logger

log = get_logger("trace")

WAITING_MAX = 5_000
BATCH = 500


class RefusalLog:
    """Takes events that have no transaction of their own and writes them soon."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: deque[TraceEvent] = deque()
        self._dropped = 0
        self._task: asyncio.Task[None] | None = None

    def add(self, event: TraceEvent) -> None:
        """Queue an event; it is counted, not kept, when too many wait."""
        if len(self._waiting) >= WAITING_MAX:
            self._dropped += 1
            return
        self._waiting.append(event)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._write(), name="refusals")

    async def flush(self) -> None:
        """Wait until everything queued so far is written."""
        while self._task is not None and not self._task.done():
            await asyncio.wait([self._task])

    async def _write(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            if self._dropped:
                dropped, self._dropped = self._dropped, 0
                batch.append(_dropped_event(dropped))
            try:
                await self._database.write("trace.refusals", partial(_record, batch=batch))
            except MaiRustError as error:
                log.warning("trace.refusals_lost", count=len(batch), reason=error.public)


async def _record(tx: Transaction, *, batch: list[TraceEvent]) -> None:
    for event in batch:
        tx.record(event)


def _dropped_event(count: int) -> TraceEvent:
    return TraceEvent(
        type="message.refused",
        component="smtp",
        verdict="refused",
        detail=f"{count} more refusals came faster than they could be listed one by one",
        severity=Severity.WARNING,
        data={"count": count},
    )
