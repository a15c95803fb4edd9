"""What comes through the two doors: a reception or an authenticated submission."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from server.domain.envelope import ConnectionInfo, Envelope
from server.domain.ids import AccountId, TenantId, TraceId
from server.domain.message import Content
from server.domain.queue import Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Inbound:
    """One complete mail transaction as the edge took it; whoever receives it owns `content`."""

    connection: ConnectionInfo
    envelope: Envelope
    content: Content
    received_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A message to be queued: octets are final but for the signature.

    Attributes:
        account_id: The account that sends, None for our own mail (DSNs).
        trace_id: Joins an existing trace (forwards, DSNs); None starts one.
        prefix: Fields that go before the octets on the wire, each ending in CRLF.
        signing_domain: Sign with this domain's keys; None = not signed.
        hold_reason: Not empty = queue as held.
    """

    tenant_id: TenantId
    account_id: AccountId | None
    origin: Origin
    envelope: Envelope
    content: Content
    trace_id: TraceId | None = None
    prefix: bytes = b""
    signing_domain: str | None = None
    hold_reason: str = ""
