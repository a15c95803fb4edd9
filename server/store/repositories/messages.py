"""Rows of messages and the mails they show.

- An account's modseq, its use of octets and its quota are one UPDATE: the account's row is its log's single writer.
- Expunged rows stay, marked, for undelete and for sessions that have to be told; reads of messages leave them out.
- Sets of UIDs come as ascending lists: few ranges are read one by one, many by one scan between first and last.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

from sqlalchemy import BigInteger, and_, bindparam, case, exists, func, or_, select, update

from server.domain.errors import NotFound, OverQuota
from server.domain.flags import DELETED
from server.domain.ids import AccountId, BlobId, MailboxId, MessageId, ModSeq, TenantId, TraceId, Uid
from server.domain.message import Blob, BlobPlace, Rendered
from server.store.repositories.threads import Place
from server.store.schema import accounts, blobs, domains, emails, mailboxes, messages
from server.store.statements import prepared, prepared_insert
from server.store.times import to_us
from server.store.transaction import Row, Transaction

RANGES_ONE_BY_ONE = 16
m = messages
e = emails

_MORE = bindparam("b_more", type_=BigInteger)
_peers = accounts.alias("peers")
_domain_is_full = exists().where(
    domains.c.id == accounts.c.domain_id,
    domains.c.quota_octets > 0,
    select(func.sum(_peers.c.used_octets)).where(_peers.c.domain_id == domains.c.id).scalar_subquery() + _MORE
    > domains.c.quota_octets,
)
"""Whether the account's domain has no room for more; its accounts are summed up only where it has a quota."""
_CHARGE = prepared(
    update(accounts)
    .where(
        accounts.c.id == bindparam("b_account"),
        or_(
            bindparam("b_unchecked", type_=BigInteger) == 1,
            and_(
                or_(accounts.c.quota_octets == 0, accounts.c.used_octets + _MORE <= accounts.c.quota_octets),
                ~_domain_is_full,
            ),
        ),
    )
    .values(modseq=accounts.c.modseq + 1, used_octets=accounts.c.used_octets + _MORE)
    .returning(accounts.c.modseq),
    beside_inserts=True,
)
_ACCOUNT = prepared(
    select(accounts.c.quota_octets, accounts.c.used_octets).where(accounts.c.id == bindparam("b_account"))
)
_DOMAIN = prepared(
    select(
        domains.c.quota_octets,
        case(
            (
                domains.c.quota_octets > 0,
                select(func.sum(_peers.c.used_octets)).where(_peers.c.domain_id == domains.c.id).scalar_subquery(),
            ),
            else_=0,
        ).cast(BigInteger),
    )
    .join(accounts, accounts.c.domain_id == domains.c.id)
    .where(accounts.c.id == bindparam("b_account"))
)
_INSERT_EMAIL = prepared_insert(emails)
_INSERT = prepared_insert(messages)

_IN_MAILBOX = (m.c.mailbox_id == bindparam("b_mailbox"), m.c.account_id == bindparam("b_account"))
_LIVE = m.c.expunged_at.is_(None)
_BETWEEN = (*_IN_MAILBOX, m.c.uid >= bindparam("b_first"), m.c.uid <= bindparam("b_last"), _LIVE)
_VIEW = (m.c.uid, m.c.flags, m.c.keywords, m.c.modseq, m.c.size_octets, m.c.internal_date)

