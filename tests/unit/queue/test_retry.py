"""When to try again and when to give up (RFC 5321 §4.5.4.1, product.md 8)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from server.config.schema import Queue
from server.domain.queue import Attempt, DeliveryStatus
from server.domain.reply import reply
from server.services.queue.retry import judge, next_due, policy_from
from tests.support.queueing import message, recipient

POLICY = policy_from(Queue())
NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
DEFERRED = Attempt(
    status=DeliveryStatus.DEFERRED,
    reply=reply(450, "4.2.0", "later"),
    from_remote=True,
    host="",
    ip="",
    tls="",
    started_at=NOW,
    duration_ms=1,
)


@pytest.mark.parametrize(("attempts", "minutes"), [(1, 5), (2, 10), (3, 20), (4, 40), (5, 60), (6, 60), (100, 60)])
def test_delays_grow_to_an_hour(attempts: int, minutes: int) -> None:
    far = NOW + timedelta(days=5)
    plain = next_due(POLICY, attempts=attempts, now=NOW, expires_at=far, random=0.0)
    assert plain - NOW == timedelta(minutes=minutes)
    spread = next_due(POLICY, attempts=attempts, now=NOW, expires_at=far, random=0.999)
    assert timedelta(minutes=minutes * 1.09) < spread - NOW < timedelta(minutes=minutes * 1.1)


def test_the_last_attempt_is_at_the_expiry() -> None:
    soon = NOW + timedelta(minutes=10)
    assert next_due(POLICY, attempts=9, now=NOW, expires_at=soon, random=0.5) == soon


@pytest.mark.parametrize(("seconds", "status"), [(-1, "expired"), (0, "expired"), (1, "deferred")])
def test_expiry_is_the_end_of_what_is_still_deferred(seconds: int, status: str) -> None:
    queued = message(now=NOW - timedelta(days=5), expires_at=NOW + timedelta(seconds=seconds))
    judged = judge(
        POLICY, message=queued, recipient=recipient(queued, "b@x.test"), attempt=DEFERRED, now=NOW, random=0.5
    )
    assert judged.status.value == status


@pytest.mark.parametrize("status", [DeliveryStatus.SENT, DeliveryStatus.FAILED, DeliveryStatus.HELD])
def test_other_ends_stand_even_after_the_expiry(status: DeliveryStatus) -> None:
    queued = message(now=NOW - timedelta(days=9), expires_at=NOW - timedelta(days=4))
    ended = replace(DEFERRED, status=status)
    judged = judge(POLICY, message=queued, recipient=recipient(queued, "b@x.test"), attempt=ended, now=NOW, random=0)
    assert (judged.status, judged.warn) == (status, False)


@pytest.mark.parametrize(
    ("hours", "warned", "after", "warn"),
    [(3.9, False, 4 * 3600, False), (4, False, 4 * 3600, True), (9, True, 4 * 3600, False), (9, False, 0, False)],
)
def test_a_delay_is_told_once_and_not_at_all_when_switched_off(
    hours: float, warned: bool, after: float, warn: bool
) -> None:
    queued = message(now=NOW - timedelta(hours=hours))
    policy = policy_from(Queue(delay_warning_after=after))
    waiting = recipient(queued, "b@x.test", warned=warned)
    assert judge(policy, message=queued, recipient=waiting, attempt=DEFERRED, now=NOW, random=0).warn is warn
