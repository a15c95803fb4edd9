"""One connection to a remote mail server: drives the sans-io client over a stream, with a deadline for each wait.

- `open_session` ends with a session that can take a message, or with the words why not.
- TLS: `OPPORTUNISTIC` uses what is offered without verification and goes on in clear where it is not; `REQUIRED` never
  goes on in clear; `VERIFIED` also checks chain and name. A password is never said but under `VERIFIED`.
- Whatever a remote does ends as a `SessionFailed`, never as another error.

RFC 5321 §4.5.3.2 (timeouts), RFC 3207, RFC 4954.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import NoReturn, TypeVar

from server.domain.ports import Clock, Dialer, Stream
from server.domain.reply import Reply, reply
from server.protocol.smtp.client import (
    AuthAnswer,
    Done,
    Event,
    Greeted,
    MailTransaction,
    Phase,
    Ready,
    Send,
    SendBody,
    SmtpClient,
    TlsAnswer,
)
from server.protocol.smtp.client_replies import RemoteSyntaxError
from server.services.queue.courier import Progress

TIMEOUTS_S = {
    Phase.IDLE: 10.0,
    Phase.GREETING: 300.0,
    Phase.EHLO: 300.0,
    Phase.TLS: 60.0,
    Phase.AUTH: 60.0,
    Phase.RESET: 300.0,
    Phase.MAIL: 300.0,
    Phase.RCPT: 300.0,
    Phase.DATA: 120.0,
    Phase.FINAL_DOT: 600.0,
    Phase.QUIT: 10.0,
}
"""Wait for each reply (reliability.md §8)."""

BLOCK_S = 180.0
"""Time the remote has to take one block of a message."""

EARLY_REPLY_S = 1.0
"""Wait for what the remote may have said before it closed in the middle of a message."""

READ_OCTETS = 64 * 1024
_LOOP = reply(554, "5.4.6", "the mail leads back to this server: the remote has our own name")

E = TypeVar("E")


class TlsMode(Enum):
    """How TLS is used towards a remote."""

    NONE = auto()
    OPPORTUNISTIC = auto()
    REQUIRED = auto()
    VERIFIED = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTls:
    """Contexts of outgoing TLS: `unverified` takes any certificate, `verified` checks chain and name."""

    unverified: ssl.SSLContext
    verified: ssl.SSLContext


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """A login at a relay; the password stays out of every text."""

    username: str
    password: str

    def __repr__(self) -> str:
        return "Credentials(...)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One server to talk to, and how."""

    host: str
    ip: str
    port: int
    tls: TlsMode
    implicit_tls: bool = False
    credentials: Credentials | None = None


class FailureKind(Enum):
    """What a failed session means for what comes next."""

    UNREACHABLE = auto()
    HANDSHAKE = auto()
    REFUSED = auto()
    CREDENTIALS = auto()
    LOST_BEFORE_DOT = auto()
    LOST_AFTER_DOT = auto()


class SessionFailed(Exception):
    """The session ended without results; `reply` is the remote's where `from_remote`, else ours."""

    def __init__(self, kind: FailureKind, answer: Reply, *, from_remote: bool = False, tls: str = "") -> None:
        super().__init__(answer.text)
        self.kind = kind
        self.reply = answer
        self.from_remote = from_remote
        self.tls = tls


