"""APPEND (RFC 9051 §6.3.12, RFC 7888, RFC 7889): OK only after the commit, refusals before the octets."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.domain.errors import DiskReserve, Unavailable
from server.services.mailstore.store import MailStore
from tests.support.imap_edge import ImapEdge, open_imap, settings_with

MESSAGE = b"Subject: x\r\n\r\nbody\r\n"


async def test_refusals_come_before_the_octets(edge: ImapEdge) -> None:
    client = await edge.login()
    assert b"NO [TRYCREATE]" in await client.append(b"nothing", MESSAGE)
    assert b"NO [CANNOT]" in await client.append(b"INBOX", b"")
    await client.send(b"x APPEND INBOX {52428801}\r\n")
    assert (await client.until(b"x"))[-1].startswith(b"x NO [TOOBIG]")
    await client.send(b"y APPEND INBOX (\\Bogus) {5}\r\n")
    assert (await client.until(b"y"))[-1].startswith(b"y BAD")
    await client.ok(b"NOOP")


async def test_size_limit(tmp_path: Path) -> None:
    """reliability.md §8, at the limit and around it."""
    limit = 65_536
    async with open_imap(tmp_path, settings=settings_with(message_max=limit)) as edge:
        client = await edge.login()
        for size, answer in ((limit - 1, b"OK [APPENDUID"), (limit, b"OK [APPENDUID"), (limit + 1, b"NO [TOOBIG]")):
            message = b"Subject: x\r\n\r\n" + b"y" * (size - 14)
            assert answer in await client.append(b"INBOX", message)


async def test_over_quota(tmp_path: Path) -> None:
    async with open_imap(tmp_path, quota=len(MESSAGE)) as edge:
        client = await edge.login()
        assert b"OK [APPENDUID" in await client.append(b"INBOX", MESSAGE)
        assert b"NO [OVERQUOTA]" in await client.append(b"INBOX", MESSAGE)
        await client.ok(b"SELECT INBOX")
        assert b"NO [OVERQUOTA]" in (await client.ask(b"COPY 1 Trash"))[-1]
        await client.ok(b"STORE 1 +FLAGS (\\Deleted)")
        await client.ok(b"EXPUNGE")
        assert b"OK [APPENDUID" in await client.append(b"INBOX", MESSAGE)


async def test_a_small_message_without_waiting(edge: ImapEdge) -> None:
    """RFC 7888 §5."""
    client = await edge.login()
    await client.send(b"x APPEND {5+}\r\nINBOX (\\Seen) {%d+}\r\n%s\r\ny NOOP\r\n" % (len(MESSAGE), MESSAGE))
    assert b"x OK [APPENDUID" in (await client.until(b"x"))[-1]
    await client.until(b"y")


async def test_a_refused_message_that_comes_all_the_same_is_stepped_over(edge: ImapEdge) -> None:
    client = await edge.login()
    await client.send(b"x APPEND nothing {%d+}\r\n%s\r\ny NOOP\r\n" % (len(MESSAGE), MESSAGE))
    assert b"x NO [TRYCREATE]" in (await client.until(b"x"))[-1]
    assert await client.until(b"y") == [b"y OK NOOP completed"]


async def test_nul_is_refused(edge: ImapEdge) -> None:
    client = await edge.login()
    assert b"BAD NUL" in await client.append(b"INBOX", b"Subject: x\r\n\r\na\x00b\r\n")
    assert b"OK" in await client.append(b"INBOX", MESSAGE)


async def test_text_behind_the_message_stores_nothing(edge: ImapEdge) -> None:
    client = await edge.login()
    await client.send(b"x APPEND INBOX {%d+}\r\n%s junk\r\n" % (len(MESSAGE), MESSAGE))
    assert b"x BAD" in (await client.until(b"x"))[-1]
    await client.send(b"y APPEND INBOX {%d+}\r\n%s)) {5}\r\n" % (len(MESSAGE), MESSAGE))
    assert b"y BAD Unexpected text" in (await client.until(b"y"))[-1]
    assert b"* 0 EXISTS" in await client.ok(b"SELECT INBOX")


async def test_a_client_that_goes_away_leaves_nothing(edge: ImapEdge) -> None:
    client = await edge.login()
    await client.send(b"x APPEND INBOX {400000}\r\n")
    await client.line()
    await client.send(b"y" * 300_000)
    await client.close()
    other = await edge.selected()
    assert await other.ok(b"SEARCH ALL") == [b"* SEARCH"]


async def test_append_to_the_selected_mailbox_tells_exists_before_ok(edge: ImapEdge) -> None:
    """RFC 9051 §6.3.12."""
    client = await edge.selected()
    await client.send(b"x APPEND INBOX {%d+}\r\n%s\r\n" % (len(MESSAGE), MESSAGE))
    lines = await client.until(b"x")
    assert lines[:2] == [b"* 1 EXISTS", b"* 1 RECENT"]


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (DiskReserve("insufficient system storage"), b"NO [OVERQUOTA] Insufficient system storage"),
        (Unavailable(), b"NO [UNAVAILABLE] Temporary server error"),
        (ValueError("/secret/path"), b"NO [SERVERBUG] Internal error, try again later"),
    ],
)
async def test_our_own_faults_are_no_and_neutral(
    edge: ImapEdge, monkeypatch: pytest.MonkeyPatch, error: Exception, answer: bytes
) -> None:
    """P4."""

    async def failing(*_: object, **__: object) -> None:
        raise error

    client = await edge.login()
    monkeypatch.setattr(MailStore, "append_all", failing)
    assert answer in await client.append(b"INBOX", MESSAGE)


@pytest.mark.parametrize("waits", [True, False])
async def test_a_short_disk_is_said_before_the_octets_and_the_next_command_is_heard(
    edge: ImapEdge, monkeypatch: pytest.MonkeyPatch, waits: bool
) -> None:
    """RFC 9051 §4.3: the refused literal is not sent, so what comes next is a command of its own."""

    def failing(_: MailStore) -> None:
        raise DiskReserve("insufficient system storage")

    client = await edge.login()
    monkeypatch.setattr(MailStore, "writer", failing)
    if waits:
        await client.send(b"x APPEND INBOX {%d}\r\n" % len(MESSAGE))
    else:
        await client.send(b"x APPEND INBOX {%d+}\r\n%s\r\n" % (len(MESSAGE), MESSAGE))
    assert await client.until(b"x") == [b"x NO [OVERQUOTA] Insufficient system storage"]
    await client.send(b"y NOOP\r\n")
    assert await client.until(b"y") == [b"y OK NOOP completed"]
