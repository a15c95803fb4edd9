"""COMPRESS=DEFLATE over a real socket (RFC 4978), and what a bomb costs."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.config.schema import Imap, Settings
from server.imap.compression import PIECE_OCTETS, Compression, CompressionError
from server.imap.connection import READ_HIGH
from tests.support.imap_edge import WAIT_S, ImapClient, ImapEdge, open_imap

RAW = -zlib.MAX_WBITS


class Deflated:
    """A client behind its COMPRESS."""

    def __init__(self, client: ImapClient) -> None:
        self.client = client
        self.out = zlib.compressobj(9, zlib.DEFLATED, RAW)
        self._in = zlib.decompressobj(RAW)
        self._text = b""

    async def send(self, octets: bytes) -> None:
        await self.client.send(self.out.compress(octets) + self.out.flush(zlib.Z_SYNC_FLUSH))

    async def until(self, tag: bytes) -> bytes:
        """All that comes up to the tagged line."""
        while b"\r\n" + tag + b" " not in b"\r\n" + self._text or not self._text.endswith(b"\r\n"):
            chunk = await asyncio.wait_for(self.client.reader.read(65_536), WAIT_S)
            assert chunk, self._text
            self._text += self._in.decompress(chunk)
        text, self._text = self._text, b""
        return text


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[ImapEdge]:
    async with open_imap(tmp_path, settings=Settings(imap=Imap(compress=True))) as edge:
        yield edge


async def _deflated(edge: ImapEdge, behind: bytes = b"") -> Deflated:
    client = await edge.login()
    deflated = Deflated(client)
    more = deflated.out.compress(behind) + deflated.out.flush(zlib.Z_SYNC_FLUSH) if behind else b""
    await client.send(b"c COMPRESS DEFLATE\r\n" + more)
    assert (await client.until(b"c"))[-1].startswith(b"c OK")
    return deflated


async def test_a_whole_message_both_ways(edge: ImapEdge) -> None:
    message = b"Subject: x\r\n\r\n" + b"0123456789abcdef\r\n" * 20_000
    client = await _deflated(edge)
    await client.send(b"a APPEND INBOX {%d+}\r\n%s\r\nb SELECT INBOX\r\n" % (len(message), message))
    assert b"a OK [APPENDUID" in await client.until(b"b")
    await client.send(b"f FETCH 1 BODY[]\r\n")
    assert message in await client.until(b"f")


async def test_octets_right_behind_the_command_are_compressed(edge: ImapEdge) -> None:
    """RFC 4978 §3."""
    client = await _deflated(edge, behind=b"n NOOP\r\n")
    assert b"n OK" in await client.until(b"n")


async def test_only_once_and_only_when_it_is_on(edge: ImapEdge, tmp_path: Path) -> None:
    client = await _deflated(edge)
    await client.send(b"x COMPRESS DEFLATE\r\ny CAPABILITY\r\n")
    text = await client.until(b"y")
    assert b"x NO [COMPRESSIONACTIVE]" in text
    assert b"COMPRESS=" not in text
    (tmp_path / "other").mkdir()
    async with open_imap(tmp_path / "other") as plain:
        other = await plain.login()
        assert b"COMPRESS=" not in (await other.ok(b"CAPABILITY"))[0]
        assert b"NO [CANNOT]" in (await other.ask(b"COMPRESS DEFLATE"))[-1]


async def test_what_is_no_deflate_ends_the_session(edge: ImapEdge) -> None:
    client = await _deflated(edge)
    await client.client.send(b"\xff" * 100)
    assert b"OK" not in await client.client.rest()


async def test_a_bomb_is_a_line_too_long(edge: ImapEdge) -> None:
    """T11: 64 MiB in 64 KiB; nothing of it is kept beyond the limits of a line."""
    client = await _deflated(edge)
    await client.send(b"x" * (64 * 1024 * 1024))
    text = zlib.decompressobj(RAW).decompress(await client.client.rest())
    assert b"BYE" in text


def test_inflated_octets_come_in_pieces() -> None:
    """However much is behind them, no more than one piece is made at a time."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, RAW)
    bomb = deflater.compress(b"\0" * (50 * PIECE_OCTETS)) + deflater.flush(zlib.Z_SYNC_FLUSH)
    compression = Compression()
    compression.receive(bomb)
    sizes = []
    while compression.pending:
        sizes.append(len(compression.inflate()))
    assert sum(sizes) == 50 * PIECE_OCTETS
    assert max(sizes) == PIECE_OCTETS <= READ_HIGH


def test_the_end_of_a_stream_is_an_error() -> None:
    """The client may not end the deflate stream and go on in clear (RFC 4978 §3)."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, RAW)
    compression = Compression()
    compression.receive(deflater.compress(b"a NOOP\r\n") + deflater.flush(zlib.Z_FINISH))
    assert compression.pending
    with pytest.raises(CompressionError):
        compression.inflate()
