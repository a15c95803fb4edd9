"""Delivery into our own mailboxes: queue rows of kind `local`.

- What is stored and the attempt that says so are one transaction: a crash leaves both or neither.
- Refusals are decided before that transaction; what goes wrong inside it is temporary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from server.domain.errors import MaiRustError, OverQuota
from server.domain.ports import Clock
from server.domain.queue import Attempt, QueuedMessage, QueuedRecipient
from server.domain.reply import Reply, reply
from server.services.queue.courier import Claim, Try, begin
from server.store.transaction import Unit

LOCAL_LANE = "local"
_DELIVERED = reply(250, "2.1.5", "delivered")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A local delivery about to happen.

    Attributes:
        refusals: One for each recipient, in order; None = `store` delivers to it.
        store: Stores the message for every recipient without a refusal; None when there is none.
        sends_on: Whether storing it queues more: forwards, redirects, answers.
    """

    refusals: tuple[Reply | None, ...]
    store: Unit[None] | None
    sends_on: bool = False


class LocalDelivery(Protocol):
    """The mailstore as the queue sees it."""

    async def prepare(self, message: QueuedMessage, recipients: Sequence[QueuedRecipient]) -> Prepared:
        """Resolve the recipients and ready the message. Raises MaiRustError when nothing can be decided now."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalOutcome:
    """Attempts that hold once `store` has run in their transaction, and those that hold when it can't."""

    attempts: list[Attempt]
    store: Unit[None] | None
    begun: Try
    sends_on: bool = False

    def without_store(self, error: Exception) -> list[Attempt]:
        """The attempts after `store` failed: refusals stand, the others are deferred."""
        if isinstance(error, OverQuota):
            answer = reply(452, "4.2.2", error.public)
        else:
            answer = reply(451, "4.3.0", error.public if isinstance(error, MaiRustError) else "temporary server error")
        deferred = self.begun.attempt(answer, from_remote=False)
        return [deferred if attempt.reply.is_success else attempt for attempt in self.attempts]


class LocalCourier:
    """Readies local deliveries; the runner stores them with their attempts."""

    def __init__(self, *, delivery: LocalDelivery, clock: Clock) -> None:
        self._delivery = delivery
        self._clock = clock

    async def prepare(self, claim: Claim) -> LocalOutcome:
        begun = begin(self._clock)
        prepared = await self._delivery.prepare(claim.message, claim.recipients)
        attempts = [begun.attempt(refusal or _DELIVERED, from_remote=False) for refusal in prepared.refusals]
        return LocalOutcome(attempts=attempts, store=prepared.store, begun=begun, sends_on=prepared.sends_on)
