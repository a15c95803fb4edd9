"""The queue's engine: claims what is due, keeps it leased, hands it to couriers, settles what they say.

- Nothing is lost: an error in a delivery is a deferred attempt, a settlement that can't be stored is tried until it is,
  and what a dead process held is free again after its lease, or at once when this host starts.
- Nothing is polled: the runner sleeps until something is due, until it is woken, and `SLEEP_MAX_S` at most.
- To stop, it claims nothing more, abandons what is before the final dot, waits for the rest, and frees its leases.

reliability.md §2 (Q1-Q7), §9; RFC 5321 §4.5.4.1.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from server.config.schema import Queue
from server.domain.errors import MaiRustError
from server.domain.ids import new_id
from server.domain.ports import Clock
from server.domain.queue import FINAL, Attempt, DeliveryKind, DeliveryStatus, QueuedRecipient
from server.domain.reply import reply
from server.services.queue.courier import Claim, Courier, begin, same_for_all
from server.services.queue.lanes import Lane, Lanes, group
from server.services.queue.local import LOCAL_LANE, LocalCourier, LocalOutcome
from server.services.queue.settle import Settler
from server.store.database import Database
from server.store.repositories import queue, queue_admin
from server.store.repositories.queue import Claimed
from server.store.times import to_us
from server.store.transaction import Unit
from server.telemetry import metrics
from server.telemetry.log import get_logger

T = TypeVar("T")
log = get_logger("queue")

CLAIM_ROWS = 200
"""Deliveries leased in one transaction."""

WAITING_MAX = 2_000
"""Deliveries in memory that wait for a slot."""

LEASE = timedelta(seconds=180)
SLEEP_MAX_S = 30.0
TICK_S = 5.0
RENEW_TICKS = 12
"""Leases are renewed each minute."""

GAUGE_TICKS = 6
STOP_S = 30.0
"""Wait at a stop for deliveries past the final dot (reliability.md §9)."""

AWAKE = datetime.max.replace(tzinfo=UTC)
"""While the runner looks for work, everything that becomes due makes it look again."""

RETRY_S = (0.1, 0.5, 1.0, 2.0, 5.0, 15.0, 30.0)
"""Waits before a settlement or claim is tried again; the last repeats."""


class QueueRunner:
    """Runs deliveries until it is stopped.

    Args:
        host_id: Names this host; leases of its former lives are freed at the start.
        settings: The queue's section as it is now.
    """

    def __init__(
        self,
        *,
        database: Database,
        clock: Clock,
        settings: Callable[[], Queue],
        host_id: str,
        remote: Courier,
        local: LocalCourier,
        settler: Settler,
    ) -> None:
        self._database = database
        self._clock = clock
        self._settings = settings
        self._prefix = f"{host_id}/"
        self.owner = f"{self._prefix}{new_id()}"
        self._remote = remote
        self._local = local
        self._settler = settler
        self._lanes = Lanes()
        self._choked = False
        self._ending = False
        self._sleeps_until = AWAKE
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._running: dict[asyncio.Task[None], Claim] = {}

    def wake(self) -> None:
        """Look for due deliveries now; call it after the commit that queued one."""
        self._wake.set()

    def stop(self) -> None:
        """Begin to stop; `run` returns when it is done."""
        self._stopping.set()
        self._wake.set()

    async def run(self) -> None:
        """Deliver until `stop`; may be run again after it was ended by an error."""
        self.owner = f"{self._prefix}{new_id()}"
        self._lanes = Lanes()
        self._ending = False
        await self._store("queue.free", lambda tx: queue.free_host_leases(tx, prefix=self._prefix))
        async with asyncio.TaskGroup() as tasks:
            ticker = tasks.create_task(self._tick(), name="queue-ticker")
            await self._claim_until_stopped(tasks)
            ticker.cancel()
            await self._drain()
        await self._remote.close()
        await self._store("queue.free", lambda tx: queue.free_leases(tx, owner=self.owner))

    async def _claim_until_stopped(self, tasks: asyncio.TaskGroup) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            self._choked = self._lanes.waiting > WAITING_MAX - CLAIM_ROWS
            if self._choked:
                await self._wake.wait()
                continue
            claimed = await self._claim()
            if claimed is None:
                return
            self._accept(claimed)
            self._start(tasks)
            if not claimed.more:
                await self._sleep(claimed)

    async def _claim(self) -> Claimed | None:
        now_us = to_us(self._clock.now())
        excluded = self._lanes.full_domains()
        return await self._store(
            "queue.claim",
            lambda tx: queue.claim(
                tx,
                owner=self.owner,
                limit=CLAIM_ROWS,
                lease_us=LEASE // timedelta(microseconds=1),
                now_us=now_us,
                excluded=excluded,
            ),
        )

    def _accept(self, claimed: Claimed) -> None:
        lanes = {recipient.id: self._lane_of(recipient) for recipient in claimed.recipients}
        for lane, claim in group(claimed, lanes):
            domain = claim.recipients[0].domain
            self._lanes.add(lane, domain if lane == domain else "", claim)

    def _lane_of(self, recipient: QueuedRecipient) -> str:
        return LOCAL_LANE if recipient.kind is DeliveryKind.LOCAL else self._remote.lane(recipient)

    def _start(self, tasks: asyncio.TaskGroup) -> None:
        settings = self._settings()
        while not (self._stopping.is_set() or self._ending):
            found = self._lanes.next(per_lane=settings.per_destination, in_all=settings.max_active)
            if found is None:
                return
            lane, claim = found
            task = tasks.create_task(self._work(tasks, lane, claim))
            self._running[task] = claim

    async def _sleep(self, claimed: Claimed) -> None:
        """Until the next delivery is due, or a wake."""
        wait_s = SLEEP_MAX_S
        if claimed.next_due_at is not None:
            wait_s = min(wait_s, max(0.0, (claimed.next_due_at - self._clock.now()).total_seconds()))
        self._sleeps_until = self._clock.now() + timedelta(seconds=wait_s)
        timer = asyncio.ensure_future(self._clock.sleep(wait_s))
        waker = asyncio.ensure_future(self._wake.wait())
        try:
            await asyncio.wait((timer, waker), return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            waker.cancel()
            self._sleeps_until = AWAKE

    async def _work(self, tasks: asyncio.TaskGroup, lane: Lane, claim: Claim) -> None:
        try:
            if claim.recipients[0].kind is DeliveryKind.LOCAL:
                await self._deliver_local(claim)
            else:
                await self._settle(claim, await self._attempts(claim))
        except asyncio.CancelledError:
            self._ending = True
            raise
        finally:
            current = asyncio.current_task()
            if current is not None:
                self._running.pop(current, None)
            room = self._choked and self._lanes.waiting <= WAITING_MAX // 2
            if self._lanes.done(lane) or room:
                self._wake.set()
            self._start(tasks)

    async def _attempts(self, claim: Claim) -> list[Attempt]:
        """Try, whatever happens: an error of ours is a deferred attempt."""
        begun = begin(self._clock)
        try:
            return await self._remote.deliver(claim)
        except Exception as error:
            log.exception("queue.delivery_error", error, queue_id=claim.message.id)
            failed = begun.attempt(reply(451, "4.3.0", "temporary server error"), from_remote=False)
            return same_for_all(failed, claim.recipients)

    async def _deliver_local(self, claim: Claim) -> None:
        begun = begin(self._clock)
        try:
            outcome = await self._local.prepare(claim)
        except Exception as error:
            if not isinstance(error, MaiRustError):
                log.exception("queue.delivery_error", error, queue_id=claim.message.id)
            outcome = LocalOutcome(
                attempts=same_for_all(begun.attempt(reply(250, "2.1.5", ""), from_remote=False), claim.recipients),
                store=None,
                begun=begun,
            )
            await self._settle(claim, outcome.without_store(error))
            return
        if outcome.store is None:
            await self._settle(claim, outcome.attempts)
            return
        claim.progress.past_dot = True
        try:
            due_at = await self._settler.settle(claim, outcome.attempts, owner=self.owner, store=outcome.store)
        except Exception as error:
            if not isinstance(error, MaiRustError):
                log.exception("queue.delivery_error", error, queue_id=claim.message.id)
            await self._settle(claim, outcome.without_store(error))
        else:
            self._wake_for(self._clock.now() if outcome.sends_on else due_at)

    async def _settle(self, claim: Claim, attempts: Sequence[Attempt]) -> None:
        """Store the attempts, however long the store refuses; the leases are renewed meanwhile."""
        claim.progress.past_dot = True
        tries = 0
        while True:
            try:
                self._wake_for(await self._settler.settle(claim, attempts, owner=self.owner))
                return
            except MaiRustError as error:
                log.warning("queue.settle_failed", queue_id=claim.message.id, reason=error.public)
            except Exception as error:
                log.exception("queue.settle_failed", error, queue_id=claim.message.id)
            await self._clock.sleep(RETRY_S[min(tries, len(RETRY_S) - 1)])
            tries += 1

    def _wake_for(self, due_at: datetime | None) -> None:
        """Wake when something is due before the sleep would end."""
        if due_at is not None and due_at < self._sleeps_until:
            self._wake.set()

    async def _drain(self) -> None:
        """Abandon what is before the final dot, wait for what is past it."""
        self._lanes.drop_waiting()
        for task, claim in list(self._running.items()):
            if not claim.progress.past_dot:
                task.cancel()
        if self._running:
            await asyncio.wait(list(self._running), timeout=STOP_S)
        for task in list(self._running):
            task.cancel()

    async def _tick(self) -> None:
        """Renew leases, free passed ones, close idle connections, keep the gauges."""
        ticks = 0
        while True:
            await self._clock.sleep(TICK_S)
            ticks += 1
            await self._remote.reap()
            if ticks % GAUGE_TICKS == 0:
                await self._measure()
            if ticks % RENEW_TICKS == 0:
                await self._renew()

    async def _measure(self) -> None:
        try:
            lengths, oldest_at = await self._database.read("queue.lengths", queue_admin.lengths)
        except MaiRustError as error:
            log.warning("queue.not_measured", reason=error.public)
            return
        for status in DeliveryStatus:
            if status not in FINAL:
                metrics.QUEUE_LENGTH.labels(status=status.value).set(lengths.get(status, 0))
        age_s = 0.0 if oldest_at is None else (self._clock.now() - oldest_at).total_seconds()
        metrics.QUEUE_OLDEST.set(max(0.0, age_s))

    async def _renew(self) -> None:
        now = self._clock.now()
        until_us, now_us = to_us(now + LEASE), to_us(now)
        await self._store("queue.renew", lambda tx: queue.renew_leases(tx, owner=self.owner, until_us=until_us))
        freed = await self._store("queue.free", lambda tx: queue.free_passed_leases(tx, now_us=now_us))
        if freed:
            log.warning("queue.leases_freed", deliveries=freed)
            self._wake.set()

    async def _store(self, name: str, unit: Unit[T]) -> T | None:
        """Run a unit, again and again while the store refuses; None when a stop came first."""
        tries = 0
        while True:
            try:
                return await self._database.write(name, unit)
            except MaiRustError as error:
                log.warning("queue.store_refused", unit=name, reason=error.public)
            except Exception as error:
                log.exception("queue.store_refused", error, unit=name)
            if self._stopping.is_set():
                return None
            await self._clock.sleep(RETRY_S[min(tries, len(RETRY_S) - 1)])
            tries += 1
