"""The door for mail of our users and of our own: check, complete, sign, queue (RFC 6409).

- Everything leaves through here: SMTP submission, the API, DSNs. Local recipients too go through the queue.
- The sender must own both the reverse-path and every address in From, or be granted to send as their owner
  (product.md 5).
- What is missing is added before signing; after that not an octet changes.
- 250 only after the queue rows, the blob and the trace are committed together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from server.config.schema import Settings
from server.domain.address import Address
from server.domain.changes import Severity, TraceEvent
from server.domain.envelope import ConnectionInfo, Recipient, ReversePath
from server.domain.errors import DiskReserve, Forbidden, InvalidInput, MaiRustError
from server.domain.identity import Principal
from server.domain.ids import AccountId, DeliveryId, QueueId, TraceId, new_id
from server.domain.inbound import Inbound, Submission
from server.domain.message import CONTENT_RAM_MAX, Blob, Content
from server.domain.ports import BlobStore, Clock, Worker
from server.domain.queue import DeliveryKind, DeliveryStatus, Origin, QueuedMessage, QueuedRecipient
from server.domain.reply import Reply, reply
from server.protocol.mime.dates import format_date
from server.protocol.mime.encoded_words import decode_text
from server.protocol.mime.headers import HeaderFields, split_header, unfold
from server.protocol.mime.message_ids import parse_message_id
from server.protocol.mime.submission import Author, AuthorProblem, analyse_author, complete_submission
from server.protocol.smtp.address import AddressSyntaxError, parse_address
from server.services.identity.directory import Directory
from server.services.reception.prefix import received
from server.services.reception.routing import Routing
from server.services.reception.sanity import check_header
from server.services.submission.keys import KeyRing
from server.services.submission.sign import Signer, SigningKey
from server.services.trace.refusals import RefusalLog
from server.store.database import Database
from server.store.repositories import blobs, queue, send_grants
from server.store.transaction import Transaction, Unit
from server.telemetry import metrics
from server.telemetry.log import get_logger

log = get_logger("submission")

ACCEPT_S = 60.0
"""Hard stop between the final dot and the reply (reliability.md §8)."""

TEMPORARY = reply(451, "4.3.0", "temporary server error; try again later")
NO_SPACE = reply(452, "4.3.1", "insufficient system storage; try again later")
NOT_YOURS = reply(550, "5.7.1", "the From address is not one of yours: use an address of your account")
BAD_FROM = reply(550, "5.6.0", "the From field holds no address that every program reads alike")


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """What a submission became."""

    queue_id: QueueId
    trace_id: TraceId
    message_id_header: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A message that is complete and signed; `insert` queues it within a unit of work."""

    message: QueuedMessage
    insert: Unit[None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """How a submission reached us, as the trace tells it."""

    component: str
    detail: str
    remote_ip: str | None = None


class SubmissionService:
    """Takes submissions into the queue."""

    def __init__(
        self,
        *,
        database: Database,
        blobs: BlobStore,
        directory: Directory,
        routing: Routing,
        keys: KeyRing,
        signer: Signer,
        refusals: RefusalLog,
        worker: Worker,
        clock: Clock,
        settings: Callable[[], Settings],
        wake_queue: Callable[[], None],
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._directory = directory
        self._routing = routing
        self._keys = keys
        self._signer = signer
        self._refusals = refusals
        self._worker = worker
        self._clock = clock
        self._settings = settings
        self._wake_queue = wake_queue

    async def sender_allowed(self, principal: Principal, address: ReversePath) -> bool:
        """Whether the login may send as `address`; the null reverse-path is for receipts and always allowed."""
        return address is None or await self.may_send_as(principal.account_id, address)

    async def may_send_as(self, account_id: AccountId, address: Address) -> bool:
        """Whether the account owns the address, also under a subaddress or a second name of its domain, or was granted
        to send as the account that does."""
        return await self._owns(account_id, address) or await self._granted(account_id, address)

    async def _owns(self, account_id: AccountId, address: Address) -> bool:
        account = await self._directory.account(account_id)
        if account is None:
            return False
        entry = await self._directory.lookup(address)
        if entry.domain is None:
            return False
        owned = set(account.addresses)
        if entry.address.key in owned:
            return True
        base = self._base(entry.address)
        return base is not None and base.key in owned

    async def _granted(self, grantee_id: AccountId, address: Address) -> bool:
        """Whether a grant holds now: it is read anew each time, so that a revoked one is refused at once."""
        entry = await self._directory.lookup(address)
        owner = entry.account
        if owner is None and entry.alias is None and (base := self._base(entry.address)) is not None:
            owner = (await self._directory.lookup(base)).account
        if owner is None:
            return False
        owner_id = owner.id
        return await self._database.read("submission.grant", lambda tx: send_grants.holds(tx, owner_id, grantee_id))

    def _base(self, address: Address) -> Address | None:
        """The address without its subaddress (RFC 5233), None when it has none."""
        separator = self._settings().smtp.subaddress_separator
        base, found, _detail = address.local.partition(separator) if separator else ("", "", "")
        return Address(base, address.domain) if base and found else None

    async def _sent_as(self, account_id: AccountId, addresses: Iterable[Address]) -> str:
        """For the trace: ` as ` and those of the addresses that are another's, empty when all are the account's own."""
        foreign = [address.key for address in addresses if not await self._owns(account_id, address)]
        return f" as {', '.join(dict.fromkeys(foreign))}" if foreign else ""

    async def recipient(
        self, connection: ConnectionInfo, principal: Principal, reverse_path: ReversePath, address: Address
    ) -> Reply | None:
        """Refuse a recipient of ours that does not exist, or None; outside addresses are all accepted."""
        try:
            self._blobs.check_space()
            route = await self._routing.resolve(address, authenticated=True)
        except DiskReserve:
            refusal: Reply | None = NO_SPACE
        except MaiRustError:
            refusal = TEMPORARY
        else:
            refusal = route.refusal if route.local else None
        if refusal is not None:
            self._refused(connection, refusal, "RCPT", reverse_path, address, principal)
        return refusal

    async def accept(self, inbound: Inbound, principal: Principal) -> Reply:
        """Take a message after its final dot; a success only after the commit. Never raises but CancelledError."""
        try:
            async with asyncio.timeout(ACCEPT_S):
                return await self._accept(inbound, principal)
        except DiskReserve:
            answer = NO_SPACE
        except InvalidInput as error:
            answer = reply(550, "5.6.0", error.public)
        except (MaiRustError, TimeoutError) as error:
            log.warning("submission.deferred", reason=str(error)[:200])
            answer = TEMPORARY
        except Exception as error:
            log.exception("submission.failed", error, connection_id=inbound.connection.connection_id)
            answer = TEMPORARY
        finally:
            if inbound.content.spool_key is not None:
                await self._discard(inbound.content)
        return self._refuse_message(inbound, principal, answer)

    async def _discard(self, content: Content) -> None:
        try:
            await self._blobs.discard(content)
        except MaiRustError as error:
            log.warning("submission.spool_left", reason=error.public)

    async def _accept(self, inbound: Inbound, principal: Principal) -> Reply:
        settings = self._settings()
        fields = split_header(inbound.content.head)
        authors = authors_of(analyse_author(fields))
        refusal = check_header(fields, max_hops=settings.smtp.max_hops) or await self._check_authors(authors, principal)
        if refusal is not None:
            return self._refuse_message(inbound, principal, refusal)
        trace_id = TraceId(new_id())
        octets = await self._blobs.read_content(inbound.content)
        completed = await self._completed(octets, inbound, trace_id)
        field = received(
            inbound.connection,
            hostname=settings.server.hostname,
            trace_id=trace_id,
            instant=inbound.received_at,
            recipient=None,
            authenticated=True,
            smtputf8=inbound.envelope.smtputf8,
        )
        content = inbound.content if completed is octets else await self._blobs.content(completed)
        submission = Submission(
            tenant_id=principal.tenant_id,
            account_id=principal.account_id,
            origin=Origin.SMTP,
            envelope=inbound.envelope,
            content=content,
            trace_id=trace_id,
            prefix=field,
            signing_domain=await self._signing_domain(authors[0]),
        )
        connection = inbound.connection
        tls = connection.tls.version if connection.tls else "no TLS"
        path = inbound.envelope.reverse_path
        used = authors if path is None else (path, *authors)
        sent_as = await self._sent_as(principal.account_id, used)
        source = _Source(
            component=connection.listener,
            detail=f"{principal.address}{sent_as} from {connection.remote_ip}, port {connection.local_port}, {tls}",
            remote_ip=connection.remote_ip,
        )
        try:
            submitted = await self._queue(submission, completed, source)
        finally:
            if content is not inbound.content:
                await self._discard(content)
        return reply(250, "2.0.0", f"queued as {submitted.queue_id}")

    async def _check_authors(self, authors: tuple[Address, ...], principal: Principal) -> Reply | None:
        if not authors:
            return BAD_FROM
        for address in authors:
            if not await self.may_send_as(principal.account_id, address):
                return NOT_YOURS
        return None

    async def _signing_domain(self, author: Address) -> str | None:
        """The domain whose keys sign for an author: a second name signs with the keys of its domain."""
        facts = await self._directory.domain(author.domain)
        return None if facts is None else facts.domain.name

    async def _completed(self, octets: bytes, inbound: Inbound, trace_id: TraceId) -> bytes:
        settings = self._settings()
        date = message_id = None
        if settings.submission.add_missing:
            date = format_date(inbound.received_at)
            message_id = f"<{trace_id}@{settings.server.hostname}>".encode()
        if len(octets) <= CONTENT_RAM_MAX:
            return complete_submission(octets, date=date, message_id=message_id)
        return await self._worker.run(lambda: complete_submission(octets, date=date, message_id=message_id))

    async def submit(self, submission: Submission) -> Submitted:
        """Queue a message of the API or of our own, complete as it is.

        Raises:
            Forbidden: The account may not send as that reverse-path.
            DiskReserve, Unavailable: Nothing was queued; try again.
        """
        self._blobs.check_space()
        account_id, path = submission.account_id, submission.envelope.reverse_path
        sent_as = ""
        if account_id is not None and path is not None:
            if not await self.may_send_as(account_id, path):
                raise Forbidden("the sender address is not one of the account's", code="sender_not_allowed")
            if sent_as := await self._sent_as(account_id, (path,)):
                account = await self._directory.account(account_id)
                sent_as = f", {account.address if account is not None else account_id}{sent_as}"
        octets = await self._blobs.read_content(submission.content)
        detail = (
            "a delivery status notification" if submission.origin is Origin.DSN else f"by {submission.origin}{sent_as}"
        )
        return await self._queue(submission, octets, _Source(component=str(submission.origin), detail=detail))

    async def prepare(self, submission: Submission, *, detail: str) -> Prepared:
        """Ready a message of our own, to be queued in a transaction of the caller's: answers and notices of a delivery.

        Raises:
            DiskReserve, Unavailable: It can't be made now.
        """
        octets = await self._blobs.read_content(submission.content)
        return await self._prepare(submission, octets, _Source(component=str(submission.origin), detail=detail))

    async def _queue(self, submission: Submission, octets: bytes, source: _Source) -> Submitted:
        made = await self._prepare(submission, octets, source)
        await self._database.write("submission.queue", made.insert)
        metrics.OUTBOUND.labels(str(submission.origin)).inc()
        self._wake_queue()
        message = made.message
        return Submitted(queue_id=message.id, trace_id=message.trace_id, message_id_header=message.message_id_header)

    async def _prepare(self, submission: Submission, octets: bytes, source: _Source) -> Prepared:
        keys = await self._signing_keys(submission)
        signature = await self._signer.sign(octets=octets, keys=keys) if keys else b""
        settings = self._settings()
        now = self._clock.now()
        fields = split_header(octets)
        message = QueuedMessage(
            id=QueueId(new_id()),
            tenant_id=submission.tenant_id,
            account_id=submission.account_id,
            origin=submission.origin,
            sender="" if submission.envelope.reverse_path is None else str(submission.envelope.reverse_path),
            blob_id=(blob := await self._blobs.place(submission.content)).id,
            prefix=signature + submission.prefix,
            size_octets=len(signature) + len(submission.prefix) + blob.size_octets,
            message_id_header=_message_id(fields),
            subject=_subject(fields),
            trace_id=submission.trace_id or TraceId(new_id()),
            smtputf8=submission.envelope.smtputf8,
            body_8bit=submission.envelope.body_8bit or not octets.isascii(),
            ret=submission.envelope.ret,
            envid=submission.envelope.envid,
            created_at=now,
            expires_at=now + timedelta(seconds=settings.queue.expire_after),
        )
        recipients = [
            await self._delivery(message, recipient, submission.hold_reason, now)
            for recipient in submission.envelope.recipients
        ]

        async def insert(tx: Transaction) -> None:
            await _enqueue(tx, message, recipients, blob, source, keys, submission.hold_reason)

        return Prepared(message=message, insert=insert)

    async def _signing_keys(self, submission: Submission) -> tuple[SigningKey, ...]:
        return tuple(await self._keys.keys(submission.signing_domain)) if submission.signing_domain else ()

    async def _delivery(
        self, message: QueuedMessage, recipient: Recipient, hold_reason: str, now: datetime
    ) -> QueuedRecipient:
        local = await self._routing.is_local(recipient.address.domain)
        return QueuedRecipient(
            id=DeliveryId(new_id()),
            queue_id=message.id,
            tenant_id=message.tenant_id,
            recipient=str(recipient.address),
            domain=recipient.address.domain,
            kind=DeliveryKind.LOCAL if local else DeliveryKind.REMOTE,
            status=DeliveryStatus.HELD if hold_reason else DeliveryStatus.QUEUED,
            hold_reason=hold_reason,
            attempts=0,
            due_at=now,
            lease_until=None,
            notify=recipient.notify,
            orcpt=recipient.orcpt,
            warned=False,
            last_reply="",
            last_host="",
        )

    def _refuse_message(self, inbound: Inbound, principal: Principal, answer: Reply) -> Reply:
        for recipient in inbound.envelope.recipients[:50]:
            self._refused(
                inbound.connection, answer, "DATA", inbound.envelope.reverse_path, recipient.address, principal
            )
        return answer

    def _refused(
        self,
        connection: ConnectionInfo,
        answer: Reply,
        stage: str,
        reverse_path: ReversePath,
        recipient: Address,
        principal: Principal,
    ) -> None:
        self._refusals.add(
            TraceEvent(
                type="message.refused",
                component=connection.listener,
                verdict="refused" if answer.is_permanent else "deferred",
                detail=f"{stage} of {principal.address} from {connection.remote_ip} was answered",
                reply=answer.text,
                severity=Severity.WARNING,
                tenant_id=principal.tenant_id,
                account_id=principal.account_id,
                sender=None if reverse_path is None else reverse_path.key,
                recipient=recipient.key,
                remote_ip=connection.remote_ip,
                data={"stage": stage, "connection_id": connection.connection_id},
            )
        )


async def _enqueue(
    tx: Transaction,
    message: QueuedMessage,
    recipients: list[QueuedRecipient],
    blob: Blob,
    source: _Source,
    keys: tuple[SigningKey, ...],
    hold_reason: str,
) -> None:
    """Write a submission: blob row, queue rows and the first lines of its trace."""
    await blobs.insert(tx, blob)
    await queue.enqueue(tx, message, recipients)
    for recipient in recipients:
        tx.record(_accepted(message, recipient, source, hold_reason))
    if keys:
        tx.record(
            TraceEvent(
                type="submission.signed",
                component="dkim",
                verdict="signed",
                detail=f"with {', '.join(key.selector for key in keys)} of {keys[0].domain}",
                tenant_id=message.tenant_id,
                trace_id=message.trace_id,
                queue_id=message.id,
            )
        )


def _accepted(message: QueuedMessage, recipient: QueuedRecipient, source: _Source, hold_reason: str) -> TraceEvent:
    return TraceEvent(
        type="submission.held" if hold_reason else "submission.accepted",
        component=source.component,
        verdict="held" if hold_reason else "accepted",
        detail=f"{source.detail}, for {recipient.recipient}" + (f": {hold_reason}" if hold_reason else ""),
        tenant_id=message.tenant_id,
        account_id=message.account_id,
        trace_id=message.trace_id,
        queue_id=message.id,
        message_id_header=message.message_id_header,
        subject=message.subject,
        sender=message.sender.lower(),
        recipient=recipient.recipient.lower(),
        remote_ip=source.remote_ip,
        data={"delivery_id": recipient.id, "size_octets": message.size_octets},
    )


def _message_id(fields: HeaderFields) -> str | None:
    value = fields.first(b"message-id")
    found = None if value is None else parse_message_id(value)
    return None if found is None else found.decode("utf-8", "replace")


def _subject(fields: HeaderFields) -> str:
    value = fields.first(b"subject")
    return "" if value is None else decode_text(unfold(value))[:998]


def authors_of(author: Author) -> tuple[Address, ...]:
    """Every address in From, or none when programs could read the field differently."""
    if author.problem in (AuthorProblem.MISSING, AuthorProblem.REPEATED, AuthorProblem.UNCLEAR):
        return ()
    try:
        return tuple(parse_address(f"{mailbox.local}@{mailbox.domain}") for mailbox in author.mailboxes)
    except AddressSyntaxError:
        return ()
