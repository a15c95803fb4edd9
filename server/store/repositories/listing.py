"""Messages as the API lists them: pages off indexes, single messages by id, threads.

- A page of a mailbox by time reads the index `ix_messages_live` from where the last page ended; with a filter it looks
  at no more rows than it was allowed, and says where it stopped.
- By size or by the Date field a mailbox is sorted as a whole; no index is kept for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import ColumnElement, Select, func, literal, select, tuple_, update

from server.domain.flags import FLAGGED, SEEN
from server.domain.ids import AccountId, BlobId, MailboxId, MessageId, ModSeq, TenantId, TraceId, Uid
from server.domain.listing import MessageFilter, MessageOrder, MessageRecord
from server.domain.message import Blob, BlobPlace
from server.store.repositories.rows import (
    instant,
    instant_or_none,
    number,
    number_or_none,
    octets,
    text,
    text_or_none,
)
from server.store.schema import accounts, blobs, emails, mailboxes, messages
from server.store.times import to_us
from server.store.transaction import Row, Transaction

THREAD_MAX = 1000
"""Messages shown of one thread."""
m = messages
e = emails

RECORD = (
    m.c.id,
    m.c.account_id,
    m.c.mailbox_id,
    m.c.uid,
    m.c.email_id,
    e.c.thread_id,
    e.c.blob_id,
    e.c.message_id_header,
    e.c.subject,
    e.c.envelope,
    e.c.sent_at,
    m.c.internal_date,
    m.c.size_octets,
    e.c.preview,
    e.c.has_attachments,
    m.c.flags,
    m.c.keywords,
    e.c.category,
    e.c.category_source,
    e.c.category_confidence,
    e.c.list_id,
    e.c.trace_id,
    m.c.modseq,
    m.c.expunged_at,
)
LIVE = m.c.expunged_at.is_(None)


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A message's place in an order: the value sorted by, then mailbox and UID."""

    value: int
    mailbox_id: str
    uid: int


@dataclass(frozen=True, slots=True)
class Found:
    """Part of a mailbox's list; `stopped_at` is the last place looked at when the allowance ended the search."""

    rows: list[tuple[Position, MessageRecord]]
    stopped_at: Position | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Octets:
    """Where a message's octets are: `prefix`, then the blob's."""

    email_id: str
    prefix: bytes
    blob: Blob


async def mailbox_page(
    tx: Transaction,
    account_id: AccountId,
    mailbox_id: MailboxId,
    *,
    wanted: MessageFilter,
    order: MessageOrder,
    after: Position | None,
    limit: int,
    scan: int,
) -> Found:
    """Up to `limit` messages of one mailbox that follow `after`.

    Args:
        scan: Rows looked at when there is a filter and the order is by time.
    """
    value = _value(order)
    place: list[ColumnElement[bool]] = [m.c.mailbox_id == mailbox_id, m.c.account_id == account_id, LIVE]
    place += _bounds(wanted)
    if after is not None:
        place.append(_follows(after, mailbox_id, value, descending=order.descending))
    conditions = _conditions(wanted)
    by_time = order in (MessageOrder.NEWEST, MessageOrder.OLDEST)
    if not conditions or not by_time:
        query = _ordered(_records(value).where(*place, *conditions), value, order).limit(limit)
        return Found(_found(await tx.fetch(query)), None)
    window = _ordered(select(m.c.uid, value.label("value")).where(*place), value, order).limit(scan).subquery()
    inside = m.c.uid.in_(select(window.c.uid))
    query = _records(value).where(m.c.mailbox_id == mailbox_id, LIVE, inside, *conditions)
    found = _found(await tx.fetch(_ordered(query, value, order).limit(limit)))
    if len(found) == limit:
        return Found(found, None)
    rows = await tx.fetch(select(window.c.value, window.c.uid).offset(scan - 1).limit(1))
    end = Position(cast(int, rows[0][0]), mailbox_id, cast(int, rows[0][1])) if rows else None
    return Found(found, end)


async def count(tx: Transaction, account_id: AccountId, wanted: MessageFilter, mailbox_ids: Sequence[str]) -> int:
    """How many messages of these mailboxes match, at most 10,000."""
    query = select(literal(1)).select_from(m.join(e, e.c.id == m.c.email_id))
    query = query.where(m.c.account_id == account_id, LIVE, *_bounds(wanted), *_conditions(wanted))
    if wanted.thread_id is None:
        query = query.where(m.c.mailbox_id.in_(list(mailbox_ids)))
    row = await tx.fetch_one(select(func.count()).select_from(query.limit(10_000).subquery()))
    return 0 if row is None else cast(int, row[0])