class Session:
    """A connection that is ready for messages."""

    def __init__(self, stream: Stream, target: Target, clock: Clock) -> None:
        self.target = target
        self.client = SmtpClient()
        self.tls = ""
        self.messages = 0
        self.opened_s = self.idle_since_s = clock.monotonic()
        self._stream = stream
        self._clock = clock
        self._dot_written = False

    async def prepare(self, hostname: str, contexts: ClientTls) -> None:
        """Greet, upgrade, log in. Raises SessionFailed."""
        target = self.target
        if target.implicit_tls:
            await self._handshake(contexts)
        greeting = await self._expect(Greeted)
        if greeting.reply.code != 220:
            self._fail(FailureKind.REFUSED, greeting.reply, from_remote=True)
        await self._hello(hostname)
        if target.tls is not TlsMode.NONE and not self.tls:
            await self._upgrade(hostname, contexts)
        if target.credentials is not None:
            await self._login(target.credentials)

    async def _hello(self, hostname: str) -> None:
        await self._write(self.client.hello(hostname))
        ready = await self._expect(Ready)
        if not ready.reply.is_success:
            self._fail(FailureKind.REFUSED, ready.reply, from_remote=True)
        if "." in hostname and ready.reply.lines[0].lower().split(" ")[0] == hostname.lower():
            self._fail(FailureKind.REFUSED, _LOOP)

    async def _upgrade(self, hostname: str, contexts: ClientTls) -> None:
        must = self.target.tls is not TlsMode.OPPORTUNISTIC
        if not self.client.capabilities.starttls:
            if must:
                self._fail(FailureKind.REFUSED, reply(451, "4.7.4", "TLS is required and the remote does not offer it"))
            return
        await self._write(self.client.start_tls())
        answer = await self._expect(TlsAnswer)
        if answer.reply.code != 220:
            if must:
                self._fail(FailureKind.REFUSED, reply(451, "4.7.4", f"TLS was refused: {answer.reply.text}"))
            return
        await self._handshake(contexts)
        await self._hello(hostname)

    async def _handshake(self, contexts: ClientTls) -> None:
        verified = self.target.tls is TlsMode.VERIFIED
        context = contexts.verified if verified else contexts.unverified
        try:
            async with asyncio.timeout(TIMEOUTS_S[Phase.TLS]):
                info = await self._stream.start_tls(context, self.target.host.strip("[]").removeprefix("IPv6:"))
        except ssl.SSLCertVerificationError as error:
            text = f"the certificate does not verify: {error.verify_message}"
            self._fail(FailureKind.HANDSHAKE, reply(451, "4.7.5", text))
        except (OSError, TimeoutError) as error:
            self._fail(FailureKind.HANDSHAKE, reply(451, "4.7.5", f"the TLS handshake failed: {describe(error)}"))
        self.tls = info.version

    async def _login(self, credentials: Credentials) -> None:
        line = self.client.login(credentials.username, credentials.password)
        if line is None:
            self._fail(FailureKind.CREDENTIALS, reply(454, "4.7.0", "the relay offers no AUTH PLAIN or LOGIN"))
        await self._write(line)
        answer = await self._expect(AuthAnswer)
        if not answer.reply.is_success:
            kind = FailureKind.CREDENTIALS if answer.reply.is_permanent else FailureKind.REFUSED
            self._fail(kind, answer.reply, from_remote=True)

    async def transact(self, transaction: MailTransaction, body: Iterable[bytes], progress: Progress) -> Done:
        """Send one message. Raises SessionFailed; the session is then over.

        Args:
            body: The encoded octets, in pieces, the final dot in the last.
        """
        self.messages += 1
        self._dot_written = False
        first = self.client.begin(transaction)
        if first:
            await self._write(first)
        while True:
            event = await self._next()
            if isinstance(event, SendBody):
                await self._send_body(body, progress)
            elif isinstance(event, Done):
                self.idle_since_s = self._clock.monotonic()
                return event
            else:
                self._fail(FailureKind.LOST_BEFORE_DOT, reply(451, "4.5.0", "the remote answered out of order"))

    async def _send_body(self, body: Iterable[bytes], progress: Progress) -> None:
        waiting: bytes | None = None
        try:
            for piece in body:
                if waiting is not None:
                    await self._write_block(waiting)
                waiting = piece
            progress.past_dot = self._dot_written = True
            await self._write_block(waiting or b".\r\n")
        except (OSError, TimeoutError) as error:
            self.client.body_sent()
            await self._early_reply()
            self._lost(error)
        self.client.body_sent()

    async def _write_block(self, data: bytes) -> None:
        async with asyncio.timeout(BLOCK_S):
            await self._stream.write(data)

    async def _early_reply(self) -> None:
        """Raise the refusal a remote may have given before it stopped reading a message."""
        try:
            async with asyncio.timeout(EARLY_REPLY_S):
                event = await self._next()
        except (SessionFailed, TimeoutError):
            return
        if isinstance(event, Done):
            refusals = [result for result in event.results if result.from_remote and not result.reply.is_success]
            if refusals:
                self._fail(FailureKind.REFUSED, refusals[-1].reply, from_remote=True)

    async def quit(self) -> None:
        """Say goodbye and drop the connection, whatever the remote says."""
        try:
            if self.client.usable:
                await self._write(self.client.quit())
                await self._next()
        except SessionFailed:
            return  # The remote was quicker: the connection is gone either way.
        finally:
            self.abort()

    def abort(self) -> None:
        """Drop the connection."""
        self._stream.abort()

    async def _write(self, data: bytes) -> None:
        try:
            async with asyncio.timeout(TIMEOUTS_S[self.client.phase]):
                await self._stream.write(data)
        except (OSError, TimeoutError) as error:
            self._lost(error)

    async def _expect(self, kind: type[E]) -> E:
        event = await self._next()
        if not isinstance(event, kind):
            self._fail(FailureKind.LOST_BEFORE_DOT, reply(451, "4.5.0", "the remote answered out of order"))
        return event

    async def _next(self) -> Event:
        """The next event but `Send`, which is done here."""
        try:
            async with asyncio.timeout(TIMEOUTS_S[self.client.phase]):
                while True:
                    event = self.client.next_event()
                    if isinstance(event, Send):
                        await self._stream.write(event.data)
                    elif event is not None:
                        return event
                    else:
                        data = await self._stream.read(READ_OCTETS)
                        if not data:
                            self._lost(None)
                        self.client.receive_data(data)
        except RemoteSyntaxError as error:
            self._fail(self._lost_kind, reply(451, "4.5.0", str(error)))
        except (OSError, TimeoutError) as error:
            self._lost(error)

    @property
    def _lost_kind(self) -> FailureKind:
        return FailureKind.LOST_AFTER_DOT if self._dot_written else FailureKind.LOST_BEFORE_DOT

    def _lost(self, error: Exception | None) -> NoReturn:
        phase = self.client.phase
        where = "after the final dot" if self._dot_written else PHASE_WORDS[phase]
        if isinstance(error, TimeoutError):
            self._fail(self._lost_kind, reply(451, "4.4.2", f"the remote gave no answer in time {where}"))
        how = "closed the connection" if error is None else f"dropped the connection ({describe(error)})"
        self._fail(self._lost_kind, reply(451, "4.4.2", f"the remote {how} {where}"))

    def _fail(self, kind: FailureKind, answer: Reply, *, from_remote: bool = False) -> NoReturn:
        self.abort()
        raise SessionFailed(kind, answer, from_remote=from_remote, tls=self.tls)


