"""Parts of a long result, counted from its begin or its end (RFC 9394 §3.1)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from server.protocol.imap.cursor import NUMBER_MAX, Cursor, ImapSyntaxError

T = TypeVar("T")
_RANGE = re.compile(rb"(-?)([0-9]{1,10}):(-?)([0-9]{1,10})(?=[ )]|\Z)")


@dataclass(frozen=True, slots=True)
class PartialRange:
    """First and last place wanted, from 1; from the end when `from_end`. `first` <= `last`."""

    first: int
    last: int
    from_end: bool = False

    def of(self, found: Sequence[T]) -> Sequence[T]:
        """The part of an ascending result, ascending; empty beyond its ends."""
        if not self.from_end:
            return found[self.first - 1 : self.last]
        return found[max(0, len(found) - self.last) : max(0, len(found) - self.first + 1)]

    def format(self) -> bytes:
        """As in the ESEARCH response."""
        return (b"-%d:-%d" if self.from_end else b"%d:%d") % (self.first, self.last)


def parse_partial_range(cursor: Cursor) -> PartialRange:
    """partial-range = nz-number ":" nz-number / MINUS nz-number ":" MINUS nz-number"""
    found = _RANGE.match(cursor.data, cursor.pos)
    if found is None or found[1] != found[3]:
        raise ImapSyntaxError("malformed partial range")
    first, last = sorted((int(found[2]), int(found[4])))
    if first == 0 or last > NUMBER_MAX:
        raise ImapSyntaxError("partial range out of range")
    cursor.pos = found.end()
    return PartialRange(first, last, from_end=bool(found[1]))
