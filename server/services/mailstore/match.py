"""Which messages of a slice match a search key, as far as is known of them (RFC 9051 §6.4.4).

- A key splits the messages asked about into yes, perhaps and no; perhaps means that more has to be known: first the
  row (subject, Date field), then the octets.
- A slice is evaluated key by key over columns, not message by message: a list comprehension a key.
- Nothing here waits or reads; it runs in the event loop for small slices and in a worker for octets.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import TypeVar, assert_never

from server.protocol.imap.dates import MONTHS
from server.protocol.imap.search_keys import (
    AllKey,
    AndKey,
    BodyKey,
    Comparison,
    DateKey,
    FlagKey,
    HeaderKey,
    KeywordKey,
    ModSeqKey,
    NotKey,
    NumbersKey,
    ObjectKey,
    OrKey,
    RecentKey,
    SavedKey,
    SearchKey,
    SizeKey,
    WithinKey,
)
from server.protocol.imap.sequence import SequenceSet, contains
from server.protocol.mime.render import TEXT_MAX
from server.protocol.mime.search import MessageText, fold
from server.protocol.mime.terms import make_phrase, term_line
from server.services.mailstore.sync import MailboxView
from server.store.repositories.messages import SearchRow

T = TypeVar("T")
DAY_US = 86_400_000_000
SECOND_US = 1_000_000
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_SENT_DATE = re.compile(rb'\("[^"]{0,40}?([0-9]{1,2})[ \t]{1,5}([A-Za-z]{3})[a-z]{0,9}[ \t]{1,5}([0-9]{4})')
_MONTHS = {name.lower(): number for number, name in enumerate(MONTHS, 1)}

TextKey = HeaderKey | BodyKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """What a text index says of one key in one mailbox.

    Attributes:
        uids: Messages that match.
        unindexed: Messages the index does not know yet: they have to be read.
        exact: Whether `uids` do match, without being read again; else they only may.
    """

    uids: AbstractSet[int]
    unindexed: AbstractSet[int]
    exact: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a search needs beside the messages: sets of numbers as ranges, the present, the index's answers."""

    ranges: Mapping[NumbersKey, Sequence[tuple[int, int]]]
    recent_from: int
    now_us: int
    candidates: Mapping[TextKey, Candidates] = field(default_factory=dict)


class Slice:
    """Some messages, by place in columns of equal length; `rows` and `texts` when those are known.

    Columns are taken from the view when first asked for: `settle` before the view may change.
    """

    def __init__(self, view: MailboxView, numbers: Sequence[int], uids: Sequence[int]) -> None:
        """The messages with these numbers and UIDs, both ascending; those that are gone are left out."""
        self._view = view
        self._places: Sequence[int] | slice
        count = len(uids)
        first = view.index(uids[0]) if count else None
        if first is not None and view.uids[first : first + count].tolist() == list(uids):
            self._places = slice(first, first + count)
            self.numbers, self.uids = numbers, uids
        else:
            found = [place for place, uid in enumerate(uids) if view.index(uid) is not None]
            self.numbers = [numbers[place] for place in found]
            self.uids = [uids[place] for place in found]
            self._places = [place for uid in self.uids if (place := view.index(uid)) is not None]
        self.rows: Sequence[SearchRow | None] | None = None
        self.texts: Sequence[MessageText] | None = None
        self._subject_lines: dict[int, str] = {}

    def subject_line(self, place: int, subject: str) -> str:
        """The terms of a message's subject, made once however many keys ask."""
        line = self._subject_lines.get(place)
        if line is None:
            line = self._subject_lines[place] = term_line(subject)
        return line

    @cached_property
    def flags(self) -> Sequence[int]:
        return self._column(self._view.flags)

    @cached_property
    def keywords(self) -> Sequence[str]:
        return self._column(self._view.keywords)

    @cached_property
    def modseqs(self) -> Sequence[int]:
        return self._column(self._view.modseqs)

    @cached_property
    def sizes(self) -> Sequence[int]:
        return self._column(self._view.sizes)

    @cached_property
    def dates_us(self) -> Sequence[int]:
        return self._column(self._view.internal_dates_us)

    def settle(self) -> None:
        """Take all columns now."""
        _ = (self.flags, self.keywords, self.modseqs, self.sizes, self.dates_us)

    def _column(self, column: Sequence[T]) -> Sequence[T]:
        return column[self._places] if isinstance(self._places, slice) else [column[place] for place in self._places]


