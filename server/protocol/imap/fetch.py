"""FETCH items and body sections (RFC 9051 §6.4.5, §9 "fetch-att"; RFC 3501 §6.4.5 for RFC822.*)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from server.protocol.imap.cursor import NUMBER_MAX, Cursor, ImapSyntaxError
from server.protocol.imap.format import format_astring
from server.protocol.imap.pages import PartialRange, parse_partial_range
from server.protocol.mime.section import Section, SectionText

ITEMS_MAX = 100
FIELDS_MAX = 200
PART_DEPTH_MAX = 100

_NAME = re.compile(rb"[A-Za-z0-9.]+")
_PARTIAL = re.compile(rb"<([0-9]{1,10})\.([0-9]{1,10})>")
_PART = re.compile(rb"[1-9][0-9]{0,9}")


class FetchAttribute(StrEnum):
    """What is known without opening the message's octets."""

    UID = "UID"
    FLAGS = "FLAGS"
    INTERNALDATE = "INTERNALDATE"
    SIZE = "RFC822.SIZE"
    ENVELOPE = "ENVELOPE"
    BODY = "BODY"
    BODYSTRUCTURE = "BODYSTRUCTURE"
    MODSEQ = "MODSEQ"
    EMAILID = "EMAILID"
    THREADID = "THREADID"
    SAVEDATE = "SAVEDATE"
    PREVIEW = "PREVIEW"


@dataclass(frozen=True, slots=True)
class BodySection:
    """BODY[section]<offset.count>, or its RFC822 spelling.

    Attributes:
        partial: First octet and number of octets wanted, None for all.
        label: The item's name in the response, without the origin octet.
        peek: Whether \\Seen stays as it is.
    """

    section: Section
    partial: tuple[int, int] | None
    label: bytes
    peek: bool


@dataclass(frozen=True, slots=True)
class BinarySection:
    """BINARY[part]<offset.count> or BINARY.SIZE[part] (RFC 3516 §4.2); fields as of BodySection."""

    path: tuple[int, ...]
    partial: tuple[int, int] | None
    label: bytes
    peek: bool
    size_only: bool = False


FetchItem = FetchAttribute | BodySection | BinarySection


@dataclass(frozen=True, slots=True)
class FetchModifiers:
    """Which of the messages named are answered for.

    Attributes:
        changed_since: Only those with a greater modseq (RFC 7162 §3.1.4.1).
        vanished: Tell also which of them are gone since then (RFC 7162 §3.2.6).
        page: Only a part of the result (RFC 9394 §3.2).
    """

    changed_since: int | None = None
    vanished: bool = False
    page: PartialRange | None = None


ANY_CHANGE = FetchModifiers()

_FAST = (FetchAttribute.FLAGS, FetchAttribute.INTERNALDATE, FetchAttribute.SIZE)
_MACROS: dict[bytes, tuple[FetchItem, ...]] = {
    b"FAST": _FAST,
    b"ALL": (*_FAST, FetchAttribute.ENVELOPE),
    b"FULL": (*_FAST, FetchAttribute.ENVELOPE, FetchAttribute.BODY),
}
_SIMPLE: dict[bytes, FetchItem] = {
    **{attribute.value.encode(): attribute for attribute in FetchAttribute},
    b"RFC822": BodySection(Section(), None, b"RFC822", False),
    b"RFC822.HEADER": BodySection(Section(text=SectionText.HEADER), None, b"RFC822.HEADER", True),
    b"RFC822.TEXT": BodySection(Section(text=SectionText.TEXT), None, b"RFC822.TEXT", False),
}


def parse_fetch_items(cursor: Cursor) -> tuple[FetchItem, ...]:
    """ "ALL" / "FULL" / "FAST" / fetch-att / "(" fetch-att *(SP fetch-att) ")" """
    if not cursor.take_if(b"("):
        macro = _NAME.match(cursor.data, cursor.pos)
        if macro is not None and macro.group().upper() in _MACROS:
            cursor.pos = macro.end()
            return _MACROS[macro.group().upper()]
        return (_item(cursor),)
    items: dict[FetchItem, None] = {}
    for _ in range(ITEMS_MAX):
        items[_item(cursor)] = None
        if cursor.take_if(b")"):
            return tuple(items)
        cursor.space()
    raise ImapSyntaxError("too many fetch items")


