"""The queue's rows: submissions, their deliveries, attempts and pauses (reliability.md §2, Q1-Q7).

- A claim moves due rows to `sending` under a lease; a passed or freed lease makes them claimable again.
- What a runner writes about a row applies only while its lease holds, so an administrator's word is never overwritten.
- Attempts are numbered from 1 for each delivery and never change.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import cast

from sqlalchemy import (
    ColumnElement,
    Select,
    Update,
    and_,
    bindparam,
    case,
    exists,
    func,
    literal,
    or_,
    select,
    update,
)

from server.domain.envelope import Notify, Ret
from server.domain.ids import AccountId, BlobId, DeliveryId, QueueId, TenantId, TraceId
from server.domain.queue import Attempt, DeliveryKind, DeliveryStatus, Origin, QueuedMessage, QueuedRecipient
from server.domain.reply import Reply
from server.store.schema import attempts, domains, pauses, queued_messages, queued_recipients
from server.store.statements import Executable, Statement, prepared, prepared_insert
from server.store.times import from_us, to_us
from server.store.transaction import Row, Transaction

ALL_DOMAINS = "*"
"""The pause's domain that stops everything."""

ALL_TENANTS = ""
"""The pause's tenant when the whole server pauses."""

_R = queued_recipients.c
_INSERT_MESSAGE = prepared_insert(queued_messages)
_INSERT_RECIPIENT = prepared_insert(queued_recipients)
_INSERT_ATTEMPT = prepared_insert(attempts)
_WAITING = case((_R.attempts == 0, DeliveryStatus.QUEUED.value), else_=DeliveryStatus.DEFERRED.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """What a claim found: recipients in order of their due time with their messages.

    Attributes:
        more: Whether due rows were left behind.
        next_due_at: When the next row that is not due yet becomes so; None = nothing waits.
    """

    recipients: tuple[QueuedRecipient, ...]
    messages: dict[QueueId, QueuedMessage]
    more: bool
    next_due_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """A delivery's new state after an attempt."""

    recipient: QueuedRecipient
    attempt: Attempt
    status: DeliveryStatus
    due_at: datetime
    hold_reason: str = ""
    warned: bool = False


async def enqueue(tx: Transaction, message: QueuedMessage, recipients: Sequence[QueuedRecipient]) -> None:
    """Insert a submission with its deliveries; its blob's row is the caller's, in the same transaction."""
    await tx.insert(
        _INSERT_MESSAGE,
        {
            "id": message.id,
            "tenant_id": message.tenant_id,
            "account_id": message.account_id,
            "origin": message.origin.value,
            "sender": message.sender,
            "blob_id": message.blob_id,
            "prefix": message.prefix,
            "size_octets": message.size_octets,
            "message_id_header": message.message_id_header,
            "subject": message.subject,
            "trace_id": message.trace_id,
            "smtputf8": int(message.smtputf8),
            "body_8bit": int(message.body_8bit),
            "ret": None if message.ret is None else message.ret.value,
            "envid": message.envid,
            "created_at": to_us(message.created_at),
            "expires_at": to_us(message.expires_at),
        },
    )
    for recipient in recipients:
        await tx.insert(_INSERT_RECIPIENT, _recipient_params(recipient, tx.now_us))


def _recipient_params(recipient: QueuedRecipient, now_us: int) -> dict[str, object]:
    return {
        "id": recipient.id,
        "queue_id": recipient.queue_id,
        "tenant_id": recipient.tenant_id,
        "recipient": recipient.recipient,
        "domain": recipient.domain,
        "kind": recipient.kind.value,
        "status": recipient.status.value,
        "hold_reason": recipient.hold_reason,
        "attempts": recipient.attempts,
        "due_at": to_us(recipient.due_at),
        "lease_owner": None,
        "lease_until": to_us(recipient.lease_until),
        "notify": ",".join(sorted(word.value for word in recipient.notify)),
        "orcpt": recipient.orcpt,
        "warned": int(recipient.warned),
        "last_reply": recipient.last_reply,
        "last_host": recipient.last_host,
        "created_at": now_us,
        "updated_at": now_us,
        "finished_at": None,
    }


def _not_paused() -> ColumnElement[bool]:
    return ~exists().where(
        pauses.c.domain.in_((_R.domain, literal(ALL_DOMAINS))),
        pauses.c.tenant_id.in_((_R.tenant_id, literal(ALL_TENANTS))),
    )


def _waiting(status: DeliveryStatus, excluded: Sequence[str]) -> ColumnElement[bool]:
    conditions = [_R.status == literal(status.value), _not_paused()]
    if excluded:
        conditions.append(_R.domain.not_in(excluded))
    return and_(*conditions)


def _claim_clause(status: DeliveryStatus, excluded: Sequence[str], *, skip_locked: bool) -> Update:
    due: Select[str] = (
        select(_R.id)
        .where(_waiting(status, excluded), _R.due_at <= bindparam("b_now"))
        .order_by(_R.due_at)
        .limit(bindparam("b_limit"))
    )
    if skip_locked:
        due = due.with_for_update(skip_locked=True, of=queued_recipients)
    return (
        update(queued_recipients)
        .where(_R.id.in_(due))
        .values(
            status=DeliveryStatus.SENDING.value,
            lease_owner=bindparam("b_owner"),
            lease_until=bindparam("b_until"),
            updated_at=bindparam("b_now"),
        )
        .returning(*queued_recipients.c)
    )


def _claim_statement(status: DeliveryStatus, excluded: Sequence[str]) -> Statement:
    return prepared(
        _claim_clause(status, excluded, skip_locked=False),
        postgres=_claim_clause(status, excluded, skip_locked=True),
    )


def _next_due_clause(status: DeliveryStatus, excluded: Sequence[str]) -> Select[int]:
    return select(_R.due_at).where(_waiting(status, excluded)).order_by(_R.due_at).limit(1)


_CLAIMABLE = (DeliveryStatus.DEFERRED, DeliveryStatus.QUEUED)
_CLAIM_ALL = {status: _claim_statement(status, ()) for status in _CLAIMABLE}
_NEXT_DUE_ALL: dict[DeliveryStatus, Executable] = {
    status: prepared(_next_due_clause(status, ())) for status in _CLAIMABLE
}


async def claim(
    tx: Transaction, *, owner: str, limit: int, lease_us: int, now_us: int, excluded: Sequence[str] = ()
) -> Claimed:
    """Lease up to `limit` due deliveries, those tried before getting at least half of the room.

    Args:
        now_us: The runner's time; rows due until then are taken.
        excluded: Destinations to leave alone: their slots are full.
    """
    rows: list[Row] = []
    for status in _CLAIMABLE:
        share = (limit + 1) // 2 if status is DeliveryStatus.DEFERRED else limit - len(rows)
        statement = _claim_statement(status, excluded) if excluded else _CLAIM_ALL[status]
        params = {"b_now": now_us, "b_limit": share, "b_owner": owner, "b_until": now_us + lease_us}
        rows += await tx.fetch(statement, params)
    next_due: int | None = None
    for status in _CLAIMABLE:
        row = await tx.fetch_one(_next_due_clause(status, excluded) if excluded else _NEXT_DUE_ALL[status])
        if row is not None:
            next_due = min(cast(int, row[0]), next_due) if next_due is not None else cast(int, row[0])
    recipients = sorted((recipient_from_row(row) for row in rows), key=lambda r: (r.due_at, r.id))
    return Claimed(
        recipients=tuple(recipients),
        messages=await get_messages(tx, {recipient.queue_id for recipient in recipients}),
        more=next_due is not None and next_due <= now_us,
        next_due_at=from_us(next_due),
    )


_BY_IDS_SIZES = (1, 8, 64)


@cache
def _messages_by_ids(count: int) -> Statement:
    names: list[ColumnElement[str]] = [bindparam(f"b_{number}") for number in range(count)]
    return prepared(select(queued_messages).where(queued_messages.c.id.in_(names)))


async def get_messages(tx: Transaction, ids: Iterable[QueueId]) -> dict[QueueId, QueuedMessage]:
    """Load submissions by id; ids without a row are left out."""
    found: dict[QueueId, QueuedMessage] = {}
    left = list(ids)
    while left:
        size = next((size for size in _BY_IDS_SIZES if size >= len(left)), _BY_IDS_SIZES[-1])
        chunk, left = left[:size], left[size:]
        chunk += [chunk[-1]] * (size - len(chunk))
        rows = await tx.fetch(_messages_by_ids(size), {f"b_{number}": key for number, key in enumerate(chunk)})
        for row in rows:
            message = message_from_row(row)
            found[message.id] = message
    return found


_RENEW = prepared(
    update(queued_recipients)
    .where(_R.status == DeliveryStatus.SENDING.value, _R.lease_owner == bindparam("b_owner"))
    .values(lease_until=bindparam("b_until"))
)


async def renew_leases(tx: Transaction, *, owner: str, until_us: int) -> int:
    """Prolong all leases of an owner; how many it holds."""
    return await tx.execute(_RENEW, {"b_owner": owner, "b_until": until_us})


def _free(*conditions: ColumnElement[bool]) -> Statement:
    return prepared(
        update(queued_recipients)
        .where(_R.status == DeliveryStatus.SENDING.value, *conditions)
        .values(status=_WAITING, lease_owner=None, lease_until=None)
    )


_FREE_PASSED = _free(or_(_R.lease_until < bindparam("b_now"), _R.lease_until.is_(None)))
_FREE_HOST = _free(func.substr(_R.lease_owner, 1, bindparam("b_length")) == bindparam("b_prefix"))
_FREE_OWNER = _free(_R.lease_owner == bindparam("b_owner"))
_FREE_ONE = _free(_R.lease_owner == bindparam("b_owner"), _R.id == bindparam("b_id"))


async def free_passed_leases(tx: Transaction, *, now_us: int) -> int:
    """Make deliveries claimable whose worker died."""
    return await tx.execute(_FREE_PASSED, {"b_now": now_us})


async def free_host_leases(tx: Transaction, *, prefix: str) -> int:
    """At start: free the leases of this host's former lives, whose owners begin with `prefix`."""
    return await tx.execute(_FREE_HOST, {"b_prefix": prefix, "b_length": len(prefix)})


async def free_leases(tx: Transaction, *, owner: str, ids: Sequence[DeliveryId] | None = None) -> None:
    """Give leases back untried: those named, or all of the owner."""
    if ids is None:
        await tx.execute(_FREE_OWNER, {"b_owner": owner})
    else:
        await tx.execute_many(_FREE_ONE, [{"b_owner": owner, "b_id": key} for key in ids])


_SETTLE = prepared(
    update(queued_recipients)
    .where(
        _R.id == bindparam("b_id"),
        _R.status == DeliveryStatus.SENDING.value,
        _R.lease_owner == bindparam("b_owner"),
    )
    .values(
        status=bindparam("b_status"),
        hold_reason=bindparam("b_hold_reason"),
        attempts=bindparam("b_attempts"),
        due_at=bindparam("b_due_at"),
        lease_owner=None,
        lease_until=None,
        warned=bindparam("b_warned"),
        last_reply=bindparam("b_last_reply"),
        last_host=bindparam("b_last_host"),
        updated_at=bindparam("b_now"),
        finished_at=bindparam("b_finished_at"),
    )
)
_FINAL = frozenset(
    {DeliveryStatus.SENT, DeliveryStatus.FAILED, DeliveryStatus.EXPIRED, DeliveryStatus.CANCELLED},
)


async def settle(tx: Transaction, settled: Settled, *, owner: str) -> bool:
    """Store an attempt and the delivery's new state; False, and nothing stored, when the lease is not ours any more."""
    recipient, attempt = settled.recipient, settled.attempt
    changed = await tx.execute(
        _SETTLE,
        {
            "b_id": recipient.id,
            "b_owner": owner,
            "b_status": settled.status.value,
            "b_hold_reason": settled.hold_reason,
            "b_attempts": recipient.attempts + 1,
            "b_due_at": to_us(settled.due_at),
            "b_warned": int(settled.warned),
            "b_last_reply": _text(attempt.reply.text),
            "b_last_host": attempt.host,
            "b_now": tx.now_us,
            "b_finished_at": tx.now_us if settled.status in _FINAL else None,
        },
    )
    if changed:
        await tx.execute(_INSERT_ATTEMPT, _attempt_params(recipient, attempt))
    return changed > 0


_SETTLE_WAITING = prepared(
    update(queued_recipients)
    .where(
        _R.id == bindparam("b_id"),
        _R.status == bindparam("b_was"),
        _R.attempts == bindparam("b_tried"),
    )
    .values(
        status=bindparam("b_status"),
        hold_reason="",
        attempts=bindparam("b_attempts"),
        last_reply=bindparam("b_last_reply"),
        updated_at=bindparam("b_now"),
        finished_at=bindparam("b_now"),
    )
)


async def settle_waiting(tx: Transaction, settled: Settled) -> bool:
    """End a delivery that nobody is sending, as an administrator's attempt; False when it is not as it was read."""
    recipient = settled.recipient
    changed = await tx.execute(
        _SETTLE_WAITING,
        {
            "b_id": recipient.id,
            "b_was": recipient.status.value,
            "b_tried": recipient.attempts,
            "b_status": settled.status.value,
            "b_attempts": recipient.attempts + 1,
            "b_last_reply": _text(settled.attempt.reply.text),
            "b_now": tx.now_us,
        },
    )
    if changed:
        await tx.execute(_INSERT_ATTEMPT, _attempt_params(recipient, settled.attempt))
    return changed > 0


def _attempt_params(recipient: QueuedRecipient, attempt: Attempt) -> dict[str, object]:
    return {
        "delivery_id": recipient.id,
        "number": recipient.attempts + 1,
        "started_at": to_us(attempt.started_at),
        "duration_ms": attempt.duration_ms,
        "status": attempt.status.value,
        "code": attempt.reply.code,
        "enhanced": attempt.reply.enhanced,
        "text": _text("\n".join(attempt.reply.lines)),
        "from_remote": int(attempt.from_remote),
        "host": attempt.host,
        "ip": attempt.ip,
        "tls": attempt.tls,
    }


def _text(text: str) -> str:
    return text[:4096]


_REQUIRES_TLS = prepared(
    select(domains.c.require_tls_out).where(domains.c.name == bindparam("b_name"), domains.c.deleted_at.is_(None))
)


async def requires_tls(tx: Transaction, domain: str) -> bool:
    """Whether mail from a domain of ours may leave only over verified TLS; False for foreign domains."""
    row = await tx.fetch_one(_REQUIRES_TLS, {"b_name": domain})
    return row is not None and bool(row[0])


def message_from_row(row: Row) -> QueuedMessage:
    """Make the value from a row of `queued_messages`."""
    account_id = cast("str | None", row["account_id"])
    ret = cast("str | None", row["ret"])
    return QueuedMessage(
        id=QueueId(cast(str, row["id"])),
        tenant_id=TenantId(cast(str, row["tenant_id"])),
        account_id=None if account_id is None else AccountId(account_id),
        origin=Origin(cast(str, row["origin"])),
        sender=cast(str, row["sender"]),
        blob_id=BlobId(cast(str, row["blob_id"])),
        prefix=cast(bytes, row["prefix"]),
        size_octets=cast(int, row["size_octets"]),
        message_id_header=cast("str | None", row["message_id_header"]),
        subject=cast(str, row["subject"]),
        trace_id=TraceId(cast(str, row["trace_id"])),
        smtputf8=bool(row["smtputf8"]),
        body_8bit=bool(row["body_8bit"]),
        ret=None if ret is None else Ret(ret),
        envid=cast("str | None", row["envid"]),
        created_at=from_us(cast(int, row["created_at"])),
        expires_at=from_us(cast(int, row["expires_at"])),
    )


def recipient_from_row(row: Row) -> QueuedRecipient:
    """Make the value from a row of `queued_recipients`."""
    notify = cast(str, row["notify"])
    return QueuedRecipient(
        id=DeliveryId(cast(str, row["id"])),
        queue_id=QueueId(cast(str, row["queue_id"])),
        tenant_id=TenantId(cast(str, row["tenant_id"])),
        recipient=cast(str, row["recipient"]),
        domain=cast(str, row["domain"]),
        kind=DeliveryKind(cast(str, row["kind"])),
        status=DeliveryStatus(cast(str, row["status"])),
        hold_reason=cast(str, row["hold_reason"]),
        attempts=cast(int, row["attempts"]),
        due_at=from_us(cast(int, row["due_at"])),
        lease_until=from_us(cast("int | None", row["lease_until"])),
        notify=frozenset(Notify(word) for word in notify.split(",")) if notify else frozenset(),
        orcpt=cast("str | None", row["orcpt"]),
        warned=bool(row["warned"]),
        last_reply=cast(str, row["last_reply"]),
        last_host=cast(str, row["last_host"]),
    )


def attempt_from_row(row: Row) -> Attempt:
    """Make the value from a row of `attempts`."""
    return Attempt(
        status=DeliveryStatus(cast(str, row["status"])),
        reply=Reply(
            code=cast(int, row["code"]),
            enhanced=cast(str, row["enhanced"]),
            lines=tuple(cast(str, row["text"]).split("\n")),
        ),
        from_remote=bool(row["from_remote"]),
        host=cast(str, row["host"]),
        ip=cast(str, row["ip"]),
        tls=cast(str, row["tls"]),
        started_at=from_us(cast(int, row["started_at"])),
        duration_ms=cast(int, row["duration_ms"]),
    )
