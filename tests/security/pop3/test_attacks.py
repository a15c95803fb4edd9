"""STLS injection, floods, slow peers and mail that would end its own response (security.md T03, T04, T05, T14, T15)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.pop3 import session as edge_session
from server.pop3.conversation import ERRORS_MAX
from server.protocol.pop3.commands import LINE_MAX
from server.stream import connection as edge_connection
from server.stream.listening import CONNECTIONS_BEFORE_LOGIN_MAX
from server.stream.sasl import SASL_LINE_MAX
from tests.support.imap_edge import PASSWORD
from tests.support.pop3_edge import Pop3Edge, open_pop3

LOGIN = b"USER a@example.org\r\nPASS " + PASSWORD + b"\r\n"


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[Pop3Edge]:
    async with open_pop3(tmp_path) as edge:
        yield edge


@pytest.mark.parametrize("behind", [b"NOOP\r\n", LOGIN, b"USER a@exam", b"\r\n", b"x", b"QUIT\r\n", b"CAPA\r\n"])
async def test_nothing_behind_stls_is_used(edge: Pop3Edge, behind: bytes) -> None:
    """T04, CVE-2011-0411: octets in the segment of STLS close the connection unanswered."""
    client = await edge.connect(secure=False)
    await client.send(b"STLS\r\n" + behind)
    assert await client.rest() == b""
    assert edge.logins.seen == []


async def test_plaintext_after_stls_is_no_command(edge: Pop3Edge) -> None:
    """T04: what comes instead of a ClientHello fails the handshake."""
    client = await edge.connect(secure=False)
    await client.ok(b"STLS")
    await client.send(LOGIN)
    assert b"+OK" not in await client.rest()
    assert edge.logins.seen == []


async def test_stls_forgets_a_user_of_before(edge: Pop3Edge) -> None:
    client = await edge.connect(secure=False)
    await client.ask(b"USER a@example.org")
    await client.ok(b"STLS")
    await client.start_tls()
    assert await client.ask(b"PASS " + PASSWORD) == b"-ERR Send USER first"


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize(
    "first", [b"GET / HTTP/1.1\r\n", b"POST /x HTTP/1.0\r\n", b"OPTIONS * HTTP/1.1\r\n", b"\x16\x03\x01\x02\r\n"]
)
async def test_other_protocols_are_closed(edge: Pop3Edge, first: bytes, secure: bool) -> None:
    """T03: HTTP verbs and TLS hellos."""
    client = await edge.connect(secure=secure)
    await client.send(first + b"Host: x\r\n\r\n" + LOGIN)
    assert await client.rest() == b""
    assert edge.logins.seen == []


@pytest.mark.parametrize("octets", [b"x" * (LINE_MAX + 1) + b"\r\n", b"x" * 200_000, b"USER " + b"\0" * 100_000])
async def test_lines_over_the_limit_end_the_session(edge: Pop3Edge, octets: bytes) -> None:
    client = await edge.connect()
    with contextlib.suppress(ConnectionError):
        await client.send(octets)
    assert await client.rest() in (b"-ERR Line is too long\r\n", b"")


async def test_a_line_at_the_limit_is_a_command(edge: Pop3Edge) -> None:
    client = await edge.connect()
    assert await client.ask(b"x" * LINE_MAX) == b"-ERR Unknown command"


@pytest.mark.parametrize(("octets", "closed"), [(SASL_LINE_MAX, False), (SASL_LINE_MAX + 1, True)])
async def test_responses_to_challenges_are_bounded(edge: Pop3Edge, octets: int, closed: bool) -> None:
    client = await edge.connect()
    await client.ask(b"AUTH PLAIN")
    await client.send(b"A" * octets + b"\r\n")
    assert await client.line() == (b"" if closed else b"-ERR Malformed credentials\r\n")


async def test_bare_newlines_are_errors(edge: Pop3Edge) -> None:
    client = await edge.connect()
    await client.send(b"CAPA\nQUIT\n")
    assert [await client.line(), await client.line()] == [b"-ERR Lines end in CRLF\r\n"] * 2
    await client.ok(b"QUIT")


async def test_a_bare_newline_in_a_challenge_ends_the_session(edge: Pop3Edge) -> None:
    client = await edge.connect()
    await client.ask(b"AUTH PLAIN")
    await client.send(b"AGEAYg==\n")
    assert await client.rest() == b""
    assert edge.logins.seen == []


async def test_errors_in_a_row_end_the_session(edge: Pop3Edge) -> None:
    client = await edge.connect()
    for _ in range(ERRORS_MAX - 1):
        assert (await client.ask(b"BOGUS")).startswith(b"-ERR")
    await client.ok(b"CAPA")
    await client.block()
    await client.send(b"BOGUS\r\n" * (ERRORS_MAX + 5))
    assert (await client.rest()).endswith(b"-ERR Too many errors\r\n")


@pytest.mark.parametrize(
    "body",
    [
        b"a\r\n.\r\n+OK 1 1\r\n",
        b"a\n.\r\n+OK 1 1\r\n",
        b"a\r.\r\n+OK 1 1\r\n",
        b"a\r\n\0.\r\n+OK 1 1\r\n",
        b"a\n\0\0.\n+OK 1 1\n",
        b".\r\n.\r\n.\r\n",
        b"a\n.\n",
        b"a\r.\r",
        b"a\r\n.",
    ],
)
async def test_no_mail_can_end_its_own_response(edge: Pop3Edge, body: bytes) -> None:
    """Whichever line end a client believes in, with NULs or without: one lone dot, and it is the last."""
    await edge.fill(b"Subject: x\r\n\r\n" + body)
    client = await edge.opened()
    for command in (b"RETR 1", b"TOP 1 1000"):
        await client.send(command + b"\r\nNOOP\r\n")
        assert (await client.line()).startswith(b"+OK")
        found = b""
        while not found.endswith(b"\r\n.\r\n+OK\r\n"):
            found += await client.line()
        response = found.removesuffix(b"+OK\r\n")
        for text in (response, response.replace(b"\0", b"")):
            lines = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
            assert lines.count(b".") == 1
            assert lines[-2:] == [b".", b""]


async def test_a_client_that_never_reads_is_dropped_and_stalls_nobody(
    edge: Pop3Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T14, T15: pipelined RETR into a closed window; the maildrop is free again."""
    monkeypatch.setattr(edge_connection, "WRITE_TIMEOUT_S", 0.5)
    await edge.fill(*[b"Subject: x\r\n\r\n" + b"line\r\n" * 50_000] * 3)
    greedy = await edge.opened()
    greedy.writer.transport.pause_reading()  # type: ignore[attr-defined]
    greedy.writer.write(b"".join(b"RETR %d\r\n" % (n % 3 + 1) for n in range(500)))
    other = await edge.connect()
    assert (await other.login("b@example.org")).startswith(b"+OK")
    async with asyncio.timeout(15):
        while edge.server.open_connections > 1:
            await other.ok(b"NOOP")
            await asyncio.sleep(0.02)
    assert (await (await edge.connect()).login()).startswith(b"+OK")


