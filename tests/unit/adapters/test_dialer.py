"""The dialer against real sockets (reliability.md §4.11, §4.12; security.md Y8)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from server.adapters.dialer import READ_BUFFER_MAX, StreamDialer
from server.adapters.tls import opportunistic_context
from tests.support.queueing import server_context

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[int]:
    """A server on loopback; its port."""
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await handler(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for _ in range(5):
            await asyncio.sleep(0)


async def test_octets_go_both_ways_until_the_end(tmp_path: Path) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(5))
        await writer.drain()

    async with serving(echo) as port:
        stream = await StreamDialer().connect("127.0.0.1", port, timeout_s=5)
        await stream.write(b"hello")
        assert await stream.read(3) == b"hel"
        assert await stream.read(99) == b"lo"
        assert await stream.read(99) == b""
        stream.abort()


async def test_a_talker_is_read_no_further_than_the_limit() -> None:
    """What it has in flight stays in buffers of the system: the talker stops, far from its end."""
    end = 1 << 28
    sent = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while sent < end:
            writer.write(b"x" * 65_536)
            await writer.drain()
            sent += 65_536

    async with serving(talk) as port:
        stream = await StreamDialer().connect("127.0.0.1", port, timeout_s=5)
        try:
            before = -1
            while sent != before:
                before = sent
                await asyncio.sleep(0.3)
            assert 0 < sent < end // 2, "the writer waits"
            got = 0
            while got < before:
                got += len(await stream.read(READ_BUFFER_MAX * 2))
        finally:
            stream.abort()


async def test_tls_upgrades_in_place(tmp_path: Path) -> None:
    context = server_context(tmp_path)

    async def upgrade(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"go")
        await writer.start_tls(context)
        writer.write(await reader.readexactly(4))
        await writer.drain()
        await reader.read()

    async with serving(upgrade) as port:
        stream = await StreamDialer().connect("127.0.0.1", port, timeout_s=5)
        assert await stream.read(2) == b"go"
        info = await stream.start_tls(opportunistic_context(), "mx.there.test")
        assert info.version == "TLSv1.3"
        await stream.write(b"ping")
        assert await stream.read(9) == b"ping"
        stream.abort()
        await asyncio.sleep(0.01)


async def test_words_before_the_handshake_end_the_connection() -> None:
    """Y8, T04: plaintext that waits is never read as if TLS had brought it."""

    async def inject(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 go\r\n250 injected\r\n")
        await writer.drain()
        await reader.read()

    async with serving(inject) as port:
        stream = await StreamDialer().connect("127.0.0.1", port, timeout_s=5)
        assert await stream.read(8) == b"220 go\r\n"
        with pytest.raises(OSError, match="before the TLS handshake"):
            await stream.start_tls(opportunistic_context(), None)
        with pytest.raises(OSError, match="closed"):
            await stream.write(b"x")


async def test_a_refused_connection_is_an_error_of_the_system() -> None:
    async def nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None: ...

    async with serving(nothing) as port:
        pass
    with pytest.raises(OSError):  # noqa: PT011  the system's words differ
        await StreamDialer().connect("127.0.0.1", port, timeout_s=5)
