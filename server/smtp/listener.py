"""The protocol object of each accepted connection; the only importer of aiosmtpd.

- Of aiosmtpd's class the flow control towards slow readers is used. Its constructor (85 us), command loop, address
  parser, DATA loop, one write a reply, timers and TLS upgrade are replaced (security.md §2, Y1-Y8), so `SMTP.__init__`
  is not called.
- At most 256 KiB wait unread per connection; reading is paused before more could arrive.
- Deadlines are looked at by the server's tick, so a wait costs no timer.
- The end of the peer's side never cancels anything here: it ends a wait for input, nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import cast

from aiosmtpd.smtp import SMTP

from server.domain.envelope import TlsInfo
from server.domain.reply import Reply
from server.protocol.smtp.limits import BUSY_COMMAND_S, CONNECTION_S, TLS_HANDSHAKE_S, WRITE_S
from server.smtp import replies
from server.smtp.admission import normal_ip
from server.smtp.contracts import Listener
from server.smtp.wire import Acceptor, Expired, LineTooLong, PeerGone, Phase
from server.telemetry.log import get_logger

log = get_logger("smtp")

BUFFER_MAX = 256 * 1024
"""Octets a connection may have waiting (reliability.md §4.12)."""

READ_MAX = 256_000
"""Octets uvloop hands over at once."""

PAUSE_ABOVE = BUFFER_MAX - READ_MAX

DISCARD_MAX = 1024 * 1024
"""Octets of a peer that goes on sending after our last words, before the connection is dropped."""

CLOSE_S = 5.0
"""Time a peer has to take our last words and close."""


class ListenerProtocol(SMTP):
    """One connection as `Wire`: octets in both directions, TLS, and the end."""

    def __init__(self, acceptor: Acceptor, listener: Listener, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.StreamReaderProtocol.__init__(self, asyncio.StreamReader(limit=1, loop=loop), loop=loop)
        self.listener = listener
        self.remote_ip = ""
        self.remote_port = 0
        self.local_port = 0
        self.phase = Phase.WORKING
        self.waiting_since = 0.0
        self.deadline = 0.0
        self.born = loop.time()
        self.loop = loop
        self.transport: asyncio.Transport | None = None
        self._acceptor = acceptor
        self._buffer = b""
        self._at = 0
        self._waiter: asyncio.Future[None] | None = None
        self._arrived = False
        self._reading_paused = False
        self._choked = False
        self._ended = False
        self._lost = False
        self._discarding = False
        self._discarded = 0
        self._in_tls = False
        self._expired: Reply | None = None
        self._ack: Reply | None = None

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._writer = asyncio.StreamWriter(self.transport, self, None, self.loop)
        peer, local = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        if peer is None or local is None:
            self.abort()
            return
        self.remote_ip, self.remote_port, self.local_port = normal_ip(peer[0]), peer[1], local[1]
        # Without it, pipelined dialogues stall for the 44 ms of a delayed ACK (architecture.md §7).
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._acceptor.accepted(self)

    def data_received(self, data: bytes) -> None:
        if self._discarding:
            self._discarded += len(data)
            if self._discarded > DISCARD_MAX:
                self.abort()
            return
        self._buffer = self._buffer[self._at :] + data if self._at < len(self._buffer) else data
        self._at = 0
        self._arrived = True
        self._ack = None
        if len(self._buffer) > PAUSE_ABOVE:
            self.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        """Keep our side open where the transport can: what was received whole is still answered."""
        self._ended = True
        self._wake()
        return not self._in_tls

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            self._ack_missed()
        self._ended = self._lost = True
        asyncio.streams.FlowControlMixin.connection_lost(self, exc)
        self._wake()

    def pause_writing(self) -> None:
        self._choked = True
        super().pause_writing()

    def resume_writing(self) -> None:
        self._choked = False
        super().resume_writing()

    # Wire: input

    @property
    def has_input(self) -> bool:
        return self._at < len(self._buffer)

    @property
    def is_lost(self) -> bool:
        return self._lost or self.transport is None or self.transport.is_closing()

    def starts_with(self, octets: bytes) -> bool:
        return self._buffer[self._at : self._at + len(octets)].upper() == octets.upper()

    def next_line(self, limit: int) -> bytes | None:
        end = self._buffer.find(b"\n", self._at, self._at + limit) + 1
        if end == 0:
            if len(self._buffer) - self._at >= limit:
                raise LineTooLong
            return None
        line = self._buffer[self._at : end]
        self._at = end
        return line

    def take(self) -> bytes:
        octets = self._buffer[self._at :] if self._at else self._buffer
        self._buffer, self._at = b"", 0
        return octets

    def give_back(self, octets: bytes) -> None:
        self._buffer, self._at = octets + self.take(), 0

    async def more(self, timeout_s: float, phase: Phase) -> None:
        if self._expired is not None:
            raise Expired(self._expired)
        self._arrived = False
        if self._reading_paused:
            self._resume_reading()
        self.waiting_since = now = self.loop.time()
        self.deadline = now + timeout_s
        self.phase = phase
        try:
            while not self._arrived:
                if self._expired is not None:
                    raise Expired(self._expired)
                if self._ended:
                    raise PeerGone
                self._waiter = waiter = self.loop.create_future()
                await waiter
        finally:
            self.phase = Phase.WORKING

    async def settled(self, task: asyncio.Task[Reply], timeout_s: float) -> bool:
        self.deadline = deadline = self.loop.time() + timeout_s
        self.phase = Phase.DECIDING
        task.add_done_callback(self._wake)
        while not task.done() and self.loop.time() < deadline:
            self._waiter = waiter = self.loop.create_future()
            await waiter
        self.phase = Phase.WORKING
        return task.done()

    def pause_reading(self) -> None:
        if not self._reading_paused and self.transport is not None and not self.transport.is_closing():
            self._reading_paused = True
            self.transport.pause_reading()

    # Wire: output

    def send(self, octets: bytes) -> None:
        if not self.is_lost and self.transport is not None:
            self.transport.write(octets)
        if self._ended or self.is_lost:
            self._ack_missed()

    async def drained(self) -> None:
        if not self._choked:
            return
        try:
            async with asyncio.timeout(WRITE_S):
                await self._writer.drain()
        except (TimeoutError, ConnectionError):
            self.abort()
            raise PeerGone from None

    def expect_ack(self, ack: Reply) -> None:
        self._ack = ack

    def _ack_missed(self) -> None:
        """The message stays; its sender, gone or half closed, may not know and send it again (reliability.md F15)."""
        if self._ack is not None:
            log.warning("smtp.ack_not_delivered", reply=self._ack.text, remote_addr=self.remote_ip)
            self._ack = None

    # TLS

    async def start_tls(self, context: ssl.SSLContext) -> TlsInfo:
        transport = self.transport
        if transport is None or self.is_lost or self._ended:
            raise PeerGone
        self.pause_reading()
        handshake = self.loop.create_task(self._handshake(transport, context))
        # The handshake's first step queues its start and the resumption of reading; octets that wait go right behind
        # them, before the loop can read any from the socket.
        await asyncio.sleep(0)
        self.loop.call_soon(self._hand_over, transport)
        try:
            upgraded = await handshake
        except (OSError, ssl.SSLError, TimeoutError) as error:
            log.info("smtp.tls_failed", remote_addr=self.remote_ip, error=type(error).__name__)
            self.abort()
            raise PeerGone from None
        self.transport, self._in_tls, self._reading_paused = upgraded, True, False
        layer = upgraded.get_extra_info("ssl_object")
        return TlsInfo(version=layer.version() or "", cipher=(layer.cipher() or ("",))[0])

    async def _handshake(self, transport: asyncio.Transport, context: ssl.SSLContext) -> asyncio.Transport:
        upgraded = await self.loop.start_tls(
            transport,
            self,
            context,
            server_side=True,
            ssl_handshake_timeout=TLS_HANDSHAKE_S,
            ssl_shutdown_timeout=CLOSE_S,
        )
        if upgraded is None:
            raise ConnectionAbortedError
        return upgraded

    def _hand_over(self, transport: asyncio.Transport) -> None:
        """Give octets that were read in clear, a ClientHello at the earliest, to the TLS layer."""
        octets = self.take()
        # uvloop's layer has BufferedProtocol's methods, not its type.
        layer = cast(asyncio.BufferedProtocol, transport.get_protocol())
        while octets and not transport.is_closing():
            room = memoryview(layer.get_buffer(len(octets)))
            size = min(len(room), len(octets))
            room[:size] = octets[:size]
            layer.buffer_updated(size)
            octets = octets[size:]

    # The end

    def check(self, now: float, *, busy: bool) -> None:
        """Called by the server's tick: end a wait that took too long."""
        if self.phase is Phase.WORKING or self._expired is not None:
            return
        if self.phase is Phase.DECIDING:
            if now >= self.deadline:
                self._wake()
            return
        waited = now - self.waiting_since
        if (
            now >= self.deadline
            or (busy and self.phase is Phase.COMMAND and waited >= BUSY_COMMAND_S)
            or now - self.born >= CONNECTION_S
        ):
            self.expire(replies.TIMED_OUT)

    def expire(self, last_word: Reply) -> None:
        """End the present or next wait for input."""
        self._expired = last_word
        self._wake()

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()

    async def finish(self, *, lingers: bool) -> None:
        """Close after the last words; returns when the transport is gone.

        Args:
            lingers: The peer may still be sending. It first gets the end of our side and a little time: closing at
                once with input unread would make the kernel take back what we just said.
        """
        self.take()
        self._discarding = True
        if lingers and self.transport is not None and not self.is_lost and not self._ended:
            self._expired = None
            if self.transport.can_write_eof():
                self.transport.write_eof()
                with contextlib.suppress(PeerGone, Expired):
                    await self.more(CLOSE_S, Phase.CLOSING)
        self.close()
        await self._gone()

    async def _gone(self) -> None:
        """Wait for the transport to end, a little, then end it."""
        if not self._lost:
            timer = self.loop.call_later(CLOSE_S, self.abort)
            try:
                while not self._lost:
                    self._waiter = waiter = self.loop.create_future()
                    await waiter
            finally:
                timer.cancel()

    def abort(self) -> None:
        """Drop the connection at once."""
        if self.transport is not None:
            self.transport.abort()

    def _resume_reading(self) -> None:
        self._reading_paused = False
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def _wake(self, _: object = None) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
