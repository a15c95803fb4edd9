"""A queue with everything real but DNS and, where a test wants it, the clock."""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from sqlalchemy import select

from server.adapters.blobs_fs import FileBlobStore
from server.adapters.dialer import StreamDialer
from server.adapters.tls import opportunistic_context
from server.adapters.worker import ThreadWorker
from server.config.schema import Outbound, Queue, Settings
from server.domain.identity import Status, Tenant
from server.domain.ids import BlobId, DeliveryId, QueueId, TenantId, TraceId, new_id
from server.domain.message import Blob, BlobPlace
from server.domain.ports import Clock, Dialer, Resolver
from server.domain.queue import (
    DeliveryKind,
    DeliveryStatus,
    Origin,
    QueuedMessage,
    QueuedRecipient,
)
from server.services.queue.courier import Claim, Courier
from server.services.queue.dsn import Reporter
from server.services.queue.local import LocalCourier, Prepared
from server.services.queue.remote import Host, RemoteCourier
from server.services.queue.report import compose_notice
from server.services.queue.retry import policy_from
from server.services.queue.runner import QueueRunner
from server.services.queue.session import ClientTls
from server.services.queue.settle import Settler
from server.store.database import Database
from server.store.repositories import blobs, queue, tenants
from server.store.schema import attempts, events, queued_messages, queued_recipients
from server.store.transaction import Row, Transaction
from tests.support.fake_dns import FakeResolver
from tests.support.stores import WallClock, open_sqlite

TENANT = TenantId("tenant-1")
BODY = b"From: <a@ours.test>\r\nTo: <b@there.test>\r\nSubject: hello\r\n\r\nThe body.\r\n.dot\r\n"
LOOPBACK = ("127.0.0.0/8", "::1")


async def add_tenant(database: Database, tenant_id: TenantId = TENANT) -> None:
    now = datetime.datetime.now(datetime.UTC)
    tenant = Tenant(
        id=tenant_id,
        name=str(tenant_id),
        display_name="",
        status=Status.ACTIVE,
        created_at=now,
        updated_at=now,
        revision=1,
    )
    await database.write("test.tenant", lambda tx: tenants.insert(tx, tenant))


def message(**changes: Any) -> QueuedMessage:
    """A queued message with its blob's id; `changes` replace fields."""
    now = changes.pop("now", None) or datetime.datetime.now(datetime.UTC)
    fields: dict[str, Any] = {
        "id": QueueId(new_id()),
        "tenant_id": TENANT,
        "account_id": None,
        "origin": Origin.SMTP,
        "sender": "a@ours.test",
        "blob_id": BlobId(new_id()),
        "prefix": b"Received: from here\r\n",
        "size_octets": len(BODY) + 21,
        "message_id_header": "<1@ours.test>",
        "subject": "hello",
        "trace_id": TraceId(new_id()),
        "smtputf8": False,
        "body_8bit": False,
        "ret": None,
        "envid": None,
        "created_at": now,
        "expires_at": now + datetime.timedelta(days=5),
    }
    return QueuedMessage(**(fields | changes))


def recipient(of: QueuedMessage, address: str, **changes: Any) -> QueuedRecipient:
    fields: dict[str, Any] = {
        "id": DeliveryId(new_id()),
        "queue_id": of.id,
        "tenant_id": of.tenant_id,
        "recipient": address,
        "domain": address.rpartition("@")[2],
        "kind": DeliveryKind.REMOTE,
        "status": DeliveryStatus.QUEUED,
        "hold_reason": "",
        "attempts": 0,
        "due_at": of.created_at,
        "lease_until": None,
        "notify": frozenset(),
        "orcpt": None,
        "warned": False,
        "last_reply": "",
        "last_host": "",
    }
    return QueuedRecipient(**(fields | changes))


async def enqueue(
    database: Database, of: QueuedMessage, recipients: Sequence[QueuedRecipient], body: bytes = BODY
) -> None:
    """Queue a message with an inline blob."""
    blob = Blob(
        id=of.blob_id,
        size_octets=len(body),
        sha256=hashlib.sha256(body).hexdigest(),
        place=BlobPlace.ROW,
        inline=body,
    )

    async def unit(tx: Transaction) -> None:
        await blobs.insert(tx, blob)
        await queue.enqueue(tx, of, recipients)

    await database.write("test.enqueue", unit)


