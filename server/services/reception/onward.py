"""Queue rows of mail that goes on: aliases' forwards, accounts' forwards, redirects of scripts.

- Each carries Delivered-To of the address that sent it on, by which it is known again (RFC 9228 §4).
- Who hears of a failure: the sender if it is certainly the sender, else our own postmaster (product.md R2, R4).
"""

from __future__ import annotations

from collections.abc import Sequence

from server.domain.address import Address
from server.domain.changes import TraceEvent
from server.domain.ids import AccountId, DeliveryId, QueueId, new_id
from server.domain.message import Blob
from server.domain.queue import DeliveryKind, DeliveryStatus, Origin, QueuedMessage, QueuedRecipient
from server.services.reception.delivery import Delivery, Redirection
from server.services.reception.prefix import delivered_to
from server.services.reception.routing import LocalTarget
from server.store.repositories import queue
from server.store.transaction import Transaction


async def forward_in(tx: Transaction, delivery: Delivery) -> None:
    """Queue the message for outside addresses, by one submission for each local address that forwards."""
    for by in dict.fromkeys(forward.by for forward in delivery.forwards):
        targets = [forward.target for forward in delivery.forwards if forward.by == by]
        message = _message(delivery, by, delivery.blob, None)
        await queue.enqueue(tx, message, [_recipient(message, target, DeliveryKind.FORWARD) for target in targets])
        _tell(tx, delivery, message, by, targets)


async def redirect_in(
    tx: Transaction, delivery: Delivery, target: LocalTarget, redirections: Sequence[Redirection]
) -> None:
    """Queue what an account sends on, one submission for each."""
    for one in redirections:
        blob = delivery.blob if one.octets is None else one.octets.blob
        message = _message(delivery, target.address, blob, target.account_id)
        kind = DeliveryKind.LOCAL if one.local else DeliveryKind.FORWARD
        await queue.enqueue(tx, message, [_recipient(message, one.target, kind)])
        _tell(tx, delivery, message, target.address, [one.target])


def _tell(tx: Transaction, delivery: Delivery, message: QueuedMessage, by: str, targets: Sequence[Address]) -> None:
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


def _message(delivery: Delivery, by: str, blob: Blob, account_id: AccountId | None) -> QueuedMessage:
    envelope = delivery.envelope
    return QueuedMessage(
        id=QueueId(new_id()),
        tenant_id=delivery.tenant_id,
        account_id=account_id,
        origin=Origin.FORWARD,
        sender=_sender(delivery, by),
        blob_id=blob.id,
        prefix=delivered_to(by) + delivery.trace_fields,
        size_octets=blob.size_octets + len(delivery.trace_fields),
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


def _sender(delivery: Delivery, by: str) -> str:
    """A forged reverse-path must not get a DSN, and a mail that can't go on must not vanish."""
    if delivery.reverse_path is None:
        return ""
    if delivery.sender_is_genuine:
        return str(delivery.reverse_path)
    return f"postmaster@{by.rpartition('@')[2]}"


def _recipient(message: QueuedMessage, target: Address, kind: DeliveryKind) -> QueuedRecipient:
    return QueuedRecipient(
        id=DeliveryId(new_id()),
        queue_id=message.id,
        tenant_id=message.tenant_id,
        recipient=str(target),
        domain=target.domain,
        kind=kind,
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
