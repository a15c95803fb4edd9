"""Search a mailbox by flags, dates, sizes, numbers and text (RFC 9051 §6.4.4).

- Messages are asked about in slices and three steps, only as far as needed: the view in memory, their rows (subject,
  Date field), their octets.
- Text is asked of the index first, where there is one: what it knows is not read again, what it does not is.
- Octets are read once a message however many keys want them, a page at a time, and matched in a worker.
- A message that can't be read matches nothing that needs its octets, and is logged.
- The loop is left to others after each slice, by the caller's `pace`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from server.domain.ids import AccountId, MailboxId, Uid
from server.domain.ports import Worker
from server.protocol.imap.search_keys import AndKey, BodyKey, HeaderKey, NumbersKey, SearchKey, leaves
from server.protocol.mime.search import MessageText
from server.protocol.mime.structure import parse_structure
from server.services.mailstore.match import Candidates, Slice, Terms, TextKey, needs_row, resolve, slice_of, split
from server.services.mailstore.sync import MailboxView
from server.store.repositories.messages import SearchRow
from server.telemetry.log import get_logger

log = get_logger("search")

SLICE_MESSAGES = 1000
SLICE_MESSAGES_MIN = 10
KEYS_A_SLICE = 10
"""Messages evaluated between two turns of the loop, fewer for a search of many keys: a millisecond or two in all."""
ROWS_PAGE = 500
BATCH_OCTETS = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchScope:
    """What is searched: the messages a session numbers, in its order, `uids[n - 1]` being number n.

    Attributes:
        saved: UIDs that "$" stands for (RFC 5182).
    """

    view: MailboxView
    uids: Sequence[int]
    recent_from: int
    saved: Sequence[int] = ()


class TextIndex(Protocol):
    """Answers keys of text without reading messages."""

    async def candidates(self, account_id: AccountId, mailbox_id: MailboxId, key: TextKey) -> Candidates | None:
        """What the index knows of a key; None when it can't help. Never raises for an index that is damaged."""
        ...


class Reader(Protocol):
    """Where rows and octets come from."""

    async def search_rows(self, view: MailboxView, uids: Sequence[int]) -> dict[int, SearchRow]: ...

    def octets(self, view: MailboxView, uids: Sequence[int]) -> AsyncIterator[tuple[Uid, bytes | None]]: ...


Numbered = tuple[int, int]
"""Sequence number and UID."""


@dataclass(slots=True)
class _Progress:
    found: list[Numbered] = field(default_factory=list)
    undecided: list[Numbered] = field(default_factory=list)

    def add(self, messages: Slice, yes: Sequence[int], perhaps: Sequence[int]) -> None:
        numbers, uids = messages.numbers, messages.uids
        self.found += [(numbers[place], uids[place]) for place in yes]
        self.undecided += [(numbers[place], uids[place]) for place in perhaps]


def _narrowed(scope: SearchScope, key: SearchKey, terms: Terms) -> list[Numbered] | None:
    """The messages that can match by what the index says of a text that all of them must hold; None = any can."""
    named: set[int] | None = None
    for part in key.keys if isinstance(key, AndKey) else (key,):
        known = terms.candidates.get(part) if isinstance(part, HeaderKey | BodyKey) else None
        if known is not None:
            able = known.uids | known.unindexed
            named = set(able) if named is None else named & able
    if named is None:
        return None
    uids = scope.uids
    places = ((bisect_left(uids, uid), uid) for uid in sorted(named))
    return [(place + 1, uid) for place, uid in places if place < len(uids) and uids[place] == uid]


