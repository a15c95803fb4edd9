"""The outbound queue's values (RFC 5321 §4.5.4, RFC 3461, RFC 3464)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from server.domain.envelope import Notify, Ret
from server.domain.ids import AccountId, BlobId, DeliveryId, QueueId, TenantId, TraceId
from server.domain.reply import Reply


class DeliveryStatus(StrEnum):
    """A delivery's state; the last four are final."""

    QUEUED = "queued"
    SENDING = "sending"
    DEFERRED = "deferred"
    HELD = "held"
    SENT = "sent"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


FINAL = frozenset({DeliveryStatus.SENT, DeliveryStatus.FAILED, DeliveryStatus.EXPIRED, DeliveryStatus.CANCELLED})


class DeliveryKind(StrEnum):
    REMOTE = "remote"
    LOCAL = "local"
    FORWARD = "forward"


class Origin(StrEnum):
    """Which door a submission came by."""

    SMTP = "smtp"
    API = "api"
    FORWARD = "forward"
    DSN = "dsn"
    SYSTEM = "system"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedMessage:
    """One submission: octets and envelope shared by its deliveries.

    Attributes:
        sender: `Address.key`-independent text of the reverse-path; empty = null reverse-path.
        prefix: Fields written before the blob's octets when it is sent (Received, DKIM-Signature).
    """

    id: QueueId
    tenant_id: TenantId
    account_id: AccountId | None
    origin: Origin
    sender: str
    blob_id: BlobId
    prefix: bytes
    size_octets: int
    message_id_header: str | None
    subject: str
    trace_id: TraceId
    smtputf8: bool
    body_8bit: bool
    ret: Ret | None
    envid: str | None
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedRecipient:
    """One delivery of one submission.

    Attributes:
        due_at: When the next attempt may start.
        lease_until: Set while a runner holds it; a passed lease is free again.
        warned: Whether the delay DSN was sent.
    """

    id: DeliveryId
    queue_id: QueueId
    tenant_id: TenantId
    recipient: str
    domain: str
    kind: DeliveryKind
    status: DeliveryStatus
    hold_reason: str
    attempts: int
    due_at: datetime
    lease_until: datetime | None
    notify: frozenset[Notify]
    orcpt: str | None
    warned: bool
    last_reply: str
    last_host: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try at one delivery, with the remote's exact reply or our own words for what went wrong.

    Attributes:
        reply: The remote's reply, or one of ours (4.4.1 no answer, 5.4.4 no route) when none came.
        from_remote: Whether `reply` is the remote's own.
        host, ip, tls: Which server was talked to; empty when none was reached.
        notified: Whether the remote took over the reports the sender wished for (RFC 3461 §5.2).
    """

    status: DeliveryStatus
    reply: Reply
    from_remote: bool
    host: str
    ip: str
    tls: str
    started_at: datetime
    duration_ms: int
    notified: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One delivery with its message; `last` is its newest attempt."""

    recipient: QueuedRecipient
    message: QueuedMessage
    created_at: datetime
    finished_at: datetime | None
    last: Attempt | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How many deliveries share a value."""

    value: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueStats:
    """The queue in figures; `oldest_at` is when the oldest waiting delivery was queued."""

    by_status: tuple[Count, ...]
    by_domain: tuple[Count, ...]
    by_reason: tuple[Count, ...]
    oldest_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """A stopped destination; domain `*` is all of them."""

    id: str
    tenant_id: TenantId
    domain: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionRecord:
    """A message and its deliveries, in order of their ids."""

    message: QueuedMessage
    recipients: tuple[QueuedRecipient, ...]
