"""SEARCH: keys as values and their grammar (RFC 9051 §6.4.4; RFC 3501 §6.4.4 for NEW, OLD, RECENT; RFC 4731 RETURN).

- Depth is counted, not left to the interpreter's stack: at most DEPTH_MAX; at most KEYS_MAX keys in all.
- Text is decoded here: US-ASCII and UTF-8 are the charsets that exist.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from server.domain import flags
from server.protocol.imap.cursor import Cursor, ImapSyntaxError
from server.protocol.imap.dates import parse_date
from server.protocol.imap.sequence import SequenceSet, is_sequence_set, parse_sequence_set

DEPTH_MAX = 50
"""reliability.md §8"""
KEYS_MAX = 1000
TEXT_KEYS_MAX = 50
"""Keys that need a message's octets, in one search."""


class BadCharset(Exception):
    """The CHARSET is none of ours: NO [BADCHARSET] (RFC 9051 §7.1)."""


class Comparison(StrEnum):
    BEFORE = "BEFORE"
    ON = "ON"
    SINCE = "SINCE"


class SearchReturn(StrEnum):
    """Result options of ESEARCH (RFC 4731 §3.1)."""

    MIN = "MIN"
    MAX = "MAX"
    ALL = "ALL"
    COUNT = "COUNT"


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
    | SizeKey
    | HeaderKey
    | BodyKey
    | NumbersKey
    | NotKey
    | OrKey
    | AndKey
)


@dataclass(frozen=True, slots=True)
class Search:
    """A SEARCH or UID SEARCH command; `options` is None without RETURN."""

    key: SearchKey
    options: frozenset[SearchReturn] | None
    uid: bool


_FIXED: dict[bytes, SearchKey] = {
    b"ALL": AllKey(),
    b"ANSWERED": FlagKey(flags.ANSWERED, True),
    b"DELETED": FlagKey(flags.DELETED, True),
    b"DRAFT": FlagKey(flags.DRAFT, True),
    b"FLAGGED": FlagKey(flags.FLAGGED, True),
    b"SEEN": FlagKey(flags.SEEN, True),
    b"UNANSWERED": FlagKey(flags.ANSWERED, False),
    b"UNDELETED": FlagKey(flags.DELETED, False),
    b"UNDRAFT": FlagKey(flags.DRAFT, False),
    b"UNFLAGGED": FlagKey(flags.FLAGGED, False),
    b"UNSEEN": FlagKey(flags.SEEN, False),
    b"RECENT": RecentKey(True),
    b"OLD": RecentKey(False),
    b"NEW": AndKey((RecentKey(True), FlagKey(flags.SEEN, False))),
}


def parse_search(cursor: Cursor, *, uid: bool) -> Search:
    """search = "SEARCH" [SP "RETURN" SP "(" ... ")"] [SP "CHARSET" SP charset] 1*(SP search-key)

    Raises:
        ImapSyntaxError: Outside the grammar, or over a limit.
        BadCharset: The charset is not US-ASCII or UTF-8.
    """
    cursor.space()
    options = None
    if cursor.data[cursor.pos : cursor.pos + 7].upper() == b"RETURN ":
        cursor.pos += 7
        options = _options(cursor)
        cursor.space()
    ascii_only = False
    if cursor.data[cursor.pos : cursor.pos + 8].upper() == b"CHARSET ":
        cursor.pos += 8
        ascii_only = _charset(cursor.astring())
        cursor.space()
    key = _SearchParser(cursor, ascii_only=ascii_only).keys_to_end()
    return Search(key, options, uid)


def _charset(name: bytes) -> bool:
    if name.upper() not in (b"US-ASCII", b"UTF-8"):
        raise BadCharset
    return name.upper() == b"US-ASCII"


def _options(cursor: Cursor) -> frozenset[SearchReturn]:
    """ "(" [search-return-opt *(SP search-return-opt)] ")"; none means ALL (RFC 4731 §3.1)"""
    cursor.expect(b"(")
    if cursor.take_if(b")"):
        return frozenset({SearchReturn.ALL})
    found: set[SearchReturn] = set()
    while True:
        try:
            found.add(SearchReturn(cursor.keyword().decode("ascii")))
        except ValueError:
            raise ImapSyntaxError("unknown result option") from None
        if cursor.take_if(b")"):
            return frozenset(found)
        cursor.space()


