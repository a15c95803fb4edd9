"""One connection to another IMAP server: connect, TLS, login, commands one at a time.

- The address is checked as every outgoing one is (security.md §8); TLS is verified for the name that was given.
- A password goes over TLS, unless the import was told that there is none.
- Every wait has an end; what the server says wrongly ends the connection, never more.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass

from server.domain.ports import Dialer, Stream
from server.protocol.imap.client import Response, ResponseReader, format_quoted, plain_response
from server.protocol.imap.cursor import ImapSyntaxError
from server.services.queue.mx import MxRouter
from server.services.upkeep.job_runner import JobFailed, JobTroubled

CONNECT_S = 30.0
READ_S = 180.0
"""Silence of the server within a command."""
LITERAL_SLACK = 64 * 1024
COLLECTED_MAX = 16 * 1024 * 1024
"""Octets that the server may send to one command whose responses are collected."""
READ_OCTETS = 64 * 1024
LOGOUT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where to go; `tls` is implicit, starttls or none."""

    host: str
    port: int
    tls: str
    login: str
    password: str


_PASSING = frozenset({b"UNAVAILABLE", b"INUSE", b"SERVERBUG", b"LIMIT"})
"""Response codes of a NO that need not last (RFC 5530)."""


class Refused(Exception):
    """The server answered NO or BAD; the text is its own."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.text or response.kind.decode("ascii", "replace"))
        self.passing = response.code[:1] != () and response.code[0] in _PASSING


class ImapSession:
    """An open connection, logged in; made by `open_session`."""

    def __init__(self, stream: Stream, *, largest: int) -> None:
        self._stream = stream
        self._reader = ResponseReader(literal_max=largest + LITERAL_SLACK)
        self._number = 0
        self._received = 0
        self.capabilities: frozenset[str] = frozenset()

    async def command(self, text: bytes, *literals: bytes) -> list[Response]:
        """Send a command and collect its untagged responses, then its completion.

        Raises:
            Refused: NO or BAD.
            JobTroubled: The connection is lost or of no use.
        """
        most = self._received + COLLECTED_MAX
        found = []
        async for response in self.responses(text, *literals):
            found.append(response)
            if self._received > most:
                self._stream.abort()
                raise JobTroubled("the other server's answer has no end")
        return found

    async def responses(self, text: bytes, *literals: bytes) -> AsyncIterator[Response]:
        """The same, as they come; read it to its end. Literals go where `text` has a `{}`."""
        self._number += 1
        tag = b"A%d" % self._number
        pieces = text.split(b"{}") if literals else [text]
        for piece, literal in zip(pieces, literals, strict=False):
            await self._write((tag + b" " if piece is pieces[0] else b"") + piece + b"{%d}\r\n" % len(literal))
            await self._continuation(tag)
            await self._write(literal)
        await self._write((b"" if literals else tag + b" ") + pieces[-1] + b"\r\n")
        while True:
            response = await self._next()
            if response.tag == tag:
                if response.kind != b"OK":
                    raise Refused(response)
                yield response
                return
            if response.kind == b"BYE":
                raise JobTroubled(f"the other server closed the connection: {response.text}")
            yield response

    async def authenticate(self, server: Server) -> None:
        """Log in. Raises JobFailed when the server refuses, or would have the password in clear."""
        try:
            if "AUTH=PLAIN" in self.capabilities:
                await self._plain(server)
            elif "LOGINDISABLED" in self.capabilities:
                raise JobFailed("the other server takes no login on this connection: try tls")
            else:
                await self._login(server)
        except Refused as error:
            words = f"the other server refused the login: {error}"
            raise (JobTroubled(words) if error.passing else JobFailed(words)) from error
        await self.ask_capabilities()

    async def ask_capabilities(self) -> None:
        found: set[str] = set()
        for response in await self.command(b"CAPABILITY"):
            if response.kind == b"CAPABILITY":
                words = [value for value in response.values if isinstance(value, bytes)]
                found |= {word.decode("ascii", "replace").upper() for word in words}
        self.capabilities = frozenset(found)

    async def greeting(self) -> bool:
        """Wait for it; whether the server takes us as logged in already."""
        response = await self._next()
        if response.kind not in (b"OK", b"PREAUTH"):
            raise JobTroubled(f"the other server refuses connections: {response.text}")
        return response.kind == b"PREAUTH"

    async def start_tls(self, context: ssl.SSLContext, host: str) -> None:
        try:
            await self.command(b"STARTTLS")
        except Refused as error:
            raise JobFailed(f"the other server refused STARTTLS: {error}") from error
        await self.upgrade(context, host)

    async def upgrade(self, context: ssl.SSLContext, host: str) -> None:
        """TLS in place; what the server said before is forgotten (RFC 9051 §6.2.1).

        Raises:
            JobTroubled: It failed, or the server, or whoever speaks for it, said more before TLS than was asked.
        """
        if not self._reader.is_empty:
            self._stream.abort()
            raise JobTroubled(f"{host} spoke before the TLS handshake")
        try:
            await self._stream.start_tls(context, host)
        except ssl.SSLCertVerificationError as error:
            words = f"the other server's certificate is not valid for {host}: {error.verify_message}"
            raise JobFailed(words) from error
        except (OSError, ssl.SSLError) as error:
            raise JobTroubled(f"TLS with {host} failed") from error
        self.capabilities = frozenset()

    async def close(self) -> None:
        """Say goodbye and drop the connection."""
        with suppress(Refused, JobTroubled, TimeoutError):
            async with asyncio.timeout(LOGOUT_S):
                await self.command(b"LOGOUT")
        self._stream.abort()

    def abort(self) -> None:
        self._stream.abort()

    async def _plain(self, server: Server) -> None:
        self._number += 1
        tag = b"A%d" % self._number
        await self._write(tag + b" AUTHENTICATE PLAIN\r\n")
        await self._continuation(tag)
        await self._write(plain_response(server.login, server.password) + b"\r\n")
        while (response := await self._next()).tag != tag:
            if response.kind == b"BYE":
                raise Refused(response)
        if response.kind != b"OK":
            raise Refused(response)

    async def _login(self, server: Server) -> None:
        words, literals = [b"LOGIN"], []
        for value in (server.login.encode(), server.password.encode()):
            quoted = format_quoted(value)
            words.append(quoted if quoted is not None else b"{}")
            if quoted is None:
                literals.append(value)
        await self.command(b" ".join(words), *literals)

    async def _continuation(self, tag: bytes) -> None:
        while True:
            response = await self._next()
            if response.tag == b"+":
                return
            if response.tag == tag:
                raise Refused(response)
            if response.kind == b"BYE":
                raise JobTroubled(f"the other server closed the connection: {response.text}")

    async def _next(self) -> Response:
        while True:
            try:
                response = self._reader.next_response()
            except ImapSyntaxError as error:
                self._stream.abort()
                raise JobTroubled(f"the other server can't be understood: {error}") from error
            if response is not None:
                return response
            try:
                async with asyncio.timeout(READ_S):
                    data = await self._stream.read(READ_OCTETS)
            except (OSError, TimeoutError) as error:
                raise JobTroubled("the connection to the other server was lost") from error
            if not data:
                raise JobTroubled("the other server closed the connection")
            self._received += len(data)
            self._reader.receive(data)

    async def _write(self, data: bytes) -> None:
        try:
            async with asyncio.timeout(READ_S):
                await self._stream.write(data)
        except (OSError, TimeoutError) as error:
            raise JobTroubled("the connection to the other server was lost") from error


async def open_session(
    dialer: Dialer, router: MxRouter, context: ssl.SSLContext, server: Server, *, largest: int
) -> ImapSession:
    """Connect and log in. Raises JobFailed, JobTroubled."""
    stream = await _connect(dialer, router, server)
    session = ImapSession(stream, largest=largest)
    try:
        if server.tls == "implicit":
            await session.upgrade(context, server.host)
        ready = await session.greeting()
        if server.tls == "starttls":
            if ready:
                raise JobFailed("the other server is logged in before TLS: not trusted")
            await session.start_tls(context, server.host)
        await session.ask_capabilities()
        if not ready:
            await session.authenticate(server)
    except Refused as error:
        session.abort()
        raise JobTroubled(f"the other server refuses: {error}") from error
    except BaseException:
        session.abort()
        raise
    return session


async def _connect(dialer: Dialer, router: MxRouter, server: Server) -> Stream:
    found = await router.addresses(server.host)
    if not found.items:
        if found.guarded:
            raise JobFailed(
                f"{server.host} has no address outside this network, and outbound.allow_private names none of it"
            )
        if found.refusal.code >= 500:
            raise JobFailed(f"{server.host} has no address")
        raise JobTroubled(f"the name servers gave no answer for {server.host}")
    for ip in found.items:
        try:
            return await dialer.connect(ip, server.port, timeout_s=CONNECT_S)
        except (OSError, TimeoutError):
            continue
    raise JobTroubled(f"nothing answers at {server.host}, port {server.port}")