class FakeMailstore:
    """The LocalDelivery port: keeps who got what, refuses or fails as told."""

    def __init__(self) -> None:
        self.refusals: dict[str, Any] = {}
        self.prepare_error: Exception | None = None
        self.store_error: Exception | None = None
        self.delivered: list[str] = []
        self.prepared = 0

    async def prepare(self, message: QueuedMessage, recipients: Sequence[QueuedRecipient]) -> Prepared:
        self.prepared += 1
        if self.prepare_error is not None:
            raise self.prepare_error
        refusals = tuple(self.refusals.get(r.recipient) for r in recipients)
        taken = [r.recipient for r, refusal in zip(recipients, refusals, strict=True) if refusal is None]

        async def store(tx: Transaction) -> None:
            if self.store_error is not None:
                raise self.store_error
            self.delivered += taken

        return Prepared(refusals=refusals, store=store if taken else None)


class QueueRig:
    """What a test of the queue holds."""

    def __init__(self, database: Database, blob_store: FileBlobStore, resolver: FakeResolver) -> None:
        self.database = database
        self.blob_store = blob_store
        self.resolver = resolver
        self.mailstore = FakeMailstore()
        self.settings = Settings(
            outbound=Outbound(allow_private=networks(*LOOPBACK), connect_timeout=2.0), queue=Queue()
        )
        self.clock: Clock = WallClock()
        self.contexts = ClientTls(unverified=opportunistic_context(), verified=ssl.create_default_context())
        self.dialer: Dialer = StreamDialer()

    def courier(self, port: int = 25, resolver: Resolver | None = None) -> RemoteCourier:
        return RemoteCourier(
            database=self.database,
            blob_store=self.blob_store,
            resolver=resolver or self.resolver,
            dialer=self.dialer,
            clock=self.clock,
            host=Host(name="mx.ours.test"),
            settings=lambda: self.settings,
            contexts=self.contexts,
            port=port,
        )

    def reporter(self) -> Reporter:
        async def is_local(domain: str) -> bool:
            return domain == "ours.test"

        return Reporter(
            database=self.database,
            blob_store=self.blob_store,
            clock=self.clock,
            hostname="mx.ours.test",
            is_local=is_local,
            compose=compose_notice,
            expire_after=lambda: datetime.timedelta(seconds=self.settings.queue.expire_after),
        )

    def runner(self, courier: Courier, *, host_id: str = "host-1") -> QueueRunner:
        settler = Settler(
            database=self.database,
            clock=self.clock,
            policy=lambda: policy_from(self.settings.queue),
            reporter=self.reporter(),
        )
        return QueueRunner(
            database=self.database,
            clock=self.clock,
            settings=lambda: self.settings.queue,
            host_id=host_id,
            remote=courier,
            local=LocalCourier(delivery=self.mailstore, clock=self.clock),
            settler=settler,
        )

    async def put(self, *addresses: str, body: bytes = BODY, **changes: Any) -> QueuedMessage:
        """Queue one message to remote addresses; `notify`, `kind` and the like go to the recipients."""
        mine = {
            k: changes.pop(k)
            for k in ("notify", "orcpt", "kind", "status", "due_at", "attempts", "last_reply")
            if k in changes
        }
        queued = message(now=self.clock.now(), **changes)
        await enqueue(self.database, queued, [recipient(queued, address, **mine) for address in addresses], body)
        return queued

    async def rows(self) -> list[dict[str, Any]]:
        """All deliveries, in the order they were queued."""
        statement = select(queued_recipients).order_by(queued_recipients.c.id)
        return await self._all(statement, [c.name for c in queued_recipients.columns])

    async def row(self, address: str) -> dict[str, Any]:
        return next(row for row in await self.rows() if row["recipient"] == address)

    async def attempts(self) -> list[dict[str, Any]]:
        return await self._all(
            select(attempts).order_by(attempts.c.delivery_id, attempts.c.number), [c.name for c in attempts.columns]
        )

    async def events(self) -> list[dict[str, Any]]:
        return await self._all(select(events).order_by(events.c.seq), [c.name for c in events.columns])

    async def reports(self) -> list[dict[str, Any]]:
        """Queued DSNs, each with the octets of its blob under `octets`."""
        statement = select(queued_messages).where(queued_messages.c.origin == Origin.DSN.value)
        found = await self._all(statement, [c.name for c in queued_messages.columns])
        for row in found:
            blob = await self.database.read("test.blob", lambda tx, key=row["blob_id"]: blobs.get(tx, key))
            row["octets"] = await self.blob_store.read(blob)
        return found

    async def _all(self, statement: Any, names: Sequence[str]) -> list[dict[str, Any]]:
        rows: Sequence[Row] = await self.database.read("test.rows", lambda tx: tx.fetch(statement))
        return [{name: row[name] for name in names} for row in rows]

    async def until(self, done: Callable[[], Awaitable[bool]], *, timeout_s: float = 10.0) -> None:
        """Wait until something holds."""
        async with asyncio.timeout(timeout_s):
            while not await done():
                await asyncio.sleep(0.005)

    async def until_settled(self, *, attempts: int = 1, timeout_s: float = 10.0) -> None:
        """Wait until every remote delivery has had so many attempts and none is being sent."""

        async def settled() -> bool:
            return all(row["attempts"] >= attempts and row["status"] != "sending" for row in await self.rows())

        await self.until(settled, timeout_s=timeout_s)