async def test_silence_before_login_ends_the_session(edge: Pop3Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    """reliability.md §8: 60 s in all, here less."""
    monkeypatch.setattr(edge_session, "LOGIN_TIMEOUT_S", 0.5)
    client = await edge.connect()
    with contextlib.suppress(ConnectionError, AssertionError):
        while await client.ask(b"CAPA"):
            await client.block()
            await asyncio.sleep(0.05)
    assert await client.rest() == b""


async def test_connections_before_login_are_limited(edge: Pop3Edge) -> None:
    waiting = [await edge.connect(secure=False) for _ in range(CONNECTIONS_BEFORE_LOGIN_MAX)]
    refused = await edge.dial(secure=False)
    assert await refused.rest() == b"-ERR [SYS/TEMP] Too many connections\r\n"
    await waiting[0].ok(b"QUIT")
    await waiting[0].rest()
    await edge.left(CONNECTIONS_BEFORE_LOGIN_MAX - 1)
    await edge.connect(secure=False)


async def test_half_close_ends_the_session_behind_its_answers(edge: Pop3Edge) -> None:
    client = await edge.connect(secure=False)
    await client.send(b"QUIX\r\nSTAT\r\nQU")
    client.writer.write_eof()
    assert await client.rest() == b"-ERR Unknown command\r\n-ERR STAT is not possible now\r\n"


async def test_a_stalled_handshake_does_not_hold_up_a_drain(edge: Pop3Edge) -> None:
    """T15: a peer that opens 995 and says nothing."""
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.pop3s_port)
    async with asyncio.timeout(15):
        while edge.server.open_connections < 1:
            await asyncio.sleep(0.01)
        await edge.server.drain(0.1)
        assert await reader.read() == b""
    writer.close()
