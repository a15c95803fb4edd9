"""Sequence sets, dates and flags (RFC 9051 §9)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain import flags as bits
from server.protocol.imap.cursor import Cursor, ImapSyntaxError
from server.protocol.imap.dates import format_date_time, parse_date, parse_date_time
from server.protocol.imap.flags import FLAGS_MAX, KEYWORD_OCTETS_MAX, FlagSet, format_flags, parse_flag_list
from server.protocol.imap.sequence import RANGES_MAX, format_uid_set, parse_sequence_set, runs, spans


def _whole(parse: Callable[[Cursor], object], text: bytes) -> None:
    cursor = Cursor(text)
    parse(cursor)
    cursor.end()


@pytest.mark.parametrize(
    ("text", "largest", "ranges"),
    [
        (b"1", 10, [(1, 1)]),
        (b"2:4,7", 10, [(2, 4), (7, 7)]),
        (b"4:2", 10, [(2, 4)]),
        (b"5:*", 3, [(3, 5)]),
        (b"*:5", 9, [(5, 9)]),
        (b"*", 7, [(7, 7)]),
        (b"1,2,3,5", 9, [(1, 3), (5, 5)]),
        (b"1:3,2:8", 9, [(1, 8)]),
        (b"*:*", 9, [(9, 9)]),
        (b"1:*", 0, []),
    ],
)
def test_sets(text: bytes, largest: int, ranges: list[tuple[int, int]]) -> None:
    """RFC 9051 §9 "sequence-set": 5:* holds the largest number even below 5."""
    assert parse_sequence_set(Cursor(text)).resolve(largest) == ranges


@pytest.mark.parametrize(
    "text", [b"", b"0", b"1,", b",1", b"1::2", b"1:2:3", b"4294967296", b"a", b"1:", b"*1", b"99999999999"]
)
def test_malformed_sets_are_refused(text: bytes) -> None:
    with pytest.raises(ImapSyntaxError):
        _whole(parse_sequence_set, text)


@pytest.mark.parametrize(("count", "fits"), [(RANGES_MAX - 1, True), (RANGES_MAX, True), (RANGES_MAX + 1, False)])
def test_range_limit(count: int, fits: bool) -> None:
    """reliability.md §8: 1,000 ranges."""
    text = b",".join(b"%d" % (2 * n + 1) for n in range(count))
    if fits:
        assert len(parse_sequence_set(Cursor(text)).resolve(9999)) == count
    else:
        with pytest.raises(ImapSyntaxError):
            parse_sequence_set(Cursor(text))


@given(st.sets(st.integers(1, 60)), st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), max_size=5))
def test_spans_are_those_of_members(numbers: set[int], pairs: list[tuple[int, int]]) -> None:
    ordered = sorted(numbers)
    text = b",".join(b"%d:%d" % pair for pair in pairs) or b"1"
    ranges = parse_sequence_set(Cursor(text)).resolve(60)
    wanted = {n for first, last in ranges for n in range(first, last + 1)}
    found = [n for first, last in spans(ordered, ranges) for n in ordered[first - 1 : last]]
    assert found == [n for n in ordered if n in wanted]


@given(st.sets(st.integers(1, 200)))
def test_uid_sets_come_back(numbers: set[int]) -> None:
    ordered = sorted(numbers)
    if ordered:
        assert parse_sequence_set(Cursor(format_uid_set(ordered))).resolve(200) == runs(ordered)
    else:
        assert format_uid_set(ordered) == b""


@pytest.mark.parametrize(
    ("text", "day"),
    [(b"1-Feb-2026", date(2026, 2, 1)), (b'"01-feb-2026"', date(2026, 2, 1)), (b"31-DEC-1999", date(1999, 12, 31))],
)
def test_dates(text: bytes, day: date) -> None:
    assert parse_date(Cursor(text)) == day


@pytest.mark.parametrize("text", [b"31-Feb-2026", b"1-Foo-2026", b"1-Feb-26", b'"1-Feb-2026', b"0-Jan-2026", b""])
def test_impossible_dates_are_refused(text: bytes) -> None:
    with pytest.raises(ImapSyntaxError):
        _whole(parse_date, text)


def test_date_time_is_an_instant() -> None:
    """RFC 9051 §9 "date-time"."""
    assert parse_date_time(Cursor(b'" 1-Jan-2026 00:30:00 +0100"')) == datetime(2025, 12, 31, 23, 30, tzinfo=UTC)
    assert parse_date_time(Cursor(b'"31-Dec-2025 23:30:60 -0000"')) == datetime(2025, 12, 31, 23, 30, 59, tzinfo=UTC)


@given(st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30)))
def test_date_times_come_back(instant: datetime) -> None:
    instant = instant.replace(microsecond=0, tzinfo=UTC)
    assert parse_date_time(Cursor(format_date_time(instant))) == instant


@pytest.mark.parametrize(
    "text", [b'"1-Jan-2026 00:30:00 +0100"', b'" 1-Jan-2026 24:30:00 +0100"', b'" 1-Jan-0001 00:00:00 +2359"', b"x"]
)
def test_impossible_date_times_are_refused(text: bytes) -> None:
    with pytest.raises(ImapSyntaxError):
        parse_date_time(Cursor(text))


def test_flags_become_bits_and_keywords() -> None:
    found = parse_flag_list(Cursor(b"(\\Seen \\FLAGGED $Work NonJunk $work \\recent)"))
    assert found == FlagSet(bits.SEEN | bits.FLAGGED, ("$Work", "NonJunk"))
    assert parse_flag_list(Cursor(b"()")) == FlagSet()


@pytest.mark.parametrize(
    "text",
    [b"(\\Bogus)", b"(\\Seen", b"\\Seen)", b"(a(b)", b"(\\)", b"( )", b"(" + b"k" * (KEYWORD_OCTETS_MAX + 1) + b")"],
)
def test_malformed_flags_are_refused(text: bytes) -> None:
    with pytest.raises(ImapSyntaxError):
        parse_flag_list(Cursor(text))


def test_flag_count_is_limited() -> None:
    assert (
        len(parse_flag_list(Cursor(b"(" + b" ".join(b"k%d" % n for n in range(FLAGS_MAX)) + b")")).keywords)
        == FLAGS_MAX
    )
    with pytest.raises(ImapSyntaxError):
        parse_flag_list(Cursor(b"(" + b" ".join(b"k%d" % n for n in range(FLAGS_MAX + 1)) + b")"))


@given(
    st.integers(0, bits.ALL_FLAGS), st.lists(st.text("abc$", min_size=1, max_size=5), unique_by=str.lower, max_size=4)
)
def test_flags_come_back(value: int, keywords: list[str]) -> None:
    wire = format_flags(value, " ".join(keywords), recent=True)
    assert parse_flag_list(Cursor(wire)) == FlagSet(value, tuple(keywords))
