"""Shared views of open mailboxes: kept up by changes, hints only wake (architecture.md §4, reliability.md §2 M5)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from server.adapters.blobs_fs import FileBlobStore
from server.adapters.worker import ThreadWorker
from server.domain import flags as bits
from server.domain.errors import NotFound, Unavailable
from server.domain.ids import AccountId
from server.services.mailstore import sync
from server.services.mailstore.flags import FlagChange
from server.services.mailstore.store import MailStore
from server.services.mailstore.sync import Change, MailboxView
from server.store.database import Database
from tests.support.clock import FakeClock
from tests.support.imap_edge import add_account
from tests.support.stores import RecordingNotifier, open_sqlite

MESSAGE = b"Subject: x\r\n\r\nbody\r\n"


@dataclass(eq=False)
class Watcher:
    """A follower that writes down what it is told."""

    woken: int = 0
    changes: list[Change] = field(default_factory=list)

    def wake(self) -> None:
        self.woken += 1

    def note(self, changes: Sequence[Change]) -> None:
        self.changes += changes


@dataclass
class Room:
    store: MailStore
    database: Database
    notifier: RecordingNotifier
    blobs: FileBlobStore
    clock: FakeClock
    account: AccountId

    async def append(self, count: int = 1) -> None:
        box = await self.store.mailbox(self.account, "INBOX")
        for _ in range(count):
            content = await self.blobs.content(MESSAGE)
            await self.store.append(self.account, box.id, content, flags=0, keywords=(), internal_date=None)

    async def open(self, watcher: Watcher) -> MailboxView:
        box = await self.store.mailbox(self.account, "INBOX")
        return await self.store.open(self.account, box.id, watcher)


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    notifier, worker, clock = RecordingNotifier(), ThreadWorker("test", threads=2), FakeClock()
    blobs = FileBlobStore(tmp_path / "mail", inline_max=0, worker=worker, fatal=lambda _r: None, reserve=0)
    blobs.open()
    async with open_sqlite(tmp_path, notifier) as database:
        store = MailStore(database=database, blobs=blobs, notifier=notifier, clock=clock, worker=worker)
        yield Room(store, database, notifier, blobs, clock, await add_account(database, "a@example.org"))
    worker.close()


async def test_sessions_share_one_view(room: Room) -> None:
    first, second = Watcher(), Watcher()
    view = await room.open(first)
    assert await room.open(second) is view
    room.store.close(view, first)
    assert await room.open(first) is view
    room.store.close(view, first)
    room.store.close(view, second)


async def test_a_view_is_kept_for_who_comes_back(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """What changed meanwhile is in it; the oldest go when too much is kept, and those whose mailbox is gone."""
    await room.append(2)
    watcher = Watcher()
    view = await room.open(watcher)
    room.store.close(view, watcher)
    await room.append()
    assert await room.open(watcher) is view
    assert list(view.uids) == [1, 2, 3]
    monkeypatch.setattr(sync, "IDLE_MESSAGES", sync.VIEW_WEIGHT + 2)
    room.store.close(view, watcher)
    fresh = await room.open(watcher)
    assert fresh is not view
    assert list(fresh.uids) == [1, 2, 3]


async def test_a_change_wakes_and_refresh_tells(room: Room) -> None:
    await room.append(3)
    watcher = Watcher()
    view = await room.open(watcher)
    assert list(view.uids) == [1, 2, 3]
    await room.append()
    assert watcher.woken == 1
    await view.refresh()
    assert list(view.uids) == [1, 2, 3, 4]
    assert watcher.changes == []
    stored = await room.store.store_flags(view, [2], FlagChange.ADD, flags=bits.DELETED)
    assert watcher.changes == [Change(2, stored.modseq, expunged=False)]  # type: ignore[arg-type]
    await room.store.expunge(view, [1, 2])
    assert [change.expunged for change in watcher.changes] == [False, True]
    assert list(view.uids) == [1, 3, 4]
    assert view.index(2) is None
    assert view.index(3) == 1


async def test_changes_elsewhere_in_the_account_leave_the_view_alone(room: Room) -> None:
    await room.append()
    view = await room.open(Watcher())
    await room.store.create(room.account, "other")
    await view.refresh()
    assert list(view.uids) == [1]


async def test_a_lost_hint_costs_at_most_the_reread_time(room: Room) -> None:
    view = await room.open(Watcher())
    wakers, room.notifier._wakers = room.notifier._wakers, {}
    await room.append()
    room.notifier._wakers = wakers
    await view.refresh()
    assert list(view.uids) == []
    room.clock.step(sync.REREAD_S)
    await view.refresh()
    assert list(view.uids) == [1]


async def test_refresh_waits_for_a_read_that_runs(room: Room) -> None:
    """A session that has just changed something must see it, whoever reads it."""
    view = await room.open(Watcher())
    await room.append(5)
    first = asyncio.create_task(view.refresh())
    await asyncio.sleep(0)
    await view.refresh()
    assert len(view.uids) == 5
    await first


async def test_a_read_that_failed_is_made_up_for(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    view = await room.open(Watcher())
    await room.append()
    with monkeypatch.context() as patch:

        async def failing(*_: object) -> None:
            raise Unavailable

        patch.setattr(room.database, "read", failing)
        with pytest.raises(Unavailable):
            await view.refresh()
    await view.refresh()
    assert list(view.uids) == [1]


async def test_a_deleted_mailbox_is_not_found(room: Room) -> None:
    box = await room.store.create(room.account, "x")
    view = await room.store.open(room.account, box.id, Watcher())
    await room.store.delete(room.account, "x")
    with pytest.raises(NotFound):
        await view.refresh()
    assert view.deleted
    with pytest.raises(NotFound):
        await room.store.open(room.account, box.id, Watcher())


async def test_views_load_in_pages(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync, "PAGE_ROWS", 2)
    monkeypatch.setattr(sync, "SLICE_ROWS", 1)
    await room.append(4)
    view = await room.open(Watcher())
    await room.append(3)
    await view.refresh()
    assert list(view.uids) == [1, 2, 3, 4, 5, 6, 7]
    assert len(view.keywords) == len(view.sizes) == len(view.modseqs) == len(view.internal_dates_us) == 7


async def test_large_octets_are_cached_and_damage_is_seen(room: Room, tmp_path: Path) -> None:
    """F20: a damaged message is None, the others come."""
    await room.append(3)
    view = await room.open(Watcher())
    (path,) = {p.parent for p in (tmp_path / "mail").rglob("*") if p.is_file()}
    files = sorted(path.iterdir())
    files[1].write_bytes(b"Subject: y\r\n\r\nbody\r\n")
    found = {uid: octets async for uid, octets in room.store.octets(view, [1, 2, 3])}
    assert found == {1: MESSAGE, 2: None, 3: MESSAGE}
    for file in files:
        file.unlink()
    again = {uid: octets async for uid, octets in room.store.octets(view, [1, 2, 3, 9])}
    assert again == {1: MESSAGE, 2: None, 3: MESSAGE}
