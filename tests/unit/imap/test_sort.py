"""SORT and THREAD over a socket (RFC 5256, RFC 5957, RFC 5267 §3)."""

from __future__ import annotations

import pytest

from tests.support.imap_edge import ImapClient, ImapEdge

_MESSAGES = (
    (b"Zoe <beta@example.org>", b"alice@example.org", b"Re: pears", b"3 Nov", b"<2@x>", b"<1@x>"),
    (b"alpha@example.org", b"Bob <zack@example.org>", b"apples", b"1 Nov", b"<3@x>", b""),
    (b"=?utf-8?q?=C3=84nne?= <gamma@example.org>", b"bert@example.org", b"pears", b"2 Nov", b"<1@x>", b""),
    (b"Beta2 <beta@example.org>", b"carl@example.org", b"Fwd: [x] Apples", b"4 Nov", b"<4@x>", b"<9@x> <3@x>"),
)


@pytest.fixture
async def client(edge: ImapEdge) -> ImapClient:
    client = await edge.login()
    for number, (sender, to, subject, date, id_, references) in enumerate(_MESSAGES, 1):
        message = b"From: %s\r\nTo: %s\r\nCc: c%d@example.org\r\n" % (sender, to, 9 - number)
        message += b"Subject: %s\r\nDate: %s 2026 10:00:00 +0000\r\nMessage-ID: %s\r\n" % (subject, date, id_)
        message += b"References: %s\r\n" % references if references else b""
        date = b'"%2d-Jan-2026 00:00:00 +0000" ' % (10 - number)
        assert b"OK" in await client.append(b"INBOX", message + b"\r\n" + b"x" * number * 10 + b"\r\n", date)
    await client.ok(b"SELECT INBOX")
    return client


@pytest.mark.parametrize(
    ("criteria", "order"),
    [
        (b"ARRIVAL", b"4 3 2 1"),
        (b"REVERSE ARRIVAL", b"1 2 3 4"),
        (b"DATE", b"2 3 1 4"),
        (b"REVERSE DATE", b"4 1 3 2"),
        (b"SUBJECT DATE", b"2 4 3 1"),
        (b"SUBJECT REVERSE DATE", b"4 2 1 3"),
        (b"FROM", b"2 1 4 3"),
        (b"FROM REVERSE DATE", b"2 4 1 3"),
        (b"TO", b"1 3 4 2"),
        (b"CC", b"4 3 2 1"),
        (b"DISPLAYFROM", b"2 4 1 3"),
        (b"DISPLAYTO", b"1 3 2 4"),
        (b"REVERSE SIZE", b"4 3 1 2"),
    ],
)
async def test_orders(client: ImapClient, criteria: bytes, order: bytes) -> None:
    """RFC 5256 §3, RFC 5957 §3."""
    assert await client.ok(b"SORT (" + criteria + b") UTF-8 ALL") == [b"* SORT " + order]


async def test_uid_sort_of_a_search(client: ImapClient) -> None:
    await client.ok(b"STORE 1 +FLAGS.SILENT (\\Deleted)")
    await client.ok(b"EXPUNGE")
    assert await client.ok(b"SORT (DATE) US-ASCII ALL") == [b"* SORT 1 2 3"]
    assert await client.ok(b"UID SORT (REVERSE DATE) US-ASCII SUBJECT apples") == [b"* SORT 4 2"]
    assert await client.ok(b"SORT (DATE) US-ASCII SUBJECT nothing") == [b"* SORT"]
    assert b"NO [BADCHARSET" in (await client.ask(b"SORT (DATE) KOI8-R ALL"))[-1]
    assert b"BAD" in (await client.ask(b"SORT (BOGUS) UTF-8 ALL"))[-1]
    assert b"BAD" in (await client.ask(b"SORT () UTF-8 ALL"))[-1]


async def test_sort_with_result_options(client: ImapClient) -> None:
    """RFC 5267 §3, RFC 9394 §3.1: MIN and MAX are the ends of the order, a page is one of it."""
    (line,) = await client.ok(b"SORT RETURN (MIN MAX COUNT ALL) (DATE) UTF-8 ALL")
    assert line.endswith(b"MIN 2 MAX 4 ALL 2:3,1,4 COUNT 4")
    (line,) = await client.ok(b"SORT RETURN (PARTIAL 1:2) (REVERSE DATE) UTF-8 ALL")
    assert line.endswith(b"PARTIAL (1:2 4,1)")
    assert await client.ok(b"SORT RETURN (SAVE) (REVERSE DATE) UTF-8 NOT 1") == []
    assert await client.ok(b"SEARCH $") == [b"* SEARCH 2 3 4"]


async def test_threads(client: ImapClient) -> None:
    """RFC 5256 §3: by references, then by subject; a message that is not there joins nothing alone."""
    assert await client.ok(b"THREAD REFERENCES UTF-8 ALL") == [b"* THREAD (2 4)(3 1)"]
    assert await client.ok(b"THREAD ORDEREDSUBJECT UTF-8 ALL") == [b"* THREAD (2 4)(3 1)"]
    await client.ok(b"STORE 2 +FLAGS.SILENT (\\Deleted)")
    await client.ok(b"EXPUNGE")
    assert await client.ok(b"UID THREAD REFERENCES UTF-8 ALL") == [b"* THREAD (3 1)(4)"]
    assert await client.ok(b"THREAD REFERENCES UTF-8 ALL") == [b"* THREAD (2 1)(3)"]
    assert await client.ok(b"THREAD REFERENCES UTF-8 BODY nothing") == [b"* THREAD"]
    assert b"BAD" in (await client.ask(b"THREAD BOGUS UTF-8 ALL"))[-1]
