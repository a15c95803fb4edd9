"""FETCH on a message with parts (RFC 9051 §6.4.5, §7.5.2)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.imap_edge import ImapClient, ImapEdge, open_imap

MESSAGE = (
    b"From: Ann <ann@example.org>\r\n"
    b"To: Bob <bob@example.org>\r\n"
    b"Subject: parts\r\n"
    b"MIME-Version: 1.0\r\n"
    b'Content-Type: multipart/mixed; boundary="b"\r\n'
    b"\r\n"
    b"--b\r\n"
    b"Content-Type: text/plain\r\n"
    b"\r\n"
    b"one\r\n"
    b"--b\r\n"
    b"Content-Type: message/rfc822\r\n"
    b"\r\n"
    b"Subject: inner\r\n"
    b"\r\n"
    b"two\r\n"
    b"--b--\r\n"
)
HEADER = MESSAGE[: MESSAGE.index(b"\r\n\r\n") + 4]


@pytest.fixture
async def client(edge: ImapEdge) -> ImapClient:
    client = await edge.login()
    await client.append(b"INBOX", MESSAGE)
    await client.ok(b"SELECT INBOX")
    return client


@pytest.mark.parametrize(
    ("item", "answer"),
    [
        (b"BODY.PEEK[]", b"BODY[] {%d}\r\n%s" % (len(MESSAGE), MESSAGE)),
        (b"BODY.PEEK[HEADER]", b"BODY[HEADER] {%d}\r\n%s" % (len(HEADER), HEADER)),
        (b"RFC822.HEADER", b"RFC822.HEADER {%d}\r\n%s" % (len(HEADER), HEADER)),
        (b"BODY.PEEK[1]", b"BODY[1] {3}\r\none"),
        (b"BODY.PEEK[1.MIME]", b"BODY[1.MIME] {28}\r\nContent-Type: text/plain\r\n\r\n"),
        (b"BODY.PEEK[2.HEADER]", b"BODY[2.HEADER] {18}\r\nSubject: inner\r\n\r\n"),
        (b"BODY.PEEK[2.TEXT]", b"BODY[2.TEXT] {3}\r\ntwo"),
        (b"BODY.PEEK[2.1]", b"BODY[2.1] {3}\r\ntwo"),
        (b"BODY.PEEK[3]", b"BODY[3] NIL"),
        (b"BODY.PEEK[1]<1.10>", b"BODY[1]<1> {2}\r\nne"),
        (b"BODY.PEEK[1]<1.1>", b"BODY[1]<1> {1}\r\nn"),
        (b"BODY.PEEK[1]<9.1>", b"BODY[1]<9> {0}\r\n"),
        (b"BODY.PEEK[HEADER.FIELDS (SUBJECT)]", b"BODY[HEADER.FIELDS (SUBJECT)] {18}\r\nSubject: parts\r\n\r\n"),
        (b"RFC822.SIZE", b"RFC822.SIZE %d" % len(MESSAGE)),
        (
            b"BODY",
            b'BODY (("text" "plain" NIL NIL NIL "7bit" 3 0)("message" "rfc822" NIL NIL NIL "7bit" 21 '
            b'(NIL "inner" NIL NIL NIL NIL NIL NIL NIL NIL) ("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 3 0)'
            b' 2) "mixed")',
        ),
        (
            b"ENVELOPE",
            b'ENVELOPE (NIL "parts" (("Ann" NIL "ann" "example.org")) (("Ann" NIL "ann" "example.org"))'
            b' (("Ann" NIL "ann" "example.org")) (("Bob" NIL "bob" "example.org")) NIL NIL NIL NIL)',
        ),
    ],
)
async def test_items(client: ImapClient, item: bytes, answer: bytes) -> None:
    (line,) = await client.ok(b"FETCH 1 " + item)
    assert line == b"* 1 FETCH (" + answer + b")"
    assert await client.ok(b"SEARCH UNSEEN") == [b"* SEARCH 1"]


async def test_several_items_stay_in_order(client: ImapClient) -> None:
    (line,) = await client.ok(b"UID FETCH 1 (BODY.PEEK[1] FLAGS BODY.PEEK[2.TEXT])")
    assert line == b"* 1 FETCH (UID 1 FLAGS (\\Recent) BODY[1] {3}\r\none BODY[2.TEXT] {3}\r\ntwo)"


async def test_reading_a_body_sets_seen_once(client: ImapClient) -> None:
    (first,) = await client.ok(b"FETCH 1 BODY[1]")
    assert first == b"* 1 FETCH (FLAGS (\\Seen \\Recent) BODY[1] {3}\r\none)"
    assert await client.ok(b"FETCH 1 BODY[1]") == [b"* 1 FETCH (BODY[1] {3}\r\none)"]


async def test_examine_changes_nothing(edge: ImapEdge, client: ImapClient) -> None:
    """product.md 68: the promised read-only mode."""
    reader = await edge.login()
    lines = await reader.ask(b"EXAMINE INBOX")
    assert lines[-1].endswith(b"OK [READ-ONLY] EXAMINE completed")
    assert b"* OK [PERMANENTFLAGS ()] Read-only mailbox" in lines
    assert await reader.ok(b"FETCH 1 BODY[1]") == [b"* 1 FETCH (BODY[1] {3}\r\none)"]
    for command in (b"STORE 1 FLAGS (\\Seen)", b"EXPUNGE", b"MOVE 1 Trash", b"UID EXPUNGE 1"):
        assert b"NO [READ-ONLY]" in (await reader.ask(command))[-1]
    await reader.ok(b"CLOSE")
    assert await client.ok(b"SEARCH UNSEEN") == [b"* SEARCH 1"]


@pytest.mark.parametrize("command", [b"FETCH 2 FLAGS", b"FETCH 1:2 FLAGS", b"STORE 5 FLAGS ()", b"COPY 9 Trash"])
async def test_numbers_beyond_the_last_are_bad(client: ImapClient, command: bytes) -> None:
    assert b"BAD No message of that number" in (await client.ask(command))[-1]


async def test_unknown_uids_are_no_error(client: ImapClient) -> None:
    """RFC 9051 §6.4.9."""
    assert await client.ok(b"UID FETCH 7,9 FLAGS") == []
    assert await client.ok(b"UID STORE 7 FLAGS ()") == []
    assert await client.ok(b"UID COPY 7 Trash") == []
    assert await client.ok(b"UID FETCH 5:* (UID)") == [b"* 1 FETCH (UID 1)"]


async def test_a_large_message_in_parts(tmp_path: Path) -> None:
    """Octets in a file, read by a client in pieces, come out as they went in."""
    body = b"Subject: big\r\n\r\n" + b"".join(b"line %07d\r\n" % n for n in range(60_000))
    async with open_imap(tmp_path) as edge:
        client = await edge.login()
        assert b"OK [APPENDUID" in await client.append(b"INBOX", body)
        await client.ok(b"SELECT INBOX")
        (whole,) = await client.ok(b"FETCH 1 BODY.PEEK[]")
        assert whole == b"* 1 FETCH (BODY[] {%d}\r\n%s)" % (len(body), body)
        found = b""
        while True:
            (line,) = await client.ok(b"FETCH 1 BODY.PEEK[]<%d.200000>" % len(found))
            part = line.partition(b"}\r\n")[2][:-1]
            found += part
            if len(part) < 200_000:
                break
        assert found == body


async def test_many_messages_come_in_order(edge: ImapEdge) -> None:
    client = await edge.login()
    for number in range(450):
        await client.append(b"INBOX", b"Subject: %d\r\n\r\nx\r\n" % number)
    await client.ok(b"SELECT INBOX")
    lines = await client.ok(b"FETCH 1:* (UID BODY.PEEK[HEADER.FIELDS (Subject)])")
    assert [line.split(b"Subject: ")[1].split(b"\r")[0] for line in lines] == [b"%d" % n for n in range(450)]
    lines = await client.ok(b"FETCH 2,1,449:450 (UID ENVELOPE)")
    assert [line.split()[1] for line in lines] == [b"1", b"2", b"449", b"450"]
