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
from collections import OrderedDict
from collections.abc import Callable, Container, Iterable, Sequence
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
IDLE_MESSAGES = 300_000
"""Messages of views kept without a session: 10 MiB."""
VIEW_WEIGHT = 1000
"""What a view costs beside its messages, as messages."""
PAGE_ROWS = 2000
"""Rows taken at once: a few milliseconds of the loop on PostgreSQL."""
SLICE_ROWS = 500
"""Changes applied between two turns of the loop."""


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


class Columns:
    """One value of each message, by ascending UID, in arrays of equal length."""

    __slots__ = ("flags", "internal_dates_us", "keywords", "modseqs", "sizes", "uids")

    def __init__(self) -> None:
        self.uids = array("I")
        self.flags = array("B")
        self.keywords: list[str] = []
        self.modseqs = array("Q")
        self.sizes = array("Q")
        self.internal_dates_us = array("q")

    def extend(self, rows: Sequence[Row]) -> None:
        """Add rows of `messages.load` at the end."""
        if not rows:
            return
        columns = list(zip(*cast("Iterable[Iterable[object]]", rows), strict=True))
        self.uids.extend(cast("Iterable[int]", columns[0]))
        self.flags.extend(cast("Iterable[int]", columns[1]))
        self.keywords.extend(map(sys.intern, cast("Iterable[str]", columns[2])))
        self.modseqs.extend(cast("Iterable[int]", columns[3]))
        self.sizes.extend(cast("Iterable[int]", columns[4]))
        self.internal_dates_us.extend(cast("Iterable[int]", columns[5]))

    def append(self, row: Row) -> None:
        self.uids.append(cast(int, row[0]))
        self.flags.append(cast(int, row[1]))
        self.keywords.append(sys.intern(cast(str, row[2])))
        self.modseqs.append(cast(int, row[3]))
        self.sizes.append(cast(int, row[4]))
        self.internal_dates_us.append(cast(int, row[5]))

    def change(self, place: int, row: Row) -> None:
        """Take over what can change of a message: flags, keywords, modseq."""
        self.flags[place] = cast(int, row[1])
        self.keywords[place] = sys.intern(cast(str, row[2]))
        self.modseqs[place] = cast(int, row[3])

    def without(self, gone: Container[int]) -> Columns:
        """A copy that lacks the messages with these UIDs."""
        keep = [place for place, uid in enumerate(self.uids) if uid not in gone]
        found = Columns()
        found.uids.extend([self.uids[place] for place in keep])
        found.flags.extend([self.flags[place] for place in keep])
        found.keywords.extend([self.keywords[place] for place in keep])
        found.modseqs.extend([self.modseqs[place] for place in keep])
        found.sizes.extend([self.sizes[place] for place in keep])
        found.internal_dates_us.extend([self.internal_dates_us[place] for place in keep])
        return found


