"""IMAP4rev2 switched on (RFC 9051 appendix E), and sessions without message numbers (RFC 9586)."""

from __future__ import annotations

import pytest

from tests.support.imap_edge import ImapClient, ImapEdge

MESSAGE = b"Subject: x\r\n\r\nbody\r\n"


async def _filled(edge: ImapEdge, count: int, enabled: bytes) -> ImapClient:
    client = await edge.login()
    for _ in range(count):
        assert b"OK" in await client.append(b"INBOX", MESSAGE)
    assert await client.ok(b"ENABLE " + enabled) == [b"* ENABLED " + enabled.upper()]
    return client


async def test_recent_is_unknown_to_rev2(edge: ImapEdge) -> None:
    """RFC 9051 appendix E: no RECENT response, no \\Recent flag, no UNSEEN code; LIST names the mailbox instead."""
    client = await _filled(edge, 2, b"IMAP4rev2")
    lines = await client.ok(b"SELECT inbox")
    assert not [line for line in lines if b"RECENT" in line.upper() or b"[UNSEEN" in line]
    assert b'* LIST () "/" INBOX' in lines
    assert await client.ok(b"FETCH 1 FLAGS") == [b"* 1 FETCH (FLAGS ())"]
    await client.append(b"INBOX", MESSAGE)
    assert b"* 3 EXISTS" not in await client.ok(b"NOOP")
    other = await edge.login()
    await other.append(b"INBOX", MESSAGE)
    assert await client.ok(b"NOOP") == [b"* 4 EXISTS"]


async def test_rev2_searches_are_answered_by_esearch(edge: ImapEdge) -> None:
    """RFC 9051 §6.4.4."""
    client = await _filled(edge, 3, b"IMAP4rev2")
    await client.ok(b"SELECT INBOX")
    (line,) = await client.ok(b"SEARCH NOT SEEN")
    assert line.startswith(b'* ESEARCH (TAG "t')
    assert line.endswith(b'") ALL 1:3')
    (line,) = await client.ok(b"UID SEARCH SEEN")
    assert line.endswith(b'") UID')


async def test_selecting_another_mailbox_tells_where_the_old_one_ends(edge: ImapEdge) -> None:
    """RFC 9051 §7.1 CLOSED."""
    client = await _filled(edge, 1, b"IMAP4rev2")
    assert not [line for line in await client.ok(b"SELECT INBOX") if b"CLOSED" in line]
    assert (await client.ok(b"EXAMINE Sent"))[0].startswith(b"* OK [CLOSED] ")
    lines = await client.ask(b"SELECT nothing")
    assert lines[0].startswith(b"* OK [CLOSED] ")
    assert b"NO [NONEXISTENT]" in lines[-1]


async def test_names_are_utf8_in_rev2(edge: ImapEdge) -> None:
    """RFC 9051 §5.1."""
    client = await _filled(edge, 0, b"IMAP4rev2")
    name = "Grüße & Küsse".encode()
    await client.ok(b'CREATE "' + name + b'"')
    lines = await client.ok(b'SELECT "' + name + b'"')
    assert b'* LIST () "/" "' + name + b'"' in lines
    old = await edge.login()
    assert b'"Gr&APwA3w-e &- K&APw-sse"' in (await old.ok(b'LIST "" Gr*'))[0]


async def test_status_of_deleted_messages(edge: ImapEdge) -> None:
    """RFC 9051 §6.3.11: DELETED and SIZE."""
    client = await _filled(edge, 3, b"IMAP4rev2")
    await client.ok(b"SELECT INBOX")
    await client.ok(b"STORE 1,3 +FLAGS.SILENT (\\Deleted)")
    assert await client.ok(b"STATUS INBOX (DELETED SIZE)") == [
        b"* STATUS INBOX (DELETED 2 SIZE %d)" % (3 * len(MESSAGE))
    ]


@pytest.mark.parametrize(
    "command",
    [
        b"FETCH 1 FLAGS",
        b"STORE 1 +FLAGS (\\Seen)",
        b"COPY 1 Trash",
        b"MOVE 1 Trash",
        b"SEARCH ALL",
        b"UID SEARCH 1:2",
        b"UID SEARCH NOT (OR SEEN 1)",
    ],
)
async def test_numbers_are_refused_without_numbers(edge: ImapEdge, command: bytes) -> None:
    """RFC 9586 §3."""
    client = await _filled(edge, 2, b"UIDONLY")
    await client.ok(b"SELECT INBOX")
    assert b"BAD [UIDREQUIRED]" in (await client.ask(command))[-1]


async def test_uids_stand_for_numbers(edge: ImapEdge) -> None:
    """RFC 9586 §3.3-3.6: UIDFETCH and VANISHED."""
    client = await _filled(edge, 3, b"UIDONLY")
    lines = await client.ok(b"SELECT INBOX")
    assert not [line for line in lines if b"[UNSEEN" in line]
    await client.ok(b"UID STORE 1 +FLAGS.SILENT (\\Deleted)")
    assert await client.ok(b"EXPUNGE") == [b"* VANISHED 1"]
    assert await client.ok(b"UID FETCH 1:* (UID RFC822.SIZE)") == [
        b"* 2 UIDFETCH (RFC822.SIZE %d)" % len(MESSAGE),
        b"* 3 UIDFETCH (RFC822.SIZE %d)" % len(MESSAGE),
    ]
    assert await client.ok(b"UID FETCH 2 BODY.PEEK[TEXT]") == [b"* 2 UIDFETCH (BODY[TEXT] {6}\r\nbody\r\n)"]
    assert await client.ok(b"UID STORE 3 +FLAGS (\\Seen)") == [b"* 3 UIDFETCH (FLAGS (\\Seen \\Recent))"]
    other = await edge.selected()
    await other.ok(b"STORE 1 +FLAGS (\\Flagged)")
    (line,) = await client.ok(b"NOOP")
    assert line == b"* 2 UIDFETCH (FLAGS (\\Flagged \\Recent))"
    assert await client.ok(b"UID SEARCH UID 2:3 SEEN") == [b"* SEARCH 3"]
