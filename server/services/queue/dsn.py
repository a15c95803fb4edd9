"""Which reports a sender gets, and their way into the queue (RFC 3461 §4.1, §6; RFC 3464).

- Failure: unless NOTIFY says otherwise. Delay: once, after `queue.delay_warning_after`. Success: only when asked for
  and the next server did not take the wish over.
- Never to the null reverse-path, so never about a DSN. Never with NOTIFY=NEVER.
- One report tells of all recipients of a message that came to the same end in the same attempt.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from server.domain.changes import TraceEvent
from server.domain.envelope import Notify, Ret
from server.domain.errors import MaiRustError
from server.domain.ids import DeliveryId, QueueId, new_id
from server.domain.message import Blob
from server.domain.ports import BlobStore, Clock
from server.domain.queue import (
    Attempt,
    DeliveryKind,
    DeliveryStatus,
    Origin,
    QueuedMessage,
    QueuedRecipient,
)
from server.services.queue.retry import Judgement
from server.store.database import Database
from server.store.repositories import blobs, queue
from server.store.transaction import Transaction
from server.telemetry import metrics
from server.telemetry.log import get_logger

log = get_logger("queue")

RETURN_MAX = 1024 * 1024
"""Octets up to which RET=FULL returns the whole message; larger ones come back as header fields."""

_ENDED = frozenset({DeliveryStatus.FAILED, DeliveryStatus.EXPIRED})


class Action(Enum):
    """What a report says happened (RFC 3464 §2.3.3)."""

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    RELAYED = "relayed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One recipient, its attempt and what follows from it."""

    recipient: QueuedRecipient
    attempt: Attempt
    judgement: Judgement


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What a report is composed of.

    Attributes:
        original: The message's octets, or its header section alone when `full` is false; empty when unreadable.
        retry_until: For delays, when we give up.
    """

    action: Action
    message: QueuedMessage
    outcomes: tuple[Judged, ...]
    reporting_mta: str
    message_id: str
    date: datetime
    original: bytes
    full: bool
    retry_until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A composed report, ready to be queued in the transaction of the attempts it tells of."""

    about: frozenset[DeliveryId]
    message: QueuedMessage
    recipient: QueuedRecipient
    blob: Blob
    action: Action

    async def insert(self, tx: Transaction) -> None:
        """Queue the report."""
        await blobs.insert(tx, self.blob)
        await queue.enqueue(tx, self.message, [self.recipient])
        tx.record(
            TraceEvent(
                type="submission.accepted",
                component="queue",
                verdict="queued",
                detail=f"a delivery status notification ({self.action.value}) goes to {self.recipient.recipient}",
                tenant_id=self.message.tenant_id,
                trace_id=self.message.trace_id,
                queue_id=self.message.id,
                message_id_header=self.message.message_id_header,
                subject=self.message.subject,
                sender="",
                recipient=self.recipient.recipient,
                data={"origin": Origin.DSN.value},
            )
        )


