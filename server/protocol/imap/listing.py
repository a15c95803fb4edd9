"""LIST, LSUB and STATUS (RFC 9051 §6.3.9, §6.3.11; RFC 5258, RFC 5819, RFC 6154, RFC 8438).

- A pattern is matched by a bit set of positions, one step a character: linear, whatever wildcards it has.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from server.protocol.imap.cursor import Cursor, ImapSyntaxError
from server.protocol.imap.metadata import parse_entries
from server.protocol.imap.names import decode_name, parse_mailbox

DELIMITER = "/"
PATTERNS_MAX = 20
PATTERN_MAX = 512
"""Characters of a pattern; names are at most 255 octets."""


class StatusItem(StrEnum):
    MESSAGES = "MESSAGES"
    RECENT = "RECENT"
    UIDNEXT = "UIDNEXT"
    UIDVALIDITY = "UIDVALIDITY"
    UNSEEN = "UNSEEN"
    SIZE = "SIZE"
    APPENDLIMIT = "APPENDLIMIT"
    HIGHESTMODSEQ = "HIGHESTMODSEQ"
    MAILBOXID = "MAILBOXID"
    DELETED = "DELETED"
    DELETED_STORAGE = "DELETED-STORAGE"


class ListSelect(StrEnum):
    """list-select-opt (RFC 5258 §3.1, RFC 6154 §2)."""

    SUBSCRIBED = "SUBSCRIBED"
    REMOTE = "REMOTE"
    RECURSIVEMATCH = "RECURSIVEMATCH"
    SPECIAL_USE = "SPECIAL-USE"


class ListReturn(StrEnum):
    """return-option (RFC 5258 §3.2, RFC 6154 §2, RFC 8440 §3)."""

    SUBSCRIBED = "SUBSCRIBED"
    CHILDREN = "CHILDREN"
    SPECIAL_USE = "SPECIAL-USE"
    MYRIGHTS = "MYRIGHTS"


@dataclass(frozen=True, slots=True)
class List:
    """A LIST command; `status` holds the items of RETURN (STATUS (...)), empty without it, `metadata` the
    entries of RETURN (METADATA (...)) (RFC 9590).

    Attributes:
        extended: Whether a form of RFC 5258 was used.
    """

    reference: str
    patterns: tuple[str, ...]
    select: frozenset[ListSelect] = frozenset()
    returns: frozenset[ListReturn] = frozenset()
    status: tuple[StatusItem, ...] = ()
    extended: bool = False
    metadata: tuple[str, ...] = ()


class Pattern:
    """A compiled list-mailbox: "*" matches anything, "%" anything but the delimiter; INBOX in any case."""

    __slots__ = ("_chars", "_end", "_percent", "_star")

    def __init__(self, text: str) -> None:
        tokens = _tokens(text)
        self._chars: dict[str, int] = {}
        self._star = self._percent = 0
        for place, char in enumerate(tokens):
            if char == "*":
                self._star |= 1 << place
            elif char == "%":
                self._percent |= 1 << place
            else:
                self._chars[char] = self._chars.get(char, 0) | 1 << place
        self._end = 1 << len(tokens)

    def matches(self, name: str) -> bool:
        wild = self._star | self._percent
        states = 1 | (1 & wild) << 1
        for char in name:
            stay = self._star if char == DELIMITER else wild
            states = (states & self._chars.get(char, 0)) << 1 | states & stay
            states |= (states & wild) << 1
            if not states:
                return False
        return bool(states & self._end)


def parse_list(cursor: Cursor) -> List:
    """list = "LIST" [SP list-select-opts] SP mailbox SP mbox-or-pat [SP list-return-opts]"""
    cursor.space()
    extended = cursor.peek() == b"("
    select = _select(cursor) if extended else frozenset()
    reference = parse_mailbox(cursor)
    cursor.space()
    if cursor.take_if(b"("):
        extended = True
        patterns = _patterns(cursor)
    else:
        patterns = (_pattern(cursor),)
    returns: frozenset[ListReturn] = frozenset()
    status: tuple[StatusItem, ...] = ()
    metadata: tuple[str, ...] = ()
    if cursor.take_if(b" "):
        extended = True
        returns, status, metadata = _returns(cursor)
    return List(reference, patterns, select, returns, status, extended, metadata)


def parse_lsub(cursor: Cursor) -> List:
    """lsub = "LSUB" SP mailbox SP list-mailbox (RFC 3501 §6.3.9)"""
    cursor.space()
    reference = parse_mailbox(cursor)
    cursor.space()
    return List(reference, (_pattern(cursor),))


def parse_status_items(cursor: Cursor) -> tuple[StatusItem, ...]:
    """ "(" status-att *(SP status-att) ")" """
    cursor.expect(b"(")
    items: dict[StatusItem, None] = {}
    while True:
        try:
            items[StatusItem(cursor.keyword().decode("ascii"))] = None
        except ValueError:
            raise ImapSyntaxError("unknown status item") from None
        if cursor.take_if(b")"):
            return tuple(items)
        cursor.space()


def _select(cursor: Cursor) -> frozenset[ListSelect]:
    """list-select-opts = "(" [list-select-opt *(SP list-select-opt)] ")" SP"""
    cursor.expect(b"(")
    found: set[ListSelect] = set()
    while not cursor.take_if(b")"):
        if found:
            cursor.space()
        try:
            found.add(ListSelect(cursor.keyword().decode("ascii")))
        except ValueError:
            raise ImapSyntaxError("unknown selection option") from None
    if ListSelect.RECURSIVEMATCH in found and not found & {ListSelect.SUBSCRIBED, ListSelect.SPECIAL_USE}:
        raise ImapSyntaxError("RECURSIVEMATCH needs another selection option")
    cursor.space()
    return frozenset(found)


def _returns(cursor: Cursor) -> tuple[frozenset[ListReturn], tuple[StatusItem, ...], tuple[str, ...]]:
    """list-return-opts = "RETURN" SP "(" [return-option *(SP return-option)] ")" """
    if cursor.keyword() != b"RETURN":
        raise ImapSyntaxError("expected RETURN")
    cursor.space()
    cursor.expect(b"(")
    found: set[ListReturn] = set()
    status: tuple[StatusItem, ...] = ()
    metadata: tuple[str, ...] = ()
    while not cursor.take_if(b")"):
        if found or status or metadata:
            cursor.space()
        word = cursor.keyword().decode("ascii")
        if word == "STATUS":
            cursor.space()
            status = parse_status_items(cursor)
            continue
        if word == "METADATA":
            cursor.space()
            metadata = parse_entries(cursor, roots=False)
            continue
        try:
            found.add(ListReturn(word))
        except ValueError:
            raise ImapSyntaxError("unknown return option") from None
    return frozenset(found), status, metadata


def _patterns(cursor: Cursor) -> tuple[str, ...]:
    patterns: list[str] = []
    for _ in range(PATTERNS_MAX):
        patterns.append(_pattern(cursor))
        if cursor.take_if(b")"):
            return tuple(patterns)
        cursor.space()
    raise ImapSyntaxError("too many patterns")


def _pattern(cursor: Cursor) -> str:
    data = cursor.list_mailbox()
    if len(data) > PATTERN_MAX:
        raise ImapSyntaxError("pattern too long")
    return decode_name(data, utf8=cursor.utf8)


def _tokens(text: str) -> list[str]:
    """Characters and wildcards, a run of wildcards made one: "*" if it has one, else "%"."""
    head, slash, rest = text.partition(DELIMITER)
    if head.upper() == "INBOX":
        text = "INBOX" + slash + rest
    tokens: list[str] = []
    for char in text:
        if char in "*%" and tokens and tokens[-1] in "*%":
            if char == "*":
                tokens[-1] = "*"
        else:
            tokens.append(char)
    return tokens