PHASE_WORDS = {
    Phase.IDLE: "between commands",
    Phase.GREETING: "before its greeting",
    Phase.EHLO: "at EHLO",
    Phase.TLS: "at STARTTLS",
    Phase.AUTH: "at AUTH",
    Phase.RESET: "at RSET",
    Phase.MAIL: "at MAIL",
    Phase.RCPT: "at RCPT",
    Phase.DATA: "at DATA",
    Phase.FINAL_DOT: "at the final dot",
    Phase.QUIT: "at QUIT",
}


async def open_session(
    dialer: Dialer, target: Target, *, clock: Clock, hostname: str, contexts: ClientTls, connect_s: float
) -> Session:
    """Connect and prepare a session. Raises SessionFailed."""
    try:
        stream = await dialer.connect(target.ip, target.port, timeout_s=connect_s)
    except (OSError, TimeoutError) as error:
        raise SessionFailed(
            FailureKind.UNREACHABLE, reply(451, "4.4.1", f"no connection to {target.host}: {describe(error)}")
        ) from None
    session = Session(stream, target, clock)
    try:
        await session.prepare(hostname, contexts)
    except BaseException:
        session.abort()
        raise
    return session


def describe(error: Exception) -> str:
    """An error of the network in a few words, without Python's."""
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, ssl.SSLError):
        return (error.reason or "TLS error").lower().replace("_", " ")
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    return "connection lost"