_LOAD = prepared(
    select(*_VIEW)
    .where(*_IN_MAILBOX, m.c.uid > bindparam("b_after"), _LIVE)
    .order_by(m.c.uid)
    .limit(bindparam("b_limit", type_=BigInteger))
)
_CHANGES = prepared(
    select(*_VIEW, m.c.expunged_at).where(*_IN_MAILBOX, m.c.modseq > bindparam("b_since")).order_by(m.c.uid)
)
_DELETED = prepared(
    select(func.count(), func.coalesce(func.sum(m.c.size_octets), 0))
    .select_from(m)
    .where(*_IN_MAILBOX, _LIVE, m.c.flags.op("&")(DELETED) != 0)
)
_VANISHED = prepared(
    select(m.c.uid)
    .where(*_IN_MAILBOX, m.c.modseq > bindparam("b_since"), m.c.expunged_at.is_not(None))
    .order_by(m.c.uid)
)
_CHANGED = prepared(
    select(m.c.uid).where(
        *_IN_MAILBOX, m.c.modseq > bindparam("b_since"), m.c.uid >= bindparam("b_first"), m.c.uid <= bindparam("b_last")
    )
)
_STATES = prepared(
    select(m.c.uid, m.c.id, m.c.email_id, m.c.flags, m.c.keywords, m.c.size_octets, m.c.internal_date)
    .where(*_BETWEEN)
    .order_by(m.c.uid)
)
_RENDERED = prepared(
    select(m.c.uid, e.c.envelope, e.c.body, e.c.bodystructure)
    .join(e, e.c.id == m.c.email_id)
    .where(*_BETWEEN)
    .order_by(m.c.uid)
)
_SEARCH_ROWS = prepared(
    select(m.c.uid, e.c.envelope, e.c.subject, m.c.saved_at, m.c.email_id, e.c.thread_id)
    .join(e, e.c.id == m.c.email_id)
    .where(*_BETWEEN)
    .order_by(m.c.uid)
)
_SOURCES = prepared(
    select(
        m.c.uid,
        m.c.email_id,
        e.c.prefix,
        blobs.c.id,
        blobs.c.size_octets,
        blobs.c.sha256,
        blobs.c.place,
        blobs.c.inline,
    )
    .join(e, e.c.id == m.c.email_id)
    .join(blobs, blobs.c.id == e.c.blob_id)
    .where(*_BETWEEN)
    .order_by(m.c.uid)
)
_TRACES = prepared(
    select(m.c.uid, e.c.trace_id, e.c.message_id_header, accounts.c.tenant_id, mailboxes.c.name)
    .join(e, e.c.id == m.c.email_id)
    .join(accounts, accounts.c.id == m.c.account_id)
    .join(mailboxes, mailboxes.c.id == m.c.mailbox_id)
    .where(*_BETWEEN, e.c.trace_id.is_not(None))
    .order_by(m.c.uid)
)
_ONE = (*_IN_MAILBOX, m.c.uid == bindparam("b_uid"))
_SET_FLAGS = prepared(
    update(m)
    .where(*_BETWEEN)
    .values(flags=bindparam("b_flags"), keywords=bindparam("b_keywords"), modseq=bindparam("b_modseq"))
)
_EXPUNGE = prepared(update(m).where(*_BETWEEN).values(expunged_at=bindparam("b_now"), modseq=bindparam("b_modseq")))
_REPLACE_ID = prepared(update(m).where(*_ONE).values(id=bindparam("b_new_id")))


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageState:
    """What changes about a message, and what a copy takes along."""

    uid: Uid
    id: MessageId
    email_id: str
    flags: int
    keywords: str
    size_octets: int
    internal_date_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    """A message that came through one of the two doors, and so has a trace."""

    uid: Uid
    trace_id: TraceId
    message_id_header: str | None
    tenant_id: TenantId
    mailbox_name: str


class SearchRow(NamedTuple):
    """What searches ask of a message's row: ENVELOPE as stored, decoded subject, when it came into the mailbox."""

    envelope: bytes
    subject: str
    saved_at_us: int
    email_id: str
    thread_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a message's octets are: `prefix`, then the blob's."""

    uid: Uid
    email_id: str
    prefix: bytes
    blob: Blob


async def charge(tx: Transaction, account_id: AccountId, octets: int, *, check_quota: bool = True) -> ModSeq:
    """Take the account's next modseq and add to its use; negative octets give room back.

    Args:
        check_quota: False for a message that was accepted already: it goes over the quota rather than get lost.

    Raises:
        OverQuota: There is no room; nothing was changed, the unit of work may go on.
        NotFound: No such account.
    """
    row = await tx.fetch_one(
        _CHARGE,
        {"b_account": account_id, "b_more": octets, "b_unchecked": int(octets <= 0 or not check_quota)},
    )
    if row is None:
        if await tx.fetch_one(_ACCOUNT, {"b_account": account_id}) is None:
            raise NotFound("no such account")
        raise OverQuota("the account has no room left")
    modseq = ModSeq(cast(int, row[0]))
    tx.touch(account_id, modseq)
    return modseq


async def quota(tx: Transaction, account_id: AccountId) -> tuple[int, int]:
    """The account's quota (0 = unlimited) and its use, in octets."""
    row = await tx.fetch_one(_ACCOUNT, {"b_account": account_id})
    if row is None:
        raise NotFound("no such account")
    return cast(int, row[0]), cast(int, row[1])


