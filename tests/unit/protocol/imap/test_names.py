"""Modified UTF-7 and list patterns (RFC 3501 §5.1.3, RFC 9051 §6.3.9)."""

from __future__ import annotations

import fnmatch
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.protocol.imap.cursor import ImapSyntaxError
from server.protocol.imap.listing import Pattern
from server.protocol.imap.utf7 import decode_utf7, encode_utf7


@pytest.mark.parametrize(
    ("name", "wire"),
    [
        ("INBOX", b"INBOX"),
        ("A&B", b"A&-B"),
        ("Entwürfe", b"Entw&APw-rfe"),
        ("~peter/mail/台北/日本語", b"~peter/mail/&U,BTFw-/&ZeVnLIqe-"),
        ("😀", b"&2D3eAA-"),
        ("", b""),
    ],
)
def test_known_names(name: str, wire: bytes) -> None:
    """The long one is RFC 3501 §5.1.3's own example."""
    assert encode_utf7(name) == wire
    assert decode_utf7(wire) == name


@given(st.text())
def test_every_name_comes_back(name: str) -> None:
    assert decode_utf7(encode_utf7(name)) == name


@given(st.binary(max_size=40))
def test_only_the_one_spelling_is_taken(wire: bytes) -> None:
    try:
        name = decode_utf7(wire)
    except ImapSyntaxError:
        return
    assert encode_utf7(name) == wire


@pytest.mark.parametrize("wire", [b"&", b"&AGE-", b"&U,B-", b"&Jjo!-", b"&2D0-", b"a\xfc", b"&ANw-&ANw-", b"x&="])
def test_other_spellings_are_refused(wire: bytes) -> None:
    """T29: `&AGE-` would be a second name for "a"."""
    with pytest.raises(ImapSyntaxError):
        decode_utf7(wire)


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("*", ["INBOX", "a/b/c", "x"], []),
        ("%", ["INBOX", "x"], ["a/b"]),
        ("a/%", ["a/b", "a/"], ["a", "a/b/c", "b/a"]),
        ("a/*", ["a/b", "a/b/c"], ["a"]),
        ("a*", ["a", "ab", "a/b"], ["b"]),
        ("%/b", ["a/b"], ["a/c/b", "b"]),
        ("inbox", ["INBOX"], ["inbox2"]),
        ("InBox/%", ["INBOX/x"], ["INBOX"]),
        ("a%*b", ["ab", "a/x/b"], ["a"]),
        ("", [], ["INBOX"]),
    ],
)
def test_patterns(pattern: str, matching: list[str], others: list[str]) -> None:
    compiled = Pattern(pattern)
    assert [name for name in matching + others if compiled.matches(name)] == matching


@given(st.text("ab/*%", max_size=12), st.text("ab/", max_size=12))
def test_patterns_agree_with_regular_expressions(pattern: str, name: str) -> None:
    translated = "".join(".*" if c == "*" else "[^/]*" if c == "%" else re.escape(c) for c in pattern)
    assert Pattern(pattern).matches(name) == bool(re.fullmatch(translated, name))
    if "%" not in pattern:
        assert Pattern(pattern).matches(name) == fnmatch.fnmatchcase(name, pattern)


def test_a_wildcard_bomb_is_linear() -> None:
    """T14: `%*%*%*` took other servers minutes."""
    started = time.process_time()
    bombs = [Pattern("%a*" * 170), Pattern("*a%a" * 120), Pattern("%*" * 256)]
    for _ in range(100):
        for bomb in bombs:
            bomb.matches("a" * 254)
    assert time.process_time() - started < 2.0
