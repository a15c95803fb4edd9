"""Search a mailbox by flags, dates, sizes, numbers and text (RFC 9051 §6.4.4).

- Each message is asked in three steps, and only as far as needed: the view in memory, its row (subject, Date field),
  its octets. A step that can't decide answers None.
- Octets are read once a message however many keys want them, a page at a time, and matched in a worker thread.
- The loop is left to others after each slice, by the caller's `pace`.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Protocol, assert_never

from server.domain.errors import Unavailable
from server.domain.ids import Uid
from server.domain.ports import Worker
from server.protocol.imap.dates import MONTHS
from server.protocol.imap.search import (
    AllKey,
    AndKey,
    BodyKey,
    Comparison,
    DateKey,
    FlagKey,
    HeaderKey,
    KeywordKey,
    NotKey,
    NumbersKey,
    OrKey,
    RecentKey,
    SearchKey,
    SizeKey,
)
from server.protocol.mime.render import TEXT_MAX
from server.protocol.mime.search import MessageText, fold
from server.protocol.mime.structure import parse_structure
from server.services.mailstore.sync import MailboxView

ROWS_PAGE = 500
BATCH_OCTETS = 1024 * 1024
DAY_US = 86_400_000_000
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_SENT_DATE = re.compile(rb'\("[^"]{0,40}?([0-9]{1,2})[ \t]{1,5}([A-Za-z]{3})[a-z]{0,9}[ \t]{1,5}([0-9]{4})')
_MONTHS = {name.lower(): number for number, name in enumerate(MONTHS, 1)}


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchScope:
    """What is searched: the messages a session numbers, in its order, `uids[n - 1]` being number n."""

    view: MailboxView
    uids: Sequence[int]
    recent_from: int


@dataclass(slots=True)
class Facts:
    """What is known of one message; more with each step."""

    number: int
    uid: int
    flags: int
    keywords: str
    recent: bool
    day: int
    size: int
    sent_day: int | None = None
    subject: str | None = None
    row_known: bool = False
    text: MessageText | None = None


Test = Callable[[Facts], bool | None]


class Reader(Protocol):
    """Where rows and octets come from."""

    async def texts(self, view: MailboxView, uids: Sequence[int]) -> dict[int, tuple[bytes, str]]: ...

    def octets(self, view: MailboxView, uids: Sequence[int]) -> AsyncIterator[tuple[Uid, bytes | None]]: ...


@dataclass(slots=True)
class _Progress:
    found: list[tuple[int, int]] = field(default_factory=list)
    undecided: list[Facts] = field(default_factory=list)


async def search(
    reader: Reader, worker: Worker, scope: SearchScope, key: SearchKey, pace: Callable[[], Awaitable[None]]
) -> list[tuple[int, int]]:
    """Sequence number and UID of the messages that match, ascending; messages that are gone don't match.

    Raises:
        Unavailable: A message that had to be read can't be.
    """
    test = _compile(key, scope)
    progress = _Progress()
    await _by_view(scope, test, progress, pace)
    if progress.undecided and _needs_row(key):
        await _by_row(reader, scope, test, progress, pace)
    if progress.undecided:
        await _by_octets(reader, worker, scope, test, progress, pace)
    return sorted(progress.found)


async def _by_view(scope: SearchScope, test: Test, progress: _Progress, pace: Callable[[], Awaitable[None]]) -> None:
    view = scope.view
    for number, uid in enumerate(tuple(scope.uids), 1):
        place = view.index(uid)
        if place is not None:
            facts = Facts(
                number=number,
                uid=uid,
                flags=view.flags[place],
                keywords=view.keywords[place],
                recent=uid >= scope.recent_from,
                day=view.internal_dates_us[place] // DAY_US,
                size=view.sizes[place],
            )
            _decide(test, facts, progress)
        if number % 64 == 0:
            await pace()


async def _by_row(
    reader: Reader, scope: SearchScope, test: Test, progress: _Progress, pace: Callable[[], Awaitable[None]]
) -> None:
    waiting, progress.undecided = progress.undecided, []
    for start in range(0, len(waiting), ROWS_PAGE):
        page = waiting[start : start + ROWS_PAGE]
        rows = await reader.texts(scope.view, [facts.uid for facts in page])
        for place, facts in enumerate(page):
            row = rows.get(facts.uid)
            if row is not None:
                facts.sent_day = _sent_day(row[0])
                facts.subject = fold(row[1]) if len(row[1]) < TEXT_MAX else None
                facts.row_known = True
                _decide(test, facts, progress)
            if place % 64 == 0:
                await pace()


async def _by_octets(
    reader: Reader,
    worker: Worker,
    scope: SearchScope,
    test: Test,
    progress: _Progress,
    pace: Callable[[], Awaitable[None]],
) -> None:
    waiting = {facts.uid: facts for facts in progress.undecided}
    batch: list[tuple[Facts, bytes]] = []
    size = 0
    async for uid, octets in reader.octets(scope.view, list(waiting)):
        if octets is None:
            raise Unavailable("a message can't be read now")
        batch.append((waiting[uid], octets))
        size += len(octets)
        if size >= BATCH_OCTETS:
            progress.found += await _match(worker, test, batch)
            batch, size = [], 0
            await pace()
    if batch:
        progress.found += await _match(worker, test, batch)


async def _match(worker: Worker, test: Test, batch: list[tuple[Facts, bytes]]) -> list[tuple[int, int]]:
    def work() -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = []
        for facts, octets in batch:
            facts.text = MessageText(octets, parse_structure(octets))
            if test(facts):
                found.append((facts.number, facts.uid))
            facts.text = None
        return found

    return await worker.run(work)


def _decide(test: Test, facts: Facts, progress: _Progress) -> None:
    verdict = test(facts)
    if verdict is None:
        progress.undecided.append(facts)
    elif verdict:
        progress.found.append((facts.number, facts.uid))


def _compile(key: SearchKey, scope: SearchScope) -> Test:
    """Turn a key into a test; its depth was limited by the parser."""
    match key:
        case AllKey():
            return lambda facts: True
        case FlagKey(bit, present):
            return lambda facts: bool(facts.flags & bit) is present
        case KeywordKey(keyword, present):
            return lambda facts: (keyword in facts.keywords.lower().split()) is present
        case RecentKey(present):
            return lambda facts: facts.recent is present
        case SizeKey(octets, larger):
            return (lambda facts: facts.size > octets) if larger else (lambda facts: facts.size < octets)
        case DateKey():
            return _date_test(key)
        case NumbersKey():
            return _numbers_test(key, scope)
        case HeaderKey(name, text):
            return _header_test(name, text)
        case BodyKey(text, header):
            return _body_test(text, header=header)
        case NotKey(inner):
            return _not_test(_compile(inner, scope))
        case OrKey(left, right):
            return _any_test([_compile(left, scope), _compile(right, scope)])
        case AndKey(keys):
            return _all_test([_compile(part, scope) for part in keys])
        case _:
            assert_never(key)


def _needs_row(key: SearchKey) -> bool:
    """Whether the second step can decide anything the first could not."""
    match key:
        case DateKey(_, _, sent):
            return sent
        case HeaderKey(name, text):
            return name == "subject" and bool(text)
        case NotKey(inner):
            return _needs_row(inner)
        case OrKey(left, right):
            return _needs_row(left) or _needs_row(right)
        case AndKey(keys):
            return any(map(_needs_row, keys))
        case _:
            return False


def _date_test(key: DateKey) -> Test:
    wanted = key.day.toordinal() - _EPOCH_ORDINAL

    def compare(day: int) -> bool:
        if key.comparison is Comparison.BEFORE:
            return day < wanted
        return day == wanted if key.comparison is Comparison.ON else day >= wanted

    def sent(facts: Facts) -> bool | None:
        if not facts.row_known:
            return None
        return facts.sent_day is not None and compare(facts.sent_day)

    return sent if key.sent else lambda facts: compare(facts.day)


def _numbers_test(key: NumbersKey, scope: SearchScope) -> Test:
    uids = scope.uids
    largest = (uids[-1] if uids else 0) if key.uid else len(uids)
    ranges = key.numbers.resolve(largest)
    firsts = [first for first, _ in ranges]

    def contains(value: int) -> bool:
        place = bisect_right(firsts, value) - 1
        return place >= 0 and value <= ranges[place][1]

    return (lambda facts: contains(facts.uid)) if key.uid else (lambda facts: contains(facts.number))


def _header_test(name: str, text: str) -> Test:
    octets_name, wanted = name.encode("ascii", "replace"), fold(text)

    def test(facts: Facts) -> bool | None:
        if name == "subject" and wanted and facts.row_known and facts.subject is not None:
            return wanted in facts.subject
        return None if facts.text is None else facts.text.header_contains(octets_name, text)

    return test


def _body_test(text: str, *, header: bool) -> Test:
    def test(facts: Facts) -> bool | None:
        if facts.text is None:
            return None
        return facts.text.text_contains(text) if header else facts.text.body_contains(text)

    return test


def _not_test(test: Test) -> Test:
    def negated(facts: Facts) -> bool | None:
        verdict = test(facts)
        return None if verdict is None else not verdict

    return negated


def _all_test(tests: Sequence[Test]) -> Test:
    def conjunction(facts: Facts) -> bool | None:
        undecided = False
        for test in tests:
            verdict = test(facts)
            if verdict is False:
                return False
            undecided = undecided or verdict is None
        return None if undecided else True

    return conjunction


def _any_test(tests: Sequence[Test]) -> Test:
    def disjunction(facts: Facts) -> bool | None:
        undecided = False
        for test in tests:
            verdict = test(facts)
            if verdict:
                return True
            undecided = undecided or verdict is None
        return None if undecided else False

    return disjunction


def _sent_day(envelope: bytes) -> int | None:
    """The day of the Date field as written, its zone disregarded; ENVELOPE begins with it (RFC 9051 §6.4.4)."""
    found = _SENT_DATE.match(envelope)
    month = _MONTHS.get(found[2].lower()) if found is not None else None
    if found is None or month is None:
        return None
    try:
        return date(int(found[3]), month, int(found[1])).toordinal() - _EPOCH_ORDINAL
    except ValueError:
        return None
