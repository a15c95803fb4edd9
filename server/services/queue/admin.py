"""The queue for administrators: look, retry, hold, release, bounce, delete, pause.

- Each change is one transaction with its audit record and its trace event (product.md R9).
- What is being sent at this moment is left alone: the change is refused, or counted as failed in a bulk.
- `bounce` gives up and tells the sender; `delete` gives up and tells nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from server.domain.changes import EventValue, Severity, TraceEvent
from server.domain.errors import Conflict, InvalidInput, NotFound
from server.domain.identity import Scope
from server.domain.ids import DeliveryId, new_id
from server.domain.paging import Page, PageRequest
from server.domain.ports import Clock
from server.domain.queue import Attempt, Delivery, DeliveryStatus, Pause, QueueStats
from server.domain.reply import reply
from server.domain.scopes import require
from server.protocol.smtp.address import AddressSyntaxError, parse_domain
from server.services.queue.dsn import Judged, Report, Reporter
from server.services.queue.reason import ReasonPattern
from server.services.queue.retry import Judgement
from server.services.trace.record import Target, actor_words, record_change
from server.store.database import Database
from server.store.errors import UniqueViolation
from server.store.repositories import queue, queue_admin
from server.store.repositories.audit import Change
from server.store.repositories.queue import ALL_DOMAINS, Settled
from server.store.repositories.queue_admin import WAITING, QueueQuery
from server.store.transaction import Transaction

SCAN_ROWS = 500
"""Deliveries read at once where a pattern has to look at each."""

SCAN_MAX = 100_000
"""Deliveries a pattern looks at in all."""

BULK_MAX = 50_000
"""Deliveries one bulk change touches; what is beyond needs another."""

BULK_UNIT = 200
SAMPLES = 3
_BOUNCED = reply(550, "5.7.0", "returned to the sender by the administrator")


class QueueAction(StrEnum):
    """What can be done to a waiting delivery."""

    RETRY = "retry"
    HOLD = "hold"
    RELEASE = "release"
    BOUNCE = "bounce"
    DELETE = "delete"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryFilter:
    """What a list or a bulk change is narrowed to; None narrows nothing.

    Attributes:
        sender, recipient: Whole addresses; the empty sender is the null reverse-path.
        reason: A pattern (`reason.py`) for the last reply or the hold reason.
        older_than_s: Queued longer ago.
        tries: At least so many attempts.
        history: Finished deliveries too.
    """

    sender: str | None = None
    recipient: str | None = None
    domain: str | None = None
    status: DeliveryStatus | None = None
    reason: str | None = None
    older_than_s: float | None = None
    tries: int | None = None
    history: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkResult:
    """A bulk change: what matched, what was done, what had moved meanwhile, and three of them."""

    matched: int
    done: int
    failed: int
    samples: tuple[Delivery, ...]


class QueueAdmin:
    """Queue management within one tenant.

    Args:
        wake: Called after a change that makes something due.
    """

    def __init__(self, *, database: Database, clock: Clock, reporter: Reporter, wake: Callable[[], None]) -> None:
        self._database = database
        self._clock = clock
        self._reporter = reporter
        self._wake = wake

    async def list(self, scope: Scope, wanted: DeliveryFilter, request: PageRequest) -> Page[Delivery]:
        """Deliveries, newest first. Raises Forbidden, InvalidInput."""
        require(scope, "queue:read")
        found = await self._find(scope, wanted, after=request.after, limit=request.limit + 1)
        kept = tuple(found[: request.limit])
        return Page(items=kept, next_after=kept[-1].recipient.id if len(found) > request.limit else None)

    async def count(self, scope: Scope, wanted: DeliveryFilter, *, limit: int) -> int:
        """How many deliveries match, at most `limit`. Raises Forbidden, InvalidInput."""
        require(scope, "queue:read")
        if wanted == DeliveryFilter():
            stats = await self._database.read("queue.stats", lambda tx: queue_admin.stats(tx, scope.tenant_id))
            return min(limit, sum(one.count for one in stats.by_status))
        return len(await self._find(scope, wanted, after=None, limit=limit))

    async def get(self, scope: Scope, delivery_id: DeliveryId) -> Delivery:
        """One delivery. Raises Forbidden, NotFound."""
        require(scope, "queue:read")
        return await self._get(scope, delivery_id)

    async def attempts(self, scope: Scope, delivery_id: DeliveryId) -> Sequence[Attempt]:
        """Every attempt of a delivery, oldest first. Raises Forbidden, NotFound."""
        require(scope, "queue:read")
        found = await self._database.read(
            "queue.attempts", lambda tx: queue_admin.list_attempts(tx, scope.tenant_id, delivery_id)
        )
        if found is None:
            raise NotFound("no such delivery")
        return found

    async def stats(self, scope: Scope) -> QueueStats:
        """The tenant's queue in figures. Raises Forbidden."""
        require(scope, "queue:read")
        return await self._database.read("queue.stats", lambda tx: queue_admin.stats(tx, scope.tenant_id))

    async def act(self, scope: Scope, delivery_id: DeliveryId, action: QueueAction, *, reason: str = "") -> Delivery:
        """Change one delivery.

        Raises:
            Forbidden, NotFound.
            Conflict: It is being sent, finished, or in a state the action makes no sense for.
        """
        require(scope, "queue:write")
        delivery = await self._get(scope, delivery_id)
        step = await self._step(scope, delivery, action, reason)
        await self._database.write("queue.act", step)
        self._wake()
        return await self._get(scope, delivery_id)

    async def act_on_all(
        self, scope: Scope, wanted: DeliveryFilter, action: QueueAction, *, dry_run: bool, reason: str = ""
    ) -> BulkResult:
        """Change every waiting delivery that matches and that the action makes sense for; with `dry_run`, none."""
        require(scope, "queue:write")
        found = [
            delivery
            for delivery in await self._find(scope, wanted, after=None, limit=BULK_MAX, waiting_only=True)
            if _allowed(delivery, action)
        ]
        samples = tuple(found[:SAMPLES])
        if dry_run:
            return BulkResult(matched=len(found), done=0, failed=0, samples=samples)
        done = 0
        for at in range(0, len(found), BULK_UNIT):
            steps = [self._try(scope, delivery, action, reason) for delivery in found[at : at + BULK_UNIT]]
            done += sum(await asyncio.gather(*steps))
            self._wake()
        return BulkResult(matched=len(found), done=done, failed=len(found) - done, samples=samples)

    async def _try(self, scope: Scope, delivery: Delivery, action: QueueAction, reason: str) -> bool:
        """Whether it was done; False when the delivery has moved on meanwhile."""
        try:
            await self._database.write("queue.act", await self._step(scope, delivery, action, reason))
        except Conflict:
            return False
        return True

    async def pauses(self, scope: Scope) -> tuple[Pause, ...]:
        """What is stopped. Raises Forbidden."""
        require(scope, "queue:read")
        return await self._database.read("queue.pauses", lambda tx: queue_admin.list_pauses(tx, scope.tenant_id))

    async def pause(self, scope: Scope, domain: str | None) -> Pause:
        """Attempt nothing to a domain, or with None to any, until `resume`.

        Raises:
            Forbidden, InvalidInput.
            Conflict: It is paused already.
        """
        require(scope, "queue:write")
        name = ALL_DOMAINS if domain is None else _domain(domain)
        made = Pause(id=new_id(), tenant_id=scope.tenant_id, domain=name, created_at=self._clock.now())

        async def unit(tx: Transaction) -> None:
            await queue_admin.insert_pause(tx, made)
            await record_change(tx, scope, type="queue.pause", target=_pause_target(made))

        try:
            await self._database.write("queue.pause", unit)
        except UniqueViolation as error:
            raise Conflict("the destination is paused already") from error
        return made

    async def resume(self, scope: Scope, pause_id: str) -> None:
        """End a pause. Raises Forbidden, NotFound."""
        require(scope, "queue:write")

        async def unit(tx: Transaction) -> None:
            known = {pause.id: pause for pause in await queue_admin.list_pauses(tx, scope.tenant_id)}
            if pause_id not in known or not await queue_admin.delete_pause(tx, scope.tenant_id, pause_id):
                raise NotFound("no such pause")
            await record_change(tx, scope, type="queue.resume", target=_pause_target(known[pause_id]))

        await self._database.write("queue.resume", unit)
        self._wake()

    async def _get(self, scope: Scope, delivery_id: DeliveryId) -> Delivery:
        found = await self._database.read("queue.get", lambda tx: queue_admin.get(tx, scope.tenant_id, delivery_id))
        if found is None:
            raise NotFound("no such delivery")
        return found

    async def _find(
        self, scope: Scope, wanted: DeliveryFilter, *, after: str | None, limit: int, waiting_only: bool = False
    ) -> Sequence[Delivery]:
        """Matching deliveries; a pattern is looked for page by page, so no read lasts long."""
        pattern = ReasonPattern(wanted.reason) if wanted.reason else None
        query = self._query(wanted, waiting_only=waiting_only)
        found: list[Delivery] = []
        scanned = 0
        while len(found) < limit and scanned < SCAN_MAX:
            size = SCAN_ROWS if pattern is not None else min(limit - len(found), SCAN_ROWS)
            rows = await self._page(scope, query, after, size)
            found += [row for row in rows if pattern is None or pattern.matches(_reason(row))]
            if len(rows) < size:
                break
            scanned += len(rows)
            after = rows[-1].recipient.id
        return found[:limit]

    async def _page(self, scope: Scope, query: QueueQuery, after: str | None, size: int) -> Sequence[Delivery]:
        return await self._database.read(
            "queue.list", lambda tx: queue_admin.page(tx, scope.tenant_id, query, after=after, limit=size)
        )

    def _query(self, wanted: DeliveryFilter, *, waiting_only: bool) -> QueueQuery:
        before = None
        if wanted.older_than_s is not None:
            before = self._clock.now() - timedelta(seconds=wanted.older_than_s)
        return QueueQuery(
            sender=wanted.sender,
            recipient=wanted.recipient,
            domain=wanted.domain,
            status=wanted.status,
            created_before=before,
            tries=wanted.tries,
            history=wanted.history,
            waiting_only=waiting_only,
        )

    async def _step(
        self, scope: Scope, delivery: Delivery, action: QueueAction, reason: str
    ) -> Callable[[Transaction], Awaitable[None]]:
        """The unit that does one action to one delivery as it was read."""
        if not _allowed(delivery, action):
            state = delivery.recipient.status.value
            ahead = "; release it first" if state == DeliveryStatus.HELD else ""
            words = f"a delivery that is {state} can't be changed by {action.value}{ahead}"
            raise Conflict(words, code="invalid_state")
        if action is QueueAction.BOUNCE:
            return await self._bounce(scope, delivery, reason)
        recipient = delivery.recipient
        waiting = DeliveryStatus.DEFERRED if recipient.attempts else DeliveryStatus.QUEUED
        now = self._clock.now()
        match action:
            case QueueAction.HOLD:
                status, due_at = DeliveryStatus.HELD, recipient.due_at
                hold_reason = reason or f"held by {actor_words(scope)}"
            case QueueAction.DELETE:
                status, due_at, hold_reason = DeliveryStatus.CANCELLED, now, ""
            case _:
                status, due_at, hold_reason = waiting, now, ""

        async def unit(tx: Transaction) -> None:
            if not await queue_admin.change(tx, recipient, status=status, hold_reason=hold_reason, due_at=due_at):
                raise Conflict("the delivery has changed meanwhile", code="invalid_state")
            await _record(tx, scope, delivery, action, status, reason)

        return unit

    async def _bounce(self, scope: Scope, delivery: Delivery, reason: str) -> Callable[[Transaction], Awaitable[None]]:
        now = self._clock.now()
        recipient = delivery.recipient
        attempt = Attempt(
            status=DeliveryStatus.FAILED,
            reply=_BOUNCED,
            from_remote=False,
            host="",
            ip="",
            tls="",
            started_at=now,
            duration_ms=0,
        )
        judged = Judged(
            recipient=recipient, attempt=attempt, judgement=Judgement(status=DeliveryStatus.FAILED, due_at=now)
        )
        reports: Sequence[Report] = await self._reporter.prepare(delivery.message, [judged])
        settled = Settled(recipient=recipient, attempt=attempt, status=DeliveryStatus.FAILED, due_at=now)

        async def unit(tx: Transaction) -> None:
            if not await queue.settle_waiting(tx, settled):
                raise Conflict("the delivery has changed meanwhile", code="invalid_state")
            for report in reports:
                await report.insert(tx)
            await _record(tx, scope, delivery, QueueAction.BOUNCE, DeliveryStatus.FAILED, reason)

        return unit


