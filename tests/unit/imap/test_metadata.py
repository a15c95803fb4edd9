"""METADATA over a real socket (RFC 5464), with LIST-METADATA (RFC 9590)."""

from __future__ import annotations

import pytest

from server.services.mailstore import annotations
from tests.support.imap_edge import ImapEdge


async def test_set_get_and_remove(edge: ImapEdge) -> None:
    """RFC 5464 §4.2, §4.3; names are compared without case."""
    client = await edge.login()
    await client.ok(b'SETMETADATA INBOX (/private/comment {7+}\r\nMy note /shared/Comment "ours")')
    assert await client.ok(b"GETMETADATA INBOX /PRIVATE/comment") == [b'* METADATA INBOX (/private/comment "My note")']
    assert await client.ok(b'GETMETADATA "INBOX" (/shared/comment /private/nothing)') == [
        b'* METADATA INBOX (/shared/comment "ours" /private/nothing NIL)'
    ]
    await client.ok(b"SETMETADATA INBOX (/private/comment NIL)")
    assert await client.ok(b"GETMETADATA INBOX /private/comment") == [b"* METADATA INBOX (/private/comment NIL)"]
    assert b"NO [NONEXISTENT]" in (await client.ask(b"GETMETADATA nothing /private/comment"))[-1]


async def test_depth_and_size(edge: ImapEdge) -> None:
    """RFC 5464 §4.2.1, §4.2.2."""
    client = await edge.login()
    await client.ok(b'SETMETADATA INBOX (/private/f/a "1" /private/f/a/b "22" /private/fx "3")')
    assert await client.ok(b"GETMETADATA (DEPTH 1) INBOX /private/f") == [b'* METADATA INBOX (/private/f/a "1")']
    assert await client.ok(b"GETMETADATA (DEPTH infinity) INBOX (/private/f)") == [
        b'* METADATA INBOX (/private/f/a "1" /private/f/a/b "22")'
    ]
    lines = await client.ask(b"GETMETADATA (MAXSIZE 1 DEPTH infinity) INBOX /private")
    assert lines[0] == b'* METADATA INBOX (/private/f/a "1" /private/fx "3")'
    assert b"OK [METADATA LONGENTRIES 2]" in lines[1]


async def test_the_accounts_own_place(edge: ImapEdge) -> None:
    """Server annotations (RFC 5464 §6.2.1): private ones only, seen by nobody else."""
    client = await edge.login()
    await client.ok(b'SETMETADATA "" (/private/vendor/x "a")')
    assert await client.ok(b'GETMETADATA "" /private/vendor/x') == [b'* METADATA "" (/private/vendor/x "a")']
    assert b"NO [NOPERM]" in (await client.ask(b'SETMETADATA "" (/shared/comment "x")'))[-1]
    other = await edge.login("b@example.org")
    assert await other.ok(b'GETMETADATA "" /private/vendor/x') == [b'* METADATA "" (/private/vendor/x NIL)']


async def test_limits(edge: ImapEdge, monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 5464 §4.3: MAXSIZE and TOOMANY, at the limit and above; all or none."""
    monkeypatch.setattr(annotations, "ENTRIES_MAX", 3)
    client = await edge.login()
    size = annotations.VALUE_MAX
    await client.send(b"x SETMETADATA INBOX (/private/a {%d}\r\n" % size)
    await client.line()
    await client.send(b"x" * size + b")\r\n")
    assert (await client.until(b"x"))[-1].startswith(b"x OK")
    await client.send(b"y SETMETADATA INBOX (/private/b {%d}\r\n" % (size + 1))
    await client.line()
    await client.send(b"x" * (size + 1) + b")\r\n")
    assert b"NO [METADATA MAXSIZE 65536]" in (await client.until(b"y"))[-1]
    await client.ok(b'SETMETADATA INBOX (/private/b "1" /private/c "1" /private/c "2")')
    assert b"NO [METADATA TOOMANY]" in (await client.ask(b'SETMETADATA Sent (/private/d "1")'))[-1]
    await client.ok(b"SETMETADATA INBOX (/private/b NIL)")
    await client.ok(b'SETMETADATA Sent (/private/d "1")')


@pytest.mark.parametrize(
    "entry",
    [b"comment", b"/other/x", b'"/private/a*"', b"/private//x", b"/private/x/", b"/private", b"/private/" + b"x" * 260],
)
async def test_names_that_are_none(edge: ImapEdge, entry: bytes) -> None:
    """RFC 5464 §3.2."""
    client = await edge.login()
    assert b" BAD " in (await client.ask(b"SETMETADATA INBOX (" + entry + b' "x")'))[-1]


async def test_list_tells_annotations_and_a_deleted_mailbox_takes_them_along(edge: ImapEdge) -> None:
    """RFC 9590 §3."""
    client = await edge.login()
    await client.ok(b"CREATE p")
    await client.ok(b'SETMETADATA p (/shared/color "red")')
    assert await client.ok(b'LIST "" p RETURN (METADATA ("/shared/color"))') == [
        b'* LIST (\\HasNoChildren) "/" p',
        b'* METADATA p (/shared/color "red")',
    ]
    await client.ok(b"DELETE p")
    await client.ok(b"CREATE p")
    assert await client.ok(b"GETMETADATA p /shared/color") == [b"* METADATA p (/shared/color NIL)"]
