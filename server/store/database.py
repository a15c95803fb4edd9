"""The store's two entrances: `read` and `write`. There is no third.

- A write returns after its commit; whoever waits may go away, the unit is finished all the same (reliability.md §4).
- Writes that wait are committed together: the committer takes what is there, without a timer, runs each unit in a
  savepoint, commits once, then answers them all.
- A failing unit fails alone. An error that ended the whole transaction fails its unit and runs the others one by one.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from server.domain.changes import StateChange
from server.domain.errors import Unavailable
from server.store.transaction import Transaction, Unit
from server.telemetry import metrics
from server.telemetry.log import get_logger

T = TypeVar("T")
log = get_logger("storage")

BATCH_UNITS = 64
"""Units in one commit at most (reliability.md §4.2)."""
IDLE_S = 30.0
"""Without a write for so long, the backend may tidy up."""
QUEUE_UNITS = 10_000
"""Units that may wait; beyond, a write is refused as temporary."""


class Publisher(Protocol):
    def publish(self, change: StateChange) -> None: ...


@dataclass(slots=True, eq=False)
class PendingUnit(Generic[T]):
    """A unit that waits for its commit."""

    name: str
    run: Unit[T]
    future: asyncio.Future[T]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one unit of a batch: its value, or its error; its transaction carries the hints."""

    value: object = None
    error: BaseException | None = None
    transaction: Transaction | None = None


class Backend(Protocol):
    """One database: runs batches of units in one transaction each, and readers beside them."""

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def commit(self, units: Sequence[Unit[object]]) -> list[Outcome]:
        """Run all units in one transaction; an outcome each, in order, after the commit or the failure."""
        ...

    async def read(self, unit: Unit[T]) -> T: ...

    async def settle(self) -> None:
        """Called after a batch was answered and before the next one: what is due, but makes nobody wait for it."""
        ...

    async def idle(self) -> None:
        """Called when no write has waited for a while."""
        ...


class Database:
    """The database as services see it."""

    def __init__(self, backend: Backend, publisher: Publisher) -> None:
        self._backend = backend
        self._publisher = publisher
        self._queue: deque[PendingUnit[object]] = deque()
        self._wake = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        self.busy_since: float | None = None

    async def open(self) -> None:
        """Open the backend and start committing."""
        await self._backend.open()
        self._closing = False
        self._task = asyncio.create_task(self._committer(), name="committer")
        self._task.add_done_callback(self._ended)

    async def close(self) -> None:
        """Commit what waits, then close."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await self._task
            self._task = None
        await self._backend.close()

    @property
    def alive(self) -> bool:
        """Whether the committer runs."""
        return self._task is not None and not self._task.done()

    def commit_age_s(self) -> float:
        """For how long the present commit has been running; 0 when none is."""
        return 0.0 if self.busy_since is None else time.perf_counter() - self.busy_since

    async def read(self, name: str, unit: Unit[T]) -> T:
        """Run a unit that only reads, on one consistent snapshot."""
        started = time.perf_counter()
        try:
            return await self._backend.read(unit)
        finally:
            metrics.DATABASE_DURATION.labels(op=name).observe(time.perf_counter() - started)

    async def write(self, name: str, unit: Unit[T]) -> T:
        """Run a unit and return its value after the commit.

        Raises:
            Unavailable: The store can't take writes now; nothing was changed, or the outcome is unknown.
            Whatever the unit raised: nothing of it was changed.
        """
        if self._closing or not self.alive or len(self._queue) >= QUEUE_UNITS:
            raise Unavailable
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.append(PendingUnit(name, unit, future))  # type: ignore[arg-type]
        self._wake.set()
        # A caller that is cancelled takes its future along; the unit stays in the queue and is committed all the same.
        return await future

    async def _committer(self) -> None:
        while True:
            if not self._queue:
                if self._closing:
                    return
                self._wake.clear()
                try:
                    async with asyncio.timeout(IDLE_S):
                        await self._wake.wait()
                except TimeoutError:
                    await self._tend(self._backend.idle)
                continue
            batch = [self._queue.popleft() for _ in range(min(BATCH_UNITS, len(self._queue)))]
            await self._commit(batch)
            await self._tend(self._backend.settle)

    async def _tend(self, work: Callable[[], Awaitable[None]]) -> None:
        """Housekeeping between commits; its failure is logged and never ends the committer."""
        try:
            await work()
        except Exception as error:
            log.exception("store.upkeep_failed", error)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Nobody waits for a committer that is gone: the health probe restarts the process, callers hear it now."""
        if task.cancelled() or task.exception() is not None:
            log.error("store.committer_ended", error=str(None if task.cancelled() else task.exception())[:256])
        while self._queue:
            self._answer(self._queue.popleft(), Outcome(error=Unavailable()))

    async def _commit(self, batch: list[PendingUnit[object]]) -> None:
        started = self.busy_since = time.perf_counter()
        try:
            outcomes = await self._backend.commit([pending.run for pending in batch])
        except Exception as error:
            log.error("store.commit_failed", error=type(error).__name__, reason=str(error)[:256], units=len(batch))
            outcomes = [Outcome(error=Unavailable()) for _ in batch]
        finally:
            self.busy_since = None
        metrics.COMMIT_DURATION.observe(time.perf_counter() - started)
        for pending, outcome in zip(batch, outcomes, strict=True):
            self._answer(pending, outcome)

    def _answer(self, pending: PendingUnit[object], outcome: Outcome) -> None:
        if outcome.transaction is not None:
            for account_id, modseq in outcome.transaction.touched.items():
                self._publisher.publish(StateChange(account_id, modseq))
        if pending.future.done():
            return
        if outcome.error is None:
            pending.future.set_result(outcome.value)
        else:
            pending.future.set_exception(outcome.error)
