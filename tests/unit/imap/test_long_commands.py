"""Long commands: they say that they are at work (RFC 9585), and give way to others."""

from __future__ import annotations

import asyncio

import pytest

from server.imap import progress
from server.services.mailstore import store as mailstore
from tests.support.imap_edge import ImapClient, ImapEdge

MESSAGE = b"Subject: x\r\n\r\nbody\r\n"


async def _filled(edge: ImapEdge, count: int) -> ImapClient:
    client = await edge.login()
    for _ in range(count):
        await client.append(b"INBOX", MESSAGE)
    await client.ok(b"SELECT INBOX")
    return client


async def test_a_long_search_says_so(edge: ImapEdge, monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 9585 §3."""
    client = await _filled(edge, 1)
    assert await client.ok(b"SEARCH BODY body") == [b"* SEARCH 1"]
    monkeypatch.setattr(progress, "FIRST_S", 0.0)
    await client.send(b"x1 SEARCH BODY body\r\n")
    lines = await client.until(b"x1")
    assert lines[0] == b'* OK [INPROGRESS ("x1" NIL NIL)] Still working'
    assert b"* SEARCH 1" in lines


async def test_many_flags_are_changed_in_pieces(edge: ImapEdge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every message is changed, each told once, by several modseqs; another session's write comes in between."""
    client = await _filled(edge, 7)
    other, third = await edge.selected(), await edge.login()
    monkeypatch.setattr(mailstore, "STORE_CHUNK", 2)
    store, append = await asyncio.gather(client.ok(b"STORE 1:* +FLAGS (\\Flagged)"), third.append(b"Sent", MESSAGE))
    assert b"OK" in append
    assert len([line for line in store if b"\\Flagged" in line]) == 7
    lines = await other.ok(b"NOOP")
    assert len([line for line in lines if b"\\Flagged" in line]) == 7
    await client.ok(b"SELECT INBOX (CONDSTORE)")
    lines = await client.ok(b"FETCH 1:* MODSEQ")
    assert len({line.split(b"MODSEQ ")[1] for line in lines}) == 4
    assert await client.ok(b"STORE 1:* +FLAGS.SILENT (\\Flagged)") == []
    lines = await client.ask(b"STORE 1:* (UNCHANGEDSINCE 1) -FLAGS.SILENT (\\Flagged)")
    assert b"[MODIFIED 1:7]" in lines[-1]
