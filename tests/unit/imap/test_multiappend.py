"""MULTIAPPEND, REPLACE and BINARY over a real socket (RFC 3502, RFC 8508, RFC 3516)."""

from __future__ import annotations

import base64
from pathlib import Path

from tests.support.imap_edge import ImapClient, ImapEdge, open_imap

ONE = b"Subject: one\r\n\r\n1\r\n"
TWO = b"Subject: two\r\n\r\n22\r\n"
PICTURE = bytes(range(256)) * 3
MIXED = (
    b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
    b"Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    + base64.encodebytes(PICTURE).replace(b"\n", b"\r\n")
    + b"\r\n--b\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: x-rot13\r\n\r\nuryyb\r\n--b--\r\n"
)


async def _count(client: ImapClient, mailbox: bytes = b"INBOX") -> bytes:
    return (await client.ok(b"STATUS " + mailbox + b" (MESSAGES)"))[0]


async def test_several_messages_by_one_command(edge: ImapEdge) -> None:
    """RFC 3502 §6.3.11: one APPENDUID with all UIDs (RFC 4315 §3)."""
    client = await edge.login()
    await client.send(b"x APPEND INBOX (\\Seen) {%d}\r\n" % len(ONE))
    assert (await client.line()).startswith(b"+")
    await client.send(ONE + b' " 1-Jan-2001 00:00:00 +0000" {%d}\r\n' % len(TWO))
    assert (await client.line()).startswith(b"+")
    await client.send(TWO + b" {%d+}\r\n%s\r\n" % (len(ONE), ONE))
    (line,) = await client.until(b"x")
    assert line.startswith(b"x OK [APPENDUID ")
    assert b" 1:3]" in line
    await client.ok(b"SELECT INBOX")
    first, second, third = await client.ok(b"FETCH 1:3 (FLAGS INTERNALDATE RFC822.SIZE)")
    assert b"\\Seen" in first
    assert b'" 1-Jan-2001' in second
    assert b"RFC822.SIZE %d" % len(ONE) in third


async def test_one_bad_message_and_none_is_stored(tmp_path: Path) -> None:
    """RFC 3502 §3: atomic; also when only the last one is over the quota."""
    async with open_imap(tmp_path, quota=len(ONE) + len(TWO)) as edge:
        client = await edge.login()
        head = b"APPEND INBOX {%d+}\r\n%s {%d+}\r\n%s" % (len(ONE), ONE, len(TWO), TWO)
        for tail, answer in (
            (b" {%d+}\r\n%s" % (len(ONE), ONE), b"NO [OVERQUOTA]"),
            (b" {1+}\r\n\0", b"NO [OVERQUOTA]"),
            (b" {0+}\r\n", b"NO [CANNOT]"),
            (b" (\\Bogus) {3+}\r\nabc", b"BAD"),
            (b" junk", b"BAD"),
        ):
            lines = await client.ask(head + tail)
            assert answer in lines[-1], (tail, lines)
            assert await _count(client) == b"* STATUS INBOX (MESSAGES 0)"
        assert b"OK [APPENDUID" in (await client.ask(head))[-1]


async def test_refused_in_the_middle_before_it_is_sent(edge: ImapEdge) -> None:
    client = await edge.login()
    await client.send(b"x APPEND INBOX {%d+}\r\n%s {99999999}\r\n" % (len(ONE), ONE))
    assert (await client.until(b"x"))[-1].startswith(b"x NO [TOOBIG]")
    assert await _count(client) == b"* STATUS INBOX (MESSAGES 0)"