class _SearchParser:
    """Counts keys and depth while it descends."""

    def __init__(self, cursor: Cursor, *, ascii_only: bool) -> None:
        self._cursor = cursor
        self._encoding = "ascii" if ascii_only else "utf-8"
        self._keys = 0
        self._text_keys = 0
        self._with_argument: dict[bytes, Callable[[], SearchKey]] = {
            b"KEYWORD": lambda: KeywordKey(cursor.atom().decode("ascii").lower(), True),
            b"UNKEYWORD": lambda: KeywordKey(cursor.atom().decode("ascii").lower(), False),
            b"BEFORE": lambda: DateKey(Comparison.BEFORE, parse_date(cursor), False),
            b"ON": lambda: DateKey(Comparison.ON, parse_date(cursor), False),
            b"SINCE": lambda: DateKey(Comparison.SINCE, parse_date(cursor), False),
            b"SENTBEFORE": lambda: DateKey(Comparison.BEFORE, parse_date(cursor), True),
            b"SENTON": lambda: DateKey(Comparison.ON, parse_date(cursor), True),
            b"SENTSINCE": lambda: DateKey(Comparison.SINCE, parse_date(cursor), True),
            b"LARGER": lambda: SizeKey(cursor.number64(), True),
            b"SMALLER": lambda: SizeKey(cursor.number64(), False),
            b"BCC": lambda: HeaderKey("bcc", self._text()),
            b"CC": lambda: HeaderKey("cc", self._text()),
            b"FROM": lambda: HeaderKey("from", self._text()),
            b"SUBJECT": lambda: HeaderKey("subject", self._text()),
            b"TO": lambda: HeaderKey("to", self._text()),
            b"HEADER": self._header,
            b"BODY": lambda: BodyKey(self._text(), False),
            b"TEXT": lambda: BodyKey(self._text(), True),
            b"UID": lambda: NumbersKey(parse_sequence_set(cursor), True),
        }

    def keys_to_end(self) -> SearchKey:
        keys = [self._key(1)]
        while not self._cursor.at_end:
            self._cursor.space()
            keys.append(self._key(1))
        return keys[0] if len(keys) == 1 else AndKey(tuple(keys))

    def _key(self, depth: int) -> SearchKey:
        cursor = self._cursor
        self._keys += 1
        if depth > DEPTH_MAX or self._keys > KEYS_MAX:
            raise ImapSyntaxError("search is too complex")
        if cursor.take_if(b"("):
            return self._group(depth)
        if is_sequence_set(cursor):
            return NumbersKey(parse_sequence_set(cursor), False)
        name = cursor.keyword()
        if name in _FIXED:
            return _FIXED[name]
        cursor.space()
        if name == b"NOT":
            return NotKey(self._key(depth + 1))
        if name == b"OR":
            left = self._key(depth + 1)
            cursor.space()
            return OrKey(left, self._key(depth + 1))
        try:
            parse = self._with_argument[name]
        except KeyError:
            raise ImapSyntaxError("unknown search key") from None
        return parse()

    def _group(self, depth: int) -> SearchKey:
        """ "(" search-key *(SP search-key) ")" """
        keys = [self._key(depth + 1)]
        while not self._cursor.take_if(b")"):
            self._cursor.space()
            keys.append(self._key(depth + 1))
        return AndKey(tuple(keys))

    def _header(self) -> HeaderKey:
        """ "HEADER" SP header-fld-name SP astring"""
        name = self._cursor.astring()
        self._cursor.space()
        return HeaderKey(name.decode("ascii", "replace").lower(), self._text())

    def _text(self) -> str:
        self._text_keys += 1
        if self._text_keys > TEXT_KEYS_MAX:
            raise ImapSyntaxError("search has too many text keys")
        try:
            return self._cursor.astring().decode(self._encoding)
        except UnicodeDecodeError:
            raise ImapSyntaxError(f"text is not {self._encoding.upper()}") from None
