"""Rows of mailboxes: names, counters, UIDs to give out.

- A deleted mailbox keeps its row, under a name nobody can have, until the last of its messages is purged: its
  messages stay restorable (product.md 25).
- UIDs are taken by one UPDATE, so they ascend and are never given twice (RFC 9051 §2.3.1.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from sqlalchemy import BigInteger, bindparam, literal, select, update

from server.domain.errors import NotFound
from server.domain.ids import AccountId, MailboxId, ModSeq, Uid, UidValidity
from server.domain.mailbox import Mailbox
from server.domain.message import SpecialUse
from server.store.schema import mailboxes as t
from server.store.statements import prepared, prepared_insert
from server.store.transaction import Row, Transaction

_LIVE = t.c.deleted_at.is_(None)
_OWN = (t.c.account_id == bindparam("b_account"), _LIVE)
_COUNT = bindparam("b_count", type_=BigInteger)
_UNSEEN = bindparam("b_unseen", type_=BigInteger)
_OCTETS = bindparam("b_octets", type_=BigInteger)
_GROW = {
    "uidnext": t.c.uidnext + _COUNT,
    "total": t.c.total + _COUNT,
    "unseen": t.c.unseen + _UNSEEN,
    "size_octets": t.c.size_octets + _OCTETS,
    "modseq": bindparam("b_modseq"),
}

_GONE_PREFIX = literal("//")

_INSERT = prepared_insert(t)
_ALL = prepared(select(t).where(*_OWN).order_by(t.c.name))
_BY_ID = prepared(select(t).where(t.c.id == bindparam("b_id"), *_OWN))
_BY_NAME = prepared(select(t).where(t.c.name == bindparam("b_name"), *_OWN))
_BY_ROLE = prepared(select(t).where(t.c.role == bindparam("b_role"), *_OWN))
_TAKE_BY_ID = prepared(
    update(t).where(t.c.id == bindparam("b_id"), *_OWN).values(**_GROW).returning(t.c.id, t.c.uidnext),
    beside_inserts=True,
)
_TAKE_BY_ROLE = prepared(
    update(t).where(t.c.role == bindparam("b_role"), *_OWN).values(**_GROW).returning(t.c.id, t.c.uidnext),
    beside_inserts=True,
)
_ADJUST = prepared(
    update(t)
    .where(t.c.id == bindparam("b_id"), *_OWN)
    .values(
        total=t.c.total + _COUNT,
        unseen=t.c.unseen + _UNSEEN,
        size_octets=t.c.size_octets + _OCTETS,
        modseq=bindparam("b_modseq"),
    )
)
_RENAME = prepared(
    update(t).where(t.c.id == bindparam("b_id"), *_OWN).values(name=bindparam("b_name"), modseq=bindparam("b_modseq"))
)
_SUBSCRIBE = prepared(update(t).where(t.c.id == bindparam("b_id"), *_OWN).values(subscribed=bindparam("b_subscribed")))
_DELETE = prepared(
    update(t)
    .where(t.c.id == bindparam("b_id"), *_OWN)
    .values(
        name=_GONE_PREFIX + t.c.id + "/" + t.c.name,
        role=None,
        deleted_at=bindparam("b_now"),
        modseq=bindparam("b_modseq"),
    )
)
_CLEAR_ROLE = prepared(
    update(t).where(t.c.role == bindparam("b_role"), *_OWN).values(role=None, modseq=bindparam("b_modseq"))
)
_CLAIM_RECENT = prepared(
    update(t)
    .where(t.c.id == bindparam("b_id"), t.c.recent_uid < bindparam("b_recent"), *_OWN)
    .values(recent_uid=bindparam("b_recent"))
)


async def insert(tx: Transaction, mailbox: Mailbox) -> None:
    """Insert a mailbox. Raises UniqueViolation when the account has one of this name."""
    await tx.execute(
        _INSERT,
        {
            "id": mailbox.id,
            "account_id": mailbox.account_id,
            "name": mailbox.name,
            "role": mailbox.role.value if mailbox.role else None,
            "subscribed": int(mailbox.subscribed),
            "uidvalidity": mailbox.uidvalidity,
            "uidnext": mailbox.uidnext,
            "recent_uid": mailbox.recent_uid,
            "total": mailbox.total,
            "unseen": mailbox.unseen,
            "size_octets": mailbox.size_octets,
            "modseq": mailbox.modseq,
            "purged_modseq": 0,
            "created_at": tx.now_us,
            "deleted_at": None,
        },
    )


async def list_all(tx: Transaction, account_id: AccountId) -> list[Mailbox]:
    """All mailboxes of the account by name."""
    return [mailbox_from_row(row) for row in await tx.fetch(_ALL, {"b_account": account_id})]


async def get(tx: Transaction, account_id: AccountId, mailbox_id: MailboxId) -> Mailbox | None:
    row = await tx.fetch_one(_BY_ID, {"b_account": account_id, "b_id": mailbox_id})
    return None if row is None else mailbox_from_row(row)


async def by_name(tx: Transaction, account_id: AccountId, name: str) -> Mailbox | None:
    row = await tx.fetch_one(_BY_NAME, {"b_account": account_id, "b_name": name})
    return None if row is None else mailbox_from_row(row)


async def by_role(tx: Transaction, account_id: AccountId, role: SpecialUse) -> Mailbox | None:
    row = await tx.fetch_one(_BY_ROLE, {"b_account": account_id, "b_role": role.value})
    return None if row is None else mailbox_from_row(row)


async def take_uids(
    tx: Transaction,
    account_id: AccountId,
    mailbox: MailboxId | SpecialUse,
    *,
    modseq: ModSeq,
    count: int,
    unseen: int,
    octets: int,
) -> tuple[MailboxId, Uid]:
    """Take `count` UIDs for messages that are about to be inserted, and count them.

    Returns:
        The mailbox and the first UID.

    Raises:
        NotFound: No such mailbox in the account.
    """
    params: dict[str, object] = {
        "b_account": account_id,
        "b_modseq": modseq,
        "b_count": count,
        "b_unseen": unseen,
        "b_octets": octets,
    }
    if isinstance(mailbox, SpecialUse):
        params["b_role"] = mailbox.value
        row = await tx.fetch_one(_TAKE_BY_ROLE, params)
    else:
        params["b_id"] = mailbox
        row = await tx.fetch_one(_TAKE_BY_ID, params)
    if row is None:
        raise NotFound("no such mailbox")
    return MailboxId(cast(str, row[0])), Uid(cast(int, row[1]) - count)


async def adjust(
    tx: Transaction,
    account_id: AccountId,
    mailbox_id: MailboxId,
    *,
    modseq: ModSeq,
    count: int,
    unseen: int,
    octets: int,
) -> None:
    """Add to the counters (negative numbers subtract) and set the modseq."""
    await tx.execute(
        _ADJUST,
        {
            "b_account": account_id,
            "b_id": mailbox_id,
            "b_modseq": modseq,
            "b_count": count,
            "b_unseen": unseen,
            "b_octets": octets,
        },
    )


async def rename(
    tx: Transaction, account_id: AccountId, names: Sequence[tuple[MailboxId, str]], modseq: ModSeq
) -> None:
    """Give mailboxes new names. Raises UniqueViolation."""
    rows = [{"b_account": account_id, "b_id": id_, "b_name": name, "b_modseq": modseq} for id_, name in names]
    await tx.execute_many(_RENAME, rows)


async def subscribe(tx: Transaction, account_id: AccountId, mailbox_id: MailboxId, *, subscribed: bool) -> None:
    await tx.execute(_SUBSCRIBE, {"b_account": account_id, "b_id": mailbox_id, "b_subscribed": int(subscribed)})


async def clear_role(tx: Transaction, account_id: AccountId, role: SpecialUse, modseq: ModSeq) -> None:
    """Take a role from the mailbox that has it."""
    await tx.execute(_CLEAR_ROLE, {"b_account": account_id, "b_role": role.value, "b_modseq": modseq})


async def mark_deleted(tx: Transaction, account_id: AccountId, mailbox_id: MailboxId, modseq: ModSeq) -> None:
    """Take the mailbox away; its messages must be expunged already. Its name becomes free at once."""
    await tx.execute(
        _DELETE,
        {
            "b_account": account_id,
            "b_id": mailbox_id,
            "b_name": f"//{mailbox_id}",
            "b_now": tx.now_us,
            "b_modseq": modseq,
        },
    )


async def claim_recent(tx: Transaction, account_id: AccountId, mailbox_id: MailboxId, below: Uid) -> None:
    """Messages with a UID below `below` are \\Recent in no later session (RFC 3501 §2.3.2)."""
    await tx.execute(_CLAIM_RECENT, {"b_account": account_id, "b_id": mailbox_id, "b_recent": below})


def name_before(stored: str) -> str | None:
    """The name of a deleted mailbox as it was, from the one its row has now; None of one that is there."""
    return stored[2:].partition("/")[2] if stored.startswith("//") else None


def mailbox_from_row(row: Row) -> Mailbox:
    """A row that has all columns of `mailboxes`."""
    role = cast("str | None", row["role"])
    return Mailbox(
        id=MailboxId(cast(str, row["id"])),
        account_id=AccountId(cast(str, row["account_id"])),
        name=cast(str, row["name"]),
        role=SpecialUse(role) if role else None,
        subscribed=bool(row["subscribed"]),
        uidvalidity=UidValidity(cast(int, row["uidvalidity"])),
        uidnext=Uid(cast(int, row["uidnext"])),
        recent_uid=Uid(cast(int, row["recent_uid"])),
        total=cast(int, row["total"]),
        unseen=cast(int, row["unseen"]),
        size_octets=cast(int, row["size_octets"]),
        modseq=ModSeq(cast(int, row["modseq"])),
        purged_modseq=ModSeq(cast(int, row["purged_modseq"])),
    )
