"""The IMAP edge as clients meet it: log in, list, select, fetch, store, append, idle."""

from __future__ import annotations

from tests.support.imap_edge import ImapEdge

MESSAGE = (
    b"From: Ann <ann@example.org>\r\nTo: Bob <bob@example.org>\r\nSubject: Greetings\r\n"
    b"Date: Mon, 2 Nov 2026 23:30:00 -0500\r\nMessage-ID: <1@example.org>\r\n\r\nHello Bob\r\n"
)


async def test_a_whole_session(edge: ImapEdge) -> None:
    client = await edge.login()
    assert b'* LIST (\\HasNoChildren) "/" INBOX' in await client.ok(b'LIST "" "*"')
    answer = await client.append(b"INBOX", MESSAGE, b'(\\Flagged $Work) "02-Nov-2026 10:00:00 +0100" ')
    assert b"OK [APPENDUID " in answer
    lines = await client.ok(b"SELECT INBOX")
    assert b"* 1 EXISTS" in lines
    assert b"* 1 RECENT" in lines
    (line,) = await client.ok(b"FETCH 1 (UID FLAGS INTERNALDATE RFC822.SIZE)")
    assert line == (
        b'* 1 FETCH (UID 1 FLAGS (\\Flagged \\Recent $Work) INTERNALDATE " 2-Nov-2026 09:00:00 +0000" RFC822.SIZE %d)'
        % len(MESSAGE)
    )
    (line,) = await client.ok(b"FETCH 1 BODY[]")
    assert line == b"* 1 FETCH (FLAGS (\\Flagged \\Seen \\Recent $Work) BODY[] {%d}\r\n%s)" % (len(MESSAGE), MESSAGE)
    (line,) = await client.ok(b"STORE 1 +FLAGS (\\Deleted)")
    assert line == b"* 1 FETCH (FLAGS (\\Flagged \\Deleted \\Seen \\Recent $Work))"
    assert await client.ok(b"EXPUNGE") == [b"* 1 EXPUNGE"]


async def test_idle_tells_of_a_new_message(edge: ImapEdge) -> None:
    idler, other = await edge.selected(), await edge.login()
    await idler.send(b"i IDLE\r\n")
    assert await idler.line() == b"+ idling\r\n"
    await other.append(b"INBOX", MESSAGE)
    assert await idler.line() == b"* 1 EXISTS\r\n"
    assert await idler.line() == b"* 1 RECENT\r\n"
    await idler.send(b"DONE\r\n")
    assert await idler.until(b"i") == [b"i OK IDLE terminated"]
