"""Submissions as their senders see them: a queued message with all of its deliveries."""

from __future__ import annotations

from sqlalchemy import bindparam, select

from server.domain.ids import AccountId, QueueId, TenantId
from server.domain.paging import Page, PageRequest
from server.domain.queue import QueuedRecipient, SubmissionRecord
from server.store.repositories.queue import message_from_row, recipient_from_row
from server.store.repositories.rows import text
from server.store.schema import queued_messages, queued_recipients
from server.store.statements import prepared
from server.store.transaction import Transaction

_RECIPIENTS = prepared(
    select(queued_recipients).where(queued_recipients.c.queue_id == bindparam("b_queue_id")).order_by("id")
)


async def get(
    tx: Transaction, tenant_id: TenantId, account_id: AccountId | None, queue_id: QueueId
) -> SubmissionRecord | None:
    """One submission of a tenant, of one account unless that is None."""
    query = select(queued_messages).where(queued_messages.c.id == queue_id, queued_messages.c.tenant_id == tenant_id)
    if account_id is not None:
        query = query.where(queued_messages.c.account_id == account_id)
    row = await tx.fetch_one(query)
    if row is None:
        return None
    recipients = await tx.fetch(_RECIPIENTS, {"b_queue_id": queue_id})
    return SubmissionRecord(message=message_from_row(row), recipients=tuple(map(recipient_from_row, recipients)))


async def page(
    tx: Transaction, tenant_id: TenantId, account_id: AccountId | None, request: PageRequest
) -> Page[SubmissionRecord]:
    """Newest first."""
    query = select(queued_messages).where(queued_messages.c.tenant_id == tenant_id)
    if account_id is not None:
        query = query.where(queued_messages.c.account_id == account_id)
    if request.after is not None:
        query = query.where(queued_messages.c.id < request.after)
    rows = await tx.fetch(query.order_by(queued_messages.c.id.desc()).limit(request.limit + 1))
    kept = rows[: request.limit]
    ids = [text(row, "id") for row in kept]
    by_queue: dict[str, list[QueuedRecipient]] = {}
    if ids:
        found = await tx.fetch(
            select(queued_recipients)
            .where(queued_recipients.c.queue_id.in_(ids), queued_recipients.c.tenant_id == tenant_id)
            .order_by(queued_recipients.c.id)
        )
        for recipient in map(recipient_from_row, found):
            by_queue.setdefault(recipient.queue_id, []).append(recipient)
    items = tuple(
        SubmissionRecord(message=message_from_row(row), recipients=tuple(by_queue.get(text(row, "id"), ())))
        for row in kept
    )
    return Page(items=items, next_after=ids[-1] if len(rows) > request.limit else None)
