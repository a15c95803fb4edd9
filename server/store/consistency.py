"""Whether the store agrees with itself: every counter with its rows, every row with what it names.

- Runs on one snapshot, reads rows in SQL only, changes nothing. An empty list means all is well.
- Tests end with it; `mairust doctor` and the backup's verification use it.
"""

from __future__ import annotations

from typing import cast

from sqlalchemy import Select, and_, case, func, or_, select

from server.store.schema import (
    accounts,
    addresses,
    aliases,
    attempts,
    blobs,
    counters,
    emails,
    events,
    mailboxes,
    messages,
    queued_messages,
    queued_recipients,
    search_documents,
    search_pending,
)
from server.store.transaction import Transaction

FINDINGS_MAX = 100
"""Findings listed for each rule."""

_SEEN = 1
"""The bit of `messages.flags` that is \\Seen (services.mailstore.flags)."""
_FINAL = ("sent", "failed", "expired", "cancelled")


async def check(tx: Transaction) -> list[str]:
    """Return one sentence for each thing that is wrong."""
    found: list[str] = []
    for name, query in _rules().items():
        rows = await tx.fetch(query.limit(FINDINGS_MAX))
        found += [f"{name}: {row[0]}" for row in rows]
    return found + await _event_gaps(tx)


def _rules() -> dict[str, Select[tuple[str]]]:
    live = messages.c.expunged_at.is_(None)
    in_mailbox = messages.c.mailbox_id == mailboxes.c.id
    total = select(func.count()).where(in_mailbox, live).scalar_subquery()
    unseen = (
        select(func.coalesce(func.sum(case((messages.c.flags.op("&")(_SEEN) == 0, 1), else_=0)), 0))
        .where(in_mailbox, live)
        .scalar_subquery()
    )
    size = select(func.coalesce(func.sum(messages.c.size_octets), 0)).where(in_mailbox, live).scalar_subquery()
    top_uid = select(func.coalesce(func.max(messages.c.uid), 0)).where(in_mailbox).scalar_subquery()
    top_modseq = select(func.coalesce(func.max(messages.c.modseq), 0)).where(in_mailbox).scalar_subquery()
    used = (
        select(func.coalesce(func.sum(messages.c.size_octets), 0))
        .where(messages.c.account_id == accounts.c.id, live)
        .scalar_subquery()
    )
    blob_rows = select(blobs.c.id)
    return {
        "mailbox total differs from its messages": select(mailboxes.c.id).where(mailboxes.c.total != total),
        "mailbox unseen differs from its messages": select(mailboxes.c.id).where(mailboxes.c.unseen != unseen),
        "mailbox size differs from its messages": select(mailboxes.c.id).where(mailboxes.c.size_octets != size),
        "mailbox uidnext is not above its uids": select(mailboxes.c.id).where(mailboxes.c.uidnext <= top_uid),
        "mailbox modseq is below its messages'": select(mailboxes.c.id).where(mailboxes.c.modseq < top_modseq),
        "account modseq is below its mailboxes'": select(mailboxes.c.id)
        .join(accounts, accounts.c.id == mailboxes.c.account_id)
        .where(accounts.c.modseq < mailboxes.c.modseq),
        "account use differs from its messages": select(accounts.c.id).where(accounts.c.used_octets != used),
        "message belongs to another account than its mailbox": select(messages.c.id)
        .join(mailboxes, in_mailbox)
        .where(messages.c.account_id != mailboxes.c.account_id),
        "message belongs to another account than its email": select(messages.c.id)
        .join(emails, emails.c.id == messages.c.email_id)
        .where(or_(messages.c.account_id != emails.c.account_id, messages.c.size_octets != emails.c.size_octets)),
        "email names a missing blob": select(emails.c.id).where(emails.c.blob_id.not_in(blob_rows)),
        "email has no thread": select(emails.c.id).where(emails.c.thread_id.is_(None)),
        "email is neither in the search index nor waits for it": select(emails.c.id).where(
            emails.c.id.not_in(select(search_documents.c.email_id)),
            emails.c.id.not_in(select(search_pending.c.email_id)),
        ),
        "search index knows an email that is gone": select(search_documents.c.email_id).where(
            search_documents.c.email_id.not_in(select(emails.c.id)),
            search_documents.c.email_id.not_in(select(search_pending.c.email_id)),
        ),
        "queued message names a missing blob": select(queued_messages.c.id).where(
            queued_messages.c.blob_id.not_in(blob_rows)
        ),
        "queued message has no recipient": select(queued_messages.c.id).where(
            queued_messages.c.id.not_in(select(queued_recipients.c.queue_id))
        ),
        "final delivery has no finish time": select(queued_recipients.c.id).where(
            queued_recipients.c.status.in_(_FINAL), queued_recipients.c.finished_at.is_(None)
        ),
        "attempts are fewer than counted": select(queued_recipients.c.id).where(
            queued_recipients.c.attempts
            != select(func.count()).where(attempts.c.delivery_id == queued_recipients.c.id).scalar_subquery()
        ),
        "blob in a row has no octets": select(blobs.c.id).where(and_(blobs.c.place == "row", blobs.c.inline.is_(None))),
        "account address is not in the directory": select(accounts.c.address).where(
            accounts.c.deleted_at.is_(None), accounts.c.address.not_in(select(addresses.c.address))
        ),
        "alias address is not in the directory": select(aliases.c.address).where(
            aliases.c.deleted_at.is_(None), aliases.c.address.not_in(select(addresses.c.address))
        ),
    }


async def _event_gaps(tx: Transaction) -> list[str]:
    row = await tx.fetch_one(select(func.max(events.c.seq)))
    top = cast("int | None", row[0]) if row else None
    counter = await tx.fetch_one(select(counters.c.value).where(counters.c.name == "events"))
    value = cast(int, counter[0]) if counter else -1
    if top is not None and top != value:
        return [f"the last event is {top}, the counter says {value}"]
    return []
