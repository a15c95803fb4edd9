"""What the runner hands to a courier, and what it gets back.

- A claim is one message and its recipients of one lane: they go together, in one transaction where the lane allows.
- A courier returns one attempt for each recipient, in order. It never decides when to try again.
- What went wrong without a reply of the remote is said in replies of ours (RFC 3463), temporary unless nothing but the
  sender or the recipient's domain can mend it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from server.domain.ports import Clock
from server.domain.queue import Attempt, DeliveryStatus, QueuedMessage, QueuedRecipient
from server.domain.reply import Reply

CLAIM_RECIPIENTS = 100
"""Recipients of one claim: what every server takes in one transaction (RFC 5321 §4.5.3.1.8)."""


@dataclass(slots=True)
class Progress:
    """How far a delivery has come: past the final dot it must be waited for, before it may be abandoned."""

    past_dot: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One message on its way to some of its recipients, leased until its attempts are stored."""

    message: QueuedMessage
    recipients: tuple[QueuedRecipient, ...]
    progress: Progress = field(default_factory=Progress)


class Courier(Protocol):
    """Carries claims away."""

    def lane(self, recipient: QueuedRecipient) -> str:
        """The name of the destination whose slots the recipient takes."""
        ...

    async def deliver(self, claim: Claim) -> list[Attempt]:
        """Try once; an attempt for each recipient, in order."""
        ...

    async def reap(self) -> None:
        """Close what has been idle for too long."""
        ...

    async def close(self) -> None:
        """Close everything; nothing is delivered any more."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """One attempt's beginning and the server it has reached; makes attempts from replies."""

    clock: Clock
    started_at: datetime
    started_s: float
    host: str = ""
    ip: str = ""
    tls: str = ""

    def attempt(
        self, reply: Reply, *, from_remote: bool, notified: bool = False, status: DeliveryStatus | None = None
    ) -> Attempt:
        """An attempt that ended now with this reply; its status follows from the code unless it is given."""
        return Attempt(
            status=status or status_of(reply),
            reply=reply,
            from_remote=from_remote,
            host=self.host,
            ip=self.ip,
            tls=self.tls,
            started_at=self.started_at,
            duration_ms=max(0, round((self.clock.monotonic() - self.started_s) * 1000)),
            notified=notified,
        )


def begin(clock: Clock) -> Try:
    """Start the clock of an attempt."""
    return Try(clock=clock, started_at=clock.now(), started_s=clock.monotonic())


def status_of(reply: Reply) -> DeliveryStatus:
    """What a recipient's reply means (RFC 5321 §4.2.1)."""
    if reply.is_success:
        return DeliveryStatus.SENT
    return DeliveryStatus.FAILED if reply.is_permanent else DeliveryStatus.DEFERRED


def same_for_all(attempt: Attempt, recipients: Sequence[QueuedRecipient]) -> list[Attempt]:
    """One attempt that counts for every recipient."""
    return [attempt] * len(recipients)