class Reporter:
    """Decides on reports and composes them.

    Args:
        is_local: Whether a domain is ours: its reports go through the local courier.
        compose: Turns a notice into message octets (RFC 3464).
        expire_after: How long a report itself is tried.
    """

    def __init__(
        self,
        *,
        database: Database,
        blob_store: BlobStore,
        clock: Clock,
        hostname: str,
        is_local: Callable[[str], Awaitable[bool]],
        compose: Callable[[Notice], bytes],
        expire_after: Callable[[], timedelta],
    ) -> None:
        self._database = database
        self._blob_store = blob_store
        self._clock = clock
        self._hostname = hostname
        self._is_local = is_local
        self._compose = compose
        self._expire_after = expire_after

    async def prepare(self, message: QueuedMessage, judged: Sequence[Judged]) -> list[Report]:
        """The reports these outcomes call for, their octets placed. Raises MaiRustError when they can't be placed."""
        if not message.sender:
            return []
        grouped: dict[Action, list[Judged]] = {}
        for one in judged:
            action = action_for(one)
            if action is not None:
                grouped.setdefault(action, []).append(one)
        return [await self._report(message, action, tuple(outcomes)) for action, outcomes in grouped.items()]

    async def _report(self, message: QueuedMessage, action: Action, outcomes: tuple[Judged, ...]) -> Report:
        now = self._clock.now()
        queue_id = QueueId(new_id())
        message_id = f"<{queue_id}@{self._hostname}>"
        full = message.ret is Ret.FULL and action is Action.FAILED and message.size_octets <= RETURN_MAX
        notice = Notice(
            action=action,
            message=message,
            outcomes=outcomes,
            reporting_mta=self._hostname,
            message_id=message_id,
            date=now,
            original=await self._original(message, full=full),
            full=full,
            retry_until=message.expires_at if action is Action.DELAYED else None,
        )
        octets = self._compose(notice)
        blob = await self._blob_store.place(await self._blob_store.content(octets))
        domain = message.sender.rpartition("@")[2]
        report = QueuedMessage(
            id=queue_id,
            tenant_id=message.tenant_id,
            account_id=None,
            origin=Origin.DSN,
            sender="",
            blob_id=blob.id,
            prefix=b"",
            size_octets=blob.size_octets,
            message_id_header=message_id,
            subject=SUBJECTS[action],
            trace_id=message.trace_id,
            smtputf8=not (octets.isascii() and message.sender.isascii()),
            body_8bit=not octets.isascii(),
            ret=None,
            envid=None,
            created_at=now,
            expires_at=now + self._expire_after(),
        )
        local = await self._is_local(domain)
        recipient = QueuedRecipient(
            id=DeliveryId(new_id()),
            queue_id=queue_id,
            tenant_id=message.tenant_id,
            recipient=message.sender,
            domain=domain,
            kind=DeliveryKind.LOCAL if local else DeliveryKind.REMOTE,
            status=DeliveryStatus.QUEUED,
            hold_reason="",
            attempts=0,
            due_at=now,
            lease_until=None,
            notify=frozenset({Notify.NEVER}),
            orcpt=None,
            warned=False,
            last_reply="",
            last_host="",
        )
        metrics.OUTBOUND.labels(Origin.DSN.value).inc()
        about = frozenset(one.recipient.id for one in outcomes)
        return Report(about=about, message=report, recipient=recipient, blob=blob, action=action)

    async def _original(self, message: QueuedMessage, *, full: bool) -> bytes:
        """The octets to give back; a report without them is better than none when they can't be read."""
        try:
            blob = await self._database.read("queue.parcel", lambda tx: blobs.get(tx, message.blob_id))
            if blob is None:
                return b""
            octets = message.prefix + await self._blob_store.read(blob)
        except MaiRustError as error:
            log.warning("queue.original_unreadable", queue_id=message.id, reason=error.public)
            return b""
        if full:
            return octets
        end = octets.find(b"\r\n\r\n")
        return octets[: RETURN_MAX if end < 0 else min(end + 2, RETURN_MAX)]


SUBJECTS = {
    Action.FAILED: "Mail could not be delivered",
    Action.DELAYED: "Mail is delayed",
    Action.DELIVERED: "Mail was delivered",
    Action.RELAYED: "Mail was passed on",
}


def action_for(one: Judged) -> Action | None:
    """The report one outcome calls for (RFC 3461 §4.1, §5.2.3); None = silence."""
    notify = one.recipient.notify
    if Notify.NEVER in notify:
        return None
    status = one.judgement.status
    if status in _ENDED:
        return Action.FAILED if not notify or Notify.FAILURE in notify else None
    if status is DeliveryStatus.DEFERRED and one.judgement.warn:
        return Action.DELAYED if not notify or Notify.DELAY in notify else None
    if status is DeliveryStatus.SENT and Notify.SUCCESS in notify and not one.attempt.notified:
        return Action.DELIVERED if one.recipient.kind is DeliveryKind.LOCAL else Action.RELAYED
    return None
