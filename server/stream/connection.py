"""One client's bytes: the only I/O of an edge of lines (reliability.md §4.11-12).

- Reading stops while more than READ_HIGH octets wait to be parsed; it goes on when the parser needs more.
- Writing waits when the client does not read; after WRITE_TIMEOUT_S the connection is aborted.
- STARTTLS: reading stops at once, anything that had come behind the command closes the connection (T04).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import cast

from server.domain.envelope import TlsInfo
from server.protocol.lines import Line, LineBuffer, LineTooLong

READ_HIGH = 64 * 1024
WRITE_HIGH = 64 * 1024
PIECE_OCTETS = 64 * 1024
WRITE_TIMEOUT_S = 60.0
HANDSHAKE_TIMEOUT_S = 30.0
CLOSE_TIMEOUT_S = 5.0


class ConnectionClosed(Exception):
    """The client is gone, or was too slow, or spoke where it must not: end the session without a word."""


class Draining(Exception):
    """Nothing more is read from this client; the text is for it."""


class StreamConnection(asyncio.Protocol):
    """The stream of one client.

    Args:
        made: Called when the connection stands.
    """

    def __init__(self, made: Callable[[StreamConnection], None]) -> None:
        self._made = made
        self._transport: asyncio.Transport | None = None
        self._input = LineBuffer()
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._eof = False
        self._lost = False
        self._reading_paused = False
        self._draining = ""
        self.lost_reason = ""

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_HIGH)
        sock = self._transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._made(self)

    def data_received(self, data: bytes) -> None:
        self._input.receive(data)
        if len(self._input) > READ_HIGH:
            self._pause_reading()
        self._readable.set()

    def eof_received(self) -> bool:
        self._eof = True
        self._readable.set()
        # In clear the answers to what came before the end are still written; TLS has no half-closed state.
        return self._info("sslcontext") is None

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

    def drain_input(self, reason: str) -> None:
        """Read nothing more: whoever waits for input, or will, gets Draining with this reason."""
        self._draining = self._draining or reason
        self._readable.set()

    async def line(self, limit_octets: int, deadline: float) -> Line | LineTooLong:
        """The next line.

        Raises:
            TimeoutError: None came before `deadline` (loop time).
            ConnectionClosed, Draining: There will be none.
        """
        while True:
            found = self.line_ready(limit_octets)
            if found is not None:
                return found
            await self._wait_readable(deadline)

    def line_ready(self, limit_octets: int) -> Line | LineTooLong | None:
        """The next line if it is there. Raises Draining."""
        if self._draining:
            raise Draining(self._draining)
        return self._input.next_line(limit_octets)

    async def piece(self, most_octets: int, deadline: float) -> bytes:
        """The next octets, at least one. Raises as `line`."""
        while True:
            if self._draining:
                raise Draining(self._draining)
            found = self._input.next_piece(most_octets)
            if found is not None:
                return found
            await self._wait_readable(deadline)

    def write(self, data: bytes) -> None:
        """Queue octets; follow with `drain` before the next large piece."""
        if self._transport is not None and not self._lost:
            self._transport.write(data)

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

    def stop_reading_for_tls(self) -> bool:
        """Stop reading; False when the client sent anything behind its STARTTLS."""
        self._pause_reading()
        return len(self._input) == 0

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
        return TlsInfo(version=layer.version() or "", cipher=cipher[0] if cipher else "")

    def close(self) -> None:
        """Close once what was written is sent, at the latest after CLOSE_TIMEOUT_S."""
        if self._transport is not None and not self._lost:
            self._transport.close()
            asyncio.get_running_loop().call_later(CLOSE_TIMEOUT_S, self._transport.abort)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

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
        octets = self._input.take_all()
        # uvloop's layer has BufferedProtocol's methods, not its type.
        layer = cast(asyncio.BufferedProtocol, transport.get_protocol())
        while octets and not transport.is_closing():
            room = memoryview(layer.get_buffer(len(octets)))
            size = min(len(room), len(octets))
            room[:size] = octets[:size]
            layer.buffer_updated(size)
            octets = octets[size:]

    async def _wait_readable(self, deadline: float) -> None:
        self._readable.clear()
        if self._eof:
            raise ConnectionClosed
        if self._reading_paused and self._transport is not None:
            self._reading_paused = False
            self._transport.resume_reading()
        async with asyncio.timeout_at(deadline):
            await self._readable.wait()

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
