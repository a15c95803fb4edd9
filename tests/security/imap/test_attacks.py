"""STARTTLS injection, floods and slow peers (security.md T03, T04, T05, T14, T15)."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.imap import connection as edge_connection
from server.imap import session as edge_session
from server.imap.conversation import ERRORS_MAX
from server.imap.server import CONNECTIONS_BEFORE_LOGIN_MAX
from server.protocol.imap.fragments import LINE_MAX, LINE_MAX_BEFORE_LOGIN
from tests.support.imap_edge import PASSWORD, ImapClient, ImapEdge, open_imap, settings_with
from tests.support.smtp_edge import client_context

MESSAGE = b"Subject: x\r\n\r\nbody\r\n"
LOGIN = b'b LOGIN a@example.org "' + PASSWORD + b'"\r\n'


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[ImapEdge]:
    async with open_imap(tmp_path) as edge:
        yield edge


@pytest.mark.parametrize(
    "behind", [b"b NOOP\r\n", LOGIN, b"b LOGIN a@exam", b"b LOGIN {10+}\r\n", b"\r\n", b"x", b"b LOGOUT\r\n"]
)
async def test_nothing_behind_starttls_is_used(edge: ImapEdge, behind: bytes) -> None:
    """T04, CVE-2011-0411: octets in the segment of STARTTLS close the connection unanswered."""
    client = await edge.connect(secure=False)
    await client.send(b"a STARTTLS\r\n" + behind)
    assert await client.rest() == b""
    assert edge.logins.seen == []


async def test_plaintext_after_starttls_is_no_command(edge: ImapEdge) -> None:
    """T04: what comes instead of a ClientHello fails the handshake."""
    client = await edge.connect(secure=False)
    await client.send(b"a STARTTLS\r\n")
    assert (await client.line()).startswith(b"a OK")
    await client.send(LOGIN)
    rest = await client.rest()
    assert b"OK" not in rest
    assert edge.logins.seen == []


async def test_starttls_forgets_what_was_said_before(edge: ImapEdge) -> None:
    client = await edge.connect(secure=False)
    await client.ask(b'ID ("name" "x")')
    await client.ask(b"STARTTLS")
    await client.writer.start_tls(client_context())
    assert b"BAD" in (await client.ask(b"SELECT INBOX"))[-1]


@pytest.mark.parametrize(
    "first", [b"GET / HTTP/1.1\r\n", b"POST /x HTTP/1.0\r\n", b"OPTIONS * HTTP/1.1\r\n", b"\x16\x03\x01\x02\r\n"]
)
async def test_other_protocols_are_closed(edge: ImapEdge, first: bytes) -> None:
    """T03: HTTP verbs and TLS hellos on the plain port."""
    client = await edge.connect(secure=False)
    await client.send(first + b"Host: x\r\n\r\n" + LOGIN)
    assert await client.rest() == b""


@pytest.mark.parametrize(
    "octets",
    [
        b"a LOGIN {4294967295+}\r\n",
        b"a LOGIN {99999999999999999999+}\r\n",
        b"a LOGIN {4097+}\r\n",
        b"a NOOP " + b"(" * (LINE_MAX_BEFORE_LOGIN + 1),
        b"a LOGIN " + b"{100+}\r\n".ljust(108, b"x") * 2000,
    ],
)
async def test_floods_before_login_are_closed(edge: ImapEdge, octets: bytes) -> None:
    """T14: BAD or nothing, then close, before anything is allocated."""
    client = await edge.connect()
    with contextlib.suppress(ConnectionError):
        await client.send(octets)
    rest = await client.rest()
    assert b"OK" not in rest
    assert len(rest) < 1000


@pytest.mark.parametrize("size", [8 * 1024 + 1, 100 * 1024 + 1, 4_294_967_295])
async def test_a_synchronising_literal_over_the_limit_is_refused_in_step(edge: ImapEdge, size: int) -> None:
    client = await edge.connect()
    assert b"NO [TOOBIG]" in (await client.ask(b"LOGIN {%d}" % size))[-1]
    await client.ok(b"NOOP")


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (b"SEARCH " + b"NOT " * 15_000 + b"ALL", b"BAD"),
        (b"SEARCH " + b"(" * 60_000, b"BAD"),
        (b"FETCH " + b"1," * 30_000 + b"1 FLAGS", b"BAD"),
        (b"FETCH 1 BODY[" + b"1." * 30_000 + b"1]", b"BAD"),
        (b"FETCH 1 (" + b"BODY[] " * 8_000 + b"BODY[])", b"BAD"),
        (b"STORE 1 FLAGS (" + b"k " * 30_000 + b"k)", b"BAD"),
        (b'LIST "" "' + b"%*" * 30_000 + b'"', b"BAD"),
        (b"SELECT " + b"&AAA-x" * 10_000, b"NO"),
        (b"ID (" + b'"x" NIL ' * 7_000 + b")", b"BAD"),
        (b"LIST " + b"(" * 60_000, b"BAD"),
    ],
)
async def test_bombs_cost_little(edge: ImapEdge, command: bytes, answer: bytes) -> None:
    """T14, P5: bounded work, and the session goes on."""
    client = await edge.selected()
    started = time.process_time()
    assert (await client.ask(command))[-1].partition(b" ")[2].startswith(answer)
    assert time.process_time() - started < 1.0
    await client.ok(b"NOOP")


async def test_a_line_over_the_limit_ends_the_session(edge: ImapEdge) -> None:
    client = await edge.selected()
    await client.send(b"a SEARCH " + b"x" * LINE_MAX)
    assert await client.rest() == b"a BAD Line is too long\r\n* BYE Line is too long\r\n"


async def test_wildcards_over_many_mailboxes(edge: ImapEdge) -> None:
    client = await edge.login()
    for number in range(50):
        await client.ok(b"CREATE %s%d" % (b"a" * 200, number))
    started = time.process_time()
    await client.ok(b'LIST "" "' + b"*a%a" * 120 + b'"')
    assert time.process_time() - started < 1.0


async def test_errors_in_a_row_end_the_session(edge: ImapEdge) -> None:
    client = await edge.connect()
    for _ in range(ERRORS_MAX - 1):
        assert b"BAD" in (await client.ask(b"BOGUS"))[-1]
    await client.ok(b"NOOP")
    await client.send(b"x BOGUS\r\n" * (ERRORS_MAX + 5))
    assert (await client.rest()).endswith(b"* BYE Too many errors\r\n")


async def test_a_client_that_never_reads_is_dropped_and_stalls_nobody(
    edge: ImapEdge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T14, T15: pipelined FETCH into a closed window."""
    monkeypatch.setattr(edge_connection, "WRITE_TIMEOUT_S", 0.3)
    greedy = await edge.login()
    for _ in range(3):
        await greedy.append(b"INBOX", b"Subject: x\r\n\r\n" + b"line\r\n" * 50_000)
    await greedy.ok(b"SELECT INBOX")
    greedy.writer.transport.pause_reading()  # type: ignore[attr-defined]
    greedy.writer.write(b"".join(b"f%d FETCH 1:* BODY.PEEK[]\r\n" % n for n in range(500)))
    other = await edge.login()
    slowest = 0.0
    while edge.server.open_connections > 1:
        started = time.perf_counter()
        await other.ok(b"NOOP")
        slowest = max(slowest, time.perf_counter() - started)
        await asyncio.sleep(0.02)
    assert slowest < 0.25


