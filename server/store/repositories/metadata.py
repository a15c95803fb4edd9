"""Rows of annotations (RFC 5464): private ones under the account that made them, shared ones under the owner's."""

from __future__ import annotations

from typing import cast

from sqlalchemy import bindparam, delete, func, select

from server.domain.ids import AccountId, MailboxId
from server.store.schema import metadata_entries as t
from server.store.statements import prepared, prepared_insert
from server.store.transaction import Transaction

_OF = (t.c.account_id == bindparam("b_account"), t.c.mailbox_id == bindparam("b_mailbox"))
_ALL = prepared(select(t.c.entry, t.c.value).where(*_OF).order_by(t.c.entry))
_DELETE = prepared(delete(t).where(*_OF, t.c.entry == bindparam("b_entry")))
_DELETE_MAILBOX = prepared(delete(t).where(t.c.mailbox_id == bindparam("b_mailbox")))
_COUNT = prepared(select(func.count()).select_from(t).where(t.c.account_id == bindparam("b_account")))
_INSERT = prepared_insert(t)


async def entries(tx: Transaction, account_id: AccountId, mailbox_id: MailboxId | None) -> dict[str, bytes]:
    """Values by entry; None is the account's own place, beside all mailboxes."""
    rows = await tx.fetch(_ALL, {"b_account": account_id, "b_mailbox": mailbox_id or ""})
    return {cast(str, row[0]): bytes(cast(bytes, row[1])) for row in rows}


async def put(
    tx: Transaction, account_id: AccountId, mailbox_id: MailboxId | None, entry: str, value: bytes | None
) -> None:
    """Set an entry; None removes it."""
    key = {"b_account": account_id, "b_mailbox": mailbox_id or "", "b_entry": entry}
    await tx.execute(_DELETE, key)
    if value is not None:
        row = {"account_id": account_id, "mailbox_id": mailbox_id or "", "entry": entry, "value": value}
        await tx.execute(_INSERT, row)


async def remove_mailbox(tx: Transaction, mailbox_id: MailboxId) -> None:
    """Remove everybody's annotations of a mailbox, which its owner deletes."""
    await tx.execute(_DELETE_MAILBOX, {"b_mailbox": mailbox_id})


async def count(tx: Transaction, account_id: AccountId) -> int:
    """All entries kept under an account."""
    row = await tx.fetch_one(_COUNT, {"b_account": account_id})
    return 0 if row is None else cast(int, row[0])
