"""Messages that were expunged and can still be restored.

- A row that a move left behind, or whose mail is still to be seen elsewhere in the account, is nothing lost: such rows
  are left out. Of several expunged rows of one mail the last one stands for it.
- A page looks at no more rows than it was allowed, and says where it stopped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, and_, exists, or_, select, tuple_

from server.domain.flags import DELETED
from server.domain.ids import AccountId, MailboxId, MessageId, ModSeq, Uid, new_id
from server.domain.listing import MessageRecord
from server.domain.message import SpecialUse
from server.store.repositories import messages as message_rows
from server.store.repositories.listing import RECORD, record_from_row
from server.store.repositories.messages import MessageState
from server.store.repositories.rows import number, text, text_or_none
from server.store.schema import emails, mailboxes, messages
from server.store.times import to_us
from server.store.transaction import Row, Transaction

m = messages
e = emails
_live, _later = messages.alias("live"), messages.alias("later")
_GONE = m.c.expunged_at.is_not(None)
_IS_LOST = and_(
    ~exists().where(_live.c.email_id == m.c.email_id, _live.c.expunged_at.is_(None)),
    ~exists().where(
        _later.c.email_id == m.c.email_id,
        or_(
            _later.c.modseq > m.c.modseq,
            and_(_later.c.modseq == m.c.modseq, _later.c.uid > m.c.uid),
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class GonePosition:
    """A place in the list: the time of expunging, then UID and mailbox."""

    expunged_at: int
    uid: int
    mailbox_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletedMessage:
    """An expunged message and the mailbox it was in; `mailbox_role` is None also of one that is deleted."""

    record: MessageRecord
    mailbox_name: str
    mailbox_role: SpecialUse | None

    @property
    def position(self) -> GonePosition:
        expunged_at = to_us(self.record.deleted_at)
        return GonePosition(expunged_at or 0, self.record.uid, self.record.mailbox_id)


async def page(
    tx: Transaction,
    account_id: AccountId,
    *,
    after: GonePosition | None,
    containing: str | None,
    limit: int,
    scan: int,
) -> tuple[list[DeletedMessage], GonePosition | None]:
    """Up to `limit` messages, the last expunged first, and where the search stopped before it had so many."""
    place = [m.c.account_id == account_id, _GONE]
    if after is not None:
        key = tuple_(m.c.expunged_at, m.c.uid, m.c.mailbox_id)
        place.append(key < tuple_(after.expunged_at, after.uid, after.mailbox_id))
    window = _latest_first(select(m.c.expunged_at, m.c.uid, m.c.mailbox_id).where(*place)).limit(scan).subquery()
    inside = and_(m.c.mailbox_id == window.c.mailbox_id, m.c.uid == window.c.uid)
    query = _deleted().join(window, inside).where(_IS_LOST)
    if containing:
        held = (column.icontains(containing, autoescape=True) for column in (e.c.subject, e.c.sender, e.c.recipients))
        query = query.where(or_(*held))
    found = [_from_row(row) for row in await tx.fetch(_latest_first(query).limit(limit))]
    if len(found) == limit:
        return found, None
    rows = await tx.fetch(_ends_of(window).offset(scan - 1).limit(1))
    end = rows[0] if rows else None
    if end is None:
        return found, None
    return found, GonePosition(number(end, "expunged_at"), number(end, "uid"), text(end, "mailbox_id"))


async def get(tx: Transaction, account_id: AccountId, message_id: str) -> DeletedMessage | None:
    """An expunged message that is to be seen nowhere else."""
    query = _deleted().where(m.c.id == message_id, m.c.account_id == account_id, _GONE, _IS_LOST)
    row = await tx.fetch_one(query)
    return None if row is None else _from_row(row)


async def last_place(tx: Transaction, account_id: AccountId, email_id: str) -> MailboxId | None:
    """The mailbox, still there and not Trash, that showed a mail last."""
    query = (
        select(m.c.mailbox_id)
        .join(mailboxes, mailboxes.c.id == m.c.mailbox_id)
        .where(m.c.email_id == email_id, m.c.account_id == account_id, mailboxes.c.deleted_at.is_(None))
        .where(or_(mailboxes.c.role.is_(None), mailboxes.c.role != SpecialUse.TRASH.value))
        .order_by(m.c.modseq.desc())
        .limit(1)
    )
    row = await tx.fetch_one(query)
    return None if row is None else MailboxId(text(row, "mailbox_id"))


async def put_back(tx: Transaction, gone: MessageRecord, *, mailbox_id: MailboxId, uid: Uid, modseq: ModSeq) -> None:
    """Insert an expunged message anew under its old id; its old row stays, under another one."""
    other = MessageId(new_id())
    await message_rows.replace_ids(tx, gone.account_id, gone.mailbox_id, [(gone.uid, other)])
    state = MessageState(
        uid=uid,
        id=gone.id,
        email_id=gone.email_id,
        flags=gone.flags & ~DELETED,
        keywords=" ".join(gone.keywords),
        size_octets=gone.size_octets,
        internal_date_us=to_us(gone.received_at),
    )
    await message_rows.insert(tx, gone.account_id, mailbox_id, modseq, [state])


def _deleted() -> Select[Any]:
    named = (mailboxes.c.name.label("mailbox_name"), mailboxes.c.role.label("mailbox_role"))
    query = select(*RECORD, *named).select_from(m).join(e, e.c.id == m.c.email_id)
    return query.join(mailboxes, mailboxes.c.id == m.c.mailbox_id)


def _latest_first(query: Select[Any]) -> Select[Any]:
    return query.order_by(m.c.expunged_at.desc(), m.c.uid.desc(), m.c.mailbox_id.desc())


def _ends_of(window: Any) -> Select[Any]:
    columns = (window.c.expunged_at, window.c.uid, window.c.mailbox_id)
    return select(*columns).order_by(*(column.desc() for column in columns))


def _from_row(row: Row) -> DeletedMessage:
    role = text_or_none(row, "mailbox_role")
    return DeletedMessage(
        record=record_from_row(row),
        mailbox_name=text(row, "mailbox_name"),
        mailbox_role=SpecialUse(role) if role else None,
    )
