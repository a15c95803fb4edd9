"""Which thread and which category a stored mail gets (filtering.md sections 8, 9)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest
from sqlalchemy import select, update

from server.store.database import Database
from server.store.repositories import threads
from server.store.repositories.tags import insert_default_categories, tenant_of
from server.store.schema import categories, emails
from server.store.schema import threads as thread_rows
from server.store.transaction import Transaction
from tests.support.imap_edge import add_account
from tests.support.searching import SearchRoom, open_room


@pytest.fixture
async def room(store: Database, tmp_path: Path) -> AsyncIterator[SearchRoom]:
    account = await add_account(store, "bob@example.org")
    with open_room(store, tmp_path, account) as room:
        yield room


def mail(number: int, subject: str, *references: int, sender: str = "a@b.test", more: str = "") -> bytes:
    refs = " ".join(f"<m{one}@x>" for one in references)
    head = f"From: {sender}\r\nSubject: {subject}\r\nMessage-ID: <m{number}@x>\r\n{more}"
    return (head + (f"References: {refs}\r\n" if refs else "") + "\r\nbody\r\n").encode()


async def _emails(room: SearchRoom, *columns: str) -> list[tuple[object, ...]]:
    query = select(*(emails.c[name] for name in columns)).order_by(emails.c.id)
    rows = await room.database.read("t", lambda tx: tx.fetch(query))
    return [tuple(row[name] for name in columns) for row in rows]


async def _threads(room: SearchRoom) -> list[int]:
    """The thread of each mail, by the place of the first mail in it."""
    ids = [row[0] for row in await _emails(room, "thread_id")]
    assert None not in ids
    return [ids.index(one) for one in ids]


async def test_replies_join_the_thread_of_what_they_answer(room: SearchRoom) -> None:
    await room.add(mail(1, "Plan"))
    await room.add(mail(2, "Re: plan", 1))
    await room.add(mail(3, "AW: Re: [list] Plan", 1, 2))
    await room.add(mail(4, "Plan"))
    assert await _threads(room) == [0, 0, 0, 3]


async def test_another_subject_begins_another_thread(room: SearchRoom) -> None:
    await room.add(mail(1, "Plan"))
    await room.add(mail(2, "Lunch", 1))
    await room.add(mail(3, "Re: Lunch", 1, 2))
    assert await _threads(room) == [0, 1, 1]


async def test_a_mail_that_comes_before_what_it_answers_is_in_the_same_thread(room: SearchRoom) -> None:
    await room.add(mail(3, "Re: Plan", 1, 2))
    await room.add(mail(1, "Plan"))
    await room.add(mail(2, "Re: Plan", 1))
    assert await _threads(room) == [0, 0, 0]


async def test_the_oldest_thread_wins_and_threads_never_merge(room: SearchRoom) -> None:
    await room.add(mail(1, "Plan"))
    await room.add(mail(2, "Plan"))
    await room.add(mail(3, "Re: Plan", 2, 1))
    await room.add(mail(4, "Re: Plan", 2))
    await room.add(mail(5, "Re: Plan", 3))
    assert await _threads(room) == [0, 1, 0, 1, 0]


async def test_mail_without_ids_stands_alone(room: SearchRoom) -> None:
    for _ in range(2):
        await room.add(b"Subject: x\r\n\r\nbody\r\n")
    assert await _threads(room) == [0, 1]


async def test_accounts_share_no_thread(room: SearchRoom) -> None:
    other = await add_account(room.database, "other@example.org")
    await room.add(mail(1, "Plan"))
    await room.add(mail(1, "Plan"), account=other)
    assert await _threads(room) == [0, 1]


async def test_a_thread_is_forgotten_with_its_last_mail(room: SearchRoom) -> None:
    await room.add(mail(1, "Plan"))
    await room.add(mail(2, "Re: Plan", 1))
    await room.add(mail(9, "Other"))
    ids = [cast(str, row[0]) for row in await _emails(room, "id")]

    async def left(tx: Transaction) -> int:
        return len(await tx.fetch(select(thread_rows.c.key)))

    await room.database.write("t", lambda tx: threads.forget(tx, ids[:1]))
    assert await room.database.read("t", left) == 3
    await room.database.write("t", lambda tx: threads.forget(tx, ids[:2]))
    assert await room.database.read("t", left) == 1


@pytest.fixture
async def named(room: SearchRoom) -> dict[str, str]:
    """Ids of the tenant's categories by name."""

    async def unit(tx: Transaction) -> dict[str, str]:
        tenant = await tenant_of(tx, room.account)
        assert tenant is not None
        rows = await tx.fetch(select(categories.c.name, categories.c.id).where(categories.c.tenant_id == tenant))
        if not rows:
            await insert_default_categories(tx, tenant)
            rows = await tx.fetch(select(categories.c.name, categories.c.id).where(categories.c.tenant_id == tenant))
        return {cast(str, row[0]): cast(str, row[1]) for row in rows}

    return await room.database.write("t", unit)


async def test_mail_is_put_into_the_category_its_rule_names(room: SearchRoom, named: dict[str, str]) -> None:
    await room.add(mail(1, "hello"))
    await room.add(mail(2, "Your receipt"))
    await room.add(mail(3, "hi", sender="Bot <bot@mail.LinkedIn.com>"))
    columns = ("category", "category_source", "category_confidence")
    assert await _emails(room, *columns) == [
        (named["Primary"], "rule", 60),
        (named["Updates"], "rule", 70),
        (named["Social"], "rule", 85),
    ]


async def test_a_category_that_is_switched_off_takes_no_mail(room: SearchRoom, named: dict[str, str]) -> None:
    off = update(categories).where(categories.c.id == named["Primary"]).values(enabled=0)
    await room.database.write("t", lambda tx: tx.execute(off))
    await room.add(mail(1, "hello"))
    assert await _emails(room, "category", "category_source") == [(None, None)]


async def test_the_second_correction_of_a_sender_holds_for_new_mail(room: SearchRoom, named: dict[str, str]) -> None:
    sender = "Shop <News@Shop.test>"
    await room.add(mail(1, "hello", sender=sender))
    ids = [cast(str, row[0]) for row in await _emails(room, "id")]
    for _ in range(2):
        await room.add(mail(2, "hello", sender=sender))
        await room.database.write("t", lambda tx: threads.learn(tx, room.account, ids, named["Promotions"]))
    await room.add(b"From: news@shop.test\r\nSubject: no id\r\n\r\nbody\r\n")
    await room.add(mail(3, "hello", sender=sender))
    promoted = (named["Promotions"], "sender")
    assert [row == promoted for row in await _emails(room, "category", "category_source")] == [
        False,
        False,
        False,
        True,
        True,
    ]
    await room.database.write("t", lambda tx: threads.learn(tx, room.account, ids, named["Forums"]))
    await room.add(mail(4, "hello", sender=sender))
    assert (await _emails(room, "category"))[-1] == (named["Primary"],)
