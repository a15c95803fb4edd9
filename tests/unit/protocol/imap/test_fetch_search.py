"""FETCH items and SEARCH keys (RFC 9051 §6.4.4, §6.4.5)."""

from __future__ import annotations

from datetime import date

import pytest

from server.domain import flags
from server.protocol.imap.commands import Fetch
from server.protocol.imap.fetch import FIELDS_MAX, ITEMS_MAX, BodySection, FetchAttribute, FetchItem
from server.protocol.imap.format import format_astring, format_nstring, format_status_line, format_string
from server.protocol.imap.parse import CommandSyntaxError, parse_command
from server.protocol.imap.search import (
    DEPTH_MAX,
    KEYS_MAX,
    TEXT_KEYS_MAX,
    BadCharset,
    ResultOptions,
    Search,
    SearchReturn,
)
from server.protocol.imap.search_keys import (
    AllKey,
    AndKey,
    BodyKey,
    Comparison,
    DateKey,
    FlagKey,
    HeaderKey,
    KeywordKey,
    NotKey,
    NumbersKey,
    OrKey,
    RecentKey,
    SearchKey,
    SizeKey,
)
from server.protocol.imap.sequence import SequenceSet
from server.protocol.mime.section import Section, SectionText


def _items(text: bytes) -> tuple[FetchItem, ...]:
    command = parse_command(b"a FETCH 1 " + text).command
    assert isinstance(command, Fetch)
    return command.items


def _search(text: bytes) -> Search:
    command = parse_command(b"a SEARCH " + text).command
    assert isinstance(command, Search)
    return command


@pytest.mark.parametrize(
    ("text", "section", "label"),
    [
        (b"BODY[]", Section(), b"BODY[]"),
        (b"BODY.PEEK[]", Section(), b"BODY[]"),
        (b"body[header]", Section(text=SectionText.HEADER), b"BODY[HEADER]"),
        (b"BODY[TEXT]", Section(text=SectionText.TEXT), b"BODY[TEXT]"),
        (b"BODY[1]", Section(path=(1,)), b"BODY[1]"),
        (b"BODY[1.2.3]", Section(path=(1, 2, 3)), b"BODY[1.2.3]"),
        (b"BODY[1.MIME]", Section(path=(1,), text=SectionText.MIME), b"BODY[1.MIME]"),
        (b"BODY[4.1.HEADER]", Section(path=(4, 1), text=SectionText.HEADER), b"BODY[4.1.HEADER]"),
        (
            b'BODY[HEADER.FIELDS (From "x y")]',
            Section(text=SectionText.HEADER_FIELDS, names=frozenset({b"from", b"x y"})),
            b'BODY[HEADER.FIELDS (From "x y")]',
        ),
        (
            b"BODY[2.HEADER.FIELDS.NOT (To)]",
            Section(path=(2,), text=SectionText.HEADER_FIELDS_NOT, names=frozenset({b"to"})),
            b"BODY[2.HEADER.FIELDS.NOT (To)]",
        ),
        (b"RFC822", Section(), b"RFC822"),
        (b"RFC822.HEADER", Section(text=SectionText.HEADER), b"RFC822.HEADER"),
        (b"RFC822.TEXT", Section(text=SectionText.TEXT), b"RFC822.TEXT"),
    ],
)
def test_sections(text: bytes, section: Section, label: bytes) -> None:
    (item,) = _items(text)
    assert isinstance(item, BodySection)
    assert (item.section, item.label) == (section, label)
    assert item.peek == (b"PEEK" in text or text == b"RFC822.HEADER")


def test_partial() -> None:
    (item,) = _items(b"BODY[]<5.10>")
    assert isinstance(item, BodySection)
    assert item.partial == (5, 10)


@pytest.mark.parametrize(
    "text",
    [
        b"BODY[",
        b"BODY[1",
        b"BODY[1.]",
        b"BODY[.1]",
        b"BODY[0]",
        b"BODY[01]",
        b"BODY[MIME]",
        b"BODY[BOGUS]",
        b"BODY[HEADER.FIELDS]",
        b"BODY[HEADER.FIELDS ()]",
        b"BODY[HEADER (x)]",
        b"BODY[TEXT.1]",
        b"BODY[]<5>",
        b"BODY[]<5.0>",
        b"BODY[]<a.1>",
        b"BODY.PEEK",
        b"(ALL)",
        b"BODY[99999999999]",
        b"BODY[" + b"1." * 101 + b"1]",
        b"BODY[HEADER.FIELDS (" + b"x " * FIELDS_MAX + b"x)]",
        b"(" + b" ".join([b"FLAGS"] * (ITEMS_MAX + 1)) + b")",
    ],
)
def test_malformed_items(text: bytes) -> None:
    with pytest.raises(CommandSyntaxError):
        _items(text)


def test_macros() -> None:
    """RFC 9051 §6.4.5: macros stand alone."""
    fast = (FetchAttribute.FLAGS, FetchAttribute.INTERNALDATE, FetchAttribute.SIZE)
    assert _items(b"FAST") == fast
    assert _items(b"all") == (*fast, FetchAttribute.ENVELOPE)
    assert _items(b"FULL") == (*fast, FetchAttribute.ENVELOPE, FetchAttribute.BODY)
    assert _items(b"(BODY BODYSTRUCTURE BODY)") == (FetchAttribute.BODY, FetchAttribute.BODYSTRUCTURE)


