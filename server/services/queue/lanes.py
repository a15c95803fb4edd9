"""Who may be delivered next: slots per destination and in all, destinations served in turn.

- A lane is one destination's waiting claims and its slots in use; lanes with work and a free slot stand in a ring.
- One lane full of slow servers takes its own slots and no others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from server.domain.ids import DeliveryId, QueueId
from server.domain.queue import QueuedRecipient
from server.services.queue.courier import CLAIM_RECIPIENTS, Claim
from server.store.repositories.queue import Claimed

LANE_FULL = 100
"""Waiting claims of one destination beyond which no more are claimed for it."""

LANE_LOW = 40
"""Waiting claims at which a full destination is claimed for again."""


@dataclass(slots=True)
class Lane:
    """One destination; `domain` is empty where several share it."""

    name: str
    waiting: deque[Claim] = field(default_factory=deque)
    active: int = 0
    ringed: bool = False
    full: bool = False
    domain: str = ""


class Lanes:
    """All destinations that have work."""

    def __init__(self) -> None:
        self._lanes: dict[str, Lane] = {}
        self._ring: deque[Lane] = deque()
        self.waiting = 0
        self.active = 0

    def add(self, name: str, domain: str, claim: Claim) -> None:
        """Let a claim wait in its lane; `domain` is what the database knows the lane by, empty for shared lanes."""
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = Lane(name=name, domain=domain)
        lane.waiting.append(claim)
        lane.full = lane.full or len(lane.waiting) >= LANE_FULL
        self.waiting += len(claim.recipients)
        self._enter(lane)

    def next(self, *, per_lane: int, in_all: int) -> tuple[Lane, Claim] | None:
        """The next claim that has a slot, its slot taken; None when nothing may start now."""
        while self._ring and self.active < in_all:
            lane = self._ring.popleft()
            lane.ringed = False
            if not lane.waiting or lane.active >= per_lane:
                continue
            claim = lane.waiting.popleft()
            lane.active += 1
            self.active += 1
            self.waiting -= len(claim.recipients)
            self._enter(lane)
            return lane, claim
        return None

    def done(self, lane: Lane) -> bool:
        """Give a slot back; whether the lane may be claimed for again."""
        lane.active -= 1
        self.active -= 1
        self._enter(lane)
        if not lane.active and not lane.waiting:
            self._lanes.pop(lane.name, None)
        if lane.full and len(lane.waiting) <= LANE_LOW:
            lane.full = False
            return True
        return False

    def full_domains(self) -> list[str]:
        """Destinations to leave out of the next claim."""
        return sorted(lane.domain for lane in self._lanes.values() if lane.full and lane.domain)

    def drop_waiting(self) -> list[DeliveryId]:
        """Forget every claim that has not begun; the deliveries they held."""
        dropped = [
            recipient.id for lane in self._lanes.values() for claim in lane.waiting for recipient in claim.recipients
        ]
        for lane in self._lanes.values():
            lane.waiting.clear()
        self.waiting = 0
        return dropped

    def _enter(self, lane: Lane) -> None:
        if lane.waiting and not lane.ringed:
            lane.ringed = True
            self._ring.append(lane)


def group(claimed: Claimed, lane_of: dict[DeliveryId, str]) -> Iterable[tuple[str, Claim]]:
    """Put recipients of one message and one lane into claims of at most `CLAIM_RECIPIENTS`, in due order."""
    grouped: dict[tuple[QueueId, str], list[QueuedRecipient]] = {}
    for recipient in claimed.recipients:
        grouped.setdefault((recipient.queue_id, lane_of[recipient.id]), []).append(recipient)
    for (queue_id, lane), recipients in grouped.items():
        message = claimed.messages[queue_id]
        for part in _chunks(recipients):
            yield lane, Claim(message=message, recipients=tuple(part))


def _chunks(recipients: Sequence[QueuedRecipient]) -> Iterable[Sequence[QueuedRecipient]]:
    for at in range(0, len(recipients), CLAIM_RECIPIENTS):
        yield recipients[at : at + CLAIM_RECIPIENTS]
