"""The full-text index on both databases: what it finds is what a scan of the messages finds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import delete, text

from server.domain.ids import AccountId
from server.protocol.imap.search_keys import BodyKey, HeaderKey
from server.services.upkeep.index import Verified
from server.store.database import Database
from server.store.repositories import search
from server.store.repositories.search import IndexCount
from server.store.schema import emails, messages
from server.store.statements import DialectName
from server.store.transaction import Transaction
from tests.support.imap_edge import add_account
from tests.support.searching import MAILS, SearchRoom, open_room, scanned
from tests.support.stores import open_sqlite


@pytest.fixture
async def room(store: Database, tmp_path: Path) -> AsyncIterator[SearchRoom]:
    account = await add_account(store, "bob@example.org")
    with open_room(store, tmp_path, account) as room:
        yield room


TEXTS = [
    "zurich",
    "Z\u00fcrich",
    "strasse",
    "raclette",
    "essen racl",
    "raclette essen",
    "quarterly numbers",
    "numbers are good",
    "color",
    "report",
    "alice",
    "alice@example.com",
    "example",
    "umsatzubersicht",
    "2026",
    "norway oslo",
    "inner words",
    "hidden trea",
    "easure",
    "\u6771\u4eac\u90fd",
    "\u4eac",
    "\u90fd\u5e81\u3067\u660e\u65e5",
    "\u4f1a\u8b70",
    "\u8b70\u4f1a",
    "room 5",
    "lists.example",
    "the numbers by",
]
KEYS = [
    *(BodyKey(text, header) for text in TEXTS for header in (False, True)),
    *(HeaderKey(name, text) for name in ("subject", "from", "to", "cc", "list-id") for text in TEXTS),
    HeaderKey("subject", "gr\u00fc\u00dfe aus"),
    HeaderKey("subject", "\u4f1a\u8b70"),
    HeaderKey("from", "alice@ex"),
    HeaderKey("from", "lice"),
    HeaderKey("cc", "dan"),
    HeaderKey("list-id", "climb"),
]


async def test_the_index_answers_as_a_scan_does(room: SearchRoom) -> None:
    await room.add_all()
    await room.settle()
    found = {key: await room.found(key) for key in KEYS}
    assert found == {key: scanned(MAILS, key) for key in KEYS}
    assert found[BodyKey("raclette", False)] == {1}
    assert found[BodyKey("\u6771\u4eac\u90fd", False)] == {3}
    assert found[BodyKey("umsatzubersicht", True)] == {2}


async def test_what_the_index_cannot_answer_is_left_to_a_scan(room: SearchRoom) -> None:
    await room.add_all()
    await room.settle()
    assert await room.found(HeaderKey("x-mailer", "foo")) is None
    assert await room.found(BodyKey("!", False)) is None


async def test_mail_waits_until_it_is_indexed(room: SearchRoom) -> None:
    await room.add_all()
    inbox = await room.inbox()
    known = await room.index.candidates(room.account, inbox, BodyKey("raclette", False))
    assert known is not None
    assert (known.uids, known.unindexed) == (set(), set(range(1, len(MAILS) + 1)))
    assert await room.indexer.status(room.account) == IndexCount(indexed=0, pending=len(MAILS), total=len(MAILS))
    await room.settle()
    assert await room.indexer.status(room.account) == IndexCount(indexed=len(MAILS), pending=0, total=len(MAILS))
    assert await room.indexer.status(AccountId("another")) == IndexCount(indexed=0, pending=0, total=0)


async def test_accounts_find_nothing_of_each_other(room: SearchRoom) -> None:
    other = await add_account(room.database, "other@example.org")
    await room.add(MAILS[0], account=other)
    await room.settle()
    assert await room.found(BodyKey("raclette", False)) == set()


async def test_purged_mail_leaves_the_index(room: SearchRoom) -> None:
    await room.add_all()
    await room.settle()
    first = await room.database.read("t", lambda tx: tx.fetch_one(text("SELECT min(email_id) FROM messages")))
    assert first is not None

    async def purge(tx: Transaction) -> None:
        await tx.execute(delete(messages).where(messages.c.email_id == first[0]))
        await tx.execute(delete(emails).where(emails.c.id == first[0]))
        await tx.execute(text("UPDATE mailboxes SET total = total - 1, unseen = unseen - 1"))
        await tx.execute(
            text(
                "UPDATE mailboxes SET total = (SELECT count(*) FROM messages m WHERE m.mailbox_id = mailboxes.id),"
                " unseen = (SELECT count(*) FROM messages m WHERE m.mailbox_id = mailboxes.id), size_octets ="
                " (SELECT coalesce(sum(m.size_octets), 0) FROM messages m WHERE m.mailbox_id = mailboxes.id)"
            )
        )
        await tx.execute(text("UPDATE accounts SET used_octets = (SELECT sum(size_octets) FROM messages)"))

    await room.database.write("t", purge)
    await room.settle()
    assert await room.indexer.status() == IndexCount(indexed=len(MAILS) - 1, pending=0, total=len(MAILS) - 1)
    assert await _words(room.database, room.account, "raclette") == 0
    assert await _words(room.database, room.account, "oslo") == 1


async def _words(store: Database, account: AccountId, word: str) -> int:
    """How many documents the index itself holds a word of, in all fields."""

    async def unit(tx: Transaction) -> int:
        mark = account.replace("-", "")[-search.ACCOUNT_MARK_CHARS :]
        if tx.dialect is DialectName.SQLITE:
            sql = text("SELECT coalesce(sum(doc), 0) FROM search_words WHERE term = :word")
        else:
            sql = text("SELECT count(*) FROM search_terms WHERE CAST(:word AS TEXT) = ANY(tsvector_to_array(vector))")
            mark += "f"
        row = await tx.fetch_one(sql, {"word": mark + word})
        return int(str(row[0])) if row is not None else -1

    return await store.read("t", unit)


async def test_an_account_is_indexed_anew_while_its_mail_stays_found(room: SearchRoom) -> None:
    await room.add_all()
    await room.settle()
    assert await room.indexer.reindex(room.account) == len(MAILS)
    known = await room.index.candidates(room.account, await room.inbox(), BodyKey("raclette", False))
    assert known is not None
    assert len(known.unindexed) == len(MAILS)
    await room.settle()
    assert await room.indexer.status() == IndexCount(indexed=len(MAILS), pending=0, total=len(MAILS))
    assert await room.found(BodyKey("raclette", False)) == {1}


async def test_the_whole_index_is_made_anew(room: SearchRoom) -> None:
    await room.add_all()
    await room.settle()
    assert await room.indexer.reindex(None) == len(MAILS)
    assert await room.indexer.status() == IndexCount(indexed=0, pending=len(MAILS), total=len(MAILS))
    await room.settle()
    assert await room.found(BodyKey("raclette", False)) == {1}


async def test_documents_of_any_size_are_taken(room: SearchRoom) -> None:
    junk = b" ".join(b"%x" % (number * 2654435761) for number in range(60_000))
    cjk = ("\u6f22\u5b57\u4eee\u540d" * 70_000).encode()
    head = b"Content-Type: text/plain; charset=utf-8\r\n\r\n"
    await room.add_all([head + junk, head + cjk, head + b"x" * 100_000, head + b"\x00\x01'\\\"%_ word"])
    await room.settle()
    assert await room.found(BodyKey("\u5b57\u4eee", False)) == {2}
    assert await room.found(BodyKey("word", False)) == {4}


async def test_a_second_process_leaves_the_work_to_the_first(room: SearchRoom, tmp_path: Path) -> None:
    with open_room(room.database, tmp_path, room.account, owner="there") as second:
        await room.add(MAILS[0])
        assert await room.indexer.batch() == 1
        await room.add(MAILS[1])
        assert await second.indexer.batch() == 0
        assert await room.indexer.batch() == 1


async def test_a_good_index_is_verified(room: SearchRoom) -> None:
    await room.add_all()
    await room.settle()
    assert await room.indexer.verify() == Verified(checked=len(MAILS), wrong=0, damaged=False)


async def test_documents_that_lost_their_words_are_noticed_and_made_anew(room: SearchRoom) -> None:
    await room.add_all()
    await room.settle()

    async def lose(tx: Transaction) -> None:
        if tx.dialect is DialectName.SQLITE:
            await tx.execute(text("INSERT INTO search_index (search_index) VALUES ('delete-all')"))
        else:
            await tx.execute(text("UPDATE search_terms SET vector = ''"))

    await room.database.write("t", lose)
    assert (await room.indexer.verify()).damaged
    await room.settle()
    assert await room.found(BodyKey("raclette", False)) == {1}
    assert not (await room.indexer.verify()).damaged


async def test_a_damaged_index_is_made_anew_while_mail_is_served(tmp_path: Path) -> None:
    async with open_sqlite(tmp_path) as store:
        account = await add_account(store, "bob@example.org")
        with open_room(store, tmp_path, account) as room:
            await room.add_all()
            await room.settle()
            await store.write("t", lambda tx: tx.execute(text("DELETE FROM search_index_data WHERE id > 1000000")))
            assert await room.index.candidates(account, await room.inbox(), BodyKey("raclette", False)) is None
            await room.add(MAILS[0])
            await room.settle()
            assert await room.indexer.status() == IndexCount(indexed=len(MAILS) + 1, pending=0, total=len(MAILS) + 1)
            assert await room.found(BodyKey("raclette", False)) == {1, len(MAILS) + 1}


async def test_a_damage_that_only_writing_shows_is_mended_too(tmp_path: Path) -> None:
    async with open_sqlite(tmp_path) as store:
        account = await add_account(store, "bob@example.org")
        with open_room(store, tmp_path, account) as room:
            await room.add_all()
            await room.settle()
            await store.write(
                "t", lambda tx: tx.execute(text("UPDATE search_index_data SET block = x'00ff00' WHERE id = 10"))
            )
            assert (await room.indexer.verify()).damaged
            await room.settle()
            assert await room.found(BodyKey("raclette", False)) == {1}


async def test_mail_that_waits_in_vain_is_told(room: SearchRoom) -> None:
    """Health: waiting counts from when something was indexed last, or the mail came."""
    assert await room.database.read("t", search.idle_us) == 0
    await room.add(MAILS[0])
    await room.settle()
    await room.add(MAILS[1])
    hour_us = 3_600_000_000
    long_ago = text("UPDATE search_documents SET indexed_at = indexed_at - :span")
    await room.database.write("t", lambda tx: tx.execute(long_ago, {"span": 900 * 24 * hour_us}))
    await room.database.write("t", lambda tx: tx.execute(text("UPDATE emails SET received_at = 1")))
    assert await room.database.read("t", search.idle_us) > hour_us
    await room.settle()
    assert await room.database.read("t", search.idle_us) == 0
