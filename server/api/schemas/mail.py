"""Answers about deliveries, submissions, traces and events."""

from __future__ import annotations

from datetime import datetime

from msgspec import UNSET, UnsetType

from server.api.schemas.common import Output, time_or_none, time_text
from server.domain.changes import Event, EventValue
from server.domain.queue import FINAL, Attempt, Delivery, Pause, QueuedRecipient, QueueStats, SubmissionRecord
from server.services.queue.admin import BulkResult
from server.services.queue.submissions import status_of
from server.services.submission.send import Sent
from server.services.trace.query import EventPage, Trace


class ReplyOut(Output, frozen=True, kw_only=True):
    """The remote's exact answer, or our own words when it gave none."""

    code: int
    enhanced: str
    text: str
    host: str
    ip: str
    tls: str
    at: str

    @classmethod
    def of(cls, attempt: Attempt) -> ReplyOut:
        return cls(
            code=attempt.reply.code,
            enhanced=attempt.reply.enhanced,
            text=" ".join(line for line in attempt.reply.lines if line),
            host=attempt.host,
            ip=attempt.ip,
            tls=attempt.tls,
            at=time_text(attempt.started_at),
        )


class AttemptOut(Output, frozen=True, kw_only=True):
    """One try; `from_remote` tells the other server's words from ours."""

    at: str
    duration_ms: int
    status: str
    code: int
    enhanced: str
    text: str
    from_remote: bool
    host: str
    ip: str
    tls: str

    @classmethod
    def of(cls, attempt: Attempt) -> AttemptOut:
        return cls(
            at=time_text(attempt.started_at),
            duration_ms=attempt.duration_ms,
            status=attempt.status.value,
            code=attempt.reply.code,
            enhanced=attempt.reply.enhanced,
            text=" ".join(line for line in attempt.reply.lines if line),
            from_remote=attempt.from_remote,
            host=attempt.host,
            ip=attempt.ip,
            tls=attempt.tls,
        )


class AttemptsOut(Output, frozen=True, kw_only=True):
    items: list[AttemptOut]


class DeliveryOut(Output, frozen=True, kw_only=True, rename={"sender": "from"}):
    """One recipient of one submission."""

    id: str
    submission_id: str
    sender: str
    recipient: str
    domain: str
    kind: str
    status: str
    hold_reason: str
    attempts: int
    next_attempt_at: str | None
    expires_at: str
    created_at: str
    finished_at: str | None
    last_reply: ReplyOut | None
    trace_id: str
    subject: str
    size_bytes: int

    @classmethod
    def of(cls, delivery: Delivery) -> DeliveryOut:
        recipient, message = delivery.recipient, delivery.message
        waits = recipient.status not in FINAL
        return cls(
            id=recipient.id,
            submission_id=message.id,
            sender=message.sender,
            recipient=recipient.recipient,
            domain=recipient.domain,
            kind=recipient.kind.value,
            status=recipient.status.value,
            hold_reason=recipient.hold_reason,
            attempts=recipient.attempts,
            next_attempt_at=time_text(recipient.due_at) if waits else None,
            expires_at=time_text(message.expires_at),
            created_at=time_text(delivery.created_at),
            finished_at=time_or_none(delivery.finished_at),
            last_reply=ReplyOut.of(delivery.last) if delivery.last else None,
            trace_id=message.trace_id,
            subject=message.subject,
            size_bytes=message.size_octets,
        )


class CountOut(Output, frozen=True, kw_only=True):
    value: str
    count: int


class QueueStatsOut(Output, frozen=True, kw_only=True):
    by_status: list[CountOut]
    by_domain: list[CountOut]
    by_reason: list[CountOut]
    oldest_at: str | None

    @classmethod
    def of(cls, stats: QueueStats) -> QueueStatsOut:
        def counts(values: object) -> list[CountOut]:
            return [CountOut(value=one.value, count=one.count) for one in values]  # type: ignore[attr-defined]

        return cls(
            by_status=counts(stats.by_status),
            by_domain=counts(stats.by_domain),
            by_reason=counts(stats.by_reason),
            oldest_at=time_or_none(stats.oldest_at),
        )


class BulkOut(Output, frozen=True, kw_only=True):
    """`count` deliveries matched, `done` were changed, `failed` had moved on meanwhile."""

    count: int
    done: int
    failed: int
    samples: list[DeliveryOut]

    @classmethod
    def of(cls, result: BulkResult) -> BulkOut:
        return cls(
            count=result.matched,
            done=result.done,
            failed=result.failed,
            samples=[DeliveryOut.of(delivery) for delivery in result.samples],
        )


class PauseOut(Output, frozen=True, kw_only=True):
    """A stopped destination; `domain` null = all of them."""

    id: str
    domain: str | None
    all: bool
    created_at: str

    @classmethod
    def of(cls, pause: Pause) -> PauseOut:
        everything = pause.domain == "*"
        return cls(
            id=pause.id,
            domain=None if everything else pause.domain,
            all=everything,
            created_at=time_text(pause.created_at),
        )


class PausesOut(Output, frozen=True, kw_only=True):
    items: list[PauseOut]
    next_cursor: str | None = None


