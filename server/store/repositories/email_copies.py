"""Mails shown in another account: the same octets under a row of its own (one blob, however many accounts)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from sqlalchemy import bindparam, select

from server.domain.ids import AccountId, new_id
from server.domain.message import Rendered
from server.protocol.mime.base_subject import thread_subject
from server.store.repositories import threads
from server.store.schema import emails
from server.store.statements import prepared, prepared_insert
from server.store.transaction import Row, Transaction

_GET = prepared(select(emails).where(emails.c.id == bindparam("b_id"), emails.c.account_id == bindparam("b_account")))
_INSERT = prepared_insert(emails)


async def copy_emails(
    tx: Transaction, account_id: AccountId, email_ids: Iterable[str], to: AccountId
) -> dict[str, str]:
    """Give another account rows of these mails; the new ids by the old ones.

    Thread and category are the new account's own; the trace stays with the account the mail came to.
    """
    made: dict[str, str] = {}
    for email_id in dict.fromkeys(email_ids):
        row = await tx.fetch_one(_GET, {"b_id": email_id, "b_account": account_id})
        if row is None:
            continue
        made[email_id] = new_id()
        place = await threads.place(tx, to, _rendered(row))
        values: dict[str, object] = {column.name: row[column.name] for column in emails.columns}
        own: dict[str, object] = {
            "id": made[email_id],
            "account_id": to,
            "trace_id": None,
            "thread_id": place.thread_id,
            "category": place.category,
            "category_source": place.source,
            "category_confidence": place.confidence,
        }
        await tx.insert(_INSERT, values | own)
    return made


def _rendered(row: Row) -> Rendered:
    """What decides about the thread, and what a stored mail shows."""
    subject = cast(str, row["subject"])
    return Rendered(
        envelope=cast(bytes, row["envelope"]),
        body=cast(bytes, row["body"]),
        bodystructure=cast(bytes, row["bodystructure"]),
        subject=subject,
        sender=cast(str, row["sender"]),
        recipients=cast(str, row["recipients"]),
        message_id_header=cast("str | None", row["message_id_header"]),
        sent_at=None,
        preview=cast(str, row["preview"]),
        has_attachments=bool(row["has_attachments"]),
        references=cast(str, row["thread_references"]),
        base_subject=cast(str, row["base_subject"]),
        thread_subject=thread_subject(subject),
        list_id=cast("str | None", row["list_id"]),
    )