class Searcher:
    """Runs searches over what `reader` reads.

    Args:
        index: Asked first for text; None where there is none.
        now_us: The present, in microseconds since the epoch.
    """

    def __init__(self, *, reader: Reader, worker: Worker, index: TextIndex | None, now_us: Callable[[], int]) -> None:
        self._reader = reader
        self._worker = worker
        self._index = index
        self._now_us = now_us

    async def search(self, scope: SearchScope, key: SearchKey, pace: Callable[[], Awaitable[None]]) -> list[Numbered]:
        """Sequence number and UID of the messages that match, ascending; messages that are gone don't match."""
        parts = set(leaves(key))
        terms = await self._terms(scope, parts)
        progress = _Progress()
        step = max(SLICE_MESSAGES_MIN, SLICE_MESSAGES // (1 + len(parts) // KEYS_A_SLICE))
        named = _narrowed(scope, key, terms)
        for start in range(0, len(scope.uids) if named is None else len(named), step):
            if named is None:
                uids = scope.uids[start : start + step]
                messages = Slice(scope.view, range(start + 1, start + len(uids) + 1), uids)
            else:
                messages = slice_of(scope.view, named[start : start + step])
            progress.add(messages, *split(messages, key, terms))
            await pace()
        if not progress.undecided:
            return progress.found
        if progress.undecided and any(map(needs_row, parts)):
            await self._by_row(scope, key, terms, progress, pace)
        if progress.undecided:
            await self._by_octets(scope, key, terms, progress, pace)
        return sorted(progress.found)

    async def _terms(self, scope: SearchScope, parts: set[SearchKey]) -> Terms:
        uids = scope.uids
        largest_uid = uids[-1] if uids else 0
        ranges = {
            part: resolve(part.numbers, largest_uid if part.uid else len(uids), scope.saved)
            for part in parts
            if isinstance(part, NumbersKey)
        }
        candidates: dict[TextKey, Candidates] = {}
        for part in parts:
            if self._index is None or not isinstance(part, HeaderKey | BodyKey) or not part.text:
                continue
            known = await self._index.candidates(scope.view.account_id, scope.view.mailbox_id, part)
            if known is not None:
                candidates[part] = known
        return Terms(ranges=ranges, recent_from=scope.recent_from, now_us=self._now_us(), candidates=candidates)

    async def _by_row(
        self,
        scope: SearchScope,
        key: SearchKey,
        terms: Terms,
        progress: _Progress,
        pace: Callable[[], Awaitable[None]],
    ) -> None:
        waiting, progress.undecided = progress.undecided, []
        for start in range(0, len(waiting), ROWS_PAGE):
            messages = slice_of(scope.view, waiting[start : start + ROWS_PAGE])
            messages.settle()
            rows = await self._reader.search_rows(scope.view, messages.uids)
            messages.rows = [rows.get(uid) for uid in messages.uids]
            progress.add(messages, *await self._worker.run(partial(split, messages, key, terms)))
            await pace()

    async def _by_octets(
        self,
        scope: SearchScope,
        key: SearchKey,
        terms: Terms,
        progress: _Progress,
        pace: Callable[[], Awaitable[None]],
    ) -> None:
        wants_rows = any(map(needs_row, leaves(key)))
        numbers = {uid: number for number, uid in progress.undecided}
        batch: list[tuple[int, bytes]] = []
        size = 0
        skipped = 0
        async for uid, octets in self._reader.octets(scope.view, list(numbers)):
            if octets is None:
                skipped += 1
                continue
            batch.append((uid, octets))
            size += len(octets)
            if size >= BATCH_OCTETS:
                progress.found += await self._match(scope, key, terms, numbers, batch, wants_rows)
                batch, size = [], 0
                await pace()
        if batch:
            progress.found += await self._match(scope, key, terms, numbers, batch, wants_rows)
        if skipped:
            log.warning("search.unreadable", mailbox_id=scope.view.mailbox_id, messages=skipped)

    async def _match(
        self,
        scope: SearchScope,
        key: SearchKey,
        terms: Terms,
        numbers: dict[int, int],
        batch: Sequence[tuple[int, bytes]],
        wants_rows: bool,
    ) -> list[Numbered]:
        messages = slice_of(scope.view, [(numbers[uid], uid) for uid, _ in batch])
        messages.settle()
        if wants_rows:
            rows = await self._reader.search_rows(scope.view, messages.uids)
            messages.rows = [rows.get(uid) for uid in messages.uids]
        octets = dict(batch)

        def work() -> list[Numbered]:
            messages.texts = [MessageText(octets[uid], parse_structure(octets[uid])) for uid in messages.uids]
            yes, _ = split(messages, key, terms)
            return [(messages.numbers[place], messages.uids[place]) for place in yes]

        return await self._worker.run(work)
