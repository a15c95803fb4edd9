"""The last step of every local delivery: one blob, message rows for all recipients, forwards as queue rows.

- All of it is written in the caller's transaction: one message, one blob, one commit, one 250 (architecture.md §4).
- Accounts are taken in the order of their ids, so that two deliveries never wait for each other's rows.
- The received octets are stored as they came; the trace fields are the row's prefix.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from server.domain.address import Address
from server.domain.changes import TraceEvent
from server.domain.envelope import Envelope, ReversePath
from server.domain.ids import DeliveryId, QueueId, TenantId, TraceId, new_id
from server.domain.message import Blob, Rendered, SpecialUse
from server.domain.queue import DeliveryKind, DeliveryStatus, Origin, QueuedMessage, QueuedRecipient
from server.services.mailstore.append import append_in
from server.services.reception.prefix import delivered_to, return_path
from server.services.reception.routing import LocalTarget
from server.store.repositories import blobs, queue
from server.store.transaction import Transaction

JUNK = "$Junk"
"""The keyword that sends a message to the Junk mailbox."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """A message on its way to an outside address; `by` is the local address that sends it on."""

    target: Address
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One message with everywhere it goes.

    Attributes:
        blob_is_new: Whether the blob's row is still to be written.
        trace_fields: Received, Authentication-Results and the like, shared by all recipients.
        check_quota: Whether a full account refuses it: only while the sender can still be told.
        sender_is_genuine: Whether the reverse-path may get a DSN of ours: shown by AUTH, SPF or DMARC (product.md R4).
        keywords: Set on every stored copy; `$Junk` chooses the mailbox.
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

    @property
    def reverse_path(self) -> ReversePath:
        return self.envelope.reverse_path


async def deliver_in(tx: Transaction, delivery: Delivery) -> None:
    """Store every copy and queue every forward, with an event for each."""
    if delivery.blob_is_new:
        await blobs.insert(tx, delivery.blob)
    path = return_path(delivery.reverse_path)
    role = SpecialUse.JUNK if JUNK in delivery.keywords else SpecialUse.INBOX
    for target in sorted(delivery.accounts, key=lambda t: t.account_id):
        stored = await append_in(
            tx,
            account_id=target.account_id,
            mailbox=role,
            blob=delivery.blob,
            blob_is_new=False,
            prefix=path + delivered_to(target.address) + delivery.trace_fields,
            rendered=delivery.rendered,
            flags=0,
            keywords=delivery.keywords,
            internal_date=delivery.received_at,
            received_at=delivery.received_at,
            trace_id=delivery.trace_id,
            check_quota=delivery.check_quota,
        )
        where = "Junk" if role is SpecialUse.JUNK else "INBOX"
        tx.record(
            TraceEvent(
                type="message.stored",
                component="delivery",
                verdict="stored",
                detail=f"stored in {where} of {target.address}",
                tenant_id=target.tenant_id,
                account_id=target.account_id,
                trace_id=delivery.trace_id,
                recipient=target.address.lower(),
                data={"mailbox": where, "uid": stored.uid, "message_id": stored.message_id},
            )
        )
    if delivery.forwards:
        await _forward(tx, delivery)


async def _forward(tx: Transaction, delivery: Delivery) -> None:
    """Queue the message for outside addresses, by one submission for each local address that forwards."""
    for by in dict.fromkeys(forward.by for forward in delivery.forwards):
        targets = [forward.target for forward in delivery.forwards if forward.by == by]
        message = _forwarded(delivery, by)
        await queue.enqueue(tx, message, [_recipient(message, target) for target in targets])
        for target in targets:
            tx.record(
                TraceEvent(
                    type="submission.accepted",
                    component="delivery",
                    verdict="forwarded",
                    detail=f"{by} forwards to {target}: queued",
                    tenant_id=delivery.tenant_id,
                    trace_id=delivery.trace_id,
                    queue_id=message.id,
                    sender=message.sender.lower(),
                    recipient=target.key,
                )
            )


def _forwarded(delivery: Delivery, by: str) -> QueuedMessage:
    envelope = delivery.envelope
    return QueuedMessage(
        id=QueueId(new_id()),
        tenant_id=delivery.tenant_id,
        account_id=None,
        origin=Origin.FORWARD,
        sender=_forward_sender(delivery, by),
        blob_id=delivery.blob.id,
        prefix=delivered_to(by) + delivery.trace_fields,
        size_octets=delivery.blob.size_octets + len(delivery.trace_fields),
        message_id_header=delivery.rendered.message_id_header,
        subject=delivery.rendered.subject,
        trace_id=delivery.trace_id,
        smtputf8=envelope.smtputf8,
        body_8bit=envelope.body_8bit,
        ret=envelope.ret,
        envid=envelope.envid,
        created_at=delivery.received_at,
        expires_at=delivery.received_at + delivery.expire_after,
    )


def _forward_sender(delivery: Delivery, by: str) -> str:
    """Who hears of a forward that fails: the sender if it is certainly the sender, else our own postmaster.

    A forged reverse-path must not get a DSN, and a mail that can't go on must not vanish (product.md R2, R4).
    """
    if delivery.reverse_path is None:
        return ""
    if delivery.sender_is_genuine:
        return str(delivery.reverse_path)
    return f"postmaster@{by.rpartition('@')[2]}"


def _recipient(message: QueuedMessage, target: Address) -> QueuedRecipient:
    return QueuedRecipient(
        id=DeliveryId(new_id()),
        queue_id=message.id,
        tenant_id=message.tenant_id,
        recipient=str(target),
        domain=target.domain,
        kind=DeliveryKind.FORWARD,
        status=DeliveryStatus.QUEUED,
        hold_reason="",
        attempts=0,
        due_at=message.created_at,
        lease_until=None,
        notify=frozenset(),
        orcpt=None,
        warned=False,
        last_reply="",
        last_host="",
    )
