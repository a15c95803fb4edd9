"""SEARCH with every key (RFC 9051 §6.4.4, RFC 3501 §6.4.4, RFC 4731)."""

from __future__ import annotations

import pytest

from tests.support.imap_edge import ImapClient, ImapEdge

FIRST = (
    b"From: Ann <ann@example.org>\r\nTo: bob@example.org\r\nCc: carl@example.org\r\nBcc: dora@example.org\r\n"
    b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= from afar\r\nDate: Mon, 2 Nov 2026 23:30:00 -0500\r\nX-Tag: one\r\n\r\n"
    b"The quick brown fox\r\n"
)
SECOND = (
    b"From: Bob <bob@example.org>\r\nTo: ann@example.org\r\nSubject: Second\r\nDate: Sun, 1 Nov 2026 01:00:00 +0900\r\n"
    b"Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    b"Sch=F6ne lazy dogs" + b"." * 500 + b"\r\n"
)
THIRD = b"From: x@example.org\r\n\r\nno date, no subject\r\n"


@pytest.fixture
async def client(edge: ImapEdge) -> ImapClient:
    client = await edge.login()
    await client.append(b"INBOX", FIRST, b'(\\Seen \\Flagged Work) " 1-Jan-2026 10:00:00 +0000" ')
    await client.append(b"INBOX", SECOND, b'(\\Answered \\Draft) " 2-Jan-2026 23:59:59 +0000" ')
    await client.append(b"INBOX", THIRD, b'(\\Deleted) " 3-Jan-2026 00:00:00 +0000" ')
    await client.ok(b"SELECT INBOX")
    return client


@pytest.mark.parametrize(
    ("key", "found"),
    [
        (b"ALL", b"1 2 3"),
        (b"ANSWERED", b"2"),
        (b"UNANSWERED", b"1 3"),
        (b"DELETED", b"3"),
        (b"UNDELETED", b"1 2"),
        (b"DRAFT", b"2"),
        (b"UNDRAFT", b"1 3"),
        (b"FLAGGED", b"1"),
        (b"UNFLAGGED", b"2 3"),
        (b"SEEN", b"1"),
        (b"UNSEEN", b"2 3"),
        (b"NEW", b"2 3"),
        (b"OLD", b""),
        (b"RECENT", b"1 2 3"),
        (b"KEYWORD work", b"1"),
        (b"UNKEYWORD WORK", b"2 3"),
        (b"BEFORE 2-Jan-2026", b"1"),
        (b"ON 2-Jan-2026", b"2"),
        (b"SINCE 2-Jan-2026", b"2 3"),
        (b"SENTBEFORE 2-Nov-2026", b"2"),
        (b"SENTON 2-Nov-2026", b"1"),
        (b"SENTSINCE 1-Nov-2026", b"1 2"),
        (b"NOT SENTSINCE 1-Jan-2000", b"3"),
        (b"LARGER %d" % len(FIRST), b"2"),
        (b"SMALLER %d" % len(FIRST), b"3"),
        (b"FROM ann", b"1"),
        (b"TO ann", b"2"),
        (b"CC CARL", b"1"),
        (b"BCC dora", b"1"),
        (b"SUBJECT second", b"2"),
        (b'SUBJECT "from afar"', b"1"),
        (b"CHARSET UTF-8 SUBJECT {8}\r\ngr\xc3\xbc\xc3\x9fe ", b"1"),
        (b'SUBJECT ""', b"1 2"),
        (b"HEADER x-tag ONE", b"1"),
        (b'HEADER Date ""', b"1 2"),
        (b"BODY quick", b"1"),
        (b"CHARSET UTF-8 BODY {6}\r\nsch\xc3\xb6n", b"2"),
        (b"BODY ann", b""),
        (b"TEXT ann", b"1 2"),
        (b"TEXT example.org", b"1 2 3"),
        (b"2:*", b"2 3"),
        (b"UID 1,3", b"1 3"),
        (b"UID 9:*", b"3"),
        (b"NOT 2", b"1 3"),
        (b"OR SEEN DELETED", b"1 3"),
        (b"OR BODY quick BODY lazy", b"1 2"),
        (b"OR SEEN BODY lazy", b"1 2"),
        (b"NOT (OR SEEN DELETED)", b"2"),
        (b"UNSEEN NOT DELETED", b"2"),
        (b"(SEEN FLAGGED) KEYWORD Work FROM ann", b"1"),
    ],
)
async def test_keys(client: ImapClient, key: bytes, found: bytes) -> None:
    if b"{" in key:
        key = key.replace(b"}", b"+}")
    assert await client.ok(b"SEARCH " + key) == [(b"* SEARCH " + found).rstrip()]


async def test_uid_search_and_numbers_after_expunge(client: ImapClient) -> None:
    await client.ok(b"STORE 1 +FLAGS (\\Deleted)")
    await client.ok(b"UID EXPUNGE 1")
    assert await client.ok(b"SEARCH ALL") == [b"* SEARCH 1 2"]
    assert await client.ok(b"UID SEARCH ALL") == [b"* SEARCH 2 3"]
    assert await client.ok(b"UID SEARCH 1") == [b"* SEARCH 2"]


async def test_esearch(client: ImapClient) -> None:
    """RFC 4731 §3.1."""
    assert await client.ok(b"UID SEARCH RETURN (MIN MAX COUNT ALL) UNSEEN") == [
        b'* ESEARCH (TAG "t6") UID MIN 2 MAX 3 ALL 2:3 COUNT 2'
    ]
    assert await client.ok(b"SEARCH RETURN () SEEN") == [b'* ESEARCH (TAG "t7") ALL 1']
    assert await client.ok(b"SEARCH RETURN (MIN COUNT) KEYWORD none") == [b'* ESEARCH (TAG "t8") COUNT 0']


async def test_unknown_charset(client: ImapClient) -> None:
    assert b"NO [BADCHARSET (US-ASCII UTF-8)]" in (await client.ask(b"SEARCH CHARSET KOI8-R ALL"))[-1]


async def test_an_empty_mailbox(client: ImapClient) -> None:
    await client.ok(b"SELECT Sent")
    assert await client.ok(b"SEARCH ALL") == [b"* SEARCH"]
    assert await client.ok(b"SEARCH UID 1:*") == [b"* SEARCH"]
    assert await client.ok(b"UID FETCH 1:* FLAGS") == []