def parse_fetch_modifiers(cursor: Cursor, *, uid: bool) -> FetchModifiers:
    """[SP "(" fetch-modifier *(SP fetch-modifier) ")"] (RFC 4466 §2.4, RFC 7162 §7, RFC 9394 §3.2)"""
    if not cursor.take_if(b" "):
        return ANY_CHANGE
    cursor.expect(b"(")
    changed_since = page = None
    vanished = False
    while True:
        word = cursor.keyword()
        if word == b"CHANGEDSINCE":
            cursor.space()
            changed_since = cursor.number64()
        elif word == b"VANISHED" and uid:
            vanished = True
        elif word == b"PARTIAL" and uid:
            cursor.space()
            page = parse_partial_range(cursor)
        else:
            raise ImapSyntaxError("unknown fetch modifier")
        if cursor.take_if(b")"):
            break
        cursor.space()
    if vanished and changed_since is None:
        raise ImapSyntaxError("VANISHED needs CHANGEDSINCE")
    return FetchModifiers(changed_since, vanished, page)


def _item(cursor: Cursor) -> FetchItem:
    name = cursor.matched(_NAME, "a fetch item").upper()
    if name in (b"BODY", b"BODY.PEEK") and cursor.take_if(b"["):
        return _section(cursor, peek=name == b"BODY.PEEK")
    if name in (b"BINARY", b"BINARY.PEEK", b"BINARY.SIZE") and cursor.take_if(b"["):
        return _binary(cursor, name)
    if name == b"PREVIEW" and cursor.take_if(b" ("):
        # LAZY allows a server not to compute it now (RFC 8970 §4.1); ours is there always.
        if cursor.keyword() != b"LAZY":
            raise ImapSyntaxError("unknown preview modifier")
        cursor.expect(b")")
    try:
        return _SIMPLE[name]
    except KeyError:
        raise ImapSyntaxError("unknown fetch item") from None


def _section(cursor: Cursor, *, peek: bool) -> BodySection:
    """section = "[" [section-spec] "]"; section-spec = section-msgtext / (section-part ["." section-text])"""
    part: list[int] = []
    word = b""
    while not cursor.take_if(b"]"):
        if part and not word:
            cursor.expect(b".")
        digits = _PART.match(cursor.data, cursor.pos)
        if digits is not None:
            part.append(_part_number(digits.group(), len(part)))
            cursor.pos = digits.end()
            continue
        word = cursor.matched(_NAME, "a section").upper()
        break
    text = _section_text(word, bool(part)) if word else None
    fields = _fields(cursor) if text in (SectionText.HEADER_FIELDS, SectionText.HEADER_FIELDS_NOT) else ()
    if word:
        cursor.expect(b"]")
    section = Section(path=tuple(part), text=text, names=frozenset(name.lower() for name in fields))
    return BodySection(section, _partial(cursor), _label(part, text, fields), peek)


def _binary(cursor: Cursor, name: bytes) -> BinarySection:
    """section-binary = "[" [section-part] "]" (RFC 3516 §7)"""
    part: list[int] = []
    while not cursor.take_if(b"]"):
        if part:
            cursor.expect(b".")
        part.append(_part_number(cursor.matched(_PART, "a part number"), len(part)))
    size_only = name == b"BINARY.SIZE"
    label = (b"BINARY.SIZE[" if size_only else b"BINARY[") + b".".join(b"%d" % number for number in part) + b"]"
    chosen = None if size_only else _partial(cursor)
    return BinarySection(tuple(part), chosen, label, size_only or name == b"BINARY.PEEK", size_only)


def _part_number(digits: bytes, depth: int) -> int:
    value = int(digits)
    if value > NUMBER_MAX or depth >= PART_DEPTH_MAX:
        raise ImapSyntaxError("part number out of range")
    return value


def _section_text(word: bytes, has_part: bool) -> SectionText:
    try:
        text = SectionText(word.decode("ascii"))
    except ValueError:
        raise ImapSyntaxError("unknown section") from None
    if text is SectionText.MIME and not has_part:
        raise ImapSyntaxError("MIME needs a part number")
    return text


def _fields(cursor: Cursor) -> tuple[bytes, ...]:
    """header-list = "(" header-fld-name *(SP header-fld-name) ")" """
    cursor.space()
    cursor.expect(b"(")
    fields: list[bytes] = []
    for _ in range(FIELDS_MAX):
        fields.append(cursor.astring())
        if cursor.take_if(b")"):
            return tuple(fields)
        cursor.space()
    raise ImapSyntaxError("too many header fields")


def _partial(cursor: Cursor) -> tuple[int, int] | None:
    """partial = "<" number64 "." nz-number64 ">" """
    if cursor.peek() != b"<":
        return None
    found = _PARTIAL.match(cursor.data, cursor.pos)
    if found is None or int(found[2]) == 0:
        raise ImapSyntaxError("malformed partial")
    cursor.pos = found.end()
    return int(found[1]), int(found[2])


def _label(part: list[int], text: SectionText | None, fields: tuple[bytes, ...]) -> bytes:
    words = [b"%d" % number for number in part]
    if text is not None:
        words.append(text.value.encode("ascii"))
    names = b" (" + b" ".join(format_astring(name) for name in fields) + b")" if fields else b""
    return b"BODY[" + b".".join(words) + names + b"]"
