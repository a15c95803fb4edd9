"""What an attempt leads to, in one transaction: attempt, new status, trace, and the DSNs it calls for (Q5).

- DSN octets are placed before the transaction, which alone makes them part of the queue.
- A delivery whose lease was lost is left as it is, and no DSN tells of it.
- Every part of a unit is computed beforehand, so that it may be run again as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from server.domain.changes import EventValue, Severity, TraceEvent
from server.domain.ports import Clock
from server.domain.queue import Attempt, DeliveryKind, DeliveryStatus, QueuedMessage
from server.services.queue.courier import Claim
from server.services.queue.dsn import Judged, Reporter
from server.services.queue.remote import CREDENTIALS_HOLD
from server.services.queue.retry import RetryPolicy, judge
from server.store.database import Database
from server.store.repositories import queue
from server.store.repositories.queue import Settled
from server.store.transaction import Transaction, Unit
from server.telemetry import metrics
from server.telemetry.log import get_logger

log = get_logger("queue")

_EVENTS = {
    DeliveryStatus.SENT: ("delivery.sent", "sent", Severity.INFO),
    DeliveryStatus.DEFERRED: ("delivery.deferred", "deferred", Severity.WARNING),
    DeliveryStatus.FAILED: ("delivery.failed", "failed", Severity.ERROR),
    DeliveryStatus.EXPIRED: ("delivery.expired", "expired", Severity.ERROR),
    DeliveryStatus.HELD: ("delivery.deferred", "held", Severity.ERROR),
}


class Settler:
    """Stores attempts."""

    def __init__(
        self, *, database: Database, clock: Clock, policy: Callable[[], RetryPolicy], reporter: Reporter
    ) -> None:
        self._database = database
        self._clock = clock
        self._policy = policy
        self._reporter = reporter

    async def settle(
        self, claim: Claim, attempts: Sequence[Attempt], *, owner: str, store: Unit[None] | None = None
    ) -> datetime | None:
        """Store one attempt for each recipient; `store` runs first, in the same transaction.

        Returns:
            When the next of what this left behind is due: now for a report; None when nothing is.

        Raises:
            MaiRustError: Nothing was stored.
        """
        now = self._clock.now()
        policy = self._policy()
        judged = [
            Judged(
                recipient=recipient,
                attempt=attempt,
                judgement=judge(
                    policy,
                    message=claim.message,
                    recipient=recipient,
                    attempt=attempt,
                    now=now,
                    random=self._clock.random(),
                ),
            )
            for recipient, attempt in zip(claim.recipients, attempts, strict=True)
        ]
        reports = await self._reporter.prepare(claim.message, judged)

        async def unit(tx: Transaction) -> None:
            if store is not None:
                await store(tx)
            held = {j.recipient.id for j in judged if await queue.settle(tx, _settled(j), owner=owner)}
            for one in judged:
                if one.recipient.id in held:
                    tx.record(_event(claim.message, one))
            for report in reports:
                if report.about & held:
                    await report.insert(tx)

        await self._database.write("queue.settle", unit)
        for one in judged:
            _count(claim.message, one)
        waiting = [one.judgement.due_at for one in judged if one.judgement.status is DeliveryStatus.DEFERRED]
        return min([now] if reports else waiting, default=None)


def _settled(one: Judged) -> Settled:
    return Settled(
        recipient=one.recipient,
        attempt=one.attempt,
        status=one.judgement.status,
        due_at=one.judgement.due_at,
        hold_reason=CREDENTIALS_HOLD if one.judgement.status is DeliveryStatus.HELD else "",
        warned=one.recipient.warned or one.judgement.warn,
    )


def _event(message: QueuedMessage, one: Judged) -> TraceEvent:
    attempt, judgement = one.attempt, one.judgement
    kind, verdict, severity = _EVENTS[judgement.status]
    data: dict[str, EventValue] = {
        "delivery_id": one.recipient.id,
        "attempt": one.recipient.attempts + 1,
        "host": attempt.host,
        "ip": attempt.ip,
        "tls": attempt.tls,
        "from_remote": attempt.from_remote,
        "duration_ms": attempt.duration_ms,
        "kind": one.recipient.kind.value,
    }
    if judgement.status is DeliveryStatus.DEFERRED:
        data["next_attempt_at"] = judgement.due_at.isoformat()
    return TraceEvent(
        type=kind,
        component="queue",
        verdict=verdict,
        detail=_sentence(one),
        reply=attempt.reply.text,
        severity=severity,
        tenant_id=message.tenant_id,
        account_id=message.account_id,
        trace_id=message.trace_id,
        queue_id=message.id,
        message_id_header=message.message_id_header,
        subject=message.subject,
        sender=message.sender.lower(),
        recipient=one.recipient.recipient.lower(),
        remote_ip=attempt.ip or None,
        data=data,
    )


def _sentence(one: Judged) -> str:
    where = one.attempt.host or one.recipient.domain
    said = f"{where} answered" if one.attempt.from_remote else "no delivery"
    match one.judgement.status:
        case DeliveryStatus.SENT:
            if one.recipient.kind is DeliveryKind.LOCAL:
                return "delivered"
            return f"delivered to {where}" if one.attempt.from_remote else "kept on this machine"
        case DeliveryStatus.DEFERRED:
            return f"{said}; the next attempt is at {one.judgement.due_at:%Y-%m-%d %H:%M:%S} UTC"
        case DeliveryStatus.EXPIRED:
            return f"{said}; the time for delivery is over"
        case DeliveryStatus.HELD:
            return f"{CREDENTIALS_HOLD}; held until it is released"
        case _:
            return f"{said}; not tried again"


def _count(message: QueuedMessage, one: Judged) -> None:
    attempt = one.attempt
    metrics.DELIVERY_ATTEMPTS.labels(result=one.judgement.status.value, tls=attempt.tls or "none").inc()
    metrics.DELIVERY_DURATION.observe(attempt.duration_ms / 1000)
    log.info(
        "queue.attempt",
        queue_id=message.id,
        trace_id=message.trace_id,
        status=one.judgement.status.value,
        host=attempt.host,
        code=attempt.reply.code,
        duration_ms=attempt.duration_ms,
    )
