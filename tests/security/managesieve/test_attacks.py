"""STARTTLS injection, floods and literals that mean no good (security.md T03, T04, T05, T14, T15)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.managesieve import session as edge_session
from server.managesieve.conversation import ERRORS_MAX
from server.protocol.managesieve import LINE_MAX
from server.protocol.sieve.limits import SCRIPT_OCTETS_MAX
from server.stream.listening import CONNECTIONS_BEFORE_LOGIN_MAX
from server.stream.sasl import SASL_LINE_MAX
from tests.support.managesieve_edge import SieveEdge, open_managesieve

LOGIN = b'AUTHENTICATE "PLAIN" "AGFAZXhhbXBsZS5vcmcAeA=="\r\n'


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[SieveEdge]:
    async with open_managesieve(tmp_path) as edge:
        yield edge


@pytest.mark.parametrize("behind", [b"NOOP\r\n", LOGIN, b"AUTHENTI", b"\r\n", b"x", b"{5+}\r\nNOOP\r\n"])
async def test_nothing_behind_starttls_is_used(edge: SieveEdge, behind: bytes) -> None:
    """T04, CVE-2011-0411: octets in the segment of STARTTLS close the connection unanswered."""
    client = await edge.connect(secure=False)
    await client.send(b"STARTTLS\r\n" + behind)
    assert await client.rest() == b""
    assert edge.logins.seen == []


async def test_plaintext_after_starttls_is_no_command(edge: SieveEdge) -> None:
    client = await edge.connect(secure=False)
    await client.ok(b"STARTTLS")
    await client.send(LOGIN)
    assert b"OK" not in await client.rest()
    assert edge.logins.seen == []


@pytest.mark.parametrize("first", [b"GET / HTTP/1.1\r\n", b"POST /x HTTP/1.0\r\n", b"\x16\x03\x01\x02\r\n"])
async def test_other_protocols_are_closed(edge: SieveEdge, first: bytes) -> None:
    """T03."""
    client = await edge.connect(secure=False)
    await client.send(first + b"Host: x\r\n\r\n" + LOGIN)
    assert await client.rest() == b""


@pytest.mark.parametrize(
    "octets",
    [
        b"NOOP {4294967295+}\r\n",
        b"NOOP {99999999999999999999+}\r\n",
        b"NOOP {%d+}\r\n" % (SASL_LINE_MAX + 1),
        b"NOOP {5}\r\nNOOP\r\n",
        b"NOOP {1+}\r\nx{1+}\r\nx{1+}\r\nx{1+}\r\nx{1+}\r\nx\r\n",
        b"x" * (LINE_MAX + 2),
        b"x" * 300_000,
    ],
)
async def test_what_can_not_be_followed_ends_the_session(edge: SieveEdge, octets: bytes) -> None:
    """T14: BYE, nothing kept, and nothing behind it is read as a command."""
    client = await edge.connect()
    with contextlib.suppress(ConnectionError):
        await client.send(octets + b"\r\nCAPABILITY\r\n")
    rest = await client.rest()
    assert rest.startswith(b"BYE ") or rest == b""
    assert b"OK" not in rest


async def test_a_bare_newline_is_refused(edge: SieveEdge) -> None:
    client = await edge.connect()
    await client.send(b"NOOP\nNOOP {2+}\nxx\r\nNOOP\r\n")
    answers = [await client.line() for _ in range(3)]
    assert answers == [b'NO "Lines end in CRLF"\r\n'] * 2 + [b'OK "Done"\r\n']


async def test_a_literal_beyond_what_is_skipped_ends_the_session(edge: SieveEdge) -> None:
    client = await edge.opened()
    await client.send(b'PUTSCRIPT "a" {%d+}\r\n' % (edge_session.SKIPPED_MAX + 1))
    assert (await client.rest()).startswith(b"BYE ")


async def test_a_script_that_stops_half_way_is_not_stored(edge: SieveEdge) -> None:
    client = await edge.opened()
    await client.send(b'PUTSCRIPT "a" {%d+}\r\nkeep;' % SCRIPT_OCTETS_MAX)
    await client.close()
    assert await edge.scripts.list(edge.account_id) == []


async def test_script_text_is_never_a_command(edge: SieveEdge) -> None:
    """A stored script that holds responses comes back as a literal, whole."""
    client = await edge.opened()
    script = b'#\r\n# OK "x"\r\n# NO\r\nkeep; # {5+}\r\n'
    assert (await client.put(b"a", script)).startswith(b"OK")
    assert await client.ok(b'GETSCRIPT "a"') == [b"{%d}\r\n%s" % (len(script), script)]
    await client.ok(b"NOOP")


async def test_errors_in_a_row_end_the_session(edge: SieveEdge) -> None:
    client = await edge.connect()
    await client.send(b"BOGUS\r\n" * (ERRORS_MAX + 5))
    assert (await client.rest()).endswith(b'BYE "Too many errors"\r\n')


async def test_silence_before_login_ends_the_session(edge: SieveEdge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge_session, "LOGIN_TIMEOUT_S", 0.5)
    client = await edge.connect()
    assert b'BYE "Idle for too long"\r\n' in await client.rest()


async def test_half_a_literal_is_waited_for_no_longer_than_a_command(
    edge: SieveEdge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge_session, "IDLE_TIMEOUT_S", 0.5)
    client = await edge.opened()
    await client.send(b'PUTSCRIPT "a" {100+}\r\nkeep;')
    assert await client.rest() == b'BYE "Idle for too long"\r\n'


async def test_connections_before_login_are_limited(edge: SieveEdge) -> None:
    for _ in range(CONNECTIONS_BEFORE_LOGIN_MAX):
        await edge.connect(secure=False)
    refused = await edge.dial()
    assert await refused.rest() == b'BYE (TRYLATER) "Too many connections"\r\n'


async def test_half_close_ends_the_session_behind_its_answers(edge: SieveEdge) -> None:
    client = await edge.connect(secure=False)
    await client.send(b"NOOP\r\nNOO")
    client.writer.write_eof()
    async with asyncio.timeout(15):
        assert await client.rest() == b'OK "Done"\r\n'
