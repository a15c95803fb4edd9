"""When to try again, when to give up; no I/O (RFC 5321 §4.5.4.1).

- The delays are walked one by one, the last repeats; up to 10 % is added by chance so that retries spread.
- A delivery expires only at an attempt: what was never tried, or was held or paused, gets its try first.
- After the last delay before expiry one more attempt is made at the expiry itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from server.config.schema import Queue
from server.domain.queue import Attempt, DeliveryStatus, QueuedMessage, QueuedRecipient

JITTER = 0.1
"""The largest share of a delay added by chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """`delays` is never empty; `warning_after` of zero = no delay DSN."""

    delays: tuple[timedelta, ...]
    warning_after: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What becomes of a delivery: its status, when it is due again, and whether the sender is to hear of a delay."""

    status: DeliveryStatus
    due_at: datetime
    warn: bool = False


def policy_from(settings: Queue) -> RetryPolicy:
    """The policy that configuration asks for."""
    return RetryPolicy(
        delays=tuple(timedelta(seconds=delay) for delay in settings.retry_delays),
        warning_after=timedelta(seconds=settings.delay_warning_after),
    )


def next_due(policy: RetryPolicy, *, attempts: int, now: datetime, expires_at: datetime, random: float) -> datetime:
    """When to try again after `attempts` attempts, the last of which ended now; never after `expires_at`.

    Args:
        random: A number in [0, 1).
    """
    delay = policy.delays[min(max(attempts, 1), len(policy.delays)) - 1]
    return min(now + delay * (1 + JITTER * random), max(expires_at, now))


def judge(
    policy: RetryPolicy,
    *,
    message: QueuedMessage,
    recipient: QueuedRecipient,
    attempt: Attempt,
    now: datetime,
    random: float,
) -> Judgement:
    """Turn an attempt into the delivery's new state."""
    if attempt.status is not DeliveryStatus.DEFERRED:
        return Judgement(status=attempt.status, due_at=now)
    if now >= message.expires_at:
        return Judgement(status=DeliveryStatus.EXPIRED, due_at=now)
    due_at = next_due(policy, attempts=recipient.attempts + 1, now=now, expires_at=message.expires_at, random=random)
    waited = now - message.created_at
    warn = bool(policy.warning_after) and waited >= policy.warning_after and not recipient.warned
    return Judgement(status=DeliveryStatus.DEFERRED, due_at=due_at, warn=warn)
