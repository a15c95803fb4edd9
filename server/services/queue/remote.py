"""Delivery to other servers: exchangers in order, TLS policy, connection reuse, one attempt per recipient.

- The next exchanger is tried after a failed connection, a refusal before MAIL, or a 421; never after the final dot.
- Temporary words beat permanent ones when exchangers disagree: a bounce needs every one of them to refuse.
- In clear only where no policy asks for TLS, and after a failed handshake only on a new connection.
- A relay with a password gets it over verified TLS only. When it refuses the password, mail is held, not bounced.

RFC 5321 §5, RFC 3207, RFC 3461 §5.2; product.md 7, 9, 10.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace

from server.config.schema import Relay, Settings
from server.domain.errors import Unavailable
from server.domain.message import Blob
from server.domain.ports import BlobStore, Clock, Dialer, Resolver
from server.domain.queue import Attempt, DeliveryStatus, QueuedMessage, QueuedRecipient
from server.domain.reply import Reply, reply
from server.protocol.smtp.client import Done, MailTransaction, TransactionRecipient
from server.protocol.smtp.client_body import encode_body
from server.services.queue.courier import Claim, Progress, Try, begin, same_for_all
from server.services.queue.mx import Found, MxRouter
from server.services.queue.networks import AddressGuard
from server.services.queue.pool import SessionPool
from server.services.queue.session import (
    ClientTls,
    Credentials,
    FailureKind,
    Session,
    SessionFailed,
    Target,
    TlsMode,
    open_session,
)
from server.store.database import Database
from server.store.repositories import blobs, queue
from server.store.transaction import Transaction
from server.telemetry.log import get_logger

log = get_logger("queue")

SMTP_PORT = 25
ATTEMPT_S = 2 * 3600.0
"""Time of one attempt over all exchangers (reliability.md §8)."""

CREDENTIALS_PAUSE_S = 60.0
"""How long a relay that refused the password is not asked again; mail is held meanwhile."""

CREDENTIALS_HOLD = "the relay refused the credentials"
"""The hold reason of mail that waits for a mended password."""

RELAY_LANE = "relay"
_HEAD_SCAN = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What the world knows this host by."""

    name: str
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parcel:
    """A claim ready to be sent: its transaction and octets."""

    transaction: MailTransaction
    parts: tuple[bytes, ...]
    progress: Progress


