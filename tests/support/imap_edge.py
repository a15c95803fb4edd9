"""The IMAP edge on real sockets over a real SQLite store, with made-up logins and a client that speaks octets."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import insert, select

from server.adapters.blobs_fs import FileBlobStore
from server.adapters.worker import ThreadWorker
from server.config.schema import Imap, Settings, Smtp
from server.domain.access import Gate, OpenGate
from server.domain.envelope import ConnectionInfo
from server.domain.errors import Unauthenticated
from server.domain.identity import Principal
from server.domain.ids import AccountId, TenantId, new_id
from server.imap.server import ImapServer, Listener
from server.imap.services import ImapServices
from server.protocol.sasl.scram import ScramCredential, derive_credential
from server.services.mailstore.mailboxes import create_default_mailboxes
from server.services.mailstore.store import MailStore
from server.store.database import Database
from server.store.schema import accounts, addresses, domains, tenants
from server.store.transaction import Transaction
from tests.support.smtp_edge import client_context, server_context
from tests.support.stores import RecordingNotifier, WallClock, open_sqlite

WAIT_S = 8.0
PASSWORD = b"kelp orbit 42"

_LITERAL = re.compile(rb"\{([0-9]+)\}\r\n\Z")


async def add_account(
    database: Database, address: str, *, quota: int = 0, colleague: AccountId | None = None
) -> AccountId:
    """An account with its domain and default mailboxes, and a tenant of its own unless it gets a colleague's."""
    tenant_id, domain_id, account_id = new_id(), new_id(), AccountId(new_id())

    async def unit(tx: Transaction) -> None:
        life = {"created_at": tx.now_us, "updated_at": tx.now_us, "revision": 1, "deleted_at": None}
        tenant = tenant_id
        if colleague is not None:
            row = await tx.fetch_one(select(accounts.c.tenant_id).where(accounts.c.id == colleague))
            assert row is not None
            tenant = str(row[0])
        else:
            await tx.execute(insert(tenants).values(id=tenant, name=tenant, display_name="", status="active", **life))
        await tx.execute(
            insert(domains).values(
                id=domain_id,
                tenant_id=tenant,
                name=f"{domain_id}.test",
                status="active",
                subaddressing=1,
                require_tls_in=0,
                require_tls_out=0,
                quota_octets=0,
                **life,
            )
        )
        await tx.execute(
            insert(accounts).values(
                id=account_id,
                tenant_id=tenant,
                domain_id=domain_id,
                address=address,
                display_name="",
                role="user",
                status="active",
                quota_octets=quota,
                used_octets=0,
                modseq=0,
                filter_version=0,
                quota_warned=0,
                forward=None,
                credential_version=1,
                **life,
            )
        )
        await tx.execute(
            insert(addresses).values(
                address=address,
                tenant_id=tenant,
                domain_id=domain_id,
                kind="account",
                owner_id=account_id,
                position=0,
            )
        )
        await create_default_mailboxes(tx, account_id)

    await database.write("test.account", unit)
    return account_id


@dataclass
class FakeLogins:
    """Every account has the same password; logins are addresses."""

    accounts: dict[str, AccountId] = field(default_factory=dict)
    seen: list[tuple[str, str]] = field(default_factory=list)

    async def authenticate(
        self, *, login: str, password: bytes, connection: ConnectionInfo, mechanism: str
    ) -> Principal:
        self.seen.append((login, mechanism))
        if password != PASSWORD:
            raise Unauthenticated("the login or the password is wrong")
        return self._principal(login)

    async def bearer(self, *, token: str, login: str, connection: ConnectionInfo) -> Principal:
        self.seen.append((login, "OAUTHBEARER"))
        if token.encode() != PASSWORD:
            raise Unauthenticated("the login or the password is wrong")
        return self._principal(login)

    async def scram(self, login: str, *, app_passwords: bool = False) -> ScramCredential:
        return derive_credential(PASSWORD, salt=b"salt" * 4)

    async def scram_result(self, *, login: str, ok: bool, connection: ConnectionInfo, matched: str = "") -> Principal:
        if not ok:
            raise Unauthenticated("the login or the password is wrong")
        return self._principal(login)

    def _principal(self, login: str) -> Principal:
        account_id = self.accounts.get(login)
        if account_id is None:
            raise Unauthenticated("the login or the password is wrong")
        return Principal(account_id=account_id, tenant_id=TenantId("t"), address=login, credential_version=1)


