"""Searches of the API: the whole query language over stored mail, on both databases, indexed or not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from server.domain import flags as bits
from server.domain.errors import InvalidInput, MaiRustError
from server.domain.search import SearchOrder
from server.store.database import Database
from tests.support.imap_edge import add_account
from tests.support.searching import MAILS, NOW, SearchRoom, open_room
from tests.support.stores import open_sqlite


@pytest.fixture
async def room(store: Database, tmp_path: Path) -> AsyncIterator[SearchRoom]:
    account = await add_account(store, "bob@example.org")
    with open_room(store, tmp_path, account) as room:
        for days, octets in enumerate(MAILS):
            flags = bits.SEEN if days % 2 else bits.FLAGGED
            keywords = ("Work",) if days == 1 else ()
            await room.add(octets, at=NOW - timedelta(days=10 - days), flags=flags, keywords=keywords)
        yield room


CASES = [
    ("raclette", [1]),
    ("racl", []),
    ("racl*", [1]),
    ("report", [5, 2]),
    ("subject:report", [2]),
    ("from:dan@other.example", [5, 4]),
    ("from:other.example", [5, 4]),
    ("to:alice", [4]),
    ("cc:dan", [2]),
    ("list:climb", [1]),
    ("filename:umsatz\u00fcbersicht", [2]),
    ('"hidden treasure"', [4]),
    ('"treasure hidden"', []),
    ("\u4eac\u90fd", [3]),
    ("body:\u4eac", [3]),
    ("raclette OR treasure", [4, 1]),
    ("report -oslo", [5]),
    ("NOT (report OR raclette)", [6, 4, 3]),
    ("has:attachment", [4, 2]),
    ("is:unread", [5, 3, 1]),
    ("is:flagged raclette", [1]),
    ("is:read report", [2]),
    ("in:inbox report", [5, 2]),
    ("in:INBOX is:read", [6, 4, 2]),
    ("in:Trash", []),
    ("in:nowhere", []),
    ("tag:work", [2]),
    ("tag:rest", []),
    ("larger:300 smaller:100K report", [2]),
    ("on:2026-11-13", [2]),
    ("after:2026-11-14 before:2026-11-16", [4, 3]),
    ("category:nothing", []),
    ("id:none OR thread:none", []),
    ("alice", [5, 4, 1]),
]


@pytest.mark.parametrize("indexed", [True, False])
async def test_queries_find_what_they_say(room: SearchRoom, indexed: bool) -> None:
    if indexed:
        await room.settle()
    assert {query: await room.hits(query) for query, _ in CASES} == dict(CASES)


async def test_ages_are_counted_from_now(room: SearchRoom) -> None:
    assert await room.hits("newer:9999d") == [6, 5, 4, 3, 2, 1]
    assert await room.hits("older:1h newer:9999h") in ([6, 5, 4, 3, 2, 1], [])
    assert await room.hits("older:9999d") == []


async def test_ids_find_their_message_and_their_thread(room: SearchRoom) -> None:
    record = (await room.search("raclette")).items[0].view.record
    assert await room.hits(f"id:{record.id}") == [1]
    assert await room.hits(f"thread:{record.thread_id}") == [1]


async def test_relevance_puts_subjects_first(room: SearchRoom) -> None:
    await room.settle()
    assert await room.hits("report", order=SearchOrder.RELEVANCE) == [2, 5]
    assert await room.hits("alice", order=SearchOrder.RELEVANCE) == [4, 1, 5]


@pytest.mark.parametrize("order", list(SearchOrder))
async def test_pages_follow_one_another(room: SearchRoom, order: SearchOrder) -> None:
    await room.settle()
    whole = await room.hits("example OR alice", order=order)
    assert len(whole) > 3
    paged: list[int] = []
    after = None
    while True:
        page = await room.search("example OR alice", order=order, limit=2, after=after)
        paged += [item.view.record.uid for item in page.items]
        after = page.next_after
        if after is None:
            break
    assert paged == whole


async def test_highlights_show_where(room: SearchRoom) -> None:
    await room.settle()
    found = (await room.search("report numbers oslo")).items[0].highlights
    assert found.subject == "<mark>Report</mark>"
    assert found.preview is not None
    assert "<mark>numbers</mark>" in found.preview
    deep = (await room.search("oslo")).items[0].highlights
    assert deep.subject is None
    assert deep.preview is not None
    assert "Norway,<mark>Oslo</mark>" in deep.preview


async def test_nothing_is_found_in_other_accounts(room: SearchRoom) -> None:
    other = await add_account(room.database, "other@example.org")
    await room.settle()
    assert (await room.search("raclette", account=other)).items == ()
    assert (await room.search("is:unread OR raclette OR -foo", account=other)).items == ()


async def test_what_is_not_indexed_is_read_or_told(room: SearchRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = await room.search("raclette")
    monkeypatch.setattr("server.services.mailstore.finding.SCAN_MAIL", 2)
    part = await room.search("raclette")
    assert [item.view.record.uid for item in whole.items] == [1]
    assert part.items == ()
    assert part.indexed_through == NOW - timedelta(days=10) < whole.indexed_through


async def test_a_fault_in_a_query_names_its_place(room: SearchRoom) -> None:
    with pytest.raises(InvalidInput, match="at character 3: is: knows") as caught:
        await room.search("a is:green")
    assert caught.value.pointer == "/q"


async def test_a_damaged_index_is_told_and_mended(tmp_path: Path) -> None:
    async with open_sqlite(tmp_path) as store:
        account = await add_account(store, "bob@example.org")
        with open_room(store, tmp_path, account) as room:
            await room.add_all()
            await room.settle()
            await store.write("t", lambda tx: tx.execute(text("DELETE FROM search_index_data WHERE id > 1000000")))
            with pytest.raises(MaiRustError) as caught:
                await room.search("raclette")
            assert caught.value.code == "search_unavailable"
            await room.settle()
            assert await room.hits("raclette") == [1]