async def test_replace(edge: ImapEdge) -> None:
    """RFC 8508 §3.4: untagged APPENDUID, then EXPUNGE; the new message is in the mailbox named."""
    client = await edge.selected()
    await client.append(b"INBOX", ONE)
    await client.ok(b"NOOP")
    lines = await client.ok(b"REPLACE 1 INBOX (\\Draft) {%d+}\r\n%s" % (len(TWO), TWO))
    assert lines[0].startswith(b"* OK [APPENDUID ")
    assert lines[1:3] == [b"* 1 EXPUNGE", b"* 1 EXISTS"]
    assert await client.ok(b"FETCH 1 (UID FLAGS)") == [b"* 1 FETCH (UID 2 FLAGS (\\Draft \\Recent))"]
    await client.ok(b"UID REPLACE 2 Sent {%d+}\r\n%s" % (len(TWO), TWO))
    assert await _count(client, b"Sent") == b"* STATUS Sent (MESSAGES 1)"
    assert b"BAD" in (await client.ask(b"REPLACE 1 INBOX {%d+}\r\n%s" % (len(TWO), TWO)))[-1]
    assert b" NO" in (await client.ask(b"UID REPLACE 7 INBOX {%d+}\r\n%s" % (len(TWO), TWO)))[-1]


async def test_a_failed_replace_keeps_the_old_message(edge: ImapEdge) -> None:
    client = await edge.selected()
    await client.append(b"INBOX", ONE)
    await client.ok(b"NOOP")
    assert b"TRYCREATE" in (await client.ask(b"REPLACE 1 nothing {%d+}\r\n%s" % (len(TWO), TWO)))[-1]
    two = b"REPLACE 1 INBOX {%d+}\r\n%s {%d+}\r\n%s" % (len(ONE), ONE, len(TWO), TWO)
    assert b"BAD" in (await client.ask(two))[-1]
    await client.ok(b"EXAMINE INBOX")
    assert b"NO [READ-ONLY]" in (await client.ask(b"REPLACE 1 INBOX {%d+}\r\n%s" % (len(TWO), TWO)))[-1]
    assert await client.ok(b"FETCH 1 UID") == [b"* 1 FETCH (UID 1)"]


async def test_replace_needs_a_selected_mailbox(edge: ImapEdge) -> None:
    client = await edge.login()
    await client.send(b"x REPLACE 1 INBOX {5}\r\n")
    assert (await client.until(b"x"))[-1].startswith(b"x BAD")


async def test_binary_parts(edge: ImapEdge) -> None:
    """RFC 3516 §4.2, §4.3: decoded octets, their size, a part of them; an encoding nobody knows is UNKNOWN-CTE."""
    client = await edge.selected()
    await client.append(b"INBOX", MIXED)
    await client.ok(b"NOOP")
    assert await client.ok(b"FETCH 1 BINARY.SIZE[1]") == [b"* 1 FETCH (BINARY.SIZE[1] %d)" % len(PICTURE)]
    lines = await client.ok(b"FETCH 1 (BINARY.PEEK[1]<4.8>)")
    assert lines == [b"* 1 FETCH (BINARY[1]<4> {8}\r\n\4\5\6\7\x08\x09\x0a\x0b)"]
    lines = await client.ok(b"FETCH 1 BINARY.PEEK[1]")
    assert lines == [b"* 1 FETCH (BINARY[1] ~{%d}\r\n%s)" % (len(PICTURE), PICTURE)]
    lines = await client.ok(b"FETCH 1 (FLAGS BINARY[])")
    assert lines == [b"* 1 FETCH (FLAGS (\\Seen \\Recent) BINARY[] {%d}\r\n%s)" % (len(MIXED), MIXED)]
    assert await client.ok(b"FETCH 1 BINARY[9]") == [b"* 1 FETCH (BINARY[9] NIL)"]
    assert b"NO [UNKNOWN-CTE]" in (await client.ask(b"FETCH 1 BINARY[2]"))[-1]
    assert b"BAD" in (await client.ask(b"FETCH 1 BINARY[TEXT]"))[-1]


async def test_binary_append(edge: ImapEdge) -> None:
    """RFC 3516 §4.4, RFC 6855 §4; NUL can't be stored."""
    client = await edge.login()
    await client.ok(b"APPEND INBOX ~{%d+}\r\n%s" % (len(ONE), ONE))
    text = "Subject: Grüße\r\n\r\nx\r\n".encode()
    await client.ok(b"APPEND INBOX (\\Seen) UTF8 (~{%d+}\r\n%s)" % (len(text), text))
    assert b"NO [UNKNOWN-CTE]" in (await client.ask(b"APPEND INBOX ~{5+}\r\na\0b\r\n"))[-1]
    assert await _count(client) == b"* STATUS INBOX (MESSAGES 2)"