async def thread(tx: Transaction, account_id: AccountId, thread_id: str) -> list[MessageRecord]:
    """The messages of a thread, oldest first, the first THREAD_MAX."""
    query = (
        select(*RECORD)
        .join(e, e.c.id == m.c.email_id)
        .where(e.c.thread_id == thread_id, m.c.account_id == account_id, LIVE)
        .order_by(m.c.internal_date, m.c.mailbox_id, m.c.uid)
        .limit(THREAD_MAX)
    )
    return [record_from_row(row) for row in await tx.fetch(query)]


async def get(tx: Transaction, account_id: AccountId, message_id: str) -> MessageRecord | None:
    """A message that is not expunged."""
    query = select(*RECORD).join(e, e.c.id == m.c.email_id)
    row = await tx.fetch_one(query.where(m.c.id == message_id, m.c.account_id == account_id, LIVE))
    return None if row is None else record_from_row(row)


async def many(tx: Transaction, account_id: AccountId, ids: Sequence[str]) -> list[MessageRecord]:
    """Those of the messages that are there, by mailbox and UID."""
    query = select(*RECORD).join(e, e.c.id == m.c.email_id)
    query = query.where(m.c.id.in_(list(ids)), m.c.account_id == account_id, LIVE)
    return [record_from_row(row) for row in await tx.fetch(query.order_by(m.c.mailbox_id, m.c.uid))]


async def owner(tx: Transaction, tenant_id: TenantId, message_id: str) -> AccountId | None:
    """Whose message it is, expunged or not, among a tenant's accounts."""
    query = select(m.c.account_id).join(accounts, accounts.c.id == m.c.account_id)
    row = await tx.fetch_one(query.where(m.c.id == message_id, accounts.c.tenant_id == tenant_id))
    return None if row is None else AccountId(text(row, "account_id"))


async def mailbox_owner(tx: Transaction, tenant_id: TenantId, mailbox_id: str) -> AccountId | None:
    """Whose mailbox it is among a tenant's accounts."""
    query = select(mailboxes.c.account_id).join(accounts, accounts.c.id == mailboxes.c.account_id)
    row = await tx.fetch_one(query.where(mailboxes.c.id == mailbox_id, accounts.c.tenant_id == tenant_id))
    return None if row is None else AccountId(text(row, "account_id"))


async def thread_owner(tx: Transaction, tenant_id: TenantId, thread_id: str) -> AccountId | None:
    """Whose thread it is among a tenant's accounts."""
    query = select(e.c.account_id).join(accounts, accounts.c.id == e.c.account_id)
    row = await tx.fetch_one(query.where(e.c.thread_id == thread_id, accounts.c.tenant_id == tenant_id).limit(1))
    return None if row is None else AccountId(text(row, "account_id"))


async def source(tx: Transaction, account_id: AccountId, message_id: str) -> Octets | None:
    """Where the octets of a message are that is not expunged."""
    query = (
        select(e.c.id.label("email_id"), e.c.prefix, blobs)
        .join(e, e.c.id == m.c.email_id)
        .join(blobs, blobs.c.id == e.c.blob_id)
        .where(m.c.id == message_id, m.c.account_id == account_id, LIVE)
    )
    row = await tx.fetch_one(query)
    if row is None:
        return None
    blob = Blob(
        id=BlobId(text(row, "id")),
        size_octets=number(row, "size_octets"),
        sha256=text(row, "sha256"),
        place=BlobPlace(text(row, "place")),
        inline=cast("bytes | None", row["inline"]),
    )
    return Octets(email_id=text(row, "email_id"), prefix=octets(row, "prefix"), blob=blob)


async def ids_of(tx: Transaction, account_id: AccountId, mailbox_id: MailboxId, uids: Sequence[int]) -> dict[int, str]:
    """The ids of a mailbox's messages by UID."""
    query = select(m.c.uid, m.c.id).where(m.c.mailbox_id == mailbox_id, m.c.account_id == account_id)
    return {number(row, "uid"): text(row, "id") for row in await tx.fetch(query.where(m.c.uid.in_(list(uids))))}


