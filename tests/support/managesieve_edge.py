"""The ManageSieve edge on real sockets over the real scripts in a SQLite store, and a client that speaks octets."""

from __future__ import annotations

import asyncio
import base64
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from server.adapters.worker import ThreadWorker
from server.domain.ids import AccountId
from server.managesieve.server import ManageSieveServer
from server.managesieve.services import ManageSieveServices
from server.protocol.sieve.compile import EXTENSIONS, NOTIFY_METHODS
from server.protocol.sieve.limits import REDIRECTS_MAX, SCRIPT_OCTETS_MAX
from server.services.filters.scripts import ScriptService
from server.services.identity.directory import Directory
from tests.support.imap_edge import PASSWORD, FakeLogins, add_account
from tests.support.smtp_edge import server_context
from tests.support.stores import WallClock, open_sqlite
from tests.support.stream_client import StreamClient
from tests.support.stream_gate import FakeGate

ADDRESS = "a@example.org"
_LITERAL = re.compile(rb"\{([0-9]+)\}\r\n\Z")
_LAST = (b"OK", b"NO", b"BYE")


class SieveClient(StreamClient):
    """Reads whole responses."""

    async def response(self) -> list[bytes]:
        """Lines with their literals, without line ends, up to OK, NO or BYE; stops at the end of the stream."""
        lines = []
        while True:
            line = await self._whole_line()
            if line:
                lines.append(line.removesuffix(b"\r\n"))
            if not line or line.split(None, 1)[0] in _LAST:
                return lines

    async def _whole_line(self) -> bytes:
        data = b""
        while True:
            data += await self.line()
            found = _LITERAL.search(data)
            if found is None:
                return data
            data += await self.exactly(int(found[1]))

    async def ask(self, command: bytes) -> list[bytes]:
        await self.send(command + b"\r\n")
        return await self.response()

    async def ok(self, command: bytes) -> list[bytes]:
        """As `ask`, for a command that must succeed; without the last line."""
        lines = await self.ask(command)
        assert lines[-1].startswith(b"OK"), lines
        return lines[:-1]

    async def put(self, name: bytes, script: bytes) -> bytes:
        """PUTSCRIPT with a literal; the last line."""
        return (await self.ask(b'PUTSCRIPT "%s" {%d+}\r\n%s' % (name, len(script), script)))[-1]

    async def login(self, address: str = ADDRESS, password: bytes = PASSWORD) -> bytes:
        message = base64.b64encode(b"\0" + address.encode() + b"\0" + password)
        return (await self.ask(b'AUTHENTICATE "PLAIN" "%s"' % message))[-1]


@dataclass
class SieveEdge:
    """A running server and everything behind it."""

    server: ManageSieveServer
    scripts: ScriptService
    logins: FakeLogins
    gate: FakeGate
    port: int
    clients: list[SieveClient] = field(default_factory=list)

    @property
    def account_id(self) -> AccountId:
        return self.logins.accounts[ADDRESS]

    async def dial(self) -> SieveClient:
        client = await SieveClient.open(self.port, secure=False)
        assert isinstance(client, SieveClient)
        self.clients.append(client)
        return client

    async def connect(self, *, secure: bool = True) -> SieveClient:
        """A client that has read the capabilities, and those behind TLS."""
        client = await self.dial()
        assert (await client.response())[-1].startswith(b"OK")
        if secure:
            await client.ok(b"STARTTLS")
            await client.start_tls()
            assert (await client.response())[-1].startswith(b"OK")
        return client

    async def opened(self, address: str = ADDRESS) -> SieveClient:
        client = await self.connect()
        answer = await client.login(address)
        assert answer.startswith(b"OK"), answer
        return client


@asynccontextmanager
async def open_managesieve(folder: Path) -> AsyncIterator[SieveEdge]:
    """A server with the accounts a@example.org and b@example.org."""
    async with open_sqlite(folder) as database:
        logins = FakeLogins()
        for address in (ADDRESS, "b@example.org"):
            logins.accounts[address] = await add_account(database, address)
        worker = ThreadWorker("sieve", threads=1)
        scripts = ScriptService(database=database, directory=Directory(database, WallClock()), worker=worker)
        gate = FakeGate()
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        server = ManageSieveServer(
            services=ManageSieveServices(
                scripts=scripts,
                logins=logins,
                extensions=EXTENSIONS,
                notify_methods=NOTIFY_METHODS,
                script_octets_max=SCRIPT_OCTETS_MAX,
                redirects_max=REDIRECTS_MAX,
                gate=gate,
            ),
            tls=server_context,
            sockets=[sock],
        )
        edge = SieveEdge(server, scripts, logins, gate, sock.getsockname()[1])
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