async def _record(
    tx: Transaction,
    scope: Scope,
    delivery: Delivery,
    action: QueueAction,
    status: DeliveryStatus,
    reason: str,
) -> None:
    """The audit record, and the event in the message's trace."""
    recipient, message = delivery.recipient, delivery.message
    change = Change(field="status", old=recipient.status.value, new=status.value)
    target = Target(
        kind="delivery",
        id=recipient.id,
        name=recipient.recipient,
        tenant_id=recipient.tenant_id,
        account_id=message.account_id,
    )
    await record_change(tx, scope, type=f"queue.{action.value}", target=target, changes=(change,), reason=reason)
    data: dict[str, EventValue] = {"delivery_id": recipient.id, "action": action.value, "status": status.value}
    if action is QueueAction.BOUNCE:
        data["from_remote"] = False
    kind, verdict = _EVENTS[action]
    tx.record(
        TraceEvent(
            type=kind,
            component="queue",
            verdict=verdict,
            detail=f"{_PAST[action]} by {actor_words(scope)}" + (f": {reason}" if reason else ""),
            reply=_BOUNCED.text if action is QueueAction.BOUNCE else "",
            severity=Severity.WARNING if status is not recipient.status else Severity.INFO,
            tenant_id=recipient.tenant_id,
            account_id=message.account_id,
            trace_id=message.trace_id,
            queue_id=message.id,
            message_id_header=message.message_id_header,
            subject=message.subject,
            sender=message.sender,
            recipient=recipient.recipient,
            data=data,
        )
    )