async def domain_quota(tx: Transaction, account_id: AccountId) -> tuple[int, int]:
    """The quota of the account's domain (0 = unlimited) and what its accounts use, in octets; 0 without a quota."""
    row = await tx.fetch_one(_DOMAIN, {"b_account": account_id})
    return (0, 0) if row is None else (cast(int, row[0]), cast(int, row[1]))


async def insert_email(
    tx: Transaction,
    *,
    email_id: str,
    account_id: AccountId,
    blob: Blob,
    prefix: bytes,
    rendered: Rendered,
    received_at_us: int,
    trace_id: TraceId | None,
    place: Place,
) -> None:
    """Insert the mail that message rows show."""
    await tx.insert(
        _INSERT_EMAIL,
        {
            "id": email_id,
            "account_id": account_id,
            "blob_id": blob.id,
            "trace_id": trace_id,
            "size_octets": len(prefix) + blob.size_octets,
            "received_at": received_at_us,
            "sent_at": to_us(rendered.sent_at),
            "subject": rendered.subject,
            "sender": rendered.sender,
            "recipients": rendered.recipients,
            "message_id_header": rendered.message_id_header,
            "thread_references": rendered.references,
            "base_subject": rendered.base_subject,
            "list_id": rendered.list_id,
            "thread_id": place.thread_id,
            "category": place.category,
            "category_source": place.source,
            "category_confidence": place.confidence,
            "preview": rendered.preview,
            "has_attachments": int(rendered.has_attachments),
            "envelope": rendered.envelope,
            "body": rendered.body,
            "bodystructure": rendered.bodystructure,
            "prefix": prefix,
        },
    )


async def insert(
    tx: Transaction,
    account_id: AccountId,
    mailbox_id: MailboxId,
    modseq: ModSeq,
    states: Sequence[MessageState],
) -> None:
    """Insert message rows; their UIDs must have been taken in this transaction."""
    for state in states:
        await tx.insert(_INSERT, _insert_params(account_id, mailbox_id, modseq, state) | {"saved_at": tx.now_us})


async def load(
    tx: Transaction, account_id: AccountId, mailbox_id: MailboxId, *, after: int, limit: int
) -> Sequence[Row]:
    """Rows (uid, flags, keywords, modseq, size_octets, internal_date) by UID, a page that begins after a UID."""
    params = {"b_account": account_id, "b_mailbox": mailbox_id, "b_after": after, "b_limit": limit}
    return await tx.fetch(_LOAD, params)


async def changes(tx: Transaction, account_id: AccountId, mailbox_id: MailboxId, since: ModSeq) -> Sequence[Row]:
    """Rows as of `load` with expunged_at behind, of messages changed after `since`, expunged ones included."""
    return await tx.fetch(_CHANGES, {"b_account": account_id, "b_mailbox": mailbox_id, "b_since": since})


async def deleted(tx: Transaction, account_id: AccountId, mailbox_id: MailboxId) -> tuple[int, int]:
    """How many messages are marked \\Deleted, and their octets."""
    row = await tx.fetch_one(_DELETED, {"b_account": account_id, "b_mailbox": mailbox_id})
    return (0, 0) if row is None else (int(cast(int, row[0])), int(cast(int, row[1])))


