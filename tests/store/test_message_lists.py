"""Lists of messages, tags and deleted messages on both databases; big mailboxes are read off indexes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import insert, select, text
from sqlalchemy.dialects import sqlite

from server.domain.errors import Conflict, NotFound, OverQuota
from server.domain.ids import AccountId, BlobId, MailboxId, new_id
from server.domain.listing import MessageFilter, MessageOrder
from server.domain.mailbox import Mailbox
from server.domain.message import Blob, BlobPlace, SpecialUse, Stored
from server.protocol.mime.render import render
from server.services.mailstore import mailboxes as boxes
from server.services.mailstore.append import append_in
from server.services.mailstore.copy_move import copy_in, remove_in
from server.services.mailstore.flags import FlagChange, store_flags_in
from server.services.mailstore.undelete import restore_in
from server.store.database import Database
from server.store.repositories import listing, mailboxes, tags, undelete
from server.store.repositories.listing import Position
from server.store.schema import accounts, emails, messages
from server.store.transaction import Transaction
from tests.support.imap_edge import add_account
from tests.support.stores import open_sqlite

START = datetime(2026, 11, 2, tzinfo=UTC)


async def append_one(tx: Transaction, account: AccountId, number: int, mailbox: MailboxId | SpecialUse) -> Stored:
    octets = b"Subject: n%d\r\nFrom: a@example.org\r\n\r\nbody\r\n" % number
    blob = Blob(id=BlobId(new_id()), size_octets=len(octets), sha256="0" * 64, place=BlobPlace.ROW, inline=octets)
    return await append_in(
        tx,
        account_id=account,
        mailbox=mailbox,
        blob=blob,
        blob_is_new=True,
        prefix=b"",
        rendered=render(octets),
        flags=0,
        keywords=(),
        internal_date=START + timedelta(minutes=number),
        received_at=START,
        trace_id=None,
    )


async def box_of(tx: Transaction, account: AccountId, role: SpecialUse) -> Mailbox:
    found = await mailboxes.by_role(tx, account, role)
    assert found is not None
    return found


@pytest.fixture
async def account(store: Database) -> AccountId:
    return await add_account(store, "a@example.org")


@pytest.mark.parametrize("order", list(MessageOrder))
async def test_pages_follow_each_other_in_every_order(store: Database, account: AccountId, order: MessageOrder) -> None:
    async def fill(tx: Transaction) -> MailboxId:
        for number in (3, 1, 4, 1, 5, 9, 2):
            stored = await append_one(tx, account, number, SpecialUse.INBOX)
        return stored.mailbox_id

    inbox = await store.write("fill", fill)

    async def read(tx: Transaction) -> list[int]:
        uids: list[int] = []
        after: Position | None = None
        while True:
            found = await listing.mailbox_page(
                tx, account, inbox, wanted=MessageFilter(), order=order, after=after, limit=2, scan=100
            )
            if not found.rows:
                return uids
            uids += [record.uid for _, record in found.rows]
            after = found.rows[-1][0]

    uids = await store.read("read", read)
    assert sorted(uids) == [1, 2, 3, 4, 5, 6, 7]
    if order is MessageOrder.NEWEST:
        assert uids == [6, 5, 3, 1, 7, 4, 2]


async def test_keywords_of_clients_become_tags_and_system_keywords_do_not(store: Database, account: AccountId) -> None:
    async def fill(tx: Transaction) -> list[str]:
        stored = await append_one(tx, account, 1, SpecialUse.INBOX)
        for words in (("Urgent", "$Junk"), ("URGENT", "other")):
            await store_flags_in(
                tx,
                account_id=account,
                mailbox_id=stored.mailbox_id,
                uids=[stored.uid],
                change=FlagChange.ADD,
                flags=0,
                keywords=words,
            )
        tenant_id = await tags.tenant_of(tx, account)
        assert tenant_id is not None
        return [tag.name for tag in await tags.list_tags(tx, tenant_id)]

    assert await store.write("fill", fill) == ["Urgent", "other"]


async def test_deleted_mail_is_listed_and_comes_back_where_it_was(store: Database, account: AccountId) -> None:
    async def fill(tx: Transaction) -> Stored:
        await boxes.create_in(tx, account, "Work")
        work = await mailboxes.by_name(tx, account, "Work")
        assert work is not None
        stored = await append_one(tx, account, 1, work.id)
        await remove_in(tx, account_id=account, mailbox_id=work.id, uids=[stored.uid])
        return stored

    stored = await store.write("fill", fill)
    rows, stop = await store.read(
        "page", lambda tx: undelete.page(tx, account, after=None, containing="N1", limit=10, scan=10)
    )
    assert ([row.record.id for row in rows], stop) == ([stored.message_id], None)
    assert rows[0].mailbox_name == "Work"
    assert await store.write("restore", lambda tx: restore_in(tx, account, stored.message_id)) == stored.mailbox_id
    back = await store.read("get", lambda tx: listing.get(tx, account, stored.message_id))
    assert back is not None
    assert back.uid == stored.uid + 1, "an UID is never given twice"
    rows, _ = await store.read(
        "page", lambda tx: undelete.page(tx, account, after=None, containing=None, limit=10, scan=10)
    )
    assert rows == []
    with pytest.raises(Conflict):
        await store.write("again", lambda tx: restore_in(tx, account, stored.message_id))


async def test_mail_emptied_from_trash_comes_back_to_where_it_was_before(store: Database, account: AccountId) -> None:
    async def fill(tx: Transaction) -> tuple[Stored, MailboxId]:
        stored = await append_one(tx, account, 1, SpecialUse.ARCHIVE)
        trash = await box_of(tx, account, SpecialUse.TRASH)
        moved = await copy_in(
            tx, account_id=account, mailbox_id=stored.mailbox_id, uids=[stored.uid], to=trash.name, move=True
        )
        assert (await undelete.page(tx, account, after=None, containing=None, limit=10, scan=10))[0] == []
        await remove_in(tx, account_id=account, mailbox_id=trash.id, uids=list(moved.target))
        return stored, trash.id

    stored, trash = await store.write("fill", fill)
    rows, _ = await store.read(
        "page", lambda tx: undelete.page(tx, account, after=None, containing=None, limit=10, scan=10)
    )
    assert [row.record.mailbox_id for row in rows] == [trash], "one mail is one row, however often it was moved"
    assert await store.write("restore", lambda tx: restore_in(tx, account, stored.message_id)) == stored.mailbox_id


async def test_mail_of_a_deleted_mailbox_comes_back_into_one_of_that_name(store: Database, account: AccountId) -> None:
    async def fill(tx: Transaction) -> Stored:
        box = await boxes.create_in(tx, account, "Work/Old")
        stored = await append_one(tx, account, 1, box.id)
        await boxes.delete_in(tx, account, "Work/Old")
        return stored

    stored = await store.write("fill", fill)
    again = await store.write("restore", lambda tx: restore_in(tx, account, stored.message_id))
    made = await store.read("box", lambda tx: mailboxes.by_name(tx, account, "Work/Old"))
    assert made is not None
    assert made.id == again != stored.mailbox_id


async def test_restoring_counts_against_the_quota(store: Database, account: AccountId) -> None:
    async def fill(tx: Transaction) -> Stored:
        stored = await append_one(tx, account, 1, SpecialUse.INBOX)
        await remove_in(tx, account_id=account, mailbox_id=stored.mailbox_id, uids=[stored.uid])
        await tx.execute(accounts.update().values(quota_octets=10))
        return stored

    stored = await store.write("fill", fill)
    with pytest.raises(OverQuota):
        await store.write("restore", lambda tx: restore_in(tx, account, stored.message_id))
    with pytest.raises(NotFound):
        await store.write("restore", lambda tx: restore_in(tx, account, "no such"))


async def test_pages_of_deleted_mail_look_at_a_bounded_number_of_rows(store: Database, account: AccountId) -> None:
    async def fill(tx: Transaction) -> Stored:
        lost = await append_one(tx, account, 0, SpecialUse.INBOX)
        await remove_in(tx, account_id=account, mailbox_id=lost.mailbox_id, uids=[lost.uid])
        moved = [(await append_one(tx, account, number, SpecialUse.INBOX)).uid for number in range(1, 6)]
        await copy_in(tx, account_id=account, mailbox_id=lost.mailbox_id, uids=moved, to="Archive", move=True)
        return lost

    lost = await store.write("fill", fill)

    async def read(tx: Transaction) -> tuple[list[str], int]:
        ids: list[str] = []
        after, pages = None, 0
        while True:
            rows, after = await undelete.page(tx, account, after=after, containing=None, limit=5, scan=2)
            ids += [row.record.id for row in rows]
            pages += 1
            if after is None:
                return ids, pages

    assert await store.read("read", read) == ([lost.message_id], 4)


@pytest.mark.timeout(90)
async def test_lists_of_a_large_mailbox_come_off_indexes(tmp_path: Path) -> None:
    """The page of 50 and its filters never read a whole table (100,000 messages)."""
    async with open_sqlite(tmp_path) as store:
        account = await add_account(store, "a@example.org")
        inbox = await store.write("fill", lambda tx: _many(tx, account, 100_000))
        plans = await _plans(store, account, inbox, MessageFilter(), MessageOrder.NEWEST, found=50)
        assert any("USING INDEX ix_messages_live (mailbox_id=?)" in line for line in plans)
        assert not any("TEMP B-TREE" in line for line in plans), "the order is the index's own"
        plans = await _plans(store, account, inbox, MessageFilter(seen=True), MessageOrder.OLDEST, found=0)
        assert any("ix_messages_live" in line for line in plans)
        plans = await _plans(store, account, inbox, MessageFilter(), MessageOrder.LARGEST, found=50)
        assert any("PRIMARY KEY (mailbox_id=?" in line for line in plans)


async def _plans(
    store: Database, account: AccountId, inbox: MailboxId, wanted: MessageFilter, order: MessageOrder, *, found: int
) -> list[str]:
    """The query plans of one page; none of them reads all messages or mails."""
    plans: list[str] = []

    async def read(tx: Transaction) -> int:
        fetch = tx.fetch

        async def explained(stmt: Any, params: Any = None) -> Any:
            literal = stmt.compile(dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True})
            plans.extend(str(row[3]) for row in await fetch(text(f"EXPLAIN QUERY PLAN {literal}")))
            return await fetch(stmt, params)

        spy: Any = SimpleNamespace(fetch=explained)
        page = await listing.mailbox_page(
            spy, account, inbox, wanted=wanted, order=order, after=None, limit=50, scan=20_000
        )
        return len(page.rows)

    assert await store.read("read", read) == found
    assert plans
    assert not any(line.startswith(("SCAN messages", "SCAN emails")) for line in plans), plans
    return plans


async def _many(tx: Transaction, account: AccountId, count: int) -> MailboxId:
    """A mailbox of many messages that all show one mail."""
    first = await append_one(tx, account, 1, SpecialUse.INBOX)
    row = await tx.fetch_one(select(emails.c.id, emails.c.size_octets))
    assert row is not None
    size = int(str(row["size_octets"]))
    statement = insert(messages)
    for start in range(2, count + 1, 10_000):
        await tx.execute_many(
            statement,
            [
                {
                    "mailbox_id": first.mailbox_id,
                    "uid": uid,
                    "id": f"m{uid}",
                    "account_id": account,
                    "email_id": row["id"],
                    "modseq": 3,
                    "created_modseq": 3,
                    "flags": 0,
                    "keywords": "",
                    "internal_date": uid,
                    "saved_at": uid,
                    "size_octets": size,
                    "expunged_at": None,
                }
                for uid in range(start, min(start + 10_000, count + 1))
            ],
        )
    await mailboxes.take_uids(
        tx, account, first.mailbox_id, modseq=first.modseq, count=count - 1, unseen=count - 1, octets=size * (count - 1)
    )
    await tx.execute(accounts.update().values(used_octets=size * count, modseq=10))
    await tx.execute(messages.update().values(modseq=first.modseq))
    return first.mailbox_id
