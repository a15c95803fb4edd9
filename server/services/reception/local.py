"""Delivery of queued mail into our own mailboxes: what one of us sends to another, and DSNs.

- Recipients are resolved anew at each try: what was held or deferred follows the directory of today.
- The runner stores the result together with the attempts that tell of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from server.config.schema import Settings
from server.domain.address import Address
from server.domain.envelope import Envelope, Recipient
from server.domain.errors import Unavailable
from server.domain.ids import AccountId
from server.domain.message import CONTENT_RAM_MAX, Blob
from server.domain.ports import BlobStore, Clock, Worker
from server.domain.queue import QueuedMessage, QueuedRecipient
from server.domain.reply import Reply
from server.protocol.mime.render import render
from server.protocol.smtp.address import AddressSyntaxError, parse_address
from server.services.queue.local import Prepared
from server.services.reception.deliver import deliver_in
from server.services.reception.delivery import Delivery, Forward, TargetPlan
from server.services.reception.filtering import DeliveryFilter, Mail, needs_filter, rejected_by_all
from server.services.reception.routing import UNKNOWN, Route, Routing
from server.store.database import Database
from server.store.repositories import blobs


class LocalDeliverer:
    """The mailstore as the queue sees it."""

    def __init__(
        self,
        *,
        database: Database,
        blobs: BlobStore,
        routing: Routing,
        worker: Worker,
        clock: Clock,
        settings: Callable[[], Settings],
        filters: DeliveryFilter | None = None,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._routing = routing
        self._worker = worker
        self._clock = clock
        self._settings = settings
        self._filters = filters

    async def prepare(self, message: QueuedMessage, recipients: Sequence[QueuedRecipient]) -> Prepared:
        """Resolve the recipients and ready the message. Raises Unavailable when its octets can't be read."""
        self._blobs.check_space()
        routes = [await self._route(recipient) for recipient in recipients]
        mail = await self._read(message, recipients)
        accounts = {target.account_id: target for route in routes for target in route.accounts}
        plans: dict[AccountId, TargetPlan] = {}
        refusals = [route.refusal for route in routes]
        if self._filters is not None and needs_filter(accounts.values()):
            plans = await self._filters.plans(mail.mail, accounts.values())
            if message.sender:
                # The sender is one of us, or was one of us when it was sent on: a refusal is told by the queue.
                refusals = [route.refusal or _rejected(route, plans) for route in routes]
        taken = [route for route, refusal in zip(routes, refusals, strict=True) if refusal is None]
        accounts = {target.account_id: target for route in taken for target in route.accounts}
        forwards = [
            Forward(target=target, by=recipient.recipient)
            for recipient, route, refusal in zip(recipients, routes, refusals, strict=True)
            if refusal is None
            for target in route.forwards
        ]
        if not (accounts or forwards):
            return Prepared(refusals=tuple(refusals), store=None)
        if self._filters is not None and plans:
            plans = await self._filters.notices(mail.mail, accounts.values(), plans)
        delivery = Delivery(
            envelope=mail.mail.envelope,
            tenant_id=message.tenant_id,
            trace_id=message.trace_id,
            blob=mail.blob,
            blob_is_new=False,
            trace_fields=message.prefix,
            rendered=mail.mail.rendered,
            accounts=tuple(accounts.values()),
            forwards=tuple(forwards),
            check_quota=len(accounts) == 1 and not forwards,
            sender_is_genuine=True,
            received_at=mail.mail.received_at,
            expire_after=timedelta(seconds=self._settings().queue.expire_after),
            plans=plans,
        )
        store = partial(deliver_in, delivery=delivery)
        return Prepared(refusals=tuple(refusals), store=store, sends_on=delivery.sends_on)

    async def _route(self, recipient: QueuedRecipient) -> Route:
        address = _parsed(recipient.recipient)
        if address is None:
            return Route(local=True, refusal=UNKNOWN)
        return await self._routing.resolve(address, authenticated=True)

    async def _read(self, message: QueuedMessage, recipients: Sequence[QueuedRecipient]) -> _Readied:
        blob = await self._database.read("local.blob", lambda tx: blobs.get(tx, message.blob_id))
        if blob is None:
            raise Unavailable("the message can't be read now")
        octets = await self._blobs.read(blob)
        if len(octets) <= CONTENT_RAM_MAX:
            rendered = render(octets)
        else:
            rendered = await self._worker.run(lambda: render(octets))
        mail = Mail(
            envelope=_envelope(message, recipients),
            octets=octets,
            trace_fields=message.prefix,
            rendered=rendered,
            tenant_id=message.tenant_id,
            trace_id=message.trace_id,
            received_at=self._clock.now(),
            sender_is_genuine=True,
        )
        return _Readied(blob=blob, mail=mail)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Readied:
    """A queued message with its octets."""

    blob: Blob
    mail: Mail


def _rejected(route: Route, plans: dict[AccountId, TargetPlan]) -> Reply | None:
    """The refusal of a recipient all of whose accounts reject the mail."""
    return None if route.forwards or not route.accounts else rejected_by_all(plans, route.accounts)


def _envelope(message: QueuedMessage, recipients: Sequence[QueuedRecipient]) -> Envelope:
    addresses = [_parsed(recipient.recipient) for recipient in recipients]
    return Envelope(
        reverse_path=_parsed(message.sender) if message.sender else None,
        recipients=tuple(Recipient(address=address) for address in addresses if address is not None),
        smtputf8=message.smtputf8,
        body_8bit=message.body_8bit,
        ret=message.ret,
        envid=message.envid,
    )


def _parsed(text: str) -> Address | None:
    try:
        return parse_address(text)
    except AddressSyntaxError:
        return None
