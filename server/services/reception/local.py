"""Delivery of queued mail into our own mailboxes: what one of us sends to another, and DSNs.

- Recipients are resolved anew at each try: what was held or deferred follows the directory of today.
- The runner stores the result together with the attempts that tell of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial

from server.config.schema import Settings
from server.domain.address import Address
from server.domain.envelope import Envelope, Recipient
from server.domain.errors import Unavailable
from server.domain.message import CONTENT_RAM_MAX
from server.domain.ports import BlobStore, Clock, Worker
from server.domain.queue import QueuedMessage, QueuedRecipient
from server.domain.reply import Reply
from server.protocol.mime.render import render
from server.protocol.smtp.address import AddressSyntaxError, parse_address
from server.services.queue.local import Prepared
from server.services.reception.deliver import Delivery, Forward, deliver_in
from server.services.reception.routing import UNKNOWN, LocalTarget, Routing
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
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._routing = routing
        self._worker = worker
        self._clock = clock
        self._settings = settings

    async def prepare(self, message: QueuedMessage, recipients: Sequence[QueuedRecipient]) -> Prepared:
        """Resolve the recipients and ready the message. Raises Unavailable when its octets can't be read."""
        self._blobs.check_space()
        refusals: list[Reply | None] = []
        accounts: dict[str, LocalTarget] = {}
        forwards: list[Forward] = []
        for recipient in recipients:
            address = _parsed(recipient.recipient)
            route = None if address is None else await self._routing.resolve(address, authenticated=True)
            refusals.append(UNKNOWN if route is None else route.refusal)
            if route is not None and route.refusal is None:
                for target in route.accounts:
                    accounts.setdefault(target.account_id, target)
                forwards += [Forward(target=target, by=recipient.recipient) for target in route.forwards]
        if not (accounts or forwards):
            return Prepared(refusals=tuple(refusals), store=None)
        delivery = await self._delivery(message, recipients, tuple(accounts.values()), tuple(forwards))
        return Prepared(refusals=tuple(refusals), store=partial(deliver_in, delivery=delivery))

    async def _delivery(
        self,
        message: QueuedMessage,
        recipients: Sequence[QueuedRecipient],
        accounts: tuple[LocalTarget, ...],
        forwards: tuple[Forward, ...],
    ) -> Delivery:
        blob = await self._database.read("local.blob", lambda tx: blobs.get(tx, message.blob_id))
        if blob is None:
            raise Unavailable("the message can't be read now")
        octets = await self._blobs.read(blob)
        if len(octets) <= CONTENT_RAM_MAX:
            rendered = render(octets)
        else:
            rendered = await self._worker.run(lambda: render(octets))
        return Delivery(
            envelope=_envelope(message, recipients),
            tenant_id=message.tenant_id,
            trace_id=message.trace_id,
            blob=blob,
            blob_is_new=False,
            trace_fields=message.prefix,
            rendered=rendered,
            accounts=accounts,
            forwards=forwards,
            check_quota=len(accounts) == 1 and not forwards,
            sender_is_genuine=True,
            received_at=self._clock.now(),
            expire_after=timedelta(seconds=self._settings().queue.expire_after),
        )


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
