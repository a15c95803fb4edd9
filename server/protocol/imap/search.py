"""SEARCH's grammar (RFC 9051 §6.4.4; RFC 4731, RFC 5182, RFC 9394 RETURN; RFC 5032, RFC 7162, RFC 8474, RFC 8514 keys).

- Depth is counted, not left to the interpreter's stack: at most DEPTH_MAX; at most KEYS_MAX keys in all.
- Text is decoded here: US-ASCII and UTF-8 are the charsets that exist.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from server.domain import flags
from server.protocol.imap.cursor import Cursor, ImapSyntaxError
from server.protocol.imap.dates import parse_date
from server.protocol.imap.pages import PartialRange, parse_partial_range
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
from server.protocol.imap.sequence import is_sequence_set, parse_sequence_set

DEPTH_MAX = 50
"""reliability.md §8"""
KEYS_MAX = 250
TEXT_KEYS_MAX = 50
"""Keys that need a message's octets, in one search."""


class SearchReturn(StrEnum):
    """Result options (RFC 4731 §3.1, RFC 5182 §2)."""

    MIN = "MIN"
    MAX = "MAX"
    ALL = "ALL"
    COUNT = "COUNT"
    SAVE = "SAVE"
    PARTIAL = "PARTIAL"


@dataclass(frozen=True, slots=True)
class ResultOptions:
    """RETURN (...); `page` belongs to PARTIAL (RFC 9394 §3.1)."""

    names: frozenset[SearchReturn]
    page: PartialRange | None = None


class BadCharset(Exception):
    """The CHARSET is none of ours: NO [BADCHARSET] (RFC 9051 §7.1).

    Attributes:
        saves: Whether the search was to fill "$", which is empty now (RFC 5182 §2.1).
    """

    saves = False


@dataclass(frozen=True, slots=True)
class Search:
    """A SEARCH or UID SEARCH command; `options` is None without RETURN."""

    key: SearchKey
    options: ResultOptions | None
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
    b"SAVEDATESUPPORTED": AllKey(),
    b"NEW": AndKey((RecentKey(True), FlagKey(flags.SEEN, False))),
}


def parse_search(cursor: Cursor, *, uid: bool) -> Search:
    """search = "SEARCH" [SP "RETURN" SP "(" ... ")"] [SP "CHARSET" SP charset] 1*(SP search-key)

    Raises:
        ImapSyntaxError: Outside the grammar, or over a limit.
        BadCharset: The charset is not US-ASCII or UTF-8.
    """
    options = parse_result_options(cursor)
    cursor.space()
    try:
        return Search(parse_criteria(cursor), options, uid)
    except BadCharset as error:
        error.saves = options is not None and SearchReturn.SAVE in options.names
        raise


def parse_criteria(cursor: Cursor) -> SearchKey:
    """search-program = ["CHARSET" SP charset SP] search-key *(SP search-key), up to the command's end"""
    ascii_only = False
    if cursor.data[cursor.pos : cursor.pos + 8].upper() == b"CHARSET ":
        cursor.pos += 8
        ascii_only = parse_charset(cursor)
        cursor.space()
    return _SearchParser(cursor, ascii_only=ascii_only).keys_to_end()


def parse_keys(cursor: Cursor, *, ascii_only: bool) -> SearchKey:
    """search-key *(SP search-key), up to the command's end"""
    return _SearchParser(cursor, ascii_only=ascii_only).keys_to_end()


def parse_charset(cursor: Cursor) -> bool:
    """Whether the charset is US-ASCII, else it is UTF-8. Raises BadCharset."""
    name = cursor.astring().upper()
    if name not in (b"US-ASCII", b"UTF-8"):
        raise BadCharset
    return name == b"US-ASCII"


def parse_result_options(cursor: Cursor) -> ResultOptions | None:
    """[SP "RETURN" SP "(" [search-return-opt *(SP search-return-opt)] ")"]; none means ALL (RFC 4731 §3.1)"""
    if cursor.data[cursor.pos : cursor.pos + 8].upper() != b" RETURN ":
        return None
    cursor.pos += 8
    cursor.expect(b"(")
    found: set[SearchReturn] = set()
    page = None
    while not cursor.take_if(b")"):
        if found:
            cursor.space()
        try:
            option = SearchReturn(cursor.keyword().decode("ascii"))
        except ValueError:
            raise ImapSyntaxError("unknown result option") from None
        found.add(option)
        if option is SearchReturn.PARTIAL:
            cursor.space()
            page = parse_partial_range(cursor)
    if {SearchReturn.PARTIAL, SearchReturn.ALL} <= found:
        raise ImapSyntaxError("PARTIAL and ALL exclude each other")
    return ResultOptions(frozenset(found or {SearchReturn.ALL}), page)


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
            b"SAVEDBEFORE": lambda: SavedKey(Comparison.BEFORE, parse_date(cursor)),
            b"SAVEDON": lambda: SavedKey(Comparison.ON, parse_date(cursor)),
            b"SAVEDSINCE": lambda: SavedKey(Comparison.SINCE, parse_date(cursor)),
            b"OLDER": lambda: WithinKey(cursor.nz_number(), True),
            b"YOUNGER": lambda: WithinKey(cursor.nz_number(), False),
            b"MODSEQ": self._modseq,
            b"EMAILID": lambda: ObjectKey(cursor.atom().decode("ascii"), False),
            b"THREADID": lambda: ObjectKey(cursor.atom().decode("ascii"), True),
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

    def _modseq(self) -> ModSeqKey:
        """ "MODSEQ" [SP entry-name SP entry-type-req] SP mod-sequence-valzer; an entry narrows nothing here, for all
        flags of a message share one modseq (RFC 7162 §3.1.5)."""
        if self._cursor.peek() == b'"':
            self._cursor.string()
            self._cursor.space()
            if self._cursor.keyword() not in (b"ALL", b"PRIV", b"SHARED"):
                raise ImapSyntaxError("unknown entry type")
            self._cursor.space()
        return ModSeqKey(self._cursor.number64())

    def _text(self) -> str:
        self._text_keys += 1
        if self._text_keys > TEXT_KEYS_MAX:
            raise ImapSyntaxError("search has too many text keys")
        try:
            return self._cursor.astring().decode(self._encoding)
        except UnicodeDecodeError:
            raise ImapSyntaxError(f"text is not {self._encoding.upper()}") from None
