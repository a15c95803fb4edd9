"""The SMTP edge on real sockets with fake services, and a client that speaks octets."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import functools
import ipaddress
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from server.domain.access import Gate, OpenGate
from server.smtp.contracts import EdgeServices, Listener
from server.smtp.server import SmtpServer
from server.smtp.settings import SmtpSettings
from tests.support.fake_services import FakeClock, FakeLogins, FakeReception, FakeSubmissions, FakeWriters

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
SETTINGS = SmtpSettings(hostname="mx.example.org", exempt_networks=LOOPBACK, unknown_pause_s=0.0, tick_s=0.02)
WAIT_S = 5.0


@functools.cache
def server_context() -> ssl.SSLContext:
    """A TLS server context with a self-signed certificate for mx.example.org."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mx.example.org")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "both.pem")
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context.load_cert_chain(path)
    return context


def client_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Client:
    """Sends octets, reads replies; every wait has an end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def reply(self) -> bytes:
        """One whole reply, all its lines."""
        lines = []
        while True:
            line = await asyncio.wait_for(self.reader.readline(), WAIT_S)
            lines.append(line)
            if line[3:4] != b"-":
                return b"".join(lines)

    async def replies(self, count: int) -> list[bytes]:
        return [await self.reply() for _ in range(count)]

    async def send(self, octets: bytes) -> None:
        self.writer.write(octets)
        await self.writer.drain()

    async def ask(self, line: bytes) -> bytes:
        """Send one line, CRLF added, and read its reply."""
        await self.send(line + b"\r\n")
        return await self.reply()

    async def rest(self) -> bytes:
        """Everything until the server closes; a reset counts as the end."""
        found = b""
        with contextlib.suppress(ConnectionError):
            while chunk := await asyncio.wait_for(self.reader.read(65_536), WAIT_S):
                found += chunk
        return found

    async def start_tls(self) -> None:
        await asyncio.wait_for(self.writer.start_tls(client_context(), server_hostname="mx.example.org"), WAIT_S)

    async def envelope(self, sender: bytes = b"a@b.example", recipient: bytes = b"u1@example.org") -> None:
        """EHLO, MAIL, RCPT and DATA, each accepted."""
        assert (await self.ask(b"EHLO c.example"))[:3] == b"250"
        assert (await self.ask(b"MAIL FROM:<" + sender + b">"))[:3] == b"250"
        assert (await self.ask(b"RCPT TO:<" + recipient + b">"))[:3] == b"250"
        assert (await self.ask(b"DATA"))[:3] == b"354"

    def close(self) -> None:
        self.writer.transport.abort()


@dataclass
class Edge:
    """A running edge. Change `settings` and `services` before connecting."""

    server: SmtpServer
    ports: dict[Listener, int]
    reception: FakeReception = field(default_factory=FakeReception)
    submissions: FakeSubmissions = field(default_factory=FakeSubmissions)
    logins: FakeLogins = field(default_factory=FakeLogins)
    writers: FakeWriters = field(default_factory=FakeWriters)
    clients: list[Client] = field(default_factory=list)

    async def connect(self, listener: Listener = Listener.SMTP, *, banner: bool = True) -> Client:
        """Connect, with TLS where the port begins with it, and read the greeting."""
        tls = client_context() if listener is Listener.SUBMISSIONS else None
        client = Client(*await asyncio.open_connection("127.0.0.1", self.ports[listener], ssl=tls))
        self.clients.append(client)
        if banner:
            assert (await client.reply())[:4] == b"220 "
        return client

    async def submission(self, *, login: bool = True) -> Client:
        """A client on 587 after STARTTLS and EHLO, logged in as u1@example.org."""
        client = await self.connect(Listener.SUBMISSION)
        await client.ask(b"EHLO c.example")
        assert (await client.ask(b"STARTTLS"))[:3] == b"220"
        await client.start_tls()
        await client.ask(b"EHLO c.example")
        if login:
            # NUL u1@example.org NUL correct horse battery
            answer = await client.ask(b"AUTH PLAIN AHUxQGV4YW1wbGUub3JnAGNvcnJlY3QgaG9yc2UgYmF0dGVyeQ==")
            assert answer[:3] == b"235"
        return client


@contextlib.asynccontextmanager
async def running_edge(
    settings: SmtpSettings = SETTINGS, *, with_tls: bool = True, gate: Gate | None = None, **changes: object
) -> AsyncIterator[Edge]:
    """Serve all three listeners on loopback ports until the end of the block.

    Args:
        changes: Fields of SmtpSettings that differ from `settings`.
    """
    settings = replace(settings, **changes)  # type: ignore[arg-type]
    sockets = {listener: [_bound()] for listener in Listener}
    reception, submissions, logins, writers = FakeReception(), FakeSubmissions(), FakeLogins(), FakeWriters()
    services = EdgeServices(
        reception=reception,
        submissions=submissions,
        logins=logins,
        writer=writers,
        tls=server_context if with_tls else lambda: None,
        clock=FakeClock(),
        gate=gate or OpenGate(),
    )
    server = SmtpServer(services=services, settings=settings, sockets=sockets)
    edge = Edge(
        server,
        {listener: bound[0].getsockname()[1] for listener, bound in sockets.items()},
        reception,
        submissions,
        logins,
        writers,
    )
    ready = asyncio.Event()
    task = asyncio.create_task(server.serve(ready=ready.set))
    try:
        await asyncio.wait_for(ready.wait(), WAIT_S)
        yield edge
    finally:
        for client in edge.clients:
            client.close()
        if not server.draining:
            await server.drain(WAIT_S)
        await asyncio.wait_for(task, WAIT_S)


def _bound() -> socket.socket:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    return sock
