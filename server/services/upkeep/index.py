"""Keeps the full-text index current: after each commit, in batches, by one process (filtering.md section 10).

- What waits is a table that the database itself fills with each mail; a document and its strike-off are one
  transaction: a kill at any moment loses nothing.
- Text is made in a worker thread and written in small transactions, and the job rests after each batch: long while mail
  arrives, short while it doesn't. Delivery comes first; a search reads what still waits.
- A mail that can't be read or understood is indexed as empty, under version 0, and tried again at the next start.
- A damaged index is thrown away and made anew from the mail, newest first; searches read messages meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from server.domain.changes import StateChange
from server.domain.errors import MaiRustError, Unavailable
from server.domain.ids import AccountId
from server.domain.ports import BlobStore, Clock, Worker
from server.domain.search import Phrase, SearchField
from server.protocol.mime.document import make_document
from server.protocol.mime.structure import parse_structure
from server.protocol.mime.terms import VERSION
from server.store import leases
from server.store.database import Database
from server.store.errors import SearchIndexDamaged
from server.store.repositories import search
from server.store.repositories.search import Entry, IndexCount, Waiting
from server.store.transaction import Transaction
from server.telemetry import metrics
from server.telemetry.log import get_logger

T = TypeVar("T")
log = get_logger("job")

LEASE = "search"
LEASE_US = 60 * 1_000_000
RENEW_S = 20.0
POLL_S = 5.0
"""A lost wake-up costs this much: the table is asked all the same."""
LINGER_S = 0.2
"""Mail that arrives within it shares a batch."""
BATCH = 250
"""Mails read at once: at most `storage.inline_max` octets of each come along."""
BATCH_OCTETS = 1024 * 1024
"""Octets of messages made into terms between two turns of the writer, and held in memory."""
WRITE_DOCUMENTS = 50
WRITE_CHARS = 256 * 1024
"""Documents, and characters of terms, in one transaction: about ten milliseconds of the writer."""
REST_BUSY = 9.0
REST_QUIET = 0.5
"""How long the job rests after a batch, as a multiple of what that took: while mail arrives, and while it doesn't."""
VERIFY_S = 24 * 3600.0
"""How often some documents are compared with their mail."""
OUTDATED_BATCH = 1000
SAMPLE = 200
"""Documents that a check compares with their mail."""
STRUCTURE_MAX = 20_000
"""Documents of an index that is small enough to be read whole by the writer: a fifth of a second."""
PHRASE_TERMS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What a check found: `wrong` of `checked` documents, and whether the index contradicts itself."""

    checked: int
    wrong: int
    damaged: bool


class Indexer:
    """The index's writer.

    Args:
        worker: A thread of its own, so that no other work waits behind text.
        owner: Names this process among those that might do the work.
    """

    def __init__(self, *, database: Database, blobs: BlobStore, clock: Clock, worker: Worker, owner: str) -> None:
        self._database = database
        self._blobs = blobs
        self._clock = clock
        self._worker = worker
        self._owner = owner
        self._woken = asyncio.Event()
        self._damaged = False
        self._lease_until = 0.0
        self._arrivals = 0

    def wake(self, _change: StateChange | None = None) -> None:
        """Something was committed; cheap, for every commit."""
        self._arrivals += 1
        self._woken.set()

    def damaged(self) -> None:
        """The index contradicts itself: make it anew."""
        self._damaged = True
        self._woken.set()

    async def run(self) -> None:
        """Work until cancelled."""
        await self._enlist_outdated()
        verify_at = self._clock.monotonic() + VERIFY_S
        while True:
            self._woken.clear()
            try:
                while await self._turn():
                    pass
                if self._clock.monotonic() >= verify_at and await self._leased():
                    verify_at += VERIFY_S
                    await self.verify()
            except MaiRustError as error:
                log.warning("index.cut_short", reason=error.public)
            try:
                async with asyncio.timeout(POLL_S):
                    await self._woken.wait()
            except TimeoutError:
                continue
            await self._clock.sleep(LINGER_S)

    async def _turn(self) -> bool:
        """One batch and the rest after it; whether more may wait."""
        arrivals, started = self._arrivals, self._clock.monotonic()
        done = await self.batch()
        if done:
            took = self._clock.monotonic() - started
            await self._clock.sleep(took * (REST_BUSY if self._arrivals > arrivals else REST_QUIET))
        return done >= BATCH

    async def batch(self) -> int:
        """Index up to `BATCH` mails; returns how many were dealt with: 0 when none waits, or another process works."""
        if not await self._database.read("search.has_waiting", search.has_waiting) and not self._damaged:
            metrics.SEARCH_PENDING.set(0)
            return 0
        if not await self._leased():
            return 0
        try:
            if self._damaged:
                await self.clear()
            return await self._index()
        except SearchIndexDamaged:
            self._damaged = True
            return BATCH

    async def clear(self) -> int:
        """Throw the index away; everything waits again."""
        count = await self._database.write("search.clear", search.clear)
        self._damaged = False
        log.warning("index.cleared", emails=count)
        self._woken.set()
        return count

    async def reindex(self, account_id: AccountId | None) -> int:
        """Make an account's part of the index anew, or all of it; returns how many mails wait for it."""
        if account_id is None:
            return await self.clear()
        count = await self._database.write("search.reindex", partial(search.reindex, account_id=account_id))
        self._woken.set()
        return count

    async def status(self, account_id: AccountId | None = None) -> IndexCount:
        """How far the index is, of an account or of all."""
        return await self._database.read("search.count", partial(search.count, account_id=account_id))

    async def verify(self) -> Verified:
        """Compare some documents with their mail, and a small index with itself; a wrong one is made anew."""
        last = await self._database.read("search.last", search.last_number)
        drawn = (
            range(1, last + 1)
            if last <= SAMPLE
            else sorted({int(self._clock.random() * last) + 1 for _ in range(SAMPLE)})
        )
        try:
            if last <= STRUCTURE_MAX:
                await self._database.write("search.check", search.check_structure)
            mails = await self._database.read("search.sample", partial(search.sample, numbers=drawn, version=VERSION))
            wrong = [mail.email_id for mail in mails if not await self._is_right(mail)]
        except SearchIndexDamaged:
            self.damaged()
            return Verified(checked=0, wrong=0, damaged=True)
        if wrong:
            log.warning("index.wrong", checked=len(mails), wrong=len(wrong), email_id=wrong[0])
            self.damaged()
        return Verified(checked=len(mails), wrong=len(wrong), damaged=bool(wrong))

    async def _is_right(self, mail: Waiting) -> bool:
        """Whether the index finds a mail by the beginning of each of its fields."""
        octets = await self._octets(mail)
        if octets is None or mail.number is None:
            return True
        lines = await self._worker.run(lambda: _entry(mail, octets).lines)
        number, account_id = mail.number, mail.account_id
        for field, line in zip(SearchField, lines or (), strict=False):
            phrase = Phrase(tuple(line.split(" ", PHRASE_TERMS)[:PHRASE_TERMS]), open_end=False)
            check = partial(search.holds, account_id=account_id, number=number, phrase=phrase, field=field)
            if line and not await self._database.read("search.holds", check):
                return False
        return True

    async def _index(self) -> int:
        waiting = await self._database.read("search.waiting", partial(search.waiting, limit=BATCH))
        for some in _shares(waiting, lambda mail: mail.blob.size_octets if mail.blob else 0, BATCH, BATCH_OCTETS):
            octets = [await self._octets(mail) for mail in some]
            entries = await self._worker.run(partial(_entries, some, octets))
            for share in _shares(entries, _weight, WRITE_DOCUMENTS, WRITE_CHARS):
                await self._database.write("search.put", partial(search.put, entries=share))
        if len(waiting) == BATCH:
            metrics.SEARCH_PENDING.set((await self.status()).pending)
        return len(waiting)

    async def _octets(self, mail: Waiting) -> bytes | None:
        if mail.blob is None:
            return None
        try:
            return mail.prefix + await self._blobs.read(mail.blob)
        except Unavailable:
            return None

    async def _leased(self) -> bool:
        now = self._clock.monotonic()
        if now < self._lease_until:
            return True
        take = partial(leases.take, name=LEASE, owner=self._owner, span_us=LEASE_US)
        taken = await self._database.write("search.lease", take)
        self._lease_until = now + RENEW_S if taken else 0.0
        return taken

    async def _enlist_outdated(self) -> None:
        """Put on the list what an older maker of terms made, and what could not be read."""
        enlist: Callable[[Transaction], Awaitable[int]] = partial(
            search.enlist_outdated, version=VERSION, limit=OUTDATED_BATCH
        )
        try:
            while await self._database.write("search.outdated", enlist) >= OUTDATED_BATCH:
                await self._clock.sleep(0)
        except MaiRustError as error:
            log.warning("index.outdated_unknown", reason=error.public)


def _entries(mails: Sequence[Waiting], octets: Sequence[bytes | None]) -> list[Entry]:
    """Make the terms of mails; runs in a worker thread."""
    return [_entry(mail, data) for mail, data in zip(mails, octets, strict=True)]


def _entry(mail: Waiting, octets: bytes | None) -> Entry:
    lines: tuple[str, ...] | None = None
    version = 0
    if octets is not None:
        try:
            lines = make_document(octets, parse_structure(octets)).lines
            version = VERSION
        except Exception as error:
            log.exception("index.not_understood", error, email_id=mail.email_id)
    if lines is None and mail.blob is not None:
        lines = search.NO_LINES
    return Entry(email_id=mail.email_id, account_id=mail.account_id, number=mail.number, lines=lines, version=version)


def _weight(entry: Entry) -> int:
    return sum(map(len, entry.lines or ()))


def _shares(items: Sequence[T], weight: Callable[[T], int], count: int, total: int) -> Iterator[list[T]]:
    """Cut items into lists of at most `count`, and of about `total` in weight."""
    share: list[T] = []
    weighed = 0
    for item in items:
        share.append(item)
        weighed += weight(item)
        if len(share) >= count or weighed >= total:
            yield share
            share, weighed = [], 0
    if share:
        yield share
