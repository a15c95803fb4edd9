"""Mails shown in another account: the same octets under a row of its own (one blob, however many accounts)."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import bindparam, select

from server.domain.ids import AccountId, new_id
from server.store.schema import emails
from server.store.statements import prepared, prepared_insert
from server.store.transaction import Transaction

_GET = prepared(select(emails).where(emails.c.id == bindparam("b_id"), emails.c.account_id == bindparam("b_account")))
_INSERT = prepared_insert(emails)
_OWN = {"thread_id": None, "trace_id": None, "category": None, "category_source": None, "category_confidence": None}
"""What the first account found out about its mail, or its sender's trace, is not the second one's."""


async def copy_emails(
    tx: Transaction, account_id: AccountId, email_ids: Iterable[str], to: AccountId
) -> dict[str, str]:
    """Give another account rows of these mails; the new ids by the old ones."""
    made: dict[str, str] = {}
    for email_id in dict.fromkeys(email_ids):
        row = await tx.fetch_one(_GET, {"b_id": email_id, "b_account": account_id})
        if row is None:
            continue
        made[email_id] = new_id()
        values: dict[str, object] = {column.name: row[column.name] for column in emails.columns}
        await tx.insert(_INSERT, values | _OWN | {"id": made[email_id], "account_id": to})
    return made
