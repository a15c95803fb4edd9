"""Open mailboxes: one view in memory for each, shared by all its sessions and kept up to date by changes.

- The database is the truth: a hint only marks a view stale, `refresh` reads what changed since its modseq. Lost hints
  are made up for by a read every REREAD_S (reliability.md §2, M5).
- UIDs ascend in the order of commits, so new messages only ever go to the end.
- A view costs about 34 octets a message: columns in arrays, keyword texts shared.
"""

from __future__ import annotations

import asyncio
import sys
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from server.domain.changes import StateChange
from server.domain.errors import NotFound
from server.domain.ids import AccountId, MailboxId, ModSeq, Uid
from server.domain.mailbox import Mailbox
from server.domain.ports import Clock, Notifier
from server.store.database import Database
from server.store.repositories import mailboxes, messages
from server.store.transaction import Row, Transaction

REREAD_S = 60.0


@dataclass(frozen=True, slots=True)
class Change:
    """A message that changed; new ones are not told one by one."""

    uid: Uid
    modseq: ModSeq
    expunged: bool


class Follower(Protocol):
    """A session that has the mailbox open."""

    def wake(self) -> None:
        """The view may be stale; called in the event loop, returns at once."""
        ...

    def note(self, changes: Sequence[Change]) -> None:
        """Messages it may have been told about changed or are gone; called from `refresh`."""
        ...


class MailboxView:
    """All messages of one mailbox that are not expunged, by ascending UID, in columns of equal length."""

    def __init__(self, database: Database, clock: Clock, account_id: AccountId, mailbox_id: MailboxId) -> None:
        self.account_id = account_id
        self.mailbox_id = mailbox_id
        self.uids = array("I")
        self.flags = array("B")
        self.keywords: list[str] = []
        self.modseqs = array("Q")
        self.sizes = array("Q")
        self.internal_dates_us = array("q")
        self.deleted = False
        self._database = database
        self._clock = clock
        self._mailbox: Mailbox | None = None
        self._modseq = ModSeq(0)
        self._recent_claimed = 0
        self._stale = True
        self._read_at = 0.0
        self._lock = asyncio.Lock()
        self._followers: set[Follower] = set()

    @property
    def mailbox(self) -> Mailbox:
        """The mailbox's row as of the last refresh."""
        if self._mailbox is None:
            raise NotFound("no such mailbox")
        return self._mailbox

    @property
    def recent_from(self) -> int:
        """UIDs from here on are \\Recent in a session that opens the mailbox now."""
        return max(self.mailbox.recent_uid, self._recent_claimed)

    def claim_recent(self, below: Uid) -> bool:
        """Note that a session has shown the messages below `below` as \\Recent; whether that is news."""
        news = below > self.recent_from
        self._recent_claimed = max(self._recent_claimed, below)
        return news

    def follow(self, follower: Follower) -> None:
        self._followers.add(follower)

    def unfollow(self, follower: Follower) -> None:
        self._followers.discard(follower)

    @property
    def followed(self) -> bool:
        return bool(self._followers)

    def index(self, uid: int) -> int | None:
        """Where the message is in the columns, None when it is gone."""
        place = bisect_left(self.uids, uid)
        return place if place < len(self.uids) and self.uids[place] == uid else None

    def hint(self, change: StateChange) -> None:
        """The account moved."""
        if change.modseq > self._modseq:
            self._stale = True
            for follower in list(self._followers):
                follower.wake()

    async def refresh(self) -> None:
        """Read what changed, if anything may have; tell the followers.

        Raises:
            NotFound: The mailbox was deleted.
        """
        if not self._stale and self._clock.monotonic() - self._read_at < REREAD_S:
            return
        async with self._lock:
            if self._stale or self._clock.monotonic() - self._read_at >= REREAD_S:
                await self._read()

    async def _read(self) -> None:
        self._stale = False
        since = self._modseq
        try:
            if self._mailbox is None:
                mailbox, rows = await self._database.read("mailstore.open", self._load)
                self._fill(rows)
            else:
                mailbox, rows = await self._database.read("mailstore.changes", lambda tx: self._changes(tx, since))
                self._apply(rows)
        except NotFound:
            self.deleted = True
            raise
        except BaseException:
            self._stale = True
            raise
        self._mailbox = mailbox
        self._modseq = mailbox.modseq
        self._read_at = self._clock.monotonic()

    async def _load(self, tx: Transaction) -> tuple[Mailbox, Sequence[Row]]:
        return await self._row(tx), await messages.load(tx, self.account_id, self.mailbox_id)

    async def _changes(self, tx: Transaction, since: ModSeq) -> tuple[Mailbox, Sequence[Row]]:
        mailbox = await self._row(tx)
        if mailbox.modseq == since:
            return mailbox, []
        return mailbox, await messages.changes(tx, self.account_id, self.mailbox_id, since)

    async def _row(self, tx: Transaction) -> Mailbox:
        mailbox = await mailboxes.get(tx, self.account_id, self.mailbox_id)
        if mailbox is None:
            raise NotFound("the mailbox was deleted")
        return mailbox

    def _fill(self, rows: Sequence[Row]) -> None:
        if not rows:
            return
        columns = list(zip(*cast("Iterable[Iterable[object]]", rows), strict=True))
        self.uids = array("I", cast("Iterable[int]", columns[0]))
        self.flags = array("B", cast("Iterable[int]", columns[1]))
        self.keywords = [sys.intern(text) for text in cast("Iterable[str]", columns[2])]
        self.modseqs = array("Q", cast("Iterable[int]", columns[3]))
        self.sizes = array("Q", cast("Iterable[int]", columns[4]))
        self.internal_dates_us = array("q", cast("Iterable[int]", columns[5]))

    def _apply(self, rows: Sequence[Row]) -> None:
        told: list[Change] = []
        gone: set[int] = set()
        last = self.uids[-1] if self.uids else 0
        for row in rows:
            uid, modseq = Uid(cast(int, row[0])), ModSeq(cast(int, row[3]))
            expunged = row[6] is not None
            if uid > last:
                if not expunged:
                    self._append(row)
                continue
            place = self.index(uid)
            if place is None:
                continue
            told.append(Change(uid, modseq, expunged))
            if expunged:
                gone.add(uid)
                continue
            self.flags[place] = cast(int, row[1])
            self.keywords[place] = sys.intern(cast(str, row[2]))
            self.modseqs[place] = modseq
        if gone:
            self._remove(gone)
        if told:
            for follower in list(self._followers):
                follower.note(told)

    def _append(self, row: Row) -> None:
        self.uids.append(cast(int, row[0]))
        self.flags.append(cast(int, row[1]))
        self.keywords.append(sys.intern(cast(str, row[2])))
        self.modseqs.append(cast(int, row[3]))
        self.sizes.append(cast(int, row[4]))
        self.internal_dates_us.append(cast(int, row[5]))

    def _remove(self, gone: set[int]) -> None:
        keep = [place for place, uid in enumerate(self.uids) if uid not in gone]
        self.uids = array("I", [self.uids[place] for place in keep])
        self.flags = array("B", [self.flags[place] for place in keep])
        self.keywords = [self.keywords[place] for place in keep]
        self.modseqs = array("Q", [self.modseqs[place] for place in keep])
        self.sizes = array("Q", [self.sizes[place] for place in keep])
        self.internal_dates_us = array("q", [self.internal_dates_us[place] for place in keep])


