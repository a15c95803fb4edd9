"""Store a message in a mailbox: APPEND, import and the reception's delivery all come through here.

- Five statements, six with a new blob: this is the hot path of every delivery.
- Quota, counters, UID and modseq change in the caller's transaction or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from server.domain.flags import SEEN
from server.domain.ids import AccountId, MailboxId, MessageId, TraceId, Uid, new_id
from server.domain.message import Blob, Content, Rendered, SpecialUse, Stored
from server.services.mailstore.flags import format_stored_keywords
from server.store.repositories import blobs, mailboxes, messages, tags, threads
from server.store.times import to_us
from server.store.transaction import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMessage:
    """A message to store; `flags` are bits of `domain.flags`."""

    content: Content
    flags: int
    keywords: Sequence[str]
    internal_date: datetime | None


async def append_in(
    tx: Transaction,
    *,
    account_id: AccountId,
    mailbox: MailboxId | SpecialUse,
    blob: Blob,
    blob_is_new: bool,
    prefix: bytes,
    rendered: Rendered,
    flags: int,
    keywords: Sequence[str],
    internal_date: datetime,
    received_at: datetime,
    trace_id: TraceId | None,
    email_id: str | None = None,
    check_quota: bool = True,
) -> Stored:
    """Store one message within the caller's unit of work.

    Args:
        mailbox: The mailbox's id, or its role.
        blob: Placed octets; its row is inserted when `blob_is_new`, else it must exist.
        prefix: Fields that stand before the blob's octets, each ending in CRLF.
        flags: Bits of `domain.flags`.
        check_quota: False for a message that was accepted for several recipients and can't be refused to one.
        email_id: An email row of this account that shows the same octets already; None makes one.

    Raises:
        OverQuota: The account has no room; nothing of this call was changed, the unit may go on without it.
        NotFound: No such account or mailbox; the unit must not go on.
        InvalidInput: The keywords are outside their grammar or too many.
    """
    size = len(prefix) + blob.size_octets
    words = format_stored_keywords(keywords)
    modseq = await messages.charge(tx, account_id, size, check_quota=check_quota)
    mailbox_id, uid = await mailboxes.take_uids(
        tx, account_id, mailbox, modseq=modseq, count=1, unseen=0 if flags & SEEN else 1, octets=size
    )
    if blob_is_new:
        await blobs.insert(tx, blob)
    if email_id is None:
        email_id = new_id()
        await messages.insert_email(
            tx,
            email_id=email_id,
            account_id=account_id,
            blob=blob,
            prefix=prefix,
            rendered=rendered,
            received_at_us=to_us(received_at),
            trace_id=trace_id,
            place=await threads.place(tx, account_id, rendered),
        )
    message_id = MessageId(new_id())
    state = messages.MessageState(
        uid=uid,
        id=message_id,
        email_id=email_id,
        flags=flags,
        keywords=words,
        size_octets=size,
        internal_date_us=to_us(internal_date),
    )
    await messages.insert(tx, account_id, mailbox_id, modseq, [state])
    if words:
        await tags.note_keywords(tx, account_id, words.split())
    return Stored(message_id=message_id, mailbox_id=mailbox_id, uid=Uid(uid), modseq=modseq)
