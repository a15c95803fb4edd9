"""Hints and facts of change: what wakes readers, and what the event log keeps."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from server.domain.ids import AccountId, ModSeq, TenantId, TraceId

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