class OpenMailboxes:
    """The views in use, and one subscription for each account that has any."""

    def __init__(self, database: Database, notifier: Notifier, clock: Clock) -> None:
        self._database = database
        self._notifier = notifier
        self._clock = clock
        self._views: dict[AccountId, dict[MailboxId, MailboxView]] = {}
        self._endings: dict[AccountId, Callable[[], None]] = {}

    async def open(self, account_id: AccountId, mailbox_id: MailboxId, follower: Follower) -> MailboxView:
        """Join, or load, the mailbox's view; `close` must follow. Raises NotFound."""
        views = self._views.setdefault(account_id, {})
        if account_id not in self._endings:
            self._endings[account_id] = self._notifier.subscribe(account_id, self._hint)
        view = views.get(mailbox_id)
        if view is None:
            view = views[mailbox_id] = MailboxView(self._database, self._clock, account_id, mailbox_id)
        view.follow(follower)
        try:
            await view.refresh()
        except BaseException:
            self.close(view, follower)
            raise
        return view

    def close(self, view: MailboxView, follower: Follower) -> None:
        """Leave a view; the last one to leave drops it."""
        view.unfollow(follower)
        views = self._views.get(view.account_id, {})
        if view.followed or views.get(view.mailbox_id) is not view:
            return
        del views[view.mailbox_id]
        if not views:
            del self._views[view.account_id]
            self._endings.pop(view.account_id)()

    def _hint(self, change: StateChange) -> None:
        for view in list(self._views.get(change.account_id, {}).values()):
            view.hint(change)
