"""Flags on the wire (RFC 9051 §2.3.2, §9 "flag"): system flags to bits, keywords to text.

- A keyword keeps the case in which it was first set; two that differ in case only are one.
- \\Recent can't be set by a client; clients that name it in STORE or APPEND are not refused for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from server.domain import flags as bits
from server.protocol.imap.cursor import Cursor, ImapSyntaxError

KEYWORD_OCTETS_MAX = 100
FLAGS_MAX = 100
"""Flags named in one command."""

SYSTEM = {
    b"\\ANSWERED": bits.ANSWERED,
    b"\\FLAGGED": bits.FLAGGED,
    b"\\DELETED": bits.DELETED,
    b"\\SEEN": bits.SEEN,
    b"\\DRAFT": bits.DRAFT,
}
_NAMES = (
    (bits.ANSWERED, b"\\Answered"),
    (bits.FLAGGED, b"\\Flagged"),
    (bits.DELETED, b"\\Deleted"),
    (bits.SEEN, b"\\Seen"),
    (bits.DRAFT, b"\\Draft"),
)
SYSTEM_NAMES = b" ".join(name for _, name in _NAMES)
_BY_BITS = tuple(b" ".join(name for bit, name in _NAMES if flags & bit) for flags in range(bits.ALL_FLAGS + 1))


@dataclass(frozen=True, slots=True)
class FlagSet:
    """System flags as bits of `domain.flags`, and keywords."""

    bits: int = 0
    keywords: tuple[str, ...] = ()


def parse_flag_list(cursor: Cursor) -> FlagSet:
    """flag-list = "(" [flag *(SP flag)] ")" """
    cursor.expect(b"(")
    if cursor.take_if(b")"):
        return FlagSet()
    flags = parse_flags(cursor)
    cursor.expect(b")")
    return flags


def parse_flags(cursor: Cursor) -> FlagSet:
    """flag *(SP flag)"""
    value = 0
    keywords: dict[str, str] = {}
    for _ in range(FLAGS_MAX):
        if cursor.take_if(b"\\"):
            name = b"\\" + cursor.keyword()
            if name != b"\\RECENT":
                value |= _system(name)
        else:
            keyword = cursor.atom()
            if len(keyword) > KEYWORD_OCTETS_MAX:
                raise ImapSyntaxError("keyword too long")
            keywords.setdefault(keyword.decode("ascii").lower(), keyword.decode("ascii"))
        if not cursor.take_if(b" "):
            return FlagSet(value, tuple(keywords.values()))
    raise ImapSyntaxError("too many flags")


def format_flags(value: int, keywords: str, *, recent: bool) -> bytes:
    """flag-list of a message; `keywords` are separated by spaces, as stored."""
    names = _BY_BITS[value & bits.ALL_FLAGS]
    if recent:
        names = names + b" \\Recent" if names else b"\\Recent"
    if keywords:
        words = keywords.encode("ascii", "replace")
        names = names + b" " + words if names else words
    return b"(" + names + b")"


def format_keywords(keywords: Iterable[str]) -> bytes:
    """Keywords with a leading space each."""
    return b"".join(b" " + keyword.encode("ascii", "replace") for keyword in keywords)


def _system(name: bytes) -> int:
    try:
        return SYSTEM[name]
    except KeyError:
        raise ImapSyntaxError("unknown system flag") from None
