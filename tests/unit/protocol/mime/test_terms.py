"""Terms: what a text is cut into, and what a phrase finds."""

from __future__ import annotations

import pytest

from server.protocol.mime.terms import (
    TERM_CHARS,
    TERM_OCTETS_MAX,
    TERMS_MAX,
    TEXT_MAX,
    make_phrase,
    make_terms,
    term_line,
)


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Hello, World! 42", ["hello", "world", "42"]),
        ("Alice <alice@example.com>", ["alice", "alice", "example", "com"]),
        ("Ångström CAFÉ straße ﬁle ½", ["angstrom", "cafe", "strasse", "file", "1", "2"]),
        ("Ελληνικά Ёлка", ["ελληνικα", "елка"]),
        ("so\u00adft zero\u200bwidth", ["soft", "zerowidth"]),
        ("東京都", ["東京", "京都", "都"]),
        ("Tokyo東京 2024年", ["tokyo", "東京", "京", "2024", "年"]),
        ("ｶﾞｽ", ["ガス", "ス"]),
        ("서울", ["서울", "울"]),
        ("สวัสดี", ["สว", "วั", "ัส", "สด", "ดี", "ี"]),
        ("हिन्दी", ["हिन्दी"]),
        ("שָׁלוֹם", ["שלום"]),
        ("_under_score_", ["under", "score"]),
        ("!?", []),
    ],
)
def test_a_text_is_cut_into_folded_terms(text: str, terms: list[str]) -> None:
    assert make_terms(text) == terms


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ("hello wor", "Hello, world"),
        ("HELLO", "hello"),
        ("example.com", "alice@example.com"),
        ("alice@ex", "<alice@example.com>"),
        ("cafe", "Café"),
        ("京", "東京都"),
        ("都", "東京都"),
        ("京都", "東京都庁"),
        ("東京都", "首都は東京都です"),
        ("京 tower", "東京 Tower"),
        ("東京 tower", "東京Tower"),
        ("วัส", "สวัสดี"),
    ],
)
def test_a_phrase_with_an_open_end_is_found(asked: str, text: str) -> None:
    assert make_phrase(asked, open_end=True).found_in(term_line(text))


@pytest.mark.parametrize(
    ("asked", "text"),
    [("ello", "hello"), ("world hello", "hello world"), ("京東", "東京"), ("東都", "東京都"), ("!", "!")],
)
def test_a_phrase_is_not_found_in_other_text(asked: str, text: str) -> None:
    assert not make_phrase(asked, open_end=True).found_in(term_line(text))


def test_a_closed_phrase_wants_the_whole_last_word() -> None:
    assert not make_phrase("wor", open_end=False).found_in("world")
    assert make_phrase("world", open_end=False).found_in("hello world")
    assert make_phrase("京", open_end=False).found_in(term_line("東京都"))


def test_terms_are_bounded() -> None:
    assert len(make_terms("a " * TEXT_MAX)) == TERMS_MAX
    assert len(make_terms("é " * TEXT_MAX)) == TERMS_MAX
    assert make_terms("x" * 1000) == ["x" * TERM_CHARS]
    assert make_terms("д" * 1000) == ["д" * TERM_CHARS]
    assert sum(len(term.encode()) for term in make_terms("漢字" * TEXT_MAX)) <= TERM_OCTETS_MAX
