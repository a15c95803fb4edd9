"""Reading the event log: pages of events, and the events of one message's life.

- Events are numbered in order of time, so a time is found by bisection over the numbers; no index on time is kept.
- With a tenant, only its own events are seen; with None, all: for system credentials.
- Searches look at the newest `SEARCH_EVENTS_MAX` matching events and say nothing of older ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import Column, ColumnElement, Select, and_, bindparam, exists, func, or_, select

from server.domain.changes import Event, EventValue, Severity, TraceFilter
from server.domain.ids import EventSeq, TenantId
from server.store.repositories.rows import instant, number, number_or_none, text, text_or_none
from server.store.schema import events, queued_messages, queued_recipients
from server.store.statements import prepared
from server.store.times import to_us
from server.store.transaction import Row, Transaction

SEARCH_EVENTS_MAX = 20_000
TRACE_EVENTS_MAX = 2_000
_decode = msgspec.json.Decoder(dict[str, EventValue]).decode

_BOUNDS = prepared(select(func.min(events.c.seq).label("oldest"), func.max(events.c.seq).label("newest")))
_TIME_AT = prepared(
    select(events.c.seq, events.c.time).where(events.c.seq >= bindparam("seq")).order_by(events.c.seq).limit(1)
)
_BY_QUEUE = prepared(select(events.c.trace_id).where(events.c.queue_id == bindparam("ref")).limit(1))
_BY_MESSAGE = prepared(select(queued_messages.c.trace_id).where(queued_messages.c.id == bindparam("ref")))
_BY_DELIVERY = prepared(
    select(queued_messages.c.trace_id)
    .join(queued_recipients, queued_recipients.c.queue_id == queued_messages.c.id)
    .where(queued_recipients.c.id == bindparam("ref"))
)


async def bounds(tx: Transaction) -> tuple[int, int]:
    """The oldest and newest number there are; (0, 0) in an empty log."""
    row = await tx.fetch_one(_BOUNDS)
    if row is None:
        return 0, 0
    return number_or_none(row, "oldest") or 0, number_or_none(row, "newest") or 0


async def first_seq_since(tx: Transaction, since_us: int) -> int:
    """The number of the first event at or after an instant; past the newest when there is none."""
    low, newest = await bounds(tx)
    high = newest + 1
    while low < high:
        middle = (low + high) // 2
        row = await tx.fetch_one(_TIME_AT, {"seq": middle})
        if row is None or number(row, "time") >= since_us:
            high = middle
        else:
            low = number(row, "seq") + 1
    return low


async def after(
    tx: Transaction, tenant_id: TenantId | None, *, seq: int, types: Sequence[str], limit: int
) -> Sequence[Event]:
    """Events above a number, ascending; `types` are words, a final `*` matches any rest."""
    query = select(events).where(events.c.seq > seq).order_by(events.c.seq).limit(limit)
    if tenant_id is not None:
        query = query.where(events.c.tenant_id == tenant_id)
    if types:
        query = query.where(or_(*(_of_type(word) for word in types)))
    return [event_from_row(row) for row in await tx.fetch(query)]


def _of_type(word: str) -> ColumnElement[bool]:
    if word.endswith("*"):
        return events.c.type.startswith(word[:-1], autoescape=True)
    return events.c.type == word


async def find(
    tx: Transaction, tenant_id: TenantId | None, wanted: TraceFilter, *, before: int | None, limit: int
) -> list[tuple[str, int]]:
    """Messages that match, newest first, as (trace id, number of the newest matching event).

    An event without a trace, such as a recipient refused, stands for itself under its own id.
    """
    identity = func.coalesce(events.c.trace_id, events.c.id)
    matching = await _matching(tx, select(identity.label("trace"), events.c.seq), tenant_id, wanted)
    if before is not None:
        later = events.alias("later")
        seen = exists().where(and_(later.c.trace_id == events.c.trace_id, later.c.seq >= before))
        matching = matching.where(events.c.seq < before, ~seen)
    inner = matching.order_by(events.c.seq.desc()).limit(SEARCH_EVENTS_MAX).subquery()
    newest = func.max(inner.c.seq)
    query = select(inner.c.trace, newest.label("newest")).group_by(inner.c.trace).order_by(newest.desc()).limit(limit)
    return [(text(row, "trace"), number(row, "newest")) for row in await tx.fetch(query)]


async def _matching(
    tx: Transaction, query: Select[tuple[str, int]], tenant_id: TenantId | None, wanted: TraceFilter
) -> Select[tuple[str, int]]:
    query = query.where(or_(events.c.trace_id.is_not(None), events.c.type == "message.refused"))
    if tenant_id is not None:
        query = query.where(events.c.tenant_id == tenant_id)
    if wanted.message_id_header is not None:
        query = query.where(events.c.message_id_header == wanted.message_id_header)
    if wanted.sender is not None:
        query = query.where(_address(events.c.sender, wanted.sender))
    if wanted.recipient is not None:
        query = query.where(_address(events.c.recipient, wanted.recipient))
    if wanted.address is not None:
        query = query.where(
            or_(_address(events.c.sender, wanted.address), _address(events.c.recipient, wanted.address))
        )
    if wanted.subject is not None:
        query = query.where(events.c.subject.contains(wanted.subject, autoescape=True))
    if wanted.ip is not None:
        query = query.where(events.c.remote_ip == wanted.ip)
    if wanted.since is not None:
        query = query.where(events.c.seq >= await first_seq_since(tx, to_us(wanted.since)))
    if wanted.until is not None:
        query = query.where(events.c.seq < await first_seq_since(tx, to_us(wanted.until)))
    return query


def _address(column: Column[str], value: str) -> ColumnElement[bool]:
    return column.endswith(value, autoescape=True) if value.startswith("@") else column == value


async def of_traces(
    tx: Transaction, tenant_id: TenantId | None, traces: Sequence[str], *, limit: int
) -> Sequence[Event]:
    """Events of the given traces in order, the oldest `limit`; an id of a single event gives that event."""
    if not traces:
        return []
    query = select(events).where(events.c.trace_id.in_(list(traces))).order_by(events.c.seq).limit(limit)
    if tenant_id is not None:
        query = query.where(events.c.tenant_id == tenant_id)
    return [event_from_row(row) for row in await tx.fetch(query)]


async def by_seqs(tx: Transaction, tenant_id: TenantId | None, seqs: Sequence[int]) -> Sequence[Event]:
    """Single events by number."""
    if not seqs:
        return []
    query = select(events).where(events.c.seq.in_(list(seqs))).order_by(events.c.seq)
    if tenant_id is not None:
        query = query.where(events.c.tenant_id == tenant_id)
    return [event_from_row(row) for row in await tx.fetch(query)]


async def by_id(tx: Transaction, tenant_id: TenantId | None, event_id: str) -> Event | None:
    """One event by its id: a look at the whole log, for a last resort."""
    query = select(events).where(events.c.id == event_id)
    if tenant_id is not None:
        query = query.where(events.c.tenant_id == tenant_id)
    row = await tx.fetch_one(query)
    return event_from_row(row) if row else None


async def trace_of(tx: Transaction, ref: str) -> str | None:
    """The trace id behind a queue id or a delivery id, of whichever tenant; None for neither."""
    for statement in (_BY_QUEUE, _BY_MESSAGE, _BY_DELIVERY):
        row = await tx.fetch_one(statement, {"ref": ref})
        if row is not None and row["trace_id"] is not None:
            return text(row, "trace_id")
    return None


def event_from_row(row: Row) -> Event:
    return Event(
        seq=EventSeq(number(row, "seq")),
        id=text(row, "id"),
        type=text(row, "type"),
        time=instant(row, "time"),
        severity=Severity(text(row, "severity")),
        component=text(row, "component"),
        verdict=text(row, "verdict"),
        detail=text(row, "detail"),
        reply=text(row, "reply"),
        tenant_id=text_or_none(row, "tenant_id"),
        account_id=text_or_none(row, "account_id"),
        trace_id=text_or_none(row, "trace_id"),
        queue_id=text_or_none(row, "queue_id"),
        message_id_header=text_or_none(row, "message_id_header"),
        subject=text_or_none(row, "subject"),
        sender=text_or_none(row, "sender"),
        recipient=text_or_none(row, "recipient"),
        remote_ip=text_or_none(row, "remote_ip"),
        data=_decode(text(row, "data")),
    )
