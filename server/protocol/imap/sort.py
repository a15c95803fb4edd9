"""SORT and THREAD (RFC 5256 §3; RFC 5957 DISPLAYFROM, DISPLAYTO; RFC 5267 §3 for SORT's result options)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from server.protocol.imap.cursor import Cursor, ImapSyntaxError
from server.protocol.imap.search import ResultOptions, parse_charset, parse_keys, parse_result_options
from server.protocol.imap.search_keys import SearchKey

CRITERIA_MAX = 20


class SortKey(StrEnum):
    ARRIVAL = "ARRIVAL"
    CC = "CC"
    DATE = "DATE"
    FROM = "FROM"
    SIZE = "SIZE"
    SUBJECT = "SUBJECT"
    TO = "TO"
    DISPLAYFROM = "DISPLAYFROM"
    DISPLAYTO = "DISPLAYTO"


class ThreadAlgorithm(StrEnum):
    ORDEREDSUBJECT = "ORDEREDSUBJECT"
    REFERENCES = "REFERENCES"


@dataclass(frozen=True, slots=True)
class SortCriterion:
    key: SortKey
    reverse: bool = False


@dataclass(frozen=True, slots=True)
class Sort:
    """SORT or UID SORT; `options` is None without RETURN."""

    criteria: tuple[SortCriterion, ...]
    key: SearchKey
    options: ResultOptions | None
    uid: bool


@dataclass(frozen=True, slots=True)
class Thread:
    """THREAD or UID THREAD."""

    algorithm: ThreadAlgorithm
    key: SearchKey
    uid: bool


def parse_sort(cursor: Cursor, *, uid: bool) -> Sort:
    """sort = "SORT" [SP search-return-opts] SP "(" sort-criterion *(SP sort-criterion) ")" SP charset 1*(SP search-key)

    Raises:
        ImapSyntaxError, BadCharset: As SEARCH.
    """
    options = parse_result_options(cursor)
    cursor.space()
    cursor.expect(b"(")
    criteria: list[SortCriterion] = []
    for _ in range(CRITERIA_MAX):
        criteria.append(_criterion(cursor))
        if cursor.take_if(b")"):
            break
        cursor.space()
    else:
        raise ImapSyntaxError("too many sort criteria")
    return Sort(tuple(criteria), _program(cursor), options, uid)


def parse_thread(cursor: Cursor, *, uid: bool) -> Thread:
    """thread = "THREAD" SP thread-alg SP charset 1*(SP search-key). Raises as `parse_sort`."""
    cursor.space()
    try:
        algorithm = ThreadAlgorithm(cursor.keyword().decode("ascii"))
    except ValueError:
        raise ImapSyntaxError("unknown thread algorithm") from None
    return Thread(algorithm, _program(cursor), uid)


def _program(cursor: Cursor) -> SearchKey:
    cursor.space()
    ascii_only = parse_charset(cursor)
    cursor.space()
    return parse_keys(cursor, ascii_only=ascii_only)


def _criterion(cursor: Cursor) -> SortCriterion:
    """sort-criterion = ["REVERSE" SP] sort-key"""
    word = cursor.keyword()
    reverse = word == b"REVERSE"
    if reverse:
        cursor.space()
        word = cursor.keyword()
    try:
        return SortCriterion(SortKey(word.decode("ascii")), reverse)
    except ValueError:
        raise ImapSyntaxError("unknown sort key") from None
