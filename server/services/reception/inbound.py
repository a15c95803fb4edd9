"""The door for mail from the world: decide, then store, then answer.

- A recipient is refused at RCPT, a message after its final dot; what was accepted is in the database when the sender
  hears 250 (R1, R4). Our own fault is always a 4xx (P4).
- Checks run before anything is stored and return verdicts; the strictest wins. A crashed check defers.
- Every accept and refusal is an event; an accept's events are written with the mail.

RFC 5321 §3.3, §4.2, §6.3 (loops); RFC 3463.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta

from server.config.schema import Settings
from server.domain.address import Address
from server.domain.changes import Severity, TraceEvent
from server.domain.envelope import ConnectionInfo, Recipient, ReversePath
from server.domain.errors import DiskReserve, MaiRustError, OverQuota
from server.domain.ids import AccountId, TenantId, TraceId, new_id
from server.domain.inbound import Inbound
from server.domain.message import CONTENT_RAM_MAX, Rendered
from server.domain.ports import BlobStore, Worker
from server.domain.reply import Reply, reply
from server.domain.verdict import Action, Verdict, strictest
from server.protocol.emailauth.result import Result
from server.protocol.mime.headers import HeaderFields, split_header
from server.protocol.mime.render import render
from server.services.reception.authenticate import Authenticator, AuthResults, dmarc_verdict
from server.services.reception.deliver import deliver_in
from server.services.reception.delivery import JUNK, Delivery, Forward, TargetPlan
from server.services.reception.filtering import DeliveryFilter, Mail, needs_filter, rejected_by_all
from server.services.reception.prefix import received
from server.services.reception.routing import LocalTarget, Route, Routing
from server.services.reception.sanity import check_header
from server.services.trace.refusals import RefusalLog
from server.store.database import Database
from server.store.transaction import Transaction
from server.telemetry import metrics
from server.telemetry.log import get_logger

log = get_logger("reception")

RECEIVE_S = 60.0
"""Hard stop between the final dot and the reply (reliability.md §8)."""

TEMPORARY = reply(451, "4.3.0", "temporary server error; try again later")
NO_SPACE = reply(452, "4.3.1", "insufficient system storage; try again later")
QUOTA_EXCEEDED = reply(552, "5.2.2", "the message does not fit into the mailbox: its quota is used up")

_AUTHENTICATE_S = metrics.SMTP_DURATION.labels("authenticate")
_COMMIT_S = metrics.SMTP_DURATION.labels("commit")


class Reception:
    """Mail from the world."""

    def __init__(
        self,
        *,
        database: Database,
        blobs: BlobStore,
        routing: Routing,
        authenticator: Authenticator,
        refusals: RefusalLog,
        worker: Worker,
        settings: Callable[[], Settings],
        wake_queue: Callable[[], None],
        filters: DeliveryFilter | None = None,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._routing = routing
        self._authenticator = authenticator
        self._refusals = refusals
        self._worker = worker
        self._settings = settings
        self._wake_queue = wake_queue
        self._filters = filters

    async def begin(self, connection: ConnectionInfo) -> Reply | None:
        """Nothing about a client alone makes us refuse it; limits are the edge's."""
        return None

    async def recipient(self, connection: ConnectionInfo, reverse_path: ReversePath, address: Address) -> Reply | None:
        """Refuse a recipient, or None to accept it."""
        try:
            self._blobs.check_space()
            route = await self._routing.resolve(address)
        except DiskReserve:
            refusal: Reply | None = NO_SPACE
        except MaiRustError:
            refusal = TEMPORARY
        else:
            refusal = route.refusal
        if refusal is not None:
            self.refused(connection, stage="RCPT", reply=refusal, reverse_path=reverse_path, recipient=address)
        return refusal

    def refused(
        self,
        connection: ConnectionInfo,
        *,
        stage: str,
        reply: Reply,
        reverse_path: ReversePath = None,
        recipient: Address | None = None,
    ) -> None:
        """Write a refusal into the trace."""
        self._refusals.add(
            TraceEvent(
                type="message.refused",
                component=connection.listener,
                verdict="refused" if reply.is_permanent else "deferred",
                detail=f"{stage} from {connection.remote_ip} was answered",
                reply=reply.text,
                severity=Severity.WARNING,
                sender=None if reverse_path is None else reverse_path.key,
                recipient=None if recipient is None else recipient.key,
                remote_ip=connection.remote_ip,
                data={"stage": stage, "helo": connection.helo[:255], "connection_id": connection.connection_id},
            )
        )

    async def receive(self, inbound: Inbound) -> Reply:
        """Decide and store a message; a success only after the commit. Never raises but CancelledError."""
        try:
            async with asyncio.timeout(RECEIVE_S):
                return await self._receive(inbound)
        except DiskReserve:
            answer = NO_SPACE
        except OverQuota:
            answer = QUOTA_EXCEEDED
        except (MaiRustError, TimeoutError) as error:
            log.warning("reception.deferred", reason=str(error)[:200], connection_id=inbound.connection.connection_id)
            answer = TEMPORARY
        except Exception as error:
            log.exception("reception.failed", error, connection_id=inbound.connection.connection_id)
            answer = TEMPORARY
        finally:
            if inbound.content.spool_key is not None:
                await self._discard(inbound)
        return self._refuse(inbound, answer)

    async def _discard(self, inbound: Inbound) -> None:
        try:
            await self._blobs.discard(inbound.content)
        except MaiRustError as error:
            log.warning("reception.spool_left", reason=error.public)

    async def _receive(self, inbound: Inbound) -> Reply:
        fields = split_header(inbound.content.head)
        refusal = check_header(fields, max_hops=self._settings().smtp.max_hops)
        if refusal is not None:
            return self._refuse(inbound, refusal)
        routes = [(r, await self._routing.resolve(r.address, check_quota=False)) for r in inbound.envelope.recipients]
        refusal = _loop(fields, routes)
        if refusal is not None:
            return self._refuse(inbound, refusal)
        octets = await self._blobs.read_content(inbound.content)
        started = time.perf_counter()
        results, verdict = await self._judge(inbound, octets, fields)
        _AUTHENTICATE_S.observe(time.perf_counter() - started)
        if verdict.action >= Action.DEFER:
            return self._refuse(inbound, verdict.reply or TEMPORARY, verdict=verdict, results=results)
        rendered = await self._rendered(octets)
        return await self._store(inbound, routes, results, verdict, octets, rendered)

    async def _judge(self, inbound: Inbound, octets: bytes, fields: HeaderFields) -> tuple[AuthResults | None, Verdict]:
        settings = self._settings()
        if not settings.mailauth.enabled:
            return None, strictest([])
        results = await self._authenticator.authenticate(
            connection=inbound.connection, envelope=inbound.envelope, octets=octets, fields=fields
        )
        return results, strictest([dmarc_verdict(results, settings.mailauth.dmarc)])

    async def _rendered(self, octets: bytes) -> Rendered:
        if len(octets) <= CONTENT_RAM_MAX:
            return render(octets)
        return await self._worker.run(lambda: render(octets))

    async def _store(
        self,
        inbound: Inbound,
        routes: list[tuple[Recipient, Route]],
        results: AuthResults | None,
        verdict: Verdict,
        octets: bytes,
        rendered: Rendered,
    ) -> Reply:
        settings = self._settings()
        trace_id = TraceId(new_id())
        accounts: dict[str, LocalTarget] = {}
        forwards: list[Forward] = []
        for recipient, route in routes:
            for target in route.accounts:
                accounts.setdefault(target.account_id, target)
            forwards += [Forward(target=target, by=str(recipient.address)) for target in route.forwards]
        tenant_id = next((route.tenant_id for _, route in routes if route.tenant_id is not None), None)
        if tenant_id is None or not (accounts or forwards):
            # Every recipient was removed between RCPT and the final dot: the sender's next try hears why.
            return self._refuse(inbound, reply(451, "4.2.1", "the recipient has just changed; try again later"))
        trace_fields = self._trace_fields(inbound, results, trace_id)
        genuine = results is not None and results.sender_is_genuine
        plans: dict[AccountId, TargetPlan] = {}
        if self._filters is not None and needs_filter(accounts.values()):
            mail = Mail(
                envelope=inbound.envelope,
                octets=octets,
                trace_fields=trace_fields,
                rendered=rendered,
                tenant_id=tenant_id,
                trace_id=trace_id,
                received_at=inbound.received_at,
                remote_ip=inbound.connection.remote_ip,
                junk=JUNK in verdict.keywords,
                doubtful=results is not None and results.dmarc.result is Result.FAIL,
                sender_is_genuine=genuine,
            )
            plans = await self._filters.plans(mail, accounts.values())
            rejected = rejected_by_all(plans, accounts.values())
            if rejected is not None and not forwards:
                return self._refuse(inbound, rejected, results=results)
            plans = await self._filters.notices(mail, accounts.values(), plans)
        delivery = Delivery(
            envelope=inbound.envelope,
            tenant_id=tenant_id,
            trace_id=trace_id,
            blob=await self._blobs.place(inbound.content),
            blob_is_new=True,
            trace_fields=trace_fields,
            rendered=rendered,
            accounts=tuple(accounts.values()),
            forwards=tuple(forwards),
            keywords=verdict.keywords,
            check_quota=len(accounts) == 1 and not forwards,
            sender_is_genuine=genuine,
            received_at=inbound.received_at,
            expire_after=timedelta(seconds=settings.queue.expire_after),
            plans=plans,
        )
        events = self._accepted(inbound, delivery, results, verdict)
        started = time.perf_counter()
        await self._database.write("reception.store", lambda tx: _write(tx, delivery, events))
        _COMMIT_S.observe(time.perf_counter() - started)
        if delivery.sends_on:
            self._wake_queue()
        return reply(250, "2.0.0", f"accepted as {trace_id}")

    def _trace_fields(self, inbound: Inbound, results: AuthResults | None, trace_id: TraceId) -> bytes:
        hostname = self._settings().server.hostname
        recipients = inbound.envelope.recipients
        field = received(
            inbound.connection,
            hostname=hostname,
            trace_id=trace_id,
            instant=inbound.received_at,
            recipient=recipients[0].address if len(recipients) == 1 else None,
            remote_name=results.remote_name if results else None,
            smtputf8=inbound.envelope.smtputf8,
        )
        return (results.header(hostname) if results else b"") + field

    def _accepted(
        self, inbound: Inbound, delivery: Delivery, results: AuthResults | None, verdict: Verdict
    ) -> list[TraceEvent]:
        connection, envelope = inbound.connection, inbound.envelope
        sender = "" if envelope.reverse_path is None else envelope.reverse_path.key
        tls = connection.tls.version if connection.tls else "no TLS"
        events = [
            TraceEvent(
                type="message.received",
                component=connection.listener,
                verdict="accepted",
                detail=f"from {connection.remote_ip} by port {connection.local_port}, {tls}, "
                f"{_size(inbound.content.size_octets)}, for {len(envelope.recipients)} recipient"
                f"{'s' if len(envelope.recipients) > 1 else ''}",
                tenant_id=delivery.tenant_id,
                trace_id=delivery.trace_id,
                message_id_header=delivery.rendered.message_id_header,
                subject=delivery.rendered.subject,
                sender=sender,
                recipient=envelope.recipients[0].address.key if len(envelope.recipients) == 1 else None,
                remote_ip=connection.remote_ip,
                data={
                    "size_octets": inbound.content.size_octets,
                    "helo": connection.helo[:255],
                    "connection_id": connection.connection_id,
                    "recipients": [r.address.key for r in envelope.recipients[:50]],
                },
            )
        ]
        if results is not None:
            events.append(_authentication(results, verdict, delivery.trace_id, delivery.tenant_id))
        return events

    def _refuse(
        self, inbound: Inbound, answer: Reply, *, verdict: Verdict | None = None, results: AuthResults | None = None
    ) -> Reply:
        """Trace a refusal after the final dot and return its reply."""
        connection, envelope = inbound.connection, inbound.envelope
        trace_id = TraceId(new_id())
        fields = split_header(inbound.content.head)
        message_id = fields.first(b"message-id")
        for recipient in envelope.recipients[:50]:
            self._refusals.add(
                TraceEvent(
                    type="message.refused",
                    component=connection.listener,
                    verdict="refused" if answer.is_permanent else "deferred",
                    detail=(verdict.reason if verdict and verdict.reason else "the message was refused after its end")
                    + f"; from {connection.remote_ip}",
                    reply=answer.text,
                    severity=Severity.WARNING,
                    trace_id=trace_id,
                    message_id_header=None
                    if message_id is None
                    else message_id.strip().decode("utf-8", "replace")[:998],
                    sender="" if envelope.reverse_path is None else envelope.reverse_path.key,
                    recipient=recipient.address.key,
                    remote_ip=connection.remote_ip,
                    data={"stage": "DATA", "connection_id": connection.connection_id},
                )
            )
        if results is not None and verdict is not None:
            self._refusals.add(_authentication(results, verdict, trace_id, None))
        return answer


async def _write(tx: Transaction, delivery: Delivery, events: list[TraceEvent]) -> None:
    for event in events:
        tx.record(event)
    await deliver_in(tx, delivery)


def _authentication(
    results: AuthResults, verdict: Verdict, trace_id: TraceId, tenant_id: TenantId | None
) -> TraceEvent:
    return TraceEvent(
        type="message.authenticated",
        component="mailauth",
        verdict=results.dmarc_word,
        detail=results.summary + (f": {verdict.reason}" if verdict.reason else ""),
        tenant_id=tenant_id,
        trace_id=trace_id,
    )


def _loop(fields: HeaderFields, routes: list[tuple[Recipient, Route]]) -> Reply | None:
    """Refuse a mail that an address of ours has forwarded before (RFC 9228 §4)."""
    forwarding = {recipient.address.key for recipient, route in routes if route.forwards}
    if not forwarding:
        return None
    seen = {value.strip().decode("utf-8", "replace").casefold() for value in fields.every(b"delivered-to")}
    if forwarding & seen:
        return reply(554, "5.4.6", "mail loop: this message has been forwarded by the same address before")
    return None


def _size(octets: int) -> str:
    return f"{octets} octets" if octets < 1024 else f"{(octets + 512) // 1024} KiB"