async def vanished(tx: Transaction, account_id: AccountId, mailbox_id: MailboxId, since: ModSeq) -> list[int]:
    """UIDs of messages expunged after `since` whose rows are still there, ascending."""
    rows = await tx.fetch(_VANISHED, {"b_account": account_id, "b_mailbox": mailbox_id, "b_since": since})
    return [cast(int, row[0]) for row in rows]


async def changed_between(
    tx: Transaction, account_id: AccountId, mailbox_id: MailboxId, since: ModSeq, first: int, last: int
) -> set[int]:
    """UIDs in a range of messages changed, or expunged, after `since`."""
    params = {**_between(account_id, mailbox_id, first, last), "b_since": since}
    return {cast(int, row[0]) for row in await tx.fetch(_CHANGED, params)}


async def states(
    tx: Transaction, account_id: AccountId, mailbox_id: MailboxId, uids: Sequence[int]
) -> list[MessageState]:
    """The messages with these UIDs (ascending) that exist, by UID."""
    wanted = _members(uids)
    found: list[MessageState] = []
    for first, last in ascending_ranges(uids):
        rows = await tx.fetch(_STATES, _between(account_id, mailbox_id, first, last))
        found += [_state(row) for row in rows if cast(int, row[0]) in wanted]
    return found


async def rendered(
    tx: Transaction, account_id: AccountId, mailbox_id: MailboxId, uids: Sequence[int]
) -> dict[int, tuple[bytes, bytes, bytes]]:
    """ENVELOPE, BODY and BODYSTRUCTURE as stored, by UID."""
    wanted = _members(uids)
    found: dict[int, tuple[bytes, bytes, bytes]] = {}
    for first, last in ascending_ranges(uids):
        for row in await tx.fetch(_RENDERED, _between(account_id, mailbox_id, first, last)):
            if cast(int, row[0]) in wanted:
                found[cast("int", row[0])] = (cast(bytes, row[1]), cast(bytes, row[2]), cast(bytes, row[3]))
    return found


async def search_rows(
    tx: Transaction, account_id: AccountId, mailbox_id: MailboxId, uids: Sequence[int]
) -> dict[int, SearchRow]:
    """What searches ask of rows, by UID."""
    wanted = _members(uids)
    found: dict[int, SearchRow] = {}
    for first, last in ascending_ranges(uids):
        for row in await tx.fetch(_SEARCH_ROWS, _between(account_id, mailbox_id, first, last)):
            uid = cast(int, row[0])
            if uid in wanted:
                found[uid] = SearchRow(
                    cast(bytes, row[1]),
                    cast(str, row[2]),
                    cast(int, row[3]),
                    cast(str, row[4]),
                    cast("str | None", row[5]),
                )
    return found


async def sources(tx: Transaction, account_id: AccountId, mailbox_id: MailboxId, uids: Sequence[int]) -> list[Source]:
    """Where the octets of the messages are, octets in rows included: ask for few at a time."""
    wanted = _members(uids)
    found: list[Source] = []
    for first, last in ascending_ranges(uids):
        rows = await tx.fetch(_SOURCES, _between(account_id, mailbox_id, first, last))
        found += [_source(row) for row in rows if cast(int, row[0]) in wanted]
    return found


async def traced(tx: Transaction, account_id: AccountId, mailbox_id: MailboxId, uids: Sequence[int]) -> list[Traced]:
    """Those of the messages that have a trace."""
    wanted = _members(uids)
    found: list[Traced] = []
    for first, last in ascending_ranges(uids):
        rows = await tx.fetch(_TRACES, _between(account_id, mailbox_id, first, last))
        found += [_traced(row) for row in rows if cast(int, row[0]) in wanted]
    return found


async def set_flags(
    tx: Transaction,
    account_id: AccountId,
    mailbox_id: MailboxId,
    modseq: ModSeq,
    new: Sequence[tuple[Uid, int, str]],
) -> None:
    """Set flags and keywords of messages to what is given, by ascending UID; runs of equals are one statement."""
    common = {"b_account": account_id, "b_mailbox": mailbox_id, "b_modseq": modseq}
    rows: list[dict[str, object]] = []
    last: tuple[int, int, str] | None = None
    for uid, flags, keywords in new:
        if last == (uid - 1, flags, keywords):
            rows[-1]["b_last"] = uid
        else:
            rows.append({**common, "b_first": uid, "b_last": uid, "b_flags": flags, "b_keywords": keywords})
        last = (uid, flags, keywords)
    await tx.execute_many(_SET_FLAGS, rows)


