"""A long command says that it is at work (RFC 9585)."""

from __future__ import annotations

import pytest

from server.imap import progress
from tests.support.imap_edge import ImapEdge


async def test_a_search_that_takes_long_tells_its_tag(edge: ImapEdge, monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 9585 §3.1: untagged OK with the command's tag, before its answer."""
    client = await edge.selected()
    await client.append(b"INBOX", b"Subject: x\r\n\r\nneedle\r\n")
    await client.ok(b"NOOP")
    monkeypatch.setattr(progress, "FIRST_S", 0.0)
    await client.send(b"slow SEARCH NOT BODY haystack\r\n")
    lines = await client.until(b"slow")
    assert lines[0] == b'* OK [INPROGRESS ("slow" NIL NIL)] Still working'
    assert lines[-1].startswith(b"slow OK")