class ImapClient:
    """Sends octets and reads whole responses; every wait has an end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._tags = 0

    async def line(self) -> bytes:
        """One response with its literals."""
        data = b""
        while True:
            data += await asyncio.wait_for(self.reader.readline(), WAIT_S)
            found = _LITERAL.search(data)
            if found is None:
                return data
            data += await asyncio.wait_for(self.reader.readexactly(int(found[1])), WAIT_S)

    async def send(self, octets: bytes) -> None:
        self.writer.write(octets)
        await self.writer.drain()

    async def until(self, tag: bytes) -> list[bytes]:
        """Responses up to the tagged one, it included, without line ends; stops at the end of the stream."""
        lines = []
        while True:
            line = await self.line()
            if line:
                lines.append(line.removesuffix(b"\r\n"))
            if not line or line.startswith(tag + b" "):
                return lines

    async def ask(self, command: bytes) -> list[bytes]:
        """Send a command under a fresh tag and return its responses."""
        self._tags += 1
        tag = b"t%d" % self._tags
        await self.send(tag + b" " + command + b"\r\n")
        return await self.until(tag)

    async def ok(self, command: bytes) -> list[bytes]:
        """As `ask`, for a command that must succeed; without the tagged line."""
        lines = await self.ask(command)
        assert b" OK" in lines[-1], lines
        return lines[:-1]

    async def append(self, mailbox: bytes, message: bytes, middle: bytes = b"") -> bytes:
        """APPEND with a synchronising literal; the tagged line."""
        self._tags += 1
        tag = b"t%d" % self._tags
        await self.send(b"%s APPEND %s %s{%d}\r\n" % (tag, mailbox, middle, len(message)))
        first = await self.line()
        if not first.startswith(b"+"):
            return first.removesuffix(b"\r\n")
        await self.send(message + b"\r\n")
        return (await self.until(tag))[-1]

    async def rest(self) -> bytes:
        """Everything until the server closes; a reset counts as the end."""
        found = b""
        with contextlib.suppress(ConnectionError):
            while chunk := await asyncio.wait_for(self.reader.read(65_536), WAIT_S):
                found += chunk
        return found

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError, OSError):
            await self.writer.wait_closed()


@dataclass
class ImapEdge:
    """A running server and everything behind it."""

    server: ImapServer
    database: Database
    mailstore: MailStore
    logins: FakeLogins
    notifier: RecordingNotifier
    imap_port: int
    imaps_port: int
    clients: list[ImapClient] = field(default_factory=list)

    async def connect(self, *, secure: bool = True) -> ImapClient:
        """A client that has read the greeting."""
        port = self.imaps_port if secure else self.imap_port
        context = client_context() if secure else None
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, limit=1 << 26)
        client = ImapClient(reader, writer)
        self.clients.append(client)
        greeting = await client.line()
        assert greeting.startswith(b"* OK [CAPABILITY IMAP4rev1 "), greeting
        return client

    async def login(self, address: str = "a@example.org") -> ImapClient:
        client = await self.connect()
        await client.ok(b"LOGIN %s %s" % (address.encode(), b'"' + PASSWORD + b'"'))
        return client

    async def selected(self, mailbox: bytes = b"INBOX", address: str = "a@example.org") -> ImapClient:
        client = await self.login(address)
        await client.ok(b"SELECT " + mailbox)
        return client


def _bound() -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", 0))
    return sock


def settings_with(*, message_max: int = 52_428_800, per_account: int = 20, idle_s: float = 1800.0) -> Settings:
    """Settings with other IMAP limits."""
    return Settings(
        smtp=Smtp(max_message_size=message_max), imap=Imap(max_per_account=per_account, idle_timeout=idle_s)
    )


@asynccontextmanager
async def open_imap(
    folder: Path,
    *,
    settings: Settings | None = None,
    quota: int = 0,
    inline_max: int = 16 * 1024,
    gate: Gate | None = None,
    tls: Callable[[], ssl.SSLContext] = server_context,
) -> AsyncIterator[ImapEdge]:
    """A server on both ports with the accounts a@example.org and b@example.org."""
    notifier = RecordingNotifier()
    worker = ThreadWorker("test", threads=2)
    blobs = FileBlobStore(folder / "mail", inline_max=inline_max, worker=worker, fatal=lambda _r: None, reserve=0)
    blobs.open()
    async with open_sqlite(folder, notifier) as database:
        clock = WallClock()
        store = MailStore(database=database, blobs=blobs, notifier=notifier, clock=clock, worker=worker)
        logins = FakeLogins()
        for address in ("a@example.org", "b@example.org"):
            logins.accounts[address] = await add_account(database, address, quota=quota)
        plain, secure = _bound(), _bound()
        server = ImapServer(
            services=ImapServices(mailstore=store, logins=logins, clock=clock, gate=gate or OpenGate()),
            settings=settings or Settings(),
            tls=tls,
            sockets={Listener.IMAP: [plain], Listener.IMAPS: [secure]},
        )
        edge = ImapEdge(server, database, store, logins, notifier, plain.getsockname()[1], secure.getsockname()[1])
        ready = asyncio.Event()
        task = asyncio.create_task(server.serve(ready=ready.set))
        await ready.wait()
        try:
            yield edge
        finally:
            for client in edge.clients:
                await client.close()
            await server.drain(2.0)
            await task
    worker.close()
