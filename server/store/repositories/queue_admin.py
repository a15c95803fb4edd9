"""The queue as administrators see and change it; every statement filters on the tenant.

- Only deliveries that wait (queued, deferred, held) are changed: what is being sent belongs to its runner.
- Lists go by descending id, newest first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Select, and_, bindparam, delete, func, or_, select, update

from server.domain.ids import DeliveryId, TenantId
from server.domain.queue import (
    FINAL,
    Attempt,
    Count,
    Delivery,
    DeliveryStatus,
    Pause,
    QueuedRecipient,
    QueueStats,
)
from server.store.repositories.queue import (
    ALL_TENANTS,
    attempt_from_row,
    get_messages,
    recipient_from_row,
)
from server.store.repositories.rows import instant, instant_or_none, number, number_or_none, text
from server.store.schema import attempts, pauses, queued_messages, queued_recipients
from server.store.statements import prepared, prepared_insert
from server.store.times import to_us
from server.store.transaction import Row, Transaction

WAITING = (DeliveryStatus.QUEUED, DeliveryStatus.DEFERRED, DeliveryStatus.HELD)
"""The states an administrator may change."""

_R = queued_recipients.c
_UNFINISHED = sorted(status.value for status in DeliveryStatus if status not in FINAL)
_WAITING = sorted(status.value for status in WAITING)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueQuery:
    """What a list of deliveries is narrowed to; None narrows nothing.

    Attributes:
        sender, recipient: Whole addresses, compared without case; the empty sender is the null reverse-path.
        created_before: Queued before that instant.
        tries: At least so many attempts.
        history: Finished deliveries too.
        waiting_only: Only what an administrator may change.
    """

    sender: str | None = None
    recipient: str | None = None
    domain: str | None = None
    status: DeliveryStatus | None = None
    created_before: datetime | None = None
    tries: int | None = None
    history: bool = False
    waiting_only: bool = False


async def page(
    tx: Transaction, tenant_id: TenantId, query: QueueQuery, *, after: str | None, limit: int
) -> list[Delivery]:
    """Up to `limit` deliveries with ids below `after`."""
    statement = (
        select(queued_recipients)
        .join(queued_messages, queued_messages.c.id == _R.queue_id)
        .where(_R.tenant_id == tenant_id, *_conditions(query))
        .order_by(_R.id.desc())
        .limit(limit)
    )
    if after is not None:
        statement = statement.where(_R.id < after)
    return await _with_messages(tx, await tx.fetch(statement))


def _conditions(query: QueueQuery) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if query.status is not None:
        found.append(_R.status == query.status.value)
    elif not query.history:
        found.append(_R.status.in_(_UNFINISHED))
    if query.waiting_only:
        found.append(_R.status.in_(_WAITING))
    if query.sender is not None:
        found.append(func.lower(queued_messages.c.sender) == query.sender.lower())
    if query.recipient is not None:
        found.append(func.lower(_R.recipient) == query.recipient.lower())
    if query.domain is not None:
        found.append(_R.domain == query.domain.lower())
    if query.created_before is not None:
        found.append(_R.created_at < to_us(query.created_before))
    if query.tries is not None:
        found.append(_R.attempts >= query.tries)
    return found


_GET = prepared(select(queued_recipients).where(_R.id == bindparam("b_id"), _R.tenant_id == bindparam("b_tenant")))
_ATTEMPTS = prepared(select(attempts).where(attempts.c.delivery_id == bindparam("b_id")).order_by(attempts.c.number))


async def get(tx: Transaction, tenant_id: TenantId, delivery_id: DeliveryId) -> Delivery | None:
    """One delivery of the tenant."""
    found = await _with_messages(tx, await tx.fetch(_GET, {"b_id": delivery_id, "b_tenant": tenant_id}))
    return found[0] if found else None


async def list_attempts(tx: Transaction, tenant_id: TenantId, delivery_id: DeliveryId) -> list[Attempt] | None:
    """All attempts of a delivery of the tenant, oldest first; None when there is no such delivery."""
    if await tx.fetch_one(_GET, {"b_id": delivery_id, "b_tenant": tenant_id}) is None:
        return None
    return [attempt_from_row(row) for row in await tx.fetch(_ATTEMPTS, {"b_id": delivery_id})]


async def _with_messages(tx: Transaction, rows: Sequence[Row]) -> list[Delivery]:
    recipients = [recipient_from_row(row) for row in rows]
    messages = await get_messages(tx, {recipient.queue_id for recipient in recipients})
    last = await _last_attempts(tx, recipients)
    return [
        Delivery(
            recipient=recipient,
            message=messages[recipient.queue_id],
            created_at=instant(row, "created_at"),
            finished_at=instant_or_none(row, "finished_at"),
            last=last.get(recipient.id),
        )
        for recipient, row in zip(recipients, rows, strict=True)
    ]


async def _last_attempts(tx: Transaction, recipients: Sequence[QueuedRecipient]) -> dict[str, Attempt]:
    wanted = [
        and_(attempts.c.delivery_id == recipient.id, attempts.c.number == recipient.attempts)
        for recipient in recipients
        if recipient.attempts
    ]
    if not wanted:
        return {}
    rows = await tx.fetch(select(attempts).where(or_(*wanted)))
    return {text(row, "delivery_id"): attempt_from_row(row) for row in rows}


_CHANGE = prepared(
    update(queued_recipients)
    .where(
        _R.id == bindparam("b_id"),
        _R.tenant_id == bindparam("b_tenant"),
        _R.status == bindparam("b_was"),
        _R.attempts == bindparam("b_attempts"),
    )
    .values(
        status=bindparam("b_status"),
        hold_reason=bindparam("b_hold_reason"),
        due_at=bindparam("b_due_at"),
        updated_at=bindparam("b_now"),
        finished_at=bindparam("b_finished_at"),
    )
)


async def change(
    tx: Transaction, recipient: QueuedRecipient, *, status: DeliveryStatus, hold_reason: str, due_at: datetime
) -> bool:
    """Change a delivery's state as an administrator; False when it is not as it was read."""
    changed = await tx.execute(
        _CHANGE,
        {
            "b_id": recipient.id,
            "b_tenant": recipient.tenant_id,
            "b_was": recipient.status.value,
            "b_attempts": recipient.attempts,
            "b_status": status.value,
            "b_hold_reason": hold_reason,
            "b_due_at": to_us(due_at),
            "b_now": tx.now_us,
            "b_finished_at": tx.now_us if status in FINAL else None,
        },
    )
    return changed > 0