class MailboxView:
    """All messages of one mailbox that are not expunged, by ascending UID, in columns of equal length."""

    def __init__(self, database: Database, clock: Clock, account_id: AccountId, mailbox_id: MailboxId) -> None:
        self.account_id = account_id
        self.mailbox_id = mailbox_id
        self.deleted = False
        self._columns = Columns()
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
    def uids(self) -> array[int]:
        return self._columns.uids

    @property
    def flags(self) -> array[int]:
        return self._columns.flags

    @property
    def keywords(self) -> list[str]:
        """Separated by spaces, as stored."""
        return self._columns.keywords

    @property
    def sizes(self) -> array[int]:
        return self._columns.sizes

    @property
    def internal_dates_us(self) -> array[int]:
        return self._columns.internal_dates_us

    @property
    def modseqs(self) -> array[int]:
        return self._columns.modseqs

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
    def loaded(self) -> bool:
        """Whether the messages were read once."""
        return self._mailbox is not None

    @property
    def idle_size(self) -> int:
        """What it weighs while nobody follows it: it does not change then."""
        return len(self.uids) + VIEW_WEIGHT

    @property
    def followed(self) -> bool:
        return bool(self._followers)

    def index(self, uid: int) -> int | None:
        """Where the message is in the columns, None when it is gone."""
        uids = self._columns.uids
        place = bisect_left(uids, uid)
        return place if place < len(uids) and uids[place] == uid else None

    def hint(self, change: StateChange) -> None:
        """The account moved."""
        if change.modseq > self._modseq:
            self._stale = True
            for follower in list(self._followers):
                follower.wake()

    def distrust(self) -> None:
        """Read at the next refresh whatever the hints said: who opens a mailbox sees all that was answered before."""
        self._stale = True

    async def refresh(self) -> None:
        """Read what changed, if anything may have; tell the followers.

        Raises:
            NotFound: The mailbox was deleted.
        """
        if self.deleted:
            raise NotFound("the mailbox was deleted")
        # A read that runs may have what the caller needs, but not in the columns yet: wait for it.
        if not self._lock.locked() and not self._is_old:
            return
        async with self._lock:
            if self._is_old:
                await self._read()

    @property
    def _is_old(self) -> bool:
        return self._stale or self._clock.monotonic() - self._read_at >= REREAD_S

    async def _read(self) -> None:
        self._stale = False
        since = self._modseq
        try:
            if self._mailbox is None:
                mailbox, self._columns = await self._database.read("mailstore.open", self._load)
            else:
                mailbox, rows = await self._database.read("mailstore.changes", lambda tx: self._changes(tx, since))
                await self._apply(rows)
        except NotFound:
            self.deleted = True
            raise
        except BaseException:
            self._stale = True
            raise
        self._mailbox = mailbox
        self._modseq = mailbox.modseq
        self._read_at = self._clock.monotonic()

    async def _load(self, tx: Transaction) -> tuple[Mailbox, Columns]:
        mailbox = await self._row(tx)
        columns = Columns()
        while True:
            after = columns.uids[-1] if columns.uids else 0
            page = await messages.load(tx, self.account_id, self.mailbox_id, after=after, limit=PAGE_ROWS)
            columns.extend(page)
            if len(page) < PAGE_ROWS:
                return mailbox, columns

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

    async def _apply(self, rows: Sequence[Row]) -> None:
        told: list[Change] = []
        gone: set[int] = set()
        last = self.uids[-1] if self.uids else 0
        for count, row in enumerate(rows, 1):
            if count % SLICE_ROWS == 0:
                await asyncio.sleep(0)
            uid, modseq = Uid(cast(int, row[0])), ModSeq(cast(int, row[3]))
            expunged = row[6] is not None
            if uid > last:
                if not expunged:
                    self._columns.append(row)
                continue
            place = self.index(uid)
            if place is None:
                continue
            told.append(Change(uid, modseq, expunged))
            if expunged:
                gone.add(uid)
            else:
                self._columns.change(place, row)
        if gone:
            self._columns = self._columns.without(gone)
        if told:
            for follower in list(self._followers):
                follower.note(told)


class OpenMailboxes:
    """The views in use, and one subscription for each account that has any.

    Views that nobody uses any more are kept, the latest first, while they hold IDLE_MESSAGES in all: a client that
    comes back, or goes from mailbox to mailbox, finds them loaded and reads only what changed.
    """

    def __init__(self, database: Database, notifier: Notifier, clock: Clock) -> None:
        self._database = database
        self._notifier = notifier
        self._clock = clock
        self._views: dict[AccountId, dict[MailboxId, MailboxView]] = {}
        self._endings: dict[AccountId, Callable[[], None]] = {}
        self._idle: OrderedDict[MailboxView, None] = OrderedDict()
        self._idle_messages = 0

    async def open(self, account_id: AccountId, mailbox_id: MailboxId, follower: Follower) -> MailboxView:
        """Join, or load, the mailbox's view; `close` must follow. Raises NotFound."""
        views = self._views.setdefault(account_id, {})
        if account_id not in self._endings:
            self._endings[account_id] = self._notifier.subscribe(account_id, self._hint)
        view = views.get(mailbox_id)
        if view is None:
            view = views[mailbox_id] = MailboxView(self._database, self._clock, account_id, mailbox_id)
        if view in self._idle:
            self._in_use(view)
            view.distrust()
        view.follow(follower)
        try:
            await view.refresh()
        except BaseException:
            self.close(view, follower)
            raise
        return view

    def close(self, view: MailboxView, follower: Follower) -> None:
        """Leave a view; one that nobody uses is kept for a while, unless its mailbox is gone."""
        view.unfollow(follower)
        if view.followed or self._views.get(view.account_id, {}).get(view.mailbox_id) is not view:
            return
        if view.deleted or not view.loaded:
            self._drop(view)
            return
        self._idle[view] = None
        self._idle_messages += view.idle_size
        while self._idle_messages > IDLE_MESSAGES:
            oldest = next(iter(self._idle))
            self._in_use(oldest)
            self._drop(oldest)

    def _in_use(self, view: MailboxView) -> None:
        """Take a view out of the idle ones."""
        del self._idle[view]
        self._idle_messages -= view.idle_size

    def _drop(self, view: MailboxView) -> None:
        views = self._views[view.account_id]
        del views[view.mailbox_id]
        if not views:
            del self._views[view.account_id]
            self._endings.pop(view.account_id)()

    def _hint(self, change: StateChange) -> None:
        for view in list(self._views.get(change.account_id, {}).values()):
            view.hint(change)
