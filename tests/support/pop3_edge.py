"""The POP3 edge on real sockets over a real SQLite store, beside an IMAP-filled mailstore."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from server.adapters.blobs_fs import FileBlobStore
from server.adapters.worker import ThreadWorker
from server.config.schema import Pop3, Settings
from server.domain.ids import AccountId
from server.pop3.server import Listener, Pop3Server
from server.pop3.services import Pop3Services
from server.services.mailstore.maildrop import Maildrops
from server.services.mailstore.store import MailStore
from server.services.mailstore.sync import Change
from server.store.database import Database
from tests.support.imap_edge import PASSWORD, FakeLogins, add_account
from tests.support.smtp_edge import server_context
from tests.support.stores import RecordingNotifier, WallClock, open_sqlite
from tests.support.stream_client import WAIT_S, StreamClient
from tests.support.stream_gate import FakeGate

ADDRESS = "a@example.org"


class Pop3Client(StreamClient):
    """Reads POP3's two kinds of response."""

    async def ask(self, command: bytes) -> bytes:
        """Send a command and return the first line of its response, without CRLF."""
        await self.send(command + b"\r\n")
        return (await self.line()).removesuffix(b"\r\n")

    async def ok(self, command: bytes) -> bytes:
        answer = await self.ask(command)
        assert answer.startswith(b"+OK"), answer
        return answer

    async def many(self, command: bytes) -> bytes:
        """Send a command that is answered with +OK and more; the rest as a client unstuffs it."""
        await self.ok(command)
        return await self.block()

    async def block(self) -> bytes:
        found = []
        async with asyncio.timeout(WAIT_S):
            while (line := await self.reader.readline()) != b".\r\n":
                assert line, "the response did not end"
                found.append(line.removeprefix(b"."))
        return b"".join(found)

    async def login(self, address: str = ADDRESS, password: bytes = PASSWORD) -> bytes:
        await self.ok(b"USER " + address.encode())
        return await self.ask(b"PASS " + password)


@dataclass
class Pop3Edge:
    """A running server and everything behind it."""

    server: Pop3Server
    maildrops: Maildrops
    database: Database
    mailstore: MailStore
    logins: FakeLogins
    gate: FakeGate
    pop3_port: int
    pop3s_port: int
    clients: list[Pop3Client] = field(default_factory=list)

    @property
    def account_id(self) -> AccountId:
        return self.logins.accounts[ADDRESS]

    async def connect(self, *, secure: bool = True) -> Pop3Client:
        """A client that has read the greeting."""
        client = await self.dial(secure=secure)
        greeting = await client.line()
        assert greeting == b"+OK POP3 ready\r\n", greeting
        return client

    async def dial(self, *, secure: bool = True) -> Pop3Client:
        client = await Pop3Client.open(self.pop3s_port if secure else self.pop3_port, secure=secure)
        assert isinstance(client, Pop3Client)
        self.clients.append(client)
        return client

    async def opened(self) -> Pop3Client:
        """A client that has the maildrop."""
        client = await self.connect()
        answer = await client.login()
        assert answer.startswith(b"+OK"), answer
        return client

    async def fill(self, *messages: bytes, mailbox: str = "INBOX") -> None:
        """Append messages."""
        target = await self.mailstore.mailbox(self.account_id, mailbox)
        for message in messages:
            writer = self.mailstore.writer()
            await writer.write(message)
            content = await writer.finish()
            await self.mailstore.append(self.account_id, target.id, content, flags=0, keywords=(), internal_date=None)

    async def uids(self, mailbox: str = "INBOX") -> list[int]:
        """What the mailbox holds now."""

        class Nobody:
            def wake(self) -> None: ...

            def note(self, changes: Sequence[Change]) -> None: ...

        follower = Nobody()
        found = await self.mailstore.mailbox(self.account_id, mailbox)
        view = await self.mailstore.open(self.account_id, found.id, follower)
        await view.refresh()
        uids = list(view.uids)
        self.mailstore.close(view, follower)
        return uids

    async def left(self, connections: int = 0) -> None:
        """Wait until no more connections are open than that."""
        async with asyncio.timeout(15):
            while self.server.open_connections > connections:
                await asyncio.sleep(0.01)


def _bound() -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", 0))
    return sock


@asynccontextmanager
async def open_pop3(folder: Path, *, idle_s: float = 600.0, shared: bool = False) -> AsyncIterator[Pop3Edge]:
    """A server on both ports with the accounts a@example.org and b@example.org."""
    notifier = RecordingNotifier()
    worker = ThreadWorker("test", threads=2)
    blobs = FileBlobStore(folder / "mail", inline_max=16_384, worker=worker, fatal=lambda _r: None, reserve=0)
    blobs.open()
    async with open_sqlite(folder, notifier) as database:
        clock = WallClock()
        store = MailStore(database=database, blobs=blobs, notifier=notifier, clock=clock, worker=worker)
        logins = FakeLogins()
        for address in (ADDRESS, "b@example.org"):
            logins.accounts[address] = await add_account(database, address)
        maildrops = Maildrops(mailstore=store, database=database, clock=clock, owner="mx.example.org", shared=shared)
        gate = FakeGate()
        plain, secure = _bound(), _bound()
        server = Pop3Server(
            services=Pop3Services(maildrops=maildrops, logins=logins, gate=gate),
            settings=Settings(pop3=Pop3(enabled=True, idle_timeout=idle_s)),
            tls=server_context,
            sockets={Listener.POP3: [plain], Listener.POP3S: [secure]},
        )
        edge = Pop3Edge(
            server, maildrops, database, store, logins, gate, plain.getsockname()[1], secure.getsockname()[1]
        )
        ready = asyncio.Event()
        task = asyncio.create_task(server.serve(ready=ready.set))
        await ready.wait()
        try:
            yield edge
        finally:
            for client in edge.clients:
                await client.close()
            await server.drain(5.0)
            await task
    worker.close()