UNSEEN = FlagKey(flags.SEEN, False)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (b"ALL", AllKey()),
        (b"unseen", UNSEEN),
        (b"ANSWERED", FlagKey(flags.ANSWERED, True)),
        (b"UNDRAFT", FlagKey(flags.DRAFT, False)),
        (b"NEW", AndKey((RecentKey(True), UNSEEN))),
        (b"OLD", RecentKey(False)),
        (b"KEYWORD $Work", KeywordKey("$work", True)),
        (b"UNKEYWORD x", KeywordKey("x", False)),
        (b"BEFORE 1-Jan-2026", DateKey(Comparison.BEFORE, date(2026, 1, 1), False)),
        (b"SENTSINCE 1-Jan-2026", DateKey(Comparison.SINCE, date(2026, 1, 1), True)),
        (b"SENTON 1-Jan-2026", DateKey(Comparison.ON, date(2026, 1, 1), True)),
        (b"LARGER 10", SizeKey(10, True)),
        (b"SMALLER 10", SizeKey(10, False)),
        (b'FROM "a b"', HeaderKey("from", "a b")),
        (b"HEADER X-Foo {3}\r\nbar", HeaderKey("x-foo", "bar")),
        (b'HEADER Received ""', HeaderKey("received", "")),
        (b"BODY x", BodyKey("x", False)),
        (b"TEXT x", BodyKey("x", True)),
        (b"1:3", NumbersKey(SequenceSet(((1, 3),)), False)),
        (b"UID *", NumbersKey(SequenceSet(((0, 0),)), True)),
        (b"NOT SEEN", NotKey(FlagKey(flags.SEEN, True))),
        (b"OR UNSEEN (ALL UNSEEN)", OrKey(UNSEEN, AndKey((AllKey(), UNSEEN)))),
        (b"UNSEEN ALL", AndKey((UNSEEN, AllKey()))),
        (b"CHARSET utf-8 BODY {2}\r\n\xc3\xa4", BodyKey("ä", False)),
        (b"CHARSET US-ASCII BODY x", BodyKey("x", False)),
    ],
)
def test_search_keys(text: bytes, key: SearchKey) -> None:
    found = _search(text)
    assert found.key == key
    assert found.options is None


def test_search_return() -> None:
    """RFC 4731 §3.1: no option means ALL."""
    assert _search(b"RETURN () ALL").options == ResultOptions(frozenset({SearchReturn.ALL}))
    options = _search(b"RETURN (MIN COUNT) ALL").options
    assert options == ResultOptions(frozenset({SearchReturn.MIN, SearchReturn.COUNT}))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"BOGUS",
        b"NOT",
        b"OR ALL",
        b"()",
        b"(ALL",
        b"ALL)",
        b"LARGER x",
        b"ON 1-Foo-2026",
        b"RETURN (BOGUS) ALL",
        b"CHARSET US-ASCII BODY {2}\r\n\xc3\xa4",
        b"BODY {1}\r\n\xff",
        b"CHARSET UTF-8",
        b"RETURN (MIN)",
    ],
)
def test_malformed_search(text: bytes) -> None:
    with pytest.raises(CommandSyntaxError):
        _search(text)


def test_unknown_charset() -> None:
    """RFC 9051 §6.4.4: NO with [BADCHARSET]."""
    with pytest.raises(BadCharset):
        _search(b"CHARSET KOI8-R ALL")


@pytest.mark.parametrize("opening", [b"NOT ", b"(", b"OR ALL "])
def test_search_depth_limit(opening: bytes) -> None:
    """reliability.md §8: depth 50. T14: depth 100,000 must not reach the interpreter's stack."""

    def text(depth: int) -> bytes:
        closing = b")" * (depth - 1) if opening == b"(" else b""
        return opening * (depth - 1) + b"ALL" + closing

    _search(text(DEPTH_MAX - 1))
    _search(text(DEPTH_MAX))
    for depth in (DEPTH_MAX + 1, 100_000):
        with pytest.raises(CommandSyntaxError):
            _search(text(depth))


def test_search_key_limits() -> None:
    _search(b" ".join([b"SEEN"] * KEYS_MAX))
    with pytest.raises(CommandSyntaxError):
        _search(b" ".join([b"SEEN"] * (KEYS_MAX + 1)))
    _search(b" ".join([b"BODY x"] * TEXT_KEYS_MAX))
    with pytest.raises(CommandSyntaxError):
        _search(b" ".join([b"BODY x"] * (TEXT_KEYS_MAX + 1)))


def test_strings_on_the_wire() -> None:
    assert format_string(b'a "b" \\') == b'"a \\"b\\" \\\\"'
    assert format_string(b"a\r\nb") == b"{4}\r\na\r\nb"
    assert format_string("ä".encode()) == b"{2}\r\n\xc3\xa4"
    assert format_nstring(None) == b"NIL"
    assert format_nstring(b"") == b'""'
    assert format_astring(b"abc") == b"abc"
    assert format_astring(b"nil") == b'"nil"'
    assert format_astring(b"a b") == b'"a b"'
    assert format_astring(b"") == b'""'
    assert format_status_line(b"a", b"OK", "a\r\nb ü", b"CODE") == b"a OK [CODE] a  b ?\r\n"