@asynccontextmanager
async def open_rig(folder: Path, resolver: FakeResolver | None = None) -> AsyncIterator[QueueRig]:
    """A store, blobs and DNS for one test."""
    worker = ThreadWorker("blob", threads=2)
    store = FileBlobStore(folder / "mail", inline_max=16384, worker=worker, fatal=_fatal, reserve=0)
    store.open()
    async with open_sqlite(folder) as database:
        await add_tenant(database)
        yield QueueRig(database, store, resolver or FakeResolver(ZONE))
    worker.close()


@asynccontextmanager
async def running(runner: QueueRunner) -> AsyncIterator[QueueRunner]:
    """Run a queue for the body of a `with`, then stop it."""
    task = asyncio.create_task(runner.run())
    try:
        yield runner
    finally:
        runner.stop()
        async with asyncio.timeout(15):
            await task


ZONE: dict[str, dict[str, Any]] = {
    "there.test": {"MX": [[10, "mx.there.test"]]},
    "mx.there.test": {"A": ["127.0.0.1"]},
    "other.test": {"MX": [[10, "mx.other.test"]]},
    "mx.other.test": {"A": ["127.0.0.2"]},
    "two.test": {"MX": [[10, "mx1.two.test"], [20, "mx2.two.test"]]},
    "mx1.two.test": {"A": ["127.0.0.1"]},
    "mx2.two.test": {"A": ["127.0.0.2"]},
}


def claim(of: QueuedMessage, *addresses: str, **changes: Any) -> Claim:
    """A claim for a courier that is tested without a runner."""
    return Claim(message=of, recipients=tuple(recipient(of, address, **changes) for address in addresses))


def networks(*texts: str) -> tuple[Any, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


def changed(settings: Settings, **sections: dict[str, Any]) -> Settings:
    """Settings with some keys of some sections replaced."""
    new = {name: msgspec.structs.replace(getattr(settings, name), **keys) for name, keys in sections.items()}
    return msgspec.structs.replace(settings, **new)


@cache
def certificate(name: str = "mx.there.test") -> tuple[bytes, bytes]:
    """A self-signed certificate and its key, both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    return signed.public_bytes(serialization.Encoding.PEM), key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def server_context(folder: Path, name: str = "mx.there.test") -> ssl.SSLContext:
    """A server's context with a certificate for `name`."""
    pem, key = certificate(name)
    (folder / f"{name}.pem").write_bytes(pem + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / f"{name}.pem")
    return context


def trusting_context(name: str = "mx.there.test") -> ssl.SSLContext:
    """A client's context that trusts that certificate alone."""
    return ssl.create_default_context(cadata=certificate(name)[0].decode())


def _fatal(reason: str) -> None:
    raise AssertionError(reason)
