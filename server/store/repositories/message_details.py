"""What FETCH may ask of a message beside what every view holds: ids, preview, when it was saved here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from sqlalchemy import bindparam, select

from server.domain.ids import AccountId, MailboxId
from server.store.repositories.messages import ascending_ranges
from server.store.schema import emails, messages
from server.store.statements import prepared
from server.store.transaction import Transaction

_DETAILS = prepared(
    select(messages.c.uid, messages.c.email_id, messages.c.saved_at, emails.c.thread_id, emails.c.preview)
    .join(emails, emails.c.id == messages.c.email_id)
    .where(
        messages.c.mailbox_id == bindparam("b_mailbox"),
        messages.c.account_id == bindparam("b_account"),
        messages.c.uid >= bindparam("b_first"),
        messages.c.uid <= bindparam("b_last"),
        messages.c.expunged_at.is_(None),
    )
    .order_by(messages.c.uid)
)


@dataclass(frozen=True, slots=True)
class Details:
    """`thread_id` is None until the message was sorted into a thread; `saved_at_us` is in microseconds."""

    email_id: str
    thread_id: str | None
    preview: str
    saved_at_us: int


async def details(
    tx: Transaction, account_id: AccountId, mailbox_id: MailboxId, uids: Sequence[int]
) -> dict[int, Details]:
    """By UID; of those among `uids` (ascending) that exist."""
    wanted = set(uids)
    found: dict[int, Details] = {}
    for first, last in ascending_ranges(uids):
        params = {"b_account": account_id, "b_mailbox": mailbox_id, "b_first": first, "b_last": last}
        for row in await tx.fetch(_DETAILS, params):
            uid = cast(int, row[0])
            if uid in wanted:
                found[uid] = Details(
                    email_id=cast(str, row[1]),
                    thread_id=cast("str | None", row[3]),
                    preview=cast(str, row[4]),
                    saved_at_us=cast(int, row[2]),
                )
    return found
