"""A local delivery as a value: one message, everywhere it goes, and what the recipients' own filters made of it.

- Everything in it is decided and placed; carrying it out reads and writes the store alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from server.domain.address import Address
from server.domain.envelope import Envelope, ReversePath
from server.domain.ids import AccountId, TenantId, TraceId
from server.domain.message import Blob, Rendered
from server.protocol.sieve.outcome import FileInto, Seen
from server.services.filters.plan import Line
from server.services.reception.routing import LocalTarget
from server.store.transaction import Unit

JUNK = "$Junk"
"""The keyword that sends a message to the Junk mailbox."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """A message on its way to an outside address; `by` is the local address that sends it on."""

    target: Address
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Octets:
    """A stored form of the message: the received one, or one that a script edited."""

    blob: Blob
    blob_is_new: bool
    rendered: Rendered


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCopy:
    """A copy for one account; `into` None = the default mailbox, `octets` None = as received."""

    into: FileInto | None
    flags: int
    keywords: tuple[str, ...]
    octets: Octets | None
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirection:
    """The message sent on by an account; `local` when the target is one of ours."""

    target: Address
    local: bool
    octets: Octets | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A message of ours to be queued with the delivery.

    Attributes:
        handle: Of a vacation answer: given once to `sender` in `seconds`; None = always.
        insert: Queues it.
    """

    insert: Unit[None]
    words: str
    handle: str | None = None
    sender: str = ""
    seconds: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetPlan:
    """What one account's filters made of the message.

    Attributes:
        rejected: The text of a reject; nothing else is set then.
    """

    copies: tuple[PlannedCopy, ...] = ()
    redirections: tuple[Redirection, ...] = ()
    answers: tuple[Answer, ...] = ()
    rejected: str | None = None
    seen: tuple[Seen, ...] = ()
    lines: tuple[Line, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One message with everywhere it goes.

    Attributes:
        blob_is_new: Whether the blob's row is still to be written.
        trace_fields: Received, Authentication-Results and the like, shared by all recipients.
        check_quota: Whether a full account refuses it: only while the sender can still be told.
        sender_is_genuine: Whether the reverse-path may get a DSN of ours: shown by AUTH, SPF or DMARC (product.md R4).
        keywords: Set on every stored copy; `$Junk` chooses the mailbox.
        plans: For accounts that have filters; the others get one copy.
    """

    envelope: Envelope
    tenant_id: TenantId
    trace_id: TraceId
    blob: Blob
    blob_is_new: bool
    trace_fields: bytes
    rendered: Rendered
    accounts: tuple[LocalTarget, ...]
    forwards: tuple[Forward, ...] = ()
    keywords: tuple[str, ...] = ()
    check_quota: bool = False
    sender_is_genuine: bool = False
    received_at: datetime
    expire_after: timedelta = timedelta(days=5)
    plans: Mapping[AccountId, TargetPlan] = field(default_factory=dict)

    @property
    def reverse_path(self) -> ReversePath:
        return self.envelope.reverse_path

    @property
    def sends_on(self) -> bool:
        """Whether rows for the queue are written with it."""
        return bool(self.forwards) or any(plan.redirections or plan.answers for plan in self.plans.values())