async def first_uids(tx: Transaction, account_id: AccountId, mailbox_id: MailboxId, limit: int) -> list[int]:
    """The lowest UIDs of messages that are not expunged, ascending."""
    query = select(m.c.uid).where(m.c.mailbox_id == mailbox_id, m.c.account_id == account_id, LIVE)
    return [number(row, "uid") for row in await tx.fetch(query.order_by(m.c.uid).limit(limit))]


async def set_category(
    tx: Transaction,
    account_id: AccountId,
    email_ids: Sequence[str],
    *,
    category_id: str | None,
    source: str,
    confidence: int,
) -> None:
    """Put mails into a category, or into none."""
    await tx.execute(
        update(e)
        .where(e.c.id.in_(list(email_ids)), e.c.account_id == account_id)
        .values(
            category=category_id,
            category_source=None if category_id is None else source,
            category_confidence=None if category_id is None else confidence,
        )
    )


def record_from_row(row: Row) -> MessageRecord:
    """A record from a row of the columns RECORD."""
    trace_id = text_or_none(row, "trace_id")
    return MessageRecord(
        id=MessageId(text(row, "id")),
        account_id=AccountId(text(row, "account_id")),
        mailbox_id=MailboxId(text(row, "mailbox_id")),
        uid=Uid(number(row, "uid")),
        email_id=text(row, "email_id"),
        thread_id=text_or_none(row, "thread_id"),
        blob_id=BlobId(text(row, "blob_id")),
        message_id_header=text_or_none(row, "message_id_header"),
        subject=text(row, "subject"),
        envelope=octets(row, "envelope"),
        sent_at=instant_or_none(row, "sent_at"),
        received_at=instant(row, "internal_date"),
        size_octets=number(row, "size_octets"),
        preview=text(row, "preview"),
        has_attachments=bool(number(row, "has_attachments")),
        flags=number(row, "flags"),
        keywords=tuple(text(row, "keywords").split()),
        category=text_or_none(row, "category"),
        category_source=text_or_none(row, "category_source"),
        category_confidence=number_or_none(row, "category_confidence"),
        list_id=text_or_none(row, "list_id"),
        trace_id=TraceId(trace_id) if trace_id else None,
        modseq=ModSeq(number(row, "modseq")),
        deleted_at=instant_or_none(row, "expunged_at"),
    )


def _value(order: MessageOrder) -> ColumnElement[int]:
    match order.field:
        case "size_bytes":
            return m.c.size_octets
        case "date":
            return func.coalesce(e.c.sent_at, m.c.internal_date)
        case _:
            return m.c.internal_date


def _records(value: ColumnElement[int]) -> Select[Any]:
    return select(*RECORD, value.label("value")).join(e, e.c.id == m.c.email_id)


def _ordered(query: Select[Any], value: ColumnElement[int], order: MessageOrder) -> Select[Any]:
    if order.descending:
        return query.order_by(value.desc(), m.c.uid.desc())
    return query.order_by(value, m.c.uid)


def _follows(after: Position, mailbox_id: str, value: ColumnElement[int], *, descending: bool) -> ColumnElement[bool]:
    """Rows of this mailbox behind a place that may be in another one."""
    if mailbox_id == after.mailbox_id:
        here, there = tuple_(value, m.c.uid), tuple_(literal(after.value), literal(after.uid))
        return here < there if descending else here > there
    if descending:
        return value <= after.value if mailbox_id < after.mailbox_id else value < after.value
    return value >= after.value if mailbox_id > after.mailbox_id else value > after.value


def _bounds(wanted: MessageFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.after is not None:
        found.append(m.c.internal_date >= to_us(wanted.after))
    if wanted.before is not None:
        found.append(m.c.internal_date < to_us(wanted.before))
    return found


def _conditions(wanted: MessageFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    for asked, bit in ((wanted.seen, SEEN), (wanted.flagged, FLAGGED)):
        if asked is not None:
            is_set = m.c.flags.op("&")(bit) != 0
            found.append(is_set if asked else ~is_set)
    if wanted.keyword is not None:
        held = literal(" ") + func.lower(m.c.keywords) + literal(" ")
        found.append(held.contains(f" {wanted.keyword.lower()} ", autoescape=True))
    if wanted.category is not None:
        found.append(e.c.category == wanted.category)
    if wanted.thread_id is not None:
        found.append(e.c.thread_id == wanted.thread_id)
    return found


def _found(rows: Sequence[Row]) -> list[tuple[Position, MessageRecord]]:
    return [
        (Position(number(row, "value"), text(row, "mailbox_id"), number(row, "uid")), record_from_row(row))
        for row in rows
    ]
