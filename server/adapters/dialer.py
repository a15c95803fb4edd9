"""TCP and TLS to other servers: the Dialer port on the event loop's transports.

- Connects to checked IP addresses only; names are resolved by whoever decides where mail goes.
- At most `READ_BUFFER_MAX` octets wait unread; beyond, the peer is left to wait. Writers wait below the transport's
  high-water mark.
- Octets that wait unread when TLS begins are refused: nothing sent in clear reaches the reader of what TLS brings.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import cast

from server.domain.envelope import TlsInfo

READ_BUFFER_MAX = 256 * 1024
"""Octets buffered of one peer (reliability.md §4.12)."""

WRITE_HIGH_WATER = 64 * 1024
HANDSHAKE_S = 60.0
"""Time a TLS handshake may take (reliability.md §8)."""

SHUTDOWN_S = 2.0


class StreamDialer:
    """Opens connections from whatever source address the system chooses."""

    async def connect(self, ip: str, port: int, *, timeout_s: float) -> TcpStream:
        """Connect. Raises OSError or TimeoutError."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(timeout_s):
            _, protocol = await loop.create_connection(_Buffer, ip, port)
        return TcpStream(protocol)


class _Buffer(asyncio.Protocol):
    """Keeps what arrived and what waits; the same object serves before and after the TLS upgrade."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.data = bytearray()
        self.ended = False
        self.error: Exception | None = None
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._full = False
        self._reading_paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's, so there is nothing to check at run time.
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=WRITE_HIGH_WATER)

    def data_received(self, data: bytes) -> None:
        self.data += data
        if len(self.data) > READ_BUFFER_MAX and not self._reading_paused and self.transport is not None:
            self._reading_paused = True
            self.transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        self.ended = True
        self._wake()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = True
        self.error = exc
        self._full = False
        self._wake()
        if self._writer is not None and not self._writer.done():
            self._writer.set_result(None)

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        if self._writer is not None and not self._writer.done():
            self._writer.set_result(None)

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    async def readable(self) -> None:
        """Wait until there is data or the end."""
        if not self.data and not self.ended:
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None

    async def writable(self) -> None:
        """Wait until the transport's buffer is below its mark."""
        if self._full:
            self._writer = asyncio.get_running_loop().create_future()
            try:
                await self._writer
            finally:
                self._writer = None

    def take(self, max_octets: int) -> bytes:
        taken = bytes(self.data[:max_octets])
        del self.data[:max_octets]
        if self._reading_paused and len(self.data) <= READ_BUFFER_MAX and self.transport is not None:
            self._reading_paused = False
            self.transport.resume_reading()
        return taken


class TcpStream:
    """The Stream port over one connection; made by `StreamDialer`."""

    def __init__(self, buffer: _Buffer) -> None:
        self._buffer = buffer

    async def read(self, max_octets: int) -> bytes:
        """Up to `max_octets`; empty at the end of the stream. Raises OSError when the connection broke."""
        buffer = self._buffer
        await buffer.readable()
        if not buffer.data and buffer.error is not None:
            raise ConnectionError(str(buffer.error)) from buffer.error
        return buffer.take(max_octets)

    async def write(self, data: bytes) -> None:
        """Write, and wait until little waits. Raises OSError when the connection broke."""
        buffer = self._buffer
        transport = buffer.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the connection is closed")
        transport.write(data)
        await buffer.writable()
        if buffer.error is not None:
            raise ConnectionError(str(buffer.error)) from buffer.error

    async def start_tls(self, context: ssl.SSLContext, server_hostname: str | None) -> TlsInfo:
        """Upgrade in place. Raises ssl.SSLError or OSError; the stream is then unusable."""
        buffer = self._buffer
        transport = buffer.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the connection is closed")
        transport.pause_reading()
        if buffer.data:
            transport.abort()
            raise ConnectionAbortedError("the remote spoke before the TLS handshake")
        loop = asyncio.get_running_loop()
        upgraded = await loop.start_tls(
            transport,
            buffer,
            context,
            server_hostname=server_hostname,
            ssl_handshake_timeout=HANDSHAKE_S,
            ssl_shutdown_timeout=SHUTDOWN_S,
        )
        if upgraded is None:
            raise ConnectionAbortedError("the connection was lost in the TLS handshake")
        buffer.transport = upgraded
        upgraded.set_write_buffer_limits(high=WRITE_HIGH_WATER)
        secured = upgraded.get_extra_info("ssl_object")
        cipher = secured.cipher()
        return TlsInfo(version=secured.version() or "", cipher=cipher[0] if cipher else "")

    def abort(self) -> None:
        """Drop the connection at once."""
        if self._buffer.transport is not None:
            self._buffer.transport.abort()