def slice_of(view: MailboxView, numbered: Sequence[tuple[int, int]]) -> Slice:
    """The slice of messages given by (number, UID), ascending."""
    return Slice(view, [number for number, _ in numbered], [uid for _, uid in numbered])


Verdict = tuple[list[int], list[int]]
"""Places that match, places that perhaps do; both ascending."""


def split(messages: Slice, key: SearchKey, terms: Terms) -> Verdict:
    """Split a slice by a key; what is in neither list does not match."""
    return _Evaluation(messages, terms).key(key, range(len(messages.uids)))


class _Evaluation:
    """One slice under one search; recursion is bounded by the parser (DEPTH_MAX)."""

    def __init__(self, messages: Slice, terms: Terms) -> None:
        self._messages = messages
        self._terms = terms

    def key(self, key: SearchKey, asked: Sequence[int]) -> Verdict:
        match key:
            case AndKey(keys):
                return self._all(keys, asked)
            case OrKey(left, right):
                return self._either(left, right, asked)
            case NotKey(inner):
                yes, perhaps = self.key(inner, asked)
                out = {*yes, *perhaps}
                return [place for place in asked if place not in out], perhaps
            case HeaderKey() | BodyKey():
                return self._text(key, asked)
            case SavedKey() | ObjectKey():
                return self._row(key, asked)
            case DateKey():
                return self._row(key, asked) if key.sent else (self._dated(key, asked), [])
            case _:
                return self._known(key, asked), []

    def _all(self, keys: Sequence[SearchKey], asked: Sequence[int]) -> Verdict:
        yes: Sequence[int] = asked
        perhaps: list[int] = []
        for key in keys:
            left = sorted([*yes, *perhaps]) if perhaps else yes
            if not left:
                break
            sure, unsure = self.key(key, left)
            if not perhaps and not unsure:
                yes = sure
                continue
            were_sure = set(yes)
            remaining = sorted([*sure, *unsure])
            sure_now = set(sure) & were_sure
            yes = [place for place in remaining if place in sure_now]
            perhaps = [place for place in remaining if place not in sure_now]
        return list(yes), perhaps

    def _either(self, left: SearchKey, right: SearchKey, asked: Sequence[int]) -> Verdict:
        yes, perhaps = self.key(left, asked)
        done = set(yes)
        more, unsure = self.key(right, [place for place in asked if place not in done])
        if not more and not unsure:
            return yes, perhaps
        done.update(more)
        return sorted(done), sorted({*perhaps, *unsure} - done)

    def _known(self, key: SearchKey, asked: Sequence[int]) -> list[int]:
        """Keys that the view answers."""
        messages = self._messages
        match key:
            case AllKey():
                return list(asked)
            case FlagKey(bit, present):
                flags = messages.flags
                if present:
                    return [place for place in asked if flags[place] & bit]
                return [place for place in asked if not flags[place] & bit]
            case KeywordKey(keyword, present):
                return self._keyword(keyword, asked, present=present)
            case RecentKey(present):
                uids, first = messages.uids, self._terms.recent_from
                return [place for place in asked if (uids[place] >= first) is present]
            case SizeKey(octets, larger):
                sizes = messages.sizes
                if larger:
                    return [place for place in asked if sizes[place] > octets]
                return [place for place in asked if sizes[place] < octets]
            case ModSeqKey(modseq):
                modseqs = messages.modseqs
                return [place for place in asked if modseqs[place] >= modseq]
            case WithinKey(seconds, older):
                dates, since = messages.dates_us, self._terms.now_us - seconds * SECOND_US
                return [place for place in asked if (dates[place] < since) is older]
            case NumbersKey():
                values = messages.uids if key.uid or key.numbers.saved else messages.numbers
                return within(self._terms.ranges[key], values, asked)
            case _:
                raise RuntimeError("not a key of the view")

    def _keyword(self, keyword: str, asked: Sequence[int], *, present: bool) -> list[int]:
        texts = self._messages.keywords
        having = {text for text in set(texts) if keyword in text.lower().split()}
        return [place for place in asked if (texts[place] in having) is present]

    def _dated(self, key: DateKey, asked: Sequence[int]) -> list[int]:
        dates = self._messages.dates_us
        wanted = key.day.toordinal() - _EPOCH_ORDINAL
        return [place for place in asked if _holds(key.comparison, dates[place] // DAY_US, wanted)]

    def _row(self, key: SavedKey | ObjectKey | DateKey, asked: Sequence[int]) -> Verdict:
        rows = self._messages.rows
        if rows is None:
            return [], list(asked)
        return [place for place in asked if (row := rows[place]) is not None and _row_holds(key, row)], []

    def _text(self, key: TextKey, asked: Sequence[int]) -> Verdict:
        candidates = self._terms.candidates.get(key)
        yes: list[int] = []
        perhaps: Sequence[int] = asked
        if candidates is not None:
            uids = self._messages.uids
            if candidates.exact:
                yes = [place for place in asked if uids[place] in candidates.uids]
                perhaps = [place for place in asked if uids[place] in candidates.unindexed]
            else:
                perhaps = [
                    place for place in asked if uids[place] in candidates.uids or uids[place] in candidates.unindexed
                ]
        found, left = self._read(key, perhaps)
        return (sorted({*yes, *found}) if yes else found), left

    def _read(self, key: TextKey, asked: Sequence[int]) -> Verdict:
        texts, rows = self._messages.texts, self._messages.rows
        if texts is not None:
            return [place for place in asked if _text_holds(key, texts[place])], []
        if rows is None or not is_subject(key):
            return [], list(asked)
        phrase, wanted = make_phrase(key.text, open_end=True), fold(key.text)
        yes: list[int] = []
        perhaps: list[int] = []
        for place in asked:
            row = rows[place]
            if row is None or len(row.subject) >= TEXT_MAX:
                perhaps.append(place)
            elif phrase.terms:
                if phrase.found_in(self._messages.subject_line(place, row.subject)):
                    yes.append(place)
            elif wanted in fold(row.subject):
                yes.append(place)
        return yes, perhaps


def is_subject(key: SearchKey) -> bool:
    """Whether the stored subject answers the key."""
    return isinstance(key, HeaderKey) and key.name == "subject" and bool(key.text)


def needs_row(key: SearchKey) -> bool:
    """Whether the row can answer what the view can't; for keys without NOT, OR and groups."""
    match key:
        case SavedKey() | ObjectKey():
            return True
        case DateKey():
            return key.sent
        case _:
            return is_subject(key)


def resolve(numbers: SequenceSet, largest: int, saved: Collection[int]) -> list[tuple[int, int]]:
    """A set of a key as ascending, disjoint ranges."""
    if numbers.saved:
        return [(uid, uid) for uid in sorted(saved)]
    return numbers.resolve(largest)


def _text_holds(key: TextKey, text: MessageText) -> bool:
    match key:
        case HeaderKey(name, wanted):
            return text.header_contains(name.encode("ascii", "replace"), wanted)
        case BodyKey(wanted, header):
            return text.text_contains(wanted) if header else text.body_contains(wanted)
        case _:
            assert_never(key)


def _row_holds(key: SavedKey | ObjectKey | DateKey, row: SearchRow) -> bool:
    match key:
        case SavedKey(comparison, day):
            return _holds(comparison, row.saved_at_us // DAY_US, day.toordinal() - _EPOCH_ORDINAL)
        case ObjectKey(wanted, thread):
            return (row.thread_id if thread else row.email_id) == wanted
        case DateKey(comparison, day):
            sent = _sent_day(row.envelope)
            return sent is not None and _holds(comparison, sent, day.toordinal() - _EPOCH_ORDINAL)
        case _:
            assert_never(key)


def within(ranges: Sequence[tuple[int, int]], values: Sequence[int], asked: Sequence[int]) -> list[int]:
    """Places whose values, ascending as they are, lie in ascending, disjoint ranges; by range where those are few."""
    if len(ranges) > len(asked) // 8:
        return [place for place in asked if contains(ranges, values[place])]
    found: list[int] = []
    for first, last in ranges:
        low, high = bisect_left(values, first), bisect_right(values, last)
        found += asked[bisect_left(asked, low) : bisect_left(asked, high)]
    return found


def _holds(comparison: Comparison, day: int, wanted: int) -> bool:
    match comparison:
        case Comparison.BEFORE:
            return day < wanted
        case Comparison.ON:
            return day == wanted
        case Comparison.SINCE:
            return day >= wanted
        case _:
            assert_never(comparison)


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
