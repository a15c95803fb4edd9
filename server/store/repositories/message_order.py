"""What SORT and THREAD ask of messages' rows (RFC 5256)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

from sqlalchemy import bindparam, select

from server.domain.ids import AccountId, MailboxId
from server.store.repositories.messages import ascending_ranges
from server.store.schema import emails, messages
from server.store.statements import prepared
from server.store.transaction import Row, Transaction

_BETWEEN = (
    messages.c.mailbox_id == bindparam("b_mailbox"),
    messages.c.account_id == bindparam("b_account"),
    messages.c.uid >= bindparam("b_first"),
    messages.c.uid <= bindparam("b_last"),
    messages.c.expunged_at.is_(None),
)
_SORT_COLUMNS = (messages.c.uid, emails.c.sent_at, messages.c.internal_date, emails.c.base_subject)
_SORT = prepared(
    select(*_SORT_COLUMNS).join(emails, emails.c.id == messages.c.email_id).where(*_BETWEEN).order_by(messages.c.uid)
)
_SORT_ENVELOPES = prepared(
    select(*_SORT_COLUMNS, emails.c.envelope)
    .join(emails, emails.c.id == messages.c.email_id)
    .where(*_BETWEEN)
    .order_by(messages.c.uid)
)
_THREAD = prepared(
    select(
        messages.c.uid,
        emails.c.sent_at,
        messages.c.internal_date,
        emails.c.base_subject,
        emails.c.subject,
        emails.c.message_id_header,
        emails.c.thread_references,
    )
    .join(emails, emails.c.id == messages.c.email_id)
    .where(*_BETWEEN)
    .order_by(messages.c.uid)
)


class SortRow(NamedTuple):
    """`sent_us` is the Date field's instant, the internal date where it has none (RFC 5256 §2.2)."""

    uid: int
    sent_us: int
    base_subject: str
    envelope: bytes


class ThreadRow(NamedTuple):
    """`references` are message ids, oldest first."""

    uid: int
    sent_us: int
    base_subject: str
    subject: str
    message_id: str | None
    references: tuple[str, ...]


async def sort_rows(
    tx: Transaction, account_id: AccountId, mailbox_id: MailboxId, uids: Sequence[int], *, envelopes: bool
) -> list[SortRow]:
    """By UID, of those among `uids` (ascending) that exist; ask for a page at a time.

    Args:
        envelopes: Whether ENVELOPEs are wanted; they are empty else.
    """
    wanted = set(uids)
    found: list[SortRow] = []
    for first, last in ascending_ranges(uids):
        params = {"b_account": account_id, "b_mailbox": mailbox_id, "b_first": first, "b_last": last}
        for row in await tx.fetch(_SORT_ENVELOPES if envelopes else _SORT, params):
            uid = cast(int, row[0])
            if uid in wanted:
                envelope = cast(bytes, row[4]) if envelopes else b""
                found.append(SortRow(uid, _sent(row), cast(str, row[3]), envelope))
    return found


async def thread_rows(
    tx: Transaction, account_id: AccountId, mailbox_id: MailboxId, uids: Sequence[int]
) -> list[ThreadRow]:
    """As `sort_rows`."""
    wanted = set(uids)
    found: list[ThreadRow] = []
    for first, last in ascending_ranges(uids):
        params = {"b_account": account_id, "b_mailbox": mailbox_id, "b_first": first, "b_last": last}
        for row in await tx.fetch(_THREAD, params):
            uid = cast(int, row[0])
            if uid in wanted:
                found.append(
                    ThreadRow(
                        uid,
                        _sent(row),
                        cast(str, row[3]),
                        cast(str, row[4]),
                        cast("str | None", row[5]),
                        tuple(cast(str, row[6]).split()),
                    )
                )
    return found


def _sent(row: Row) -> int:
    return cast(int, row[1] if row[1] is not None else row[2])