def _counted(column: ColumnElement[str], tenant_id: TenantId, *, limit: int) -> Select[str, int]:
    statement = select(column.label("value"), func.count().label("count")).where(_R.tenant_id == tenant_id)
    return statement.group_by(column).order_by(func.count().desc(), column).limit(limit)


async def stats(tx: Transaction, tenant_id: TenantId, *, top: int = 20) -> QueueStats:
    """Deliveries that are not finished, by status, domain and last reply."""
    unfinished = _R.status.in_(_UNFINISHED)
    oldest = select(func.min(_R.created_at).label("oldest")).where(unfinished, _R.tenant_id == tenant_id)
    row = await tx.fetch_one(oldest)
    return QueueStats(
        by_status=await _counts(tx, _counted(_R.status, tenant_id, limit=top).where(unfinished)),
        by_domain=await _counts(tx, _counted(_R.domain, tenant_id, limit=top).where(unfinished)),
        by_reason=await _counts(
            tx, _counted(_R.last_reply, tenant_id, limit=top).where(unfinished, _R.last_reply != "")
        ),
        oldest_at=None if row is None or number_or_none(row, "oldest") is None else instant(row, "oldest"),
    )


_LENGTHS = prepared(
    select(_R.status.label("value"), func.count().label("count"), func.min(_R.created_at).label("oldest"))
    .where(_R.status.in_(_UNFINISHED))
    .group_by(_R.status)
)


async def lengths(tx: Transaction) -> tuple[dict[DeliveryStatus, int], datetime | None]:
    """How many deliveries of all tenants are in each unfinished state, and when the oldest of them was queued."""
    rows = await tx.fetch(_LENGTHS)
    found = {DeliveryStatus(text(row, "value")): number(row, "count") for row in rows}
    return found, min((instant(row, "oldest") for row in rows), default=None)


async def _counts(tx: Transaction, statement: Select[str, int]) -> tuple[Count, ...]:
    return tuple(Count(value=text(row, "value"), count=number(row, "count")) for row in await tx.fetch(statement))


_INSERT_PAUSE = prepared_insert(pauses)
_PAUSES = prepared(
    select(pauses).where(pauses.c.tenant_id.in_((bindparam("b_tenant"), ALL_TENANTS))).order_by(pauses.c.domain)
)
_DELETE_PAUSE = prepared(
    delete(pauses).where(pauses.c.id == bindparam("b_id"), pauses.c.tenant_id == bindparam("b_tenant"))
)


async def insert_pause(tx: Transaction, pause: Pause) -> None:
    """Stop a destination. Raises UniqueViolation when it is stopped already."""
    await tx.execute(
        _INSERT_PAUSE,
        {
            "id": pause.id,
            "tenant_id": pause.tenant_id,
            "domain": pause.domain,
            "created_at": to_us(pause.created_at),
        },
    )


async def list_pauses(tx: Transaction, tenant_id: TenantId) -> tuple[Pause, ...]:
    """Pauses that stop the tenant's mail, its own and the server's."""
    return tuple(
        Pause(
            id=text(row, "id"),
            tenant_id=TenantId(text(row, "tenant_id")),
            domain=text(row, "domain"),
            created_at=instant(row, "created_at"),
        )
        for row in await tx.fetch(_PAUSES, {"b_tenant": tenant_id})
    )


async def delete_pause(tx: Transaction, tenant_id: TenantId, pause_id: str) -> bool:
    """End a pause; False when the tenant has none of this id."""
    return await tx.execute(_DELETE_PAUSE, {"b_id": pause_id, "b_tenant": tenant_id}) > 0
