"""What messages can be searched for (RFC 9051 §6.4.4; RFC 3501 §6.4.4 for NEW, OLD, RECENT).

- Keys are values: the grammar makes them, the mailstore answers them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from server.protocol.imap.sequence import SequenceSet


class Comparison(StrEnum):
    BEFORE = "BEFORE"
    ON = "ON"
    SINCE = "SINCE"


@dataclass(frozen=True, slots=True)
class AllKey:
    """Every message."""


@dataclass(frozen=True, slots=True)
class FlagKey:
    """A system flag; the message has it iff `present`."""

    bit: int
    present: bool


@dataclass(frozen=True, slots=True)
class KeywordKey:
    """A keyword in lower case."""

    keyword: str
    present: bool


@dataclass(frozen=True, slots=True)
class RecentKey:
    """\\Recent in this session (RFC 3501 §2.3.2)."""

    present: bool


@dataclass(frozen=True, slots=True)
class DateKey:
    """The internal date, or the Date field when `sent`, as a day without its time and zone."""

    comparison: Comparison
    day: date
    sent: bool


@dataclass(frozen=True, slots=True)
class SavedKey:
    """The day on which the message came into its mailbox (RFC 8514 §4.3)."""

    comparison: Comparison
    day: date


@dataclass(frozen=True, slots=True)
class WithinKey:
    """The internal date is within the last `seconds`, or before that when `older` (RFC 5032 §3)."""

    seconds: int
    older: bool


@dataclass(frozen=True, slots=True)
class ModSeqKey:
    """Changed at this modseq or later (RFC 7162 §3.1.5)."""

    modseq: int


@dataclass(frozen=True, slots=True)
class ObjectKey:
    """EMAILID, or THREADID when `thread` (RFC 8474 §4.3)."""

    id: str
    thread: bool


@dataclass(frozen=True, slots=True)
class SizeKey:
    """RFC822.SIZE strictly above, or below, a number of octets."""

    octets: int
    larger: bool


@dataclass(frozen=True, slots=True)
class HeaderKey:
    """A field whose decoded text contains `text`, without regard to case; empty text: that has the field at all."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class BodyKey:
    """Text in the body, or also in the header when `header`."""

    text: str
    header: bool


@dataclass(frozen=True, slots=True)
class NumbersKey:
    """Sequence numbers, or UIDs."""

    numbers: SequenceSet
    uid: bool


@dataclass(frozen=True, slots=True)
class NotKey:
    key: SearchKey


@dataclass(frozen=True, slots=True)
class OrKey:
    left: SearchKey
    right: SearchKey


@dataclass(frozen=True, slots=True)
class AndKey:
    keys: tuple[SearchKey, ...]


SearchKey = (
    AllKey
    | FlagKey
    | KeywordKey
    | RecentKey
    | DateKey
    | SavedKey
    | WithinKey
    | ModSeqKey
    | ObjectKey
    | SizeKey
    | HeaderKey
    | BodyKey
    | NumbersKey
    | NotKey
    | OrKey
    | AndKey
)


def leaves(key: SearchKey) -> Iterator[SearchKey]:
    """The keys a key is made of, without NOT, OR and groups; depth is bounded by the grammar."""
    match key:
        case NotKey(inner):
            yield from leaves(inner)
        case OrKey(left, right):
            yield from leaves(left)
            yield from leaves(right)
        case AndKey(keys):
            for part in keys:
                yield from leaves(part)
        case _:
            yield key