class RemoteCourier:
    """The Courier for everything outside.

    Args:
        port: Where exchangers listen; 25 but in tests.
    """

    def __init__(
        self,
        *,
        database: Database,
        blob_store: BlobStore,
        resolver: Resolver,
        dialer: Dialer,
        clock: Clock,
        host: Host,
        settings: Callable[[], Settings],
        contexts: ClientTls,
        port: int = SMTP_PORT,
    ) -> None:
        self._database = database
        self._blob_store = blob_store
        self._dialer = dialer
        self._clock = clock
        self._hostname = host.name
        self._settings = settings
        self._contexts = contexts
        self._port = port
        guard = AddressGuard(own=host.addresses, allowed=lambda: settings().outbound.allow_private)
        self._router = MxRouter(resolver, clock, guard, own_names=(host.name,))
        self._pool = SessionPool(clock)
        self._credentials_refused: tuple[float, Reply] | None = None

    def lane(self, recipient: QueuedRecipient) -> str:
        return RELAY_LANE if self._settings().outbound.relay is not None else recipient.domain

    async def deliver(self, claim: Claim) -> list[Attempt]:
        begun = begin(self._clock)
        blocked = self._blocked(begun)
        if blocked is not None:
            return same_for_all(blocked, claim.recipients)
        try:
            async with asyncio.timeout(ATTEMPT_S):
                return await self._deliver(claim, begun)
        except TimeoutError:
            late = begun.attempt(reply(451, "4.4.2", "the attempt took too long"), from_remote=False)
            return same_for_all(late, claim.recipients)
        except Unavailable as error:
            ours = begun.attempt(reply(451, "4.3.0", error.public), from_remote=False)
            return same_for_all(ours, claim.recipients)

    async def reap(self) -> None:
        await self._pool.reap()

    async def close(self) -> None:
        await self._pool.reap(everything=True)

    async def _deliver(self, claim: Claim, begun: Try) -> list[Attempt]:
        parcel, strict = await self._parcel(claim)
        domain = claim.recipients[0].domain
        key = f"{self.lane(claim.recipients[0])}/{'strict' if strict else 'any'}"
        session = self._pool.take(key)
        if session is not None:
            reached = _reached(begun, session.target, session.tls)
            try:
                return await self._transact(key, session, parcel, reached)
            except SessionFailed as failed:
                if failed.kind is not FailureKind.LOST_BEFORE_DOT and failed.reply.code != 421:
                    return same_for_all(_failed(reached, failed), claim.recipients)
        worst: Attempt | None = None
        async with aclosing(self._targets(domain, strict=strict)) as targets:
            async for target in targets:
                if isinstance(target, Reply):
                    worst = _worse(worst, begun.attempt(target, from_remote=False))
                    continue
                outcome = await self._try_target(key, target, parcel, begun)
                if isinstance(outcome, list):
                    return outcome
                worst = _worse(worst, outcome.attempt)
                if outcome.final:
                    break
        if worst is None:
            worst = begun.attempt(reply(451, "4.4.1", "no server to deliver to"), from_remote=False)
        return same_for_all(worst, claim.recipients)

    async def _try_target(self, key: str, target: Target, parcel: _Parcel, begun: Try) -> list[Attempt] | _Missed:
        """Deliver to one server; on a failed handshake once more in clear where no policy forbids it."""
        session: Session | None = None
        try:
            session = await self._open(target)
            return await self._transact(key, session, parcel, _reached(begun, target, session.tls))
        except SessionFailed as failed:
            if failed.kind is FailureKind.HANDSHAKE and target.tls is TlsMode.OPPORTUNISTIC:
                log.info("queue.tls_fallback", host=target.host, ip=target.ip, reason=failed.reply.text)
                return await self._try_target(key, replace(target, tls=TlsMode.NONE), parcel, begun)
            if failed.kind is FailureKind.CREDENTIALS:
                return _Missed(attempt=self._refused_credentials(target, failed, begun), final=True)
            final = failed.kind is FailureKind.LOST_AFTER_DOT or (
                failed.kind is FailureKind.REFUSED and session is not None
            )
            return _Missed(attempt=_failed(_reached(begun, target, failed.tls), failed), final=final)

    async def _open(self, target: Target) -> Session:
        session = await open_session(
            self._dialer,
            target,
            clock=self._clock,
            hostname=self._hostname,
            contexts=self._contexts,
            connect_s=self._settings().outbound.connect_timeout,
        )
        if target.credentials is not None:
            self._credentials_refused = None
        return session

    async def _transact(self, key: str, session: Session, parcel: _Parcel, reached: Try) -> list[Attempt]:
        """Send over an open session and keep it for the next message, or end it. Raises SessionFailed."""
        try:
            done = await session.transact(parcel.transaction, encode_body(parcel.parts), parcel.progress)
        except BaseException:
            session.abort()
            raise
        if not done.usable and _all_421(done):
            session.abort()
            answer = done.results[0].reply
            raise SessionFailed(FailureKind.LOST_BEFORE_DOT, answer, from_remote=True, tls=session.tls)
        if not done.usable or not self._pool.give(key, session):
            await session.quit()
        return [
            reached.attempt(
                result.reply,
                from_remote=result.from_remote,
                notified=done.dsn_passed_on and result.reply.is_success,
            )
            for result in done.results
        ]

    async def _targets(self, domain: str, *, strict: bool) -> AsyncGenerator[Target | Reply, None]:
        """Servers to try in order; a reply where one can't be tried."""
        relay = self._settings().outbound.relay
        if relay is not None:
            found = await self._router.addresses(relay.host)
            for ip in found.items:
                yield _relay_target(relay, ip, strict=strict)
            if not found.items:
                yield _no_relay(relay.host, found)
            return
        hosts = await self._router.hosts(domain)
        if not hosts.items:
            yield hosts.refusal
        for host in hosts.items:
            addresses = await self._router.addresses(host)
            if not addresses.items:
                yield addresses.refusal
            for ip in addresses.items:
                tls = TlsMode.VERIFIED if strict else TlsMode.OPPORTUNISTIC
                yield Target(host=host, ip=ip, port=self._port, tls=tls)

    async def _parcel(self, claim: Claim) -> tuple[_Parcel, bool]:
        """The claim's transaction and octets, and whether its sender's domain asks for verified TLS."""
        message = claim.message
        blob, strict = await self._database.read("queue.parcel", lambda tx: _load(tx, message))
        if blob is None:
            raise Unavailable("the message can't be read now")
        octets = await self._blob_store.read(blob)
        utf8_head = message.smtputf8 and not _head(message.prefix + octets[:_HEAD_SCAN]).isascii()
        transaction = MailTransaction(
            sender=message.sender,
            recipients=tuple(
                TransactionRecipient(address=r.recipient, notify=r.notify, orcpt=r.orcpt) for r in claim.recipients
            ),
            size_octets=len(message.prefix) + len(octets),
            has_8bit=not (octets.isascii() and message.prefix.isascii()),
            needs_smtputf8=utf8_head,
            ret=message.ret,
            envid=message.envid,
        )
        parcel = _Parcel(transaction=transaction, parts=(message.prefix, octets), progress=claim.progress)
        return parcel, strict

    def _blocked(self, begun: Try) -> Attempt | None:
        """A held attempt while the relay need not be asked again about its password."""
        if self._credentials_refused is None or self._settings().outbound.relay is None:
            return None
        refused_s, answer = self._credentials_refused
        if self._clock.monotonic() - refused_s > CREDENTIALS_PAUSE_S:
            return None
        return begun.attempt(answer, from_remote=True, status=DeliveryStatus.HELD)

    def _refused_credentials(self, target: Target, failed: SessionFailed, begun: Try) -> Attempt:
        log.error(
            "queue.relay_credentials_refused",
            host=target.host,
            reply=failed.reply.text,
            next_step="mend outbound.relay.username and password, reload, then release the held deliveries",
        )
        self._credentials_refused = (self._clock.monotonic(), failed.reply)
        reached = _reached(begun, target, failed.tls)
        return reached.attempt(failed.reply, from_remote=failed.from_remote, status=DeliveryStatus.HELD)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Missed:
    """A server that took nothing; `final` = no other one is to be tried."""

    attempt: Attempt
    final: bool


