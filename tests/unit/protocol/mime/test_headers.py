"""Header splitting (RFC 5322 §2.1, §2.2, §4.5; limits of reliability.md §8)."""

from __future__ import annotations

import email
from email.policy import compat32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.protocol.mime.headers import (
    FIELD_MAX,
    FIELDS_MAX,
    HEAD_MAX,
    HeaderLimit,
    header_end,
    split_header,
    unfold,
)


@pytest.mark.parametrize(
    ("octets", "end"),
    [
        (b"", 0),
        (b"A: b", 4),
        (b"A: b\r\n", 6),
        (b"A: b\r\n\r\nbody", 8),
        (b"A: b\n\nbody", 6),
        (b"A: b\n\r\nbody", 7),
        (b"A: b\r\n\nbody", 7),
        (b"\r\nbody", 2),
        (b"\nbody", 1),
        (b"A: b\n\nx\r\n\r\ny", 6),
        (b"A: b\r\n\r\nx\n\ny", 8),
        (b"A: b\rB: c\r\n\r\n", 13),
    ],
)
def test_header_ends_after_its_first_empty_line(octets: bytes, end: int) -> None:
    assert header_end(octets) == end


def test_fields_keep_order_name_value_and_raw_octets() -> None:
    fields = split_header(b"Subject: one\r\n two\r\nX-A:b\r\nSUBJECT : three\r\n\r\nbody: no")
    assert [(f.name, f.value, f.raw) for f in fields] == [
        (b"subject", b" one\r\n two", b"Subject: one\r\n two\r\n"),
        (b"x-a", b"b", b"X-A:b\r\n"),
        (b"subject", b" three", b"SUBJECT : three\r\n"),
    ]
    assert fields.count(b"subject") == 2
    assert fields.first(b"subject") == b" one\r\n two"
    assert fields.every(b"subject") == [b" one\r\n two", b" three"]
    assert fields.first(b"to") is None
    assert fields.every(b"to") == []
    assert fields.size_octets == len(b"Subject: one\r\n two\r\nX-A:b\r\nSUBJECT : three\r\n\r\n")


def test_space_before_the_colon_belongs_to_no_name() -> None:
    """RFC 5322 §4.5: `From :` is a From field, so it is counted as one."""
    assert split_header(b"From: a@b\r\nFrom \t: c@d\r\n\r\n").count(b"from") == 2


def test_a_first_line_that_begins_with_space_is_counted_by_its_name() -> None:
    assert split_header(b" From: a@b\r\nFrom: c@d\r\n\r\n").count(b"from") == 2


def test_a_line_without_colon_is_a_field_without_a_name() -> None:
    fields = split_header(b"A: 1\r\njunk\r\nB: 2\r\n\r\n")
    assert fields.names == [b"a", b"", b"b"]
    assert fields.exceeded is None


def test_unfold_takes_out_line_ends_only() -> None:
    assert unfold(b" a\r\n\tb\n c ") == b"a\tb c"


@pytest.mark.parametrize(("count", "exceeded"), [(-1, None), (0, None), (1, HeaderLimit.FIELDS)])
@pytest.mark.parametrize("empty_line", [b"\r\n", b""])
def test_field_count_limit(count: int, exceeded: HeaderLimit | None, empty_line: bytes) -> None:
    fields = split_header(b"A: b\r\n" * (FIELDS_MAX + count) + empty_line)
    assert fields.exceeded == exceeded
    assert len(fields) == min(FIELDS_MAX, FIELDS_MAX + count)


@pytest.mark.parametrize(("excess", "exceeded"), [(-1, None), (0, None), (1, HeaderLimit.FIELD)])
def test_field_size_limit(excess: int, exceeded: HeaderLimit | None) -> None:
    fields = split_header(b"A: " + b"x" * (FIELD_MAX - 4 + excess) + b"\r\nB: c\r\n\r\n")
    assert fields.exceeded == exceeded
    assert len(fields.first(b"a") or b"") <= FIELD_MAX
    assert fields.first(b"b") == b" c"


@pytest.mark.parametrize(("excess", "exceeded"), [(-1, None), (0, None), (1, HeaderLimit.HEAD)])
def test_head_size_limit(excess: int, exceeded: HeaderLimit | None) -> None:
    line = b"A: " + b"x" * 1019 + b"\r\n"
    head = line * (HEAD_MAX // len(line) - 1)
    head += b"A: " + b"x" * (HEAD_MAX - len(head) - 7 + excess) + b"\r\n\r\n"
    fields = split_header(head + b"body")
    assert fields.size_octets == HEAD_MAX + excess
    assert fields.exceeded == exceeded


def test_a_megabyte_of_body_without_crlf_is_not_searched_for_the_header_end() -> None:
    """The end is found near the front whatever the body holds."""
    assert header_end(b"A: b\n\n" + b"x\n" * HEAD_MAX) == 6


@given(st.binary(max_size=400))
def test_any_octets_split_without_error_and_without_loss(octets: bytes) -> None:
    fields = split_header(octets)
    head = octets[: fields.size_octets]
    joined = b"".join(field.raw for field in fields)
    assert head.rstrip(b"\r\n") == joined.rstrip(b"\r\n")


@given(
    st.lists(
        st.tuples(
            st.from_regex(rb"[A-Za-z][A-Za-z0-9-]{0,20}", fullmatch=True),
            st.from_regex(rb"[!-~]{1,20}([ ][!-~]{1,20}){0,3}(\r\n [!-~]{1,20}){0,3}", fullmatch=True),
        ),
        min_size=1,
        max_size=10,
    )
)
def test_well_formed_fields_are_what_the_standard_library_sees(pairs: list[tuple[bytes, bytes]]) -> None:
    octets = b"".join(name + b": " + value + b"\r\n" for name, value in pairs) + b"\r\nbody\r\n"
    reference = email.message_from_bytes(octets, policy=compat32)
    ours = [(f.name.decode(), f.value.decode().lstrip(" ")) for f in split_header(octets)]
    assert ours == [(name.lower(), value) for name, value in reference.raw_items()]