async def test_silence_before_login_ends_the_session(edge: ImapEdge, monkeypatch: pytest.MonkeyPatch) -> None:
    """reliability.md §8: 60 s in all, here less."""
    monkeypatch.setattr(edge_session, "LOGIN_TIMEOUT_S", 0.4)
    client = await edge.connect()
    for _ in range(3):
        await client.ask(b"NOOP")
        await asyncio.sleep(0.05)
    assert b"* BYE Idle for too long\r\n" in await client.rest()


async def test_idle_timeout_covers_idle_and_half_sent_messages(tmp_path: Path) -> None:
    async with open_imap(tmp_path, settings=settings_with(idle_s=0.3)) as edge:
        idler, sender = await edge.login(), await edge.login()
        await idler.send(b"i IDLE\r\n")
        await sender.send(b"x APPEND INBOX {1000}\r\n")
        assert await idler.rest() == b"+ idling\r\n* BYE Idle for too long\r\n"
        assert b"* BYE Idle for too long\r\n" in await sender.rest()


async def test_connections_before_login_are_limited(edge: ImapEdge) -> None:
    waiting = [await edge.connect(secure=False) for _ in range(CONNECTIONS_BEFORE_LOGIN_MAX)]
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.imap_port)
    refused = ImapClient(reader, writer)
    assert await refused.line() == b"* BYE [UNAVAILABLE] Too many connections\r\n"
    assert await refused.rest() == b""
    await refused.close()
    await waiting[0].ask(b"LOGOUT")
    await waiting[0].rest()
    while edge.server.open_connections >= CONNECTIONS_BEFORE_LOGIN_MAX:
        await asyncio.sleep(0.01)
    await edge.connect(secure=False)


async def test_bare_newlines_are_bad(edge: ImapEdge) -> None:
    client = await edge.connect()
    await client.send(b"a NOOP\nb NOOP\r\n")
    assert await client.until(b"b") == [b"a BAD Lines end in CRLF", b"b OK NOOP completed"]


async def test_half_close_ends_the_session(edge: ImapEdge) -> None:
    client = await edge.connect(secure=False)
    await client.send(b"a NOOP\r\nb NO")
    client.writer.write_eof()
    assert await client.rest() == b"a OK NOOP completed\r\n"


async def test_a_stalled_handshake_does_not_hold_up_a_drain(edge: ImapEdge) -> None:
    """T15: a peer that opens 993 and says nothing."""
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.imaps_port)
    while edge.server.open_connections < 1:
        await asyncio.sleep(0.01)
    started = time.perf_counter()
    await edge.server.drain(0.1)
    assert time.perf_counter() - started < 2.0
    assert await asyncio.wait_for(reader.read(), 3) == b""
    writer.close()