async def _load(tx: Transaction, message: QueuedMessage) -> tuple[Blob | None, bool]:
    domain = message.sender.rpartition("@")[2]
    strict = bool(domain) and await queue.requires_tls(tx, domain)
    return await blobs.get(tx, message.blob_id), strict


def _no_relay(host: str, found: Found) -> Reply:
    """Why the relay can't be asked: for now only, as its name or the configuration may change."""
    words = str(found.refusal.lines[0])
    if found.guarded:
        words = "its address is private or this server's own, and outbound.allow_private does not name it"
    return reply(451, found.refusal.enhanced.replace("5", "4", 1), f"relay {host}: {words}")


def _relay_target(relay: Relay, ip: str, *, strict: bool) -> Target:
    password = relay.password.reveal() if relay.password is not None else ""
    credentials = Credentials(username=relay.username or "", password=password) if relay.username and password else None
    if credentials is not None or strict:
        mode = TlsMode.VERIFIED
    else:
        mode = TlsMode.NONE if relay.tls == "none" else TlsMode.REQUIRED
    return Target(
        host=relay.host,
        ip=ip,
        port=relay.port,
        tls=mode,
        implicit_tls=relay.tls == "implicit",
        credentials=credentials,
    )


def _reached(begun: Try, target: Target, tls: str) -> Try:
    return replace(begun, host=target.host, ip=target.ip, tls=tls)


def _failed(reached: Try, failed: SessionFailed) -> Attempt:
    return reached.attempt(failed.reply, from_remote=failed.from_remote)


def _worse(worst: Attempt | None, found: Attempt) -> Attempt:
    """The attempt that stands for all: the last temporary one, else the last."""
    if worst is not None and worst.status is DeliveryStatus.DEFERRED and found.status is DeliveryStatus.FAILED:
        return worst
    return found


def _all_421(done: Done) -> bool:
    return all(result.reply.code == 421 for result in done.results)


def _head(octets: bytes) -> bytes:
    end = octets.find(b"\r\n\r\n")
    return octets if end < 0 else octets[:end]