_PAST = {
    QueueAction.RETRY: "due now",
    QueueAction.HOLD: "held",
    QueueAction.RELEASE: "released",
    QueueAction.BOUNCE: "returned to the sender",
    QueueAction.DELETE: "deleted",
}
_EVENTS = {
    QueueAction.RETRY: ("delivery.retried", "queued"),
    QueueAction.HOLD: ("submission.held", "held"),
    QueueAction.RELEASE: ("delivery.released", "queued"),
    QueueAction.BOUNCE: ("delivery.failed", "failed"),
    QueueAction.DELETE: ("submission.cancelled", "cancelled"),
}


def _allowed(delivery: Delivery, action: QueueAction) -> bool:
    status = delivery.recipient.status
    match action:
        case QueueAction.RETRY | QueueAction.HOLD:
            return status in (DeliveryStatus.QUEUED, DeliveryStatus.DEFERRED)
        case QueueAction.RELEASE:
            return status is DeliveryStatus.HELD
        case _:
            return status in WAITING


def _reason(delivery: Delivery) -> str:
    return " ".join(part for part in (delivery.recipient.hold_reason, delivery.recipient.last_reply) if part)


def _pause_target(pause: Pause) -> Target:
    name = "all destinations" if pause.domain == ALL_DOMAINS else pause.domain
    return Target(kind="pause", id=pause.id, name=name, tenant_id=pause.tenant_id)


def _domain(text: str) -> str:
    try:
        return parse_domain(text)
    except AddressSyntaxError as error:
        raise InvalidInput(error.public, pointer="/domain") from error
