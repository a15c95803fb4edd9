"""What became of a submission, as its sender may ask (api.md §4)."""

from __future__ import annotations

from collections.abc import Sequence

from server.domain.errors import NotFound
from server.domain.identity import Scope
from server.domain.ids import QueueId
from server.domain.paging import Page, PageRequest
from server.domain.queue import FINAL, DeliveryStatus, QueuedRecipient, SubmissionRecord
from server.domain.scopes import require
from server.store.database import Database
from server.store.repositories import submissions
from server.store.transaction import Transaction


class SubmissionQueries:
    """Reads submissions; a key that belongs to an account sees that account's only."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, scope: Scope, queue_id: str) -> SubmissionRecord:
        """Raises NotFound."""
        require(scope, "mail:send")

        async def unit(tx: Transaction) -> SubmissionRecord | None:
            return await submissions.get(tx, scope.tenant_id, scope.account_id, QueueId(queue_id))

        found = await self._database.read("submission.get", unit)
        if found is None:
            raise NotFound("no such submission")
        return found

    async def page(self, scope: Scope, request: PageRequest) -> Page[SubmissionRecord]:
        """Newest first."""
        require(scope, "mail:send")

        async def unit(tx: Transaction) -> Page[SubmissionRecord]:
            return await submissions.page(tx, scope.tenant_id, scope.account_id, request)

        return await self._database.read("submission.page", unit)


def status_of(recipients: Sequence[QueuedRecipient]) -> str:
    """One word for all deliveries: queued, held, sent, partial, failed or cancelled."""
    states = {recipient.status for recipient in recipients}
    if states - FINAL:
        return "held" if states - FINAL == {DeliveryStatus.HELD} else "queued"
    if states == {DeliveryStatus.SENT}:
        return "sent"
    if states == {DeliveryStatus.CANCELLED}:
        return "cancelled"
    return "partial" if DeliveryStatus.SENT in states else "failed"
