"""GETMETADATA and SETMETADATA (RFC 5464 §4, §5).

- Entry names are ASCII, compared without case, and begin with /private or /shared; they hold no wildcards.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from server.protocol.imap.cursor import Cursor, ImapSyntaxError
from server.protocol.imap.names import parse_mailbox

ENTRIES_MAX = 100
"""Entries of one command."""
NAME_MAX = 255
_NAME = re.compile(r"/(?:private|shared)(?:/[\x21-\x24\x26-\x29\x2b-\x2e\x30-\x7e]+)+")
_ROOT = re.compile(r"/(?:private|shared)")


@dataclass(frozen=True, slots=True)
class GetMetadata:
    """`mailbox` is empty for the server's annotations; `depth` is 0, 1 or None for any."""

    mailbox: str
    entries: tuple[str, ...]
    max_size: int | None = None
    depth: int | None = 0


@dataclass(frozen=True, slots=True)
class SetMetadata:
    """A value of None removes its entry."""

    mailbox: str
    values: tuple[tuple[str, bytes | None], ...]


def parse_get_metadata(cursor: Cursor) -> GetMetadata:
    """getmetadata = "GETMETADATA" [SP getmetadata-options] SP mailbox SP entries"""
    cursor.space()
    max_size: int | None = None
    depth: int | None = 0
    if cursor.take_if(b"("):
        while True:
            word = cursor.keyword()
            cursor.space()
            if word == b"MAXSIZE":
                max_size = cursor.number()
            elif word == b"DEPTH":
                depth = _depth(cursor)
            else:
                raise ImapSyntaxError("unknown option")
            if cursor.take_if(b")"):
                break
            cursor.space()
        cursor.space()
    mailbox = parse_mailbox(cursor)
    cursor.space()
    return GetMetadata(mailbox, parse_entries(cursor, roots=depth != 0), max_size, depth)


def parse_set_metadata(cursor: Cursor) -> SetMetadata:
    """setmetadata = "SETMETADATA" SP mailbox SP "(" entry SP value *(SP entry SP value) ")" """
    cursor.space()
    mailbox = parse_mailbox(cursor)
    cursor.space()
    cursor.expect(b"(")
    values: dict[str, bytes | None] = {}
    for _ in range(ENTRIES_MAX):
        entry = _entry(cursor, root=False)
        cursor.space()
        cursor.take_if(b"~")
        values[entry] = cursor.nstring()
        if cursor.take_if(b")"):
            return SetMetadata(mailbox, tuple(values.items()))
        cursor.space()
    raise ImapSyntaxError("too many entries")


def parse_entries(cursor: Cursor, *, roots: bool) -> tuple[str, ...]:
    """entries = entry / "(" entry *(SP entry) ")" """
    if not cursor.take_if(b"("):
        return (_entry(cursor, root=roots),)
    entries: dict[str, None] = {}
    for _ in range(ENTRIES_MAX):
        entries[_entry(cursor, root=roots)] = None
        if cursor.take_if(b")"):
            return tuple(entries)
        cursor.space()
    raise ImapSyntaxError("too many entries")


def _depth(cursor: Cursor) -> int | None:
    word = cursor.keyword()
    if word == b"INFINITY":
        return None
    if word not in (b"0", b"1"):
        raise ImapSyntaxError("unknown depth")
    return int(word)


def _entry(cursor: Cursor, *, root: bool) -> str:
    """entry = astring; slash-separated components, none empty (RFC 5464 §3.2)"""
    name = cursor.astring().decode("latin-1").lower()
    if len(name) > NAME_MAX or not (_NAME.fullmatch(name) or (root and _ROOT.fullmatch(name))):
        raise ImapSyntaxError("not an entry's name")
    return name
