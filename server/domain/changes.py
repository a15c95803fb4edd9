"""Hints and facts of change: what wakes readers, and what the event log keeps."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from server.domain.ids import AccountId, EventSeq, ModSeq, TenantId, TraceId

EventValue = str | int | float | bool | None | list[str]


@dataclass(frozen=True, slots=True)
class StateChange:
    """A hint that an account moved to at least `modseq`; losing it costs latency, never truth (RFC 8620 §7.1)."""

    account_id: AccountId
    modseq: ModSeq


class Severity(StrEnum):
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceEvent:
    """One line in a message's life, or one administrative fact; the store numbers it when it commits.

    Attributes:
        type: A word of `api.md` section 8, such as `message.received` or `delivery.deferred`.
        component: smtp, submission, imap, queue, api, dkim, dmarc...
        verdict: accepted, refused, deferred, sent, failed, signed...: the one word a person reads first.
        detail: One plain sentence.
        reply: The remote's or our exact SMTP reply, where there is one.
        sender, recipient: Addresses as `Address.key`; the null reverse-path is the empty string.
        data: Further facts, JSON scalars only, no secret and no content.
    """

    type: str
    component: str
    verdict: str
    detail: str = ""
    reply: str = ""
    severity: Severity = Severity.INFO
    tenant_id: TenantId | None = None
    account_id: AccountId | None = None
    trace_id: TraceId | None = None
    queue_id: str | None = None
    message_id_header: str | None = None
    subject: str | None = None
    sender: str | None = None
    recipient: str | None = None
    remote_ip: str | None = None
    data: dict[str, EventValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A recorded event; fields as in `TraceEvent`."""

    seq: EventSeq
    id: str
    type: str
    time: datetime
    severity: Severity
    component: str
    verdict: str
    detail: str
    reply: str
    tenant_id: str | None
    account_id: str | None
    trace_id: str | None
    queue_id: str | None
    message_id_header: str | None
    subject: str | None
    sender: str | None
    recipient: str | None
    remote_ip: str | None
    data: dict[str, EventValue]


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceFilter:
    """What a message is looked for by; None = anything. Addresses are keys, or `@domain` for all of a domain."""

    message_id_header: str | None = None
    address: str | None = None
    sender: str | None = None
    recipient: str | None = None
    subject: str | None = None
    ip: str | None = None
    since: datetime | None = None
    until: datetime | None = None