async def expunge(
    tx: Transaction, account_id: AccountId, mailbox_id: MailboxId, modseq: ModSeq, uids: Sequence[Uid]
) -> None:
    """Mark messages (ascending UIDs) as expunged now."""
    common = {"b_account": account_id, "b_mailbox": mailbox_id, "b_modseq": modseq, "b_now": tx.now_us}
    rows: list[dict[str, object]] = []
    for uid in uids:
        if rows and rows[-1]["b_last"] == uid - 1:
            rows[-1]["b_last"] = uid
        else:
            rows.append({**common, "b_first": uid, "b_last": uid})
    await tx.execute_many(_EXPUNGE, rows)


async def replace_ids(
    tx: Transaction, account_id: AccountId, mailbox_id: MailboxId, ids: Iterable[tuple[Uid, MessageId]]
) -> None:
    """Give rows another id, so that a moved message can keep its own."""
    common = {"b_account": account_id, "b_mailbox": mailbox_id}
    await tx.execute_many(_REPLACE_ID, [{**common, "b_uid": uid, "b_new_id": new} for uid, new in ids])


def _between(account_id: AccountId, mailbox_id: MailboxId, first: int, last: int) -> Mapping[str, object]:
    return {"b_account": account_id, "b_mailbox": mailbox_id, "b_first": first, "b_last": last}


def _members(uids: Sequence[int]) -> Container[int]:
    return uids if isinstance(uids, range) else set(uids)


def ascending_ranges(uids: Sequence[int]) -> list[tuple[int, int]]:
    """Ranges that cover the UIDs: exact while they are few, else one over all."""
    if isinstance(uids, range):
        return [(uids[0], uids[-1])] if uids else []
    ranges: list[tuple[int, int]] = []
    for uid in uids:
        if ranges and uid == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], uid)
        elif len(ranges) == RANGES_ONE_BY_ONE:
            return [(uids[0], uids[-1])]
        else:
            ranges.append((uid, uid))
    return ranges


def _state(row: Row) -> MessageState:
    return MessageState(
        uid=Uid(cast(int, row[0])),
        id=MessageId(cast(str, row[1])),
        email_id=cast(str, row[2]),
        flags=cast(int, row[3]),
        keywords=cast(str, row[4]),
        size_octets=cast(int, row[5]),
        internal_date_us=cast(int, row[6]),
    )


def _traced(row: Row) -> Traced:
    return Traced(
        uid=Uid(cast(int, row[0])),
        trace_id=TraceId(cast(str, row[1])),
        message_id_header=cast("str | None", row[2]),
        tenant_id=TenantId(cast(str, row[3])),
        mailbox_name=cast(str, row[4]),
    )


def _source(row: Row) -> Source:
    blob = Blob(
        id=BlobId(cast(str, row[3])),
        size_octets=cast(int, row[4]),
        sha256=cast(str, row[5]),
        place=BlobPlace(cast(str, row[6])),
        inline=cast("bytes | None", row[7]),
    )
    return Source(uid=Uid(cast(int, row[0])), email_id=cast(str, row[1]), prefix=cast(bytes, row[2]), blob=blob)


def _insert_params(
    account_id: AccountId, mailbox_id: MailboxId, modseq: ModSeq, state: MessageState
) -> dict[str, object]:
    return {
        "mailbox_id": mailbox_id,
        "uid": state.uid,
        "id": state.id,
        "account_id": account_id,
        "email_id": state.email_id,
        "modseq": modseq,
        "created_modseq": modseq,
        "flags": state.flags,
        "keywords": state.keywords,
        "internal_date": state.internal_date_us,
        "size_octets": state.size_octets,
        "expunged_at": None,
    }
