"""One client's bytes: the only I/O of the IMAP edge (reliability.md §4.11-12).

- Reading stops while more than READ_HIGH octets wait to be parsed; it goes on when the parser needs more.
- Writing waits when the client does not read; after WRITE_TIMEOUT_S the connection is aborted.
- COMPRESS: octets are inflated only while less than READ_HIGH wait to be parsed.
- STARTTLS: reading stops at once, anything that had come behind the command closes the connection (T04).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import cast

from server.domain.envelope import TlsInfo
from server.imap.compression import Compression, CompressionError
from server.protocol.imap.fragments import CHUNK_OCTETS, FragmentEvent, Fragmentizer, LineTooLong

READ_HIGH = 64 * 1024
WRITE_HIGH = 64 * 1024
WRITE_TIMEOUT_S = 60.0
HANDSHAKE_TIMEOUT_S = 30.0
CLOSE_TIMEOUT_S = 5.0


class ConnectionClosed(Exception):
    """The client is gone, or was too slow, or spoke where it must not: end the session without a word."""


class ImapConnection(asyncio.Protocol):
    """The stream of one client.

    Args:
        made: Called when the connection stands.
    """

    def __init__(self, made: Callable[[ImapConnection], None]) -> None:
        self._made = made
        self._transport: asyncio.Transport | None = None
        self._fragments = Fragmentizer()
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._eof = False
        self._lost = False
        self._reading_paused = False
        self.lost_reason = ""
        self._compression: Compression | None = None

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_HIGH)
        sock = self._transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._made(self)

    def data_received(self, data: bytes) -> None:
        if self._compression is None:
            self._fragments.receive(data)
        else:
            self._compression.receive(data)
            self._inflate()
        if self._fragments.buffered_octets > READ_HIGH:
            self._pause_reading()
        self._readable.set()

    def eof_received(self) -> bool:
        self._eof = True
        self._readable.set()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = self._eof = True
        self._readable.set()
        self._writable.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # Called by the session.

    @property
    def peer(self) -> tuple[str, int]:
        """The client's address and port; v4-mapped addresses as IPv4."""
        return _address(self._info("peername"))

    @property
    def local_port(self) -> int:
        return _address(self._info("sockname"))[1]

    def logged_in(self) -> None:
        """Raise the input limits."""
        self._fragments.logged_in()

    async def next_event(self, deadline: float) -> FragmentEvent:
        """The next part of the input. Raises TimeoutError at `deadline` (loop time), ConnectionClosed."""
        while True:
            event = self._fragments.next_event()
            if event is not None:
                return event
            await self._wait_readable(deadline)

    async def next_line(self, limit_octets: int, deadline: float) -> bytes | LineTooLong:
        """A line outside any command. Raises as `next_event`."""
        while True:
            line = self._fragments.next_line(limit_octets)
            if line is not None:
                return line
            await self._wait_readable(deadline)

    def event_ready(self) -> FragmentEvent | None:
        """The next part of the input if it is there."""
        return self._fragments.next_event()

    def line_ready(self, limit_octets: int) -> bytes | LineTooLong | None:
        """A line if one is there."""
        return self._fragments.next_line(limit_octets)

    def accept_literal(self) -> bool:
        return self._fragments.accept_literal()

    def stream_literal(self) -> None:
        self._fragments.stream_literal()

    def refuse_literal(self) -> None:
        self._fragments.refuse_literal()

    def poke(self) -> None:
        """End a `wait` as if input had come."""
        self._readable.set()

    async def wait(self, deadline: float) -> None:
        """Wait for input, an end, or `poke`. Raises as `next_event`."""
        await self._wait_readable(deadline)

    def write(self, data: bytes) -> None:
        """Queue octets; follow with `drain` before the next large piece."""
        if self._transport is not None and not self._lost:
            self._transport.write(data if self._compression is None else self._compression.deflate(data))

    async def write_large(self, data: bytes) -> None:
        """Write in pieces, waiting for the client in between."""
        view = memoryview(data)
        for start in range(0, len(view), CHUNK_OCTETS):
            self.write(bytes(view[start : start + CHUNK_OCTETS]))
            await self.drain()

    async def drain(self) -> None:
        """Wait until the client has read most of what was written. Raises ConnectionClosed."""
        if self._lost:
            raise ConnectionClosed
        if self._writable.is_set():
            return
        try:
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                await self._writable.wait()
        except TimeoutError:
            self.lost_reason = "client does not read"
            self.abort()
            raise ConnectionClosed from None
        if self._lost:
            raise ConnectionClosed

    @property
    def is_compressed(self) -> bool:
        return self._compression is not None

    def start_compression(self) -> None:
        """Speak deflate in both directions from here on; octets that wait are compressed already (RFC 4978 §3)."""
        waiting = self._fragments.take_buffered()
        self._compression = Compression()
        if waiting:
            self._compression.receive(waiting)
            self._inflate()

    def stop_reading_for_tls(self) -> bool:
        """Stop reading; False when the client sent anything behind its STARTTLS."""
        self._pause_reading()
        return self._fragments.buffered_octets == 0

    async def start_tls(self, context: ssl.SSLContext) -> TlsInfo:
        """Upgrade; octets that wait are the client's first TLS record, never input of ours.

        Raises:
            ConnectionClosed: The handshake failed; `lost_reason` says how.
        """
        if self._transport is None or self._eof:
            raise ConnectionClosed
        self._pause_reading()
        loop = asyncio.get_running_loop()
        handshake = loop.create_task(self._handshake(self._transport, context))
        # The handshake's first step queues its start and the resumption of reading; octets that wait go right behind
        # them, before the loop can read any from the socket.
        await asyncio.sleep(0)
        loop.call_soon(self._hand_over, self._transport)
        try:
            transport = await handshake
        except (OSError, TimeoutError) as error:
            self.lost_reason = f"TLS handshake failed: {getattr(error, 'reason', None) or type(error).__name__}"
            self.abort()
            raise ConnectionClosed from error
        self._transport = transport
        self._transport.set_write_buffer_limits(high=WRITE_HIGH)
        self._reading_paused = False
        layer = transport.get_extra_info("ssl_object")
        cipher = layer.cipher()
        # The context that was chosen in the handshake knows the certificate that was shown.
        end_point = getattr(layer.context, "end_point", b"")
        return TlsInfo(version=layer.version() or "", cipher=cipher[0] if cipher else "", end_point=end_point)

    async def _handshake(self, transport: asyncio.Transport, context: ssl.SSLContext) -> asyncio.Transport:
        upgraded = await asyncio.get_running_loop().start_tls(
            transport,
            self,
            context,
            server_side=True,
            ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S,
            ssl_shutdown_timeout=CLOSE_TIMEOUT_S,
        )
        if upgraded is None:
            raise ConnectionAbortedError
        return upgraded

    def _hand_over(self, transport: asyncio.Transport) -> None:
        """Give octets that were read in clear, a ClientHello at the earliest, to the TLS layer."""
        octets = self._fragments.take_buffered()
        # uvloop's layer has BufferedProtocol's methods, not its type.
        layer = cast(asyncio.BufferedProtocol, transport.get_protocol())
        while octets and not transport.is_closing():
            room = memoryview(layer.get_buffer(len(octets)))
            size = min(len(room), len(octets))
            room[:size] = octets[:size]
            layer.buffer_updated(size)
            octets = octets[size:]

    def close(self) -> None:
        """Close once what was written is sent, at the latest after CLOSE_TIMEOUT_S."""
        if self._transport is not None and not self._lost:
            self._transport.close()
            asyncio.get_running_loop().call_later(CLOSE_TIMEOUT_S, self._transport.abort)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _inflate(self) -> None:
        """Fill the parser's buffer from compressed octets, up to its mark."""
        compression = self._compression
        while compression is not None and compression.pending and self._fragments.buffered_octets <= READ_HIGH:
            try:
                self._fragments.receive(compression.inflate())
            except CompressionError:
                self.lost_reason = "malformed compressed data"
                self.abort()
                return

    async def _wait_readable(self, deadline: float) -> None:
        if self._readable.is_set():
            # Something came since the last wait, perhaps while the session was busy: it looks again first.
            self._readable.clear()
            return
        if self._compression is not None and self._compression.pending and not self._lost:
            before = self._fragments.buffered_octets
            self._inflate()
            if self._fragments.buffered_octets > before:
                return
        if self._eof:
            raise ConnectionClosed
        if self._reading_paused and self._transport is not None:
            self._reading_paused = False
            self._transport.resume_reading()
        async with asyncio.timeout_at(deadline):
            await self._readable.wait()
        self._readable.clear()

    def _pause_reading(self) -> None:
        if not self._reading_paused and self._transport is not None:
            self._reading_paused = True
            self._transport.pause_reading()

    def _info(self, name: str) -> object:
        return self._transport.get_extra_info(name) if self._transport is not None else None


def _address(name: object) -> tuple[str, int]:
    if not isinstance(name, tuple) or len(name) < 2:
        return "", 0
    host = str(name[0])
    return host.removeprefix("::ffff:") if "." in host else host, int(name[1])
