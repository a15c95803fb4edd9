"""Sequence sets (RFC 9051 §9 "sequence-set", §4.1.1; RFC 5182 for "$").

- A set is kept as written; `resolve` turns it into ranges once the largest number is known.
- "$" stands alone, for what the last SEARCH RETURN (SAVE) found; only the session can tell.
- At most RANGES_MAX ranges; work is n log n in their number, never in the numbers they span.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from server.protocol.imap.cursor import NUMBER_MAX, Cursor, ImapSyntaxError

RANGES_MAX = 1000
"""reliability.md §8"""
STAR = 0
"""Stands for "*", the largest number in use: no message has number or UID 0."""

_SET = re.compile(rb"[0-9*:,]+")
_RANGE = re.compile(rb"([0-9]{1,10}|\*)(?::([0-9]{1,10}|\*))?\Z")


@dataclass(frozen=True, slots=True)
class SequenceSet:
    """Ranges as written; either end may be STAR, in any order. `saved` is "$", without ranges."""

    ranges: tuple[tuple[int, int], ...]
    saved: bool = False

    def resolve(self, largest: int) -> list[tuple[int, int]]:
        """Ascending, disjoint, inclusive ranges; "*" is `largest`, the set is empty when that is 0.

        RFC 9051 §9: 5:* includes the largest number even when it is below 5.
        """
        if largest == 0:
            return []
        bounds = sorted(_ordered(first or largest, last or largest) for first, last in self.ranges)
        merged: list[tuple[int, int]] = []
        for first, last in bounds:
            if merged and first <= merged[-1][1] + 1:
                merged[-1] = (merged[-1][0], max(merged[-1][1], last))
            else:
                merged.append((first, last))
        return merged


def parse_sequence_set(cursor: Cursor) -> SequenceSet:
    """sequence-set = (seq-number / seq-range) *("," (seq-number / seq-range)) / "$"

    Raises:
        ImapSyntaxError: Outside the grammar, a zero, or more than RANGES_MAX ranges.
    """
    if cursor.take_if(b"$"):
        return SequenceSet((), saved=True)
    text = cursor.matched(_SET, "a sequence set")
    if text.count(b",") >= RANGES_MAX:
        raise ImapSyntaxError("too many ranges")
    return SequenceSet(tuple(_range(part) for part in text.split(b",")))


def is_sequence_set(cursor: Cursor) -> bool:
    """Whether a sequence set comes next."""
    return cursor.peek() in b"0123456789*$" and not cursor.at_end


def spans(numbers: Sequence[int], ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Where those ascending `numbers` that lie in the ranges stand, counted from 1, as ascending ranges."""
    found: list[tuple[int, int]] = []
    for first, last in ranges:
        begin, end = bisect_left(numbers, first) + 1, bisect_right(numbers, last)
        if begin <= end:
            found.append((begin, end))
    return found


def format_uid_set(uids: Sequence[int]) -> bytes:
    """uid-set of ascending UIDs, runs joined: 1:3,7"""
    return format_ranges(runs(uids))


def format_ranges(ranges: Iterable[tuple[int, int]]) -> bytes:
    """uid-set of ascending inclusive ranges."""
    return b",".join(b"%d" % first if first == last else b"%d:%d" % (first, last) for first, last in ranges)


def contains(ranges: Sequence[tuple[int, int]], number: int) -> bool:
    """Whether a number lies in ascending, disjoint ranges."""
    place = bisect_right(ranges, (number, NUMBER_MAX)) - 1
    return place >= 0 and number <= ranges[place][1]


def gaps(ranges: Sequence[tuple[int, int]], numbers: Sequence[int]) -> list[tuple[int, int]]:
    """What of ascending, disjoint ranges the ascending `numbers` leave out; linear in both."""
    found: list[tuple[int, int]] = []
    for first, last in ranges:
        for place in range(bisect_left(numbers, first), bisect_right(numbers, last)):
            if numbers[place] > first:
                found.append((first, numbers[place] - 1))
            first = numbers[place] + 1
        if first <= last:
            found.append((first, last))
    return found


def runs(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Join ascending numbers into inclusive ranges."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


def _range(part: bytes) -> tuple[int, int]:
    found = _RANGE.match(part)
    if found is None:
        raise ImapSyntaxError("malformed sequence set")
    first = _number(found[1])
    return first, first if found[2] is None else _number(found[2])


def _number(text: bytes) -> int:
    if text == b"*":
        return STAR
    value = int(text)
    if not 0 < value <= NUMBER_MAX:
        raise ImapSyntaxError("number out of range in a sequence set")
    return value


def _ordered(first: int, last: int) -> tuple[int, int]:
    return (first, last) if first <= last else (last, first)
