"""A client of a line protocol that speaks octets; every wait has an end."""

from __future__ import annotations

import asyncio
import contextlib

from tests.support.smtp_edge import client_context

WAIT_S = 15.0


class StreamClient:
    """Sends octets and reads lines."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int, *, secure: bool) -> StreamClient:
        context = client_context() if secure else None
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, limit=1 << 26)
        return cls(reader, writer)

    async def line(self) -> bytes:
        return await asyncio.wait_for(self.reader.readline(), WAIT_S)

    async def exactly(self, octets: int) -> bytes:
        return await asyncio.wait_for(self.reader.readexactly(octets), WAIT_S)

    async def send(self, octets: bytes) -> None:
        self.writer.write(octets)
        await self.writer.drain()

    async def start_tls(self) -> None:
        await asyncio.wait_for(self.writer.start_tls(client_context()), WAIT_S)

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
