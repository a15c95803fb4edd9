"""What a check decides about a message; the strictest of all wins (architecture.md §1)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from server.domain.reply import Reply


class Action(IntEnum):
    """Ordered: a higher one beats a lower one."""

    ACCEPT = 0
    TAG = 1
    QUARANTINE = 2
    DEFER = 3
    REJECT = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One check's decision.

    Attributes:
        source: The check's name as the trace shows it.
        reason: One plain sentence for the trace.
        reply: What the peer is told when the action is DEFER or REJECT.
        keywords: Keywords to set on the stored message (`$Junk`).
    """

    action: Action
    source: str
    reason: str = ""
    reply: Reply | None = None
    keywords: tuple[str, ...] = ()


def strictest(verdicts: list[Verdict]) -> Verdict:
    """Return the verdict with the highest action, the first of equals; ACCEPT when there is none."""
    return max(verdicts, key=lambda v: v.action, default=Verdict(action=Action.ACCEPT, source="none"))
