"""LIST, LSUB, STATUS, CREATE, DELETE, RENAME (RFC 9051 §6.3, RFC 5258, RFC 5819, RFC 6154)."""

from __future__ import annotations

import pytest

from tests.support.imap_edge import ImapClient, ImapEdge

MESSAGE = b"Subject: x\r\n\r\nbody\r\n"


@pytest.fixture
async def client(edge: ImapEdge) -> ImapClient:
    client = await edge.login()
    for name in (b"a/b/c", b"Entw&APw-rfe"):
        await client.ok(b"CREATE " + name)
    await client.ok(b"DELETE a/b")
    await client.ok(b"SUBSCRIBE a/b/c")
    return client


def _names(lines: list[bytes]) -> list[bytes]:
    return [line.rpartition(b'"/" ')[2] for line in lines]


async def test_list_levels(client: ImapClient) -> None:
    assert _names(await client.ok(b'LIST "" %')) == [
        b"Archive",
        b"Drafts",
        b"Entw&APw-rfe",
        b"INBOX",
        b"Junk",
        b"Sent",
        b"Trash",
        b"a",
    ]
    assert await client.ok(b'LIST "" a/*') == [
        b'* LIST (\\NonExistent \\Noselect \\HasChildren) "/" a/b',
        b'* LIST (\\HasNoChildren) "/" a/b/c',
    ]
    assert await client.ok(b"LIST a/ %") == [b'* LIST (\\NonExistent \\Noselect \\HasChildren) "/" a/b']
    assert await client.ok(b'LIST "" ""') == [b'* LIST (\\Noselect) "/" ""']
    assert await client.ok(b'LIST "" inbox') == [b'* LIST (\\HasNoChildren) "/" INBOX']


async def test_special_use(client: ImapClient) -> None:
    """RFC 6154 §2."""
    assert await client.ok(b'LIST (SPECIAL-USE) "" *') == [
        b'* LIST (\\HasNoChildren \\Archive) "/" Archive',
        b'* LIST (\\HasNoChildren \\Drafts) "/" Drafts',
        b'* LIST (\\HasNoChildren \\Junk) "/" Junk',
        b'* LIST (\\HasNoChildren \\Sent) "/" Sent',
        b'* LIST (\\HasNoChildren \\Trash) "/" Trash',
    ]


async def test_subscriptions(client: ImapClient) -> None:
    await client.ok(b"UNSUBSCRIBE Junk")
    lines = await client.ok(b'LIST (SUBSCRIBED) "" *')
    assert b"Junk" not in _names(lines)
    assert b'* LIST (\\Subscribed \\HasNoChildren) "/" a/b/c' in lines
    assert b'* LIST (\\HasChildren) "/" a ("CHILDINFO" ("SUBSCRIBED"))' in await client.ok(
        b'LIST (SUBSCRIBED RECURSIVEMATCH) "" %'
    )
    assert b'* LSUB (\\Noselect) "/" a' in await client.ok(b'LSUB "" %')
    assert b'* LSUB () "/" a/b/c' in await client.ok(b'LSUB "" *')
    assert b"NO [NONEXISTENT]" in (await client.ask(b"SUBSCRIBE nothing"))[-1]


async def test_list_with_status(client: ImapClient) -> None:
    """RFC 5819 §2."""
    await client.append(b"INBOX", MESSAGE)
    assert await client.ok(b'LIST "" (INBOX a/b) RETURN (SUBSCRIBED STATUS (MESSAGES UNSEEN))') == [
        b'* LIST (\\Subscribed \\HasNoChildren) "/" INBOX',
        b"* STATUS INBOX (MESSAGES 1 UNSEEN 1)",
        b'* LIST (\\NonExistent \\Noselect \\HasChildren) "/" a/b',
    ]


async def test_status(client: ImapClient) -> None:
    """RFC 9051 §6.3.11, RFC 8438."""
    for _ in range(2):
        await client.append(b"Sent", MESSAGE, b"(\\Seen) ")
    await client.append(b"Sent", MESSAGE)
    (line,) = await client.ok(b"STATUS Sent (MESSAGES RECENT UIDNEXT UNSEEN SIZE APPENDLIMIT)")
    assert line == b"* STATUS Sent (MESSAGES 3 RECENT 3 UIDNEXT 4 UNSEEN 1 SIZE %d APPENDLIMIT 52428800)" % (
        3 * len(MESSAGE)
    )
    assert b"NO [NONEXISTENT]" in (await client.ask(b"STATUS nothing (MESSAGES)"))[-1]


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (b"CREATE INBOX", b"NO [ALREADYEXISTS]"),
        (b"CREATE a/b/c", b"NO [ALREADYEXISTS]"),
        (b'CREATE "x*"', b"NO [CANNOT]"),
        (b'CREATE "a//b"', b"NO [CANNOT]"),
        (b"CREATE " + b"x" * 256, b"NO [CANNOT]"),
        (b"CREATE &AGE-", b"BAD"),
        (b"DELETE INBOX", b"NO [NOPERM]"),
        (b"DELETE Trash", b"NO [NOPERM]"),
        (b"DELETE nothing", b"NO [NONEXISTENT]"),
        (b"DELETE a/b", b"NO [NONEXISTENT]"),
        (b"RENAME nothing x", b"NO [NONEXISTENT]"),
        (b"RENAME a INBOX", b"NO [ALREADYEXISTS]"),
        (b"RENAME a a/x", b"NO [CANNOT]"),
        (b"SELECT ../../etc/passwd", b"NO [NONEXISTENT]"),
    ],
)
async def test_refusals(client: ImapClient, command: bytes, answer: bytes) -> None:
    line = (await client.ask(command))[-1]
    assert line.partition(b" ")[2].startswith(answer), line


async def test_rename_of_an_open_mailbox_keeps_it_open(client: ImapClient) -> None:
    await client.append(b"a/b/c", MESSAGE)
    await client.ok(b"SELECT a/b/c")
    await client.ok(b"RENAME a z")
    assert await client.ok(b"FETCH 1 UID") == [b"* 1 FETCH (UID 1)"]
    assert _names(await client.ok(b'LIST "" z*')) == [b"z", b"z/b", b"z/b/c"]
