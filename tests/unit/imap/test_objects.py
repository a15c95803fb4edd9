"""OBJECTID, PREVIEW, SAVEDATE, CREATE-SPECIAL-USE, QUOTA, UTF8=ACCEPT over a real socket."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.imap_edge import ImapEdge, open_imap

MESSAGE = b"Subject: x\r\n\r\nHello there, this is the text.\r\n"


def _mailbox_id(line: bytes) -> bytes:
    found = re.search(rb"MAILBOXID \(([A-Za-z0-9_-]{1,255})\)", line)
    assert found is not None, line
    return found[1]


async def test_mailbox_id_is_the_same_everywhere_and_survives_a_rename(edge: ImapEdge) -> None:
    """RFC 8474 §4: in CREATE, SELECT and STATUS."""
    client = await edge.login()
    made = _mailbox_id((await client.ask(b"CREATE one"))[-1])
    assert made == _mailbox_id((await client.ok(b"STATUS one (MAILBOXID)"))[0])
    await client.ok(b"RENAME one two")
    selected = [line for line in await client.ok(b"SELECT two") if b"MAILBOXID" in line]
    assert _mailbox_id(selected[0]) == made
    await client.ok(b"UNSELECT")
    await client.ok(b"DELETE two")
    assert _mailbox_id((await client.ask(b"CREATE two"))[-1]) != made


async def test_email_id_is_kept_by_copies_and_moves(edge: ImapEdge) -> None:
    """RFC 8474 §5.1."""
    client = await edge.login()
    await client.append(b"INBOX", MESSAGE)
    await client.append(b"INBOX", MESSAGE)
    await client.ok(b"SELECT INBOX")
    first, second = await client.ok(b"FETCH 1:2 (EMAILID THREADID)")
    found = re.fullmatch(rb"\* 1 FETCH \(EMAILID \(([A-Za-z0-9_-]+)\) THREADID (NIL|\([A-Za-z0-9_-]+\))\)", first)
    assert found is not None
    assert found[1] not in second
    await client.ok(b"COPY 1 Archive")
    await client.ok(b"MOVE 1 Sent")
    for mailbox in (b"Archive", b"Sent"):
        await client.ok(b"SELECT " + mailbox)
        assert found[1] in (await client.ok(b"FETCH 1 EMAILID"))[0]


async def test_preview_and_save_date(edge: ImapEdge) -> None:
    """RFC 8970 §3, with and without LAZY; RFC 8514 §4.2."""
    client = await edge.login()
    await client.append(b"INBOX", MESSAGE, b'"01-Jan-2001 00:00:00 +0000" ')
    await client.append(b"INBOX", "Subject: y\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nGrüße\r\n".encode())
    await client.ok(b"SELECT INBOX")
    assert await client.ok(b"FETCH 1 PREVIEW") == [b'* 1 FETCH (PREVIEW "Hello there, this is the text.")']
    assert await client.ok(b"FETCH 2 (UID PREVIEW (LAZY))") == ["* 2 FETCH (UID 2 PREVIEW {7}\r\nGrüße)".encode()]
    (line,) = await client.ok(b"FETCH 1 (SAVEDATE INTERNALDATE)")
    assert b'INTERNALDATE " 1-Jan-2001' in line
    assert re.search(rb'SAVEDATE "[ 0-3][0-9]-[A-Z][a-z]{2}-20[0-9]{2} [0-9:]{8} \+0000"', line)
    assert b"BAD" in (await client.ask(b"FETCH 1 (PREVIEW (EAGER))"))[-1]


async def test_create_with_a_use_moves_the_use(edge: ImapEdge) -> None:
    """RFC 6154 §3, §5.3."""
    client = await edge.login()
    await client.ok(b"CREATE Papierkorb (USE (\\Trash))")
    lines = await client.ok(b'LIST (SPECIAL-USE) "" *')
    assert b'* LIST (\\HasNoChildren \\Trash) "/" Papierkorb' in lines
    assert not any(line.endswith(b" Trash") for line in lines)
    for uses in (b"\\Flagged", b"\\All", b"\\Junk \\Trash", b"\\Inbox"):
        assert b"NO [USEATTR]" in (await client.ask(b"CREATE other (USE (" + uses + b"))"))[-1]
    assert b"NO [NONEXISTENT]" in (await client.ask(b"STATUS other (MESSAGES)"))[-1]
    assert b"BAD" in (await client.ask(b"CREATE other (COLOUR (red))"))[-1]
    await client.ok(b"CREATE plain (USE ())")


async def test_quota_of_an_account(tmp_path: Path) -> None:
    """RFC 9208 §4.1.1, §4.1.2, §5.1: STORAGE counts units of 1024 octets."""
    async with open_imap(tmp_path, quota=10 * 1024) as edge:
        client = await edge.login()
        await client.append(b"INBOX", MESSAGE)
        assert await client.ok(b'GETQUOTA ""') == [b'* QUOTA "" (STORAGE 1 10)']
        assert await client.ok(b"GETQUOTAROOT INBOX") == [b'* QUOTAROOT INBOX ""', b'* QUOTA "" (STORAGE 1 10)']
        assert b"NO [NONEXISTENT]" in (await client.ask(b"GETQUOTA other"))[-1]
        assert b"NO [NONEXISTENT]" in (await client.ask(b"GETQUOTAROOT nothing"))[-1]
        await client.ok(b"SELECT INBOX")
        await client.ok(b"STORE 1 +FLAGS (\\Deleted)")
        (line,) = await client.ok(b"STATUS INBOX (DELETED DELETED-STORAGE)")
        assert line == b"* STATUS INBOX (DELETED 1 DELETED-STORAGE %d)" % len(MESSAGE)


async def test_quota_without_a_limit_names_no_resource(edge: ImapEdge) -> None:
    client = await edge.login()
    assert await client.ok(b'GETQUOTA ""') == [b'* QUOTA "" ()']


async def test_utf8_names_once_enabled(edge: ImapEdge) -> None:
    """RFC 6855 §3: no modified UTF-7 in either direction from then on."""
    client = await edge.login()
    await client.ok(b"CREATE Entw&APw-rfe")
    assert b'* LIST (\\HasNoChildren) "/" Entw&APw-rfe' in await client.ok(b'LIST "" E*')
    assert await client.ok(b"ENABLE UTF8=ACCEPT") == [b"* ENABLED UTF8=ACCEPT"]
    assert await client.ok('LIST "" "Entwü*"'.encode()) == ['* LIST (\\HasNoChildren) "/" "Entwürfe"'.encode()]
    await client.ok(b"CREATE &APw-")
    assert await client.ok(b"STATUS &APw- (MESSAGES)") == [b"* STATUS &APw- (MESSAGES 0)"]
    await client.ok('SELECT "Entwürfe"'.encode())
    assert b"BAD" in (await client.ask(b'STATUS "\xff" (MESSAGES)'))[-1]
