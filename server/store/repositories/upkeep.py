"""What may go: rows past their time, and blobs that nothing names any more.

- Every call handles at most `BATCH` rows, so that no write holds the store for long; callers repeat until all is done.
- A blob is marked first and removed a day later, never in the transaction that dropped its last reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import cast

from sqlalchemy import and_, delete, exists, or_, select, update

from server.domain.ids import AccountId, BlobId, MailboxId
from server.domain.message import SpecialUse
from server.store.repositories import threads
from server.store.schema import (
    attempts,
    blobs,
    committed_units,
    emails,
    events,
    idempotency,
    mailbox_grants,
    mailboxes,
    messages,
    queued_messages,
    queued_recipients,
)
from server.store.transaction import Transaction

BATCH = 1_000
BLOBS_A_RUN = 10_000
MARKED_AT_ONCE = 5_000
"""Blobs that one write looks at: some ten milliseconds of the writer."""

_referenced = or_(
    exists().where(emails.c.blob_id == blobs.c.id), exists().where(queued_messages.c.blob_id == blobs.c.id)
)


async def drop_events(tx: Transaction, before_us: int) -> int:
    """Remove events older than `before_us`; returns how many. The newest number is never given again."""
    rows = await tx.fetch(select(events.c.seq).where(events.c.time < before_us).order_by(events.c.seq).limit(BATCH))
    if rows:
        await tx.execute(delete(events).where(events.c.seq <= cast(int, rows[-1][0]), events.c.time < before_us))
    return len(rows)


async def drop_queue_history(tx: Transaction, before_us: int) -> int:
    """Remove deliveries that ended before `before_us`, and submissions left without any."""
    rows = await tx.fetch(
        select(queued_recipients.c.id, queued_recipients.c.queue_id)
        .where(queued_recipients.c.finished_at < before_us)
        .limit(BATCH)
    )
    if not rows:
        return 0
    ids = [cast(str, row[0]) for row in rows]
    queue_ids = list({cast(str, row[1]) for row in rows})
    await tx.execute(delete(attempts).where(attempts.c.delivery_id.in_(ids)))
    await tx.execute(delete(queued_recipients).where(queued_recipients.c.id.in_(ids)))
    left = exists().where(queued_recipients.c.queue_id == queued_messages.c.id)
    await tx.execute(delete(queued_messages).where(queued_messages.c.id.in_(queue_ids), ~left))
    return len(rows)


async def drop_expunged(tx: Transaction, before_us: int) -> int:
    """Remove messages expunged before `before_us`, and emails that no mailbox shows any more.

    Each mailbox notes up to which modseq such rows may be missing: who asks what vanished since an earlier one is told
    otherwise (RFC 7162 §3.2.5.1).
    """
    rows = await tx.fetch(
        select(messages.c.id, messages.c.email_id, messages.c.mailbox_id, messages.c.modseq)
        .where(messages.c.expunged_at < before_us)
        .limit(BATCH)
    )
    if not rows:
        return 0
    email_ids = list({cast(str, row[1]) for row in rows})
    purged: dict[str, int] = {}
    for row in rows:
        purged[cast(str, row[2])] = max(purged.get(cast(str, row[2]), 0), cast(int, row[3]))
    for mailbox_id, modseq in purged.items():
        below = and_(mailboxes.c.id == mailbox_id, mailboxes.c.purged_modseq < modseq)
        await tx.execute(update(mailboxes).where(below).values(purged_modseq=modseq))
    await tx.execute(delete(messages).where(messages.c.id.in_([cast(str, row[0]) for row in rows])))
    shown = exists().where(messages.c.email_id == emails.c.id)
    unseen = await tx.fetch(select(emails.c.id).where(emails.c.id.in_(email_ids), ~shown))
    gone = [cast(str, row[0]) for row in unseen]
    await threads.forget(tx, gone)
    await tx.execute(delete(emails).where(emails.c.id.in_(gone)))
    return len(rows)


async def mailboxes_of_role(tx: Transaction, role: SpecialUse) -> list[tuple[AccountId, MailboxId]]:
    """The mailboxes of a role that hold mail, of all accounts."""
    query = select(mailboxes.c.account_id, mailboxes.c.id).where(
        mailboxes.c.role == role.value, mailboxes.c.deleted_at.is_(None), mailboxes.c.total > 0
    )
    return [(AccountId(cast(str, row[0])), MailboxId(cast(str, row[1]))) for row in await tx.fetch(query)]


async def old_uids(tx: Transaction, mailbox_id: MailboxId, before_us: int, limit: int) -> list[int]:
    """The first messages of a mailbox, ascending, while they came into it before `before_us`.

    UIDs ascend as messages come in: the first that is young enough ends the search.
    """
    query = (
        select(messages.c.uid, messages.c.saved_at)
        .where(messages.c.mailbox_id == mailbox_id, messages.c.expunged_at.is_(None))
        .order_by(messages.c.uid)
        .limit(limit)
    )
    rows = await tx.fetch(query)
    return [cast(int, row[0]) for row in takewhile(lambda row: cast(int, row[1]) < before_us, rows)]


async def drop_mailboxes(tx: Transaction, before_us: int) -> int:
    """Remove mailboxes deleted before `before_us` that hold nothing restorable any more."""
    holds = exists().where(messages.c.mailbox_id == mailboxes.c.id)
    rows = await tx.fetch(select(mailboxes.c.id).where(mailboxes.c.deleted_at < before_us, ~holds).limit(BATCH))
    if rows:
        ids = [cast(str, row[0]) for row in rows]
        await tx.execute(delete(mailbox_grants).where(mailbox_grants.c.mailbox_id.in_(ids)))
        await tx.execute(delete(mailboxes).where(mailboxes.c.id.in_(ids)))
    return len(rows)


async def drop_short_lived(tx: Transaction, before_us: int) -> int:
    """Remove answers kept for repeated requests and batch ids, older than `before_us`."""
    removed = await tx.execute(delete(idempotency).where(idempotency.c.created_at < before_us))
    return removed + await tx.execute(delete(committed_units).where(committed_units.c.at < before_us))


async def mark_blobs(tx: Transaction, now_us: int, *, after: str = "") -> str | None:
    """Note since when blobs are unreferenced, and forget it where a reference is back, MARKED_AT_ONCE after an id.

    Returns:
        The id to go on from, None when all were looked at.
    """
    query = select(blobs.c.id).where(blobs.c.id > after).order_by(blobs.c.id)
    rows = await tx.fetch(query.offset(MARKED_AT_ONCE - 1).limit(1))
    last = cast(str, rows[0][0]) if rows else None
    some = blobs.c.id > after if last is None else and_(blobs.c.id > after, blobs.c.id <= last)
    back = and_(some, blobs.c.unreferenced_since.is_not(None), _referenced)
    await tx.execute(update(blobs).where(back).values(unreferenced_since=None))
    loose = and_(some, blobs.c.unreferenced_since.is_(None), ~_referenced)
    await tx.execute(update(blobs).where(loose).values(unreferenced_since=now_us))
    return last


async def drop_blobs(tx: Transaction, before_us: int) -> Sequence[BlobId]:
    """Remove the rows of blobs unreferenced since before `before_us`; the ids of those that are files.

    Whoever is about to name a blob holds its row: such rows are left out, and the others are locked before it is looked
    again whether anything names them. A reference that comes later finds no row, and its transaction fails.
    """
    due = and_(blobs.c.unreferenced_since < before_us, ~_referenced)
    rows = await tx.fetch(select(blobs.c.id).where(due).limit(BATCH).with_for_update(skip_locked=True))
    if not rows:
        return []
    still = delete(blobs).where(blobs.c.id.in_([cast(str, row[0]) for row in rows]), ~_referenced)
    gone = await tx.fetch(still.returning(blobs.c.id, blobs.c.place))
    return [BlobId(cast(str, row[0])) for row in gone if row[1] == "file"]


async def known_blobs(tx: Transaction, ids: Sequence[str]) -> set[str]:
    """Those of the ids that have a row."""
    rows = await tx.fetch(select(blobs.c.id).where(blobs.c.id.in_(list(ids))))
    return {cast(str, row[0]) for row in rows}


async def file_blobs(tx: Transaction, *, after: str, count: int) -> Sequence[BlobId]:
    """Ids of blobs kept as files, ascending, after an id."""
    rows = await tx.fetch(
        select(blobs.c.id).where(blobs.c.place == "file", blobs.c.id > after).order_by(blobs.c.id).limit(count)
    )
    return [BlobId(cast(str, row[0])) for row in rows]