class SentOut(Output, frozen=True, kw_only=True):
    """What `POST /send` queued."""

    submission_id: str
    message_id_header: str | None
    status: str
    recipients_count: int
    trace_id: str

    @classmethod
    def of(cls, sent: Sent) -> SentOut:
        return cls(
            submission_id=sent.submitted.queue_id,
            message_id_header=sent.submitted.message_id_header,
            status="queued",
            recipients_count=sent.recipients,
            trace_id=sent.submitted.trace_id,
        )


class SubmissionDeliveryOut(Output, frozen=True, kw_only=True):
    id: str
    recipient: str
    status: str
    attempts: int
    next_attempt_at: str | None
    last_reply: str

    @classmethod
    def of(cls, recipient: QueuedRecipient) -> SubmissionDeliveryOut:
        return cls(
            id=recipient.id,
            recipient=recipient.recipient,
            status=recipient.status.value,
            attempts=recipient.attempts,
            next_attempt_at=None if recipient.status in FINAL else time_text(recipient.due_at),
            last_reply=recipient.last_reply,
        )


class SubmissionOut(Output, frozen=True, kw_only=True, rename={"sender": "from"}):
    id: str
    message_id_header: str | None
    origin: str
    account_id: str | None
    sender: str
    subject: str
    recipients_count: int
    size_bytes: int
    status: str
    created_at: str
    trace_id: str
    deliveries: list[SubmissionDeliveryOut] | UnsetType = UNSET

    @classmethod
    def of(cls, record: SubmissionRecord, *, whole: bool = False) -> SubmissionOut:
        message = record.message
        return cls(
            id=message.id,
            message_id_header=message.message_id_header,
            origin=message.origin.value,
            account_id=message.account_id,
            sender=message.sender,
            subject=message.subject,
            recipients_count=len(record.recipients),
            size_bytes=message.size_octets,
            status=status_of(record.recipients),
            created_at=time_text(message.created_at),
            trace_id=message.trace_id,
            deliveries=[SubmissionDeliveryOut.of(one) for one in record.recipients] if whole else UNSET,
        )


class TimelineOut(Output, frozen=True, kw_only=True):
    """One step; `event` is its type, `reply` the exact SMTP reply where there is one."""

    seq: int
    time: str
    component: str
    event: str
    verdict: str
    detail: str
    recipient: str | None
    reply: str | None

    @classmethod
    def of(cls, event: Event) -> TimelineOut:
        return cls(
            seq=event.seq,
            time=time_text(event.time),
            component=event.component,
            event=event.type,
            verdict=event.verdict,
            detail=event.detail,
            recipient=event.recipient,
            reply=event.reply or None,
        )


class TraceOut(Output, frozen=True, kw_only=True):
    """A message's life; `timeline` and `next_command` only when one message is asked for."""

    trace_id: str
    sender: str | None
    recipients: list[str]
    subject: str | None
    message_id_header: str | None
    time: str
    summary: str
    final: bool
    timeline: list[TimelineOut] | UnsetType = UNSET
    next_command: str | UnsetType = UNSET

    @classmethod
    def of(cls, trace: Trace) -> TraceOut:
        return cls._of(trace, timeline=UNSET, next_command=UNSET)

    @classmethod
    def whole(cls, trace: Trace) -> TraceOut:
        steps = [TimelineOut.of(event) for event in trace.events]
        return cls._of(trace, timeline=steps, next_command=trace.explanation.next_command)

    @classmethod
    def _of(cls, trace: Trace, *, timeline: list[TimelineOut] | UnsetType, next_command: str | UnsetType) -> TraceOut:
        return cls(
            trace_id=trace.trace_id,
            sender=trace.sender,
            recipients=list(trace.recipients),
            subject=trace.subject,
            message_id_header=trace.message_id_header,
            time=time_text(trace.time),
            summary=trace.explanation.summary,
            final=trace.explanation.final,
            timeline=timeline,
            next_command=next_command,
        )


class EventOut(Output, frozen=True, kw_only=True):
    """One fact of the event log."""

    seq: int
    id: str
    type: str
    time: str
    tenant_id: str | None
    severity: str
    trace_id: str | None
    data: dict[str, EventValue]

    @classmethod
    def of(cls, event: Event) -> EventOut:
        named: dict[str, EventValue] = {
            "component": event.component,
            "verdict": event.verdict,
            "detail": event.detail,
            "reply": event.reply,
            "account_id": event.account_id,
            "queue_id": event.queue_id,
            "message_id_header": event.message_id_header,
            "sender": event.sender,
            "recipient": event.recipient,
            "remote_ip": event.remote_ip,
        }
        shown = {name: value for name, value in named.items() if value not in (None, "")}
        return cls(
            seq=event.seq,
            id=event.id,
            type=event.type,
            time=time_text(event.time),
            tenant_id=event.tenant_id,
            severity=event.severity.value,
            trace_id=event.trace_id,
            data={**shown, **event.data},
        )


class EventsOut(Output, frozen=True, kw_only=True):
    items: list[EventOut]
    next_after: int
    oldest: int

    @classmethod
    def of(cls, page: EventPage) -> EventsOut:
        return cls(items=[EventOut.of(event) for event in page.items], next_after=page.next_after, oldest=page.oldest)


def parse_time(text: str) -> datetime | None:
    """An RFC 3339 instant with its offset, or None."""
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        return None
    return instant if instant.tzinfo is not None else None
