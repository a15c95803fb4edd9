"""The query language of search (filtering.md section 10)."""

from __future__ import annotations

import time
from datetime import date, timedelta

import pytest

from server.domain.flags import SEEN
from server.domain.search import (
    ANY_FIELD,
    AgeTerm,
    AllOf,
    AnyOf,
    AttachmentTerm,
    DayTerm,
    FlagTerm,
    NameKind,
    NameTerm,
    NoneOf,
    Phrase,
    SearchField,
    SearchQuery,
    SizeTerm,
    TextTerm,
    text_terms,
)
from server.protocol.search_query import (
    DEPTH_MAX,
    QUERY_MAX,
    TERMS_MAX,
    SearchQuerySyntaxError,
    parse_search_query,
)


def word(*terms: str, open_end: bool = False, fields: tuple[SearchField, ...] = ANY_FIELD) -> TextTerm:
    return TextTerm(Phrase(terms, open_end), fields)


A, B, C = word("a"), word("b"), word("c")


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("a", A),
        ("a b", AllOf((A, B))),
        ("a OR b c", AnyOf((A, AllOf((B, C))))),
        ("(a OR b) c", AllOf((AnyOf((A, B)), C))),
        ("-a", NoneOf(A)),
        ("NOT a b", AllOf((NoneOf(A), B))),
        ("NOT (a OR b)", NoneOf(AnyOf((A, B)))),
        ("a or b", AllOf((A, word("or"), B))),
        ('"a phrase"', word("a", "phrase")),
        ('"a phr"*', word("a", "phr", open_end=True)),
        ("pre*", word("pre", open_end=True)),
        ("FROM:alice@example.com", word("alice", "example", "com", fields=(SearchField.FROM,))),
        ('subject:"big news"', word("big", "news", fields=(SearchField.SUBJECT,))),
        ("filename:a.pdf", word("a", "pdf", fields=(SearchField.FILENAME,))),
        ("e-mail", word("e", "mail")),
        ("http://x.test", word("http", "x", "test")),
        ("\u4eac", word("\u4eac", open_end=True)),
        ("is:unread", FlagTerm(SEEN, present=False)),
        ("has:attachment", AttachmentTerm()),
        ("in:INBOX", NameTerm(NameKind.MAILBOX, "INBOX")),
        ('in:"A b/C"', NameTerm(NameKind.MAILBOX, "A b/C")),
        ("after:2026-01-31", DayTerm(date(2026, 1, 31), None)),
        ("before:2026-01-31", DayTerm(None, date(2026, 1, 31))),
        ("on:2026-01-31", DayTerm(date(2026, 1, 31), date(2026, 2, 1))),
        ("newer:2w", AgeTerm(timedelta(days=14), newer=True)),
        ("older:9999h", AgeTerm(timedelta(hours=9999), newer=False)),
        ("larger:5M", SizeTerm(5 * 1024 * 1024, larger=True)),
        ("smaller:10", SizeTerm(10, larger=False)),
    ],
)
def test_queries_are_parsed(text: str, query: SearchQuery) -> None:
    assert parse_search_query(text) == query


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("", 0),
        ("   ", 0),
        ("a OR", 4),
        ("OR a", 0),
        ("(a", 0),
        ("a)", 1),
        ("()", 1),
        ('a "b', 2),
        ("a from:", 2),
        ("a !!", 2),
        ("is:green", 0),
        ("has:hope", 0),
        ("x on:yesterday", 2),
        ("on:2026-02-30", 0),
        ("on:9999-12-31", 0),
        ("newer:0d", 0),
        ("larger:big", 0),
        ('in:""', 0),
        ("NOT", 3),
        ("x" * (QUERY_MAX + 1), QUERY_MAX),
        ("a " * (TERMS_MAX + 1), 2 * TERMS_MAX),
        ("(" * (DEPTH_MAX + 1) + "a" + ")" * (DEPTH_MAX + 1), DEPTH_MAX + 1),
    ],
)
def test_errors_name_their_place(text: str, position: int) -> None:
    with pytest.raises(SearchQuerySyntaxError) as caught:
        parse_search_query(text)
    assert caught.value.position == position
    assert caught.value.reason


def test_limits_are_reached() -> None:
    parse_search_query("x" * QUERY_MAX)
    parse_search_query("a " * TERMS_MAX)
    parse_search_query("(" * DEPTH_MAX + "a" + ")" * DEPTH_MAX)


def test_terms_that_are_ruled_out_are_not_shown() -> None:
    query = parse_search_query("a -b (c OR is:read)")
    assert text_terms(query) == [A, C]
    assert text_terms(query, wanted=False) == [A, B, C]


def test_work_is_bounded() -> None:
    started = time.process_time()
    for text in ("-" * 500, "(" * 500, '"' * 499, "a:" * 250, "NOT " * 125, "* " * 250, "OR" * 250):
        try:
            parse_search_query(text)
        except SearchQuerySyntaxError:
            continue
    assert time.process_time() - started < 1
