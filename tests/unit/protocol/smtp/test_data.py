"""The end of data and what is found on the way (RFC 5321 §4.1.1.4, §4.5.2, product.md item 2, security.md T01)."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.protocol.smtp.data import DataFault, DataReader
from server.protocol.smtp.limits import FIELD_MAX, FIELDS_MAX, HEAD_MAX, TEXT_LINE_MAX

HEAD = b"A: b\r\n\r\n"
SIZE_MAX = 10_000_000


def read(octets: bytes, *cuts: int, size_max: int = SIZE_MAX, normalise: bool = False) -> tuple[DataReader, bytes]:
    """Feed `octets` cut at the given places; what comes out, and the reader after it."""
    reader = DataReader(size_max=size_max, normalise=normalise)
    found = b""
    edges = [0, *sorted(cuts), len(octets)]
    rest = b""
    for start, stop in pairwise(edges):
        if reader.done:
            rest += octets[start:stop]
        else:
            found += reader.feed(octets[start:stop])
            rest = reader.rest
    reader.rest = rest
    return reader, found


CASES = [
    (b".\r\n", b""),
    (b"\r\n.\r\n", b"\r\n"),
    (b"a\r\n.\r\n", b"a\r\n"),
    (b"..\r\n.\r\n", b".\r\n"),
    (b".a\r\n.\r\n", b"a\r\n"),
    (b"a\r\n..b\r\n...\r\n.\r\n", b"a\r\n.b\r\n..\r\n"),
    (b"a.\r\nb .\r\n.\r\n", b"a.\r\nb .\r\n"),
    (b"\xff\x80\r\n.\r\n", b"\xff\x80\r\n"),
]


@pytest.mark.parametrize(("wire", "message"), CASES)
def test_a_message_is_unstuffed_and_ended_however_it_is_cut(wire: bytes, message: bytes) -> None:
    wire += b"NEXT\r\n"
    for first in range(len(wire) + 1):
        for second in range(first, len(wire) + 1):
            reader, found = read(wire, first, second)
            assert (reader.done, reader.fault, found, reader.rest) == (True, None, message, b"NEXT\r\n")
            assert reader.size_octets == len(message)


NO_ENDS = [
    b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\r.\r\n", b"\n.\r", b"\r\n.\0\r\n", b"\r\n\0.\r\n",
    b"\r\r\n.\rx", b"\r\n.\r\r\n", b"\n\n.\n\n",
]  # fmt: skip


@pytest.mark.parametrize("fake", NO_ENDS)
def test_only_crlf_dot_crlf_ends_and_the_fake_is_flagged(fake: bytes) -> None:
    """security.md T01: one message, read to its end, and refused."""
    wire = HEAD + b"x" + fake + b"MAIL FROM:<evil@x>\r\n.\r\nQUIT\r\n"
    for cut in range(len(wire)):
        reader, found = read(wire, cut)
        assert reader.done
        assert reader.rest == b"QUIT\r\n"
        assert reader.fault in (DataFault.BARE_NEWLINE, DataFault.NUL)
        assert b"evil" not in found


def test_normalise_turns_every_newline_into_crlf_but_does_not_end_there() -> None:
    wire = b"a\nb\rc\r\n.d\n.\ne\r\r\n.\r\n"
    for cut in range(len(wire)):
        reader, found = read(wire, cut, normalise=True)
        assert (reader.done, reader.fault) == (True, None)
        assert found == b"a\r\nb\r\nc\r\nd\r\n.\r\ne\r\n\r\n"


def test_normalise_still_refuses_nul() -> None:
    reader, _ = read(b"a\0b\r\n.\r\n", normalise=True)
    assert reader.fault is DataFault.NUL


@pytest.mark.parametrize(("extra", "fault"), [(-1, None), (0, None), (1, DataFault.TOO_BIG)])
def test_size_limit(extra: int, fault: DataFault | None) -> None:
    """RFC 1870 §5: octets of the message, stuffing dots not counted."""
    message = b"..\r\n" + b"x" * (996 + extra - 1) + b"\r\n"
    reader, _ = read(message + b".\r\n", 3, 500, size_max=1000)
    assert reader.done
    assert reader.fault is fault


@pytest.mark.parametrize(("extra", "fault"), [(-1, None), (0, None), (1, DataFault.LINE_TOO_LONG)])
@pytest.mark.parametrize("step", [1_000_000, 65_536, 65_535, 1000])
def test_line_limit(extra: int, fault: DataFault | None, step: int) -> None:
    line = b"x" * (TEXT_LINE_MAX - 2 + extra) + b"\r\n"
    for wire in (
        HEAD + line + b".\r\n",
        HEAD + b"a\r\n" + line + line + b"b\r\n.\r\n",
        HEAD + b"y" * 65000 + b"\r\n" + line + b".\r\n",
    ):
        reader, _ = read(wire, *range(step, len(wire), step))
        assert reader.done
        assert reader.fault is fault


@pytest.mark.parametrize(("extra", "fault"), [(-1, None), (0, None), (1, DataFault.HEAD_TOO_BIG)])
@pytest.mark.parametrize("step", [1_000_000, 7])
def test_field_count_limit(extra: int, fault: DataFault | None, step: int) -> None:
    wire = b"A: b\r\n" * (FIELDS_MAX + extra) + b"\r\nB: c\r\n.\r\n"
    reader, _ = read(wire, *range(step, len(wire), step))
    assert reader.fault is fault


@pytest.mark.parametrize(("extra", "fault"), [(-1, None), (0, None), (1, DataFault.HEAD_TOO_BIG)])
@pytest.mark.parametrize("step", [1_000_000, 9973])
@pytest.mark.parametrize("more", [b"", b"B: c\r\n"])
def test_field_size_limit(extra: int, fault: DataFault | None, step: int, more: bytes) -> None:
    field = b"A: " + b"x" * 50 + b"\r\n"
    while len(field) < FIELD_MAX - 1000:
        field += b" " + b"y" * 500 + b"\r\n"
    field += b" " + b"z" * (FIELD_MAX + extra - len(field) - 3) + b"\r\n"
    assert len(field) == FIELD_MAX + extra
    wire = more + field + b"B: c\r\n\r\nbody\r\n.\r\n"
    reader, _ = read(wire, *range(step, len(wire), step))
    assert reader.fault is fault


@pytest.mark.parametrize(("extra", "fault"), [(-1, None), (0, None), (1, DataFault.HEAD_TOO_BIG)])
@pytest.mark.parametrize("step", [1_000_000_0, 65_000])
def test_head_size_limit(extra: int, fault: DataFault | None, step: int) -> None:
    field = b"A: " + b"x" * 8187 + b"\r\n"
    head = field * (HEAD_MAX // len(field))
    last = HEAD_MAX + extra - len(head) - 2
    head = head[: -len(field)] + b"A: " + b"x" * (last + len(field) - 5) + b"\r\n"
    assert len(head) + 2 == HEAD_MAX + extra
    wire = head + b"\r\nbody\r\n.\r\n"
    reader, _ = read(wire, *range(step, len(wire), step))
    assert reader.fault is fault


def test_a_body_that_looks_like_fields_is_not_counted() -> None:
    reader, _ = read(b"A: b\r\n\r\n" + b"C: d\r\n" * 10_000 + b".\r\n", 100, 200)
    assert reader.fault is None


def test_a_message_without_header_section() -> None:
    reader, found = read(b"\r\n" + b"x: y\r\n" * 3000 + b".\r\n")
    assert (reader.fault, len(found)) == (None, 18_002)


def test_after_a_fault_nothing_comes_out() -> None:
    reader = DataReader(size_max=100)
    reader.feed(b"x" * 200)
    assert reader.fault is DataFault.TOO_BIG
    assert reader.feed(b"y" * 1000) == b""
    assert reader.feed(b"\r\n.\r\nrest") == b""
    assert (reader.done, reader.rest) == (True, b"rest")


def _reference(wire: bytes) -> bytes | None:
    """The message by the book, line by line; None when it doesn't end."""
    lines: list[bytes] = []
    for line in wire.split(b"\r\n")[:-1]:
        if line == b".":
            return b"".join(part + b"\r\n" for part in lines)
        lines.append(line[1:] if line.startswith(b".") else line)
    return None


@given(
    st.lists(st.sampled_from([b"\r\n", b".", b"a", b"\r\n.\r\n", b"bc", b"..", b" "]), max_size=40),
    st.lists(st.integers(0, 80), max_size=8),
)
def test_any_lines_cut_anywhere_equal_the_line_by_line_reading(parts: list[bytes], cuts: list[int]) -> None:
    wire = b"".join(parts)
    expected = _reference(wire)
    reader, found = read(wire, *(min(cut, len(wire)) for cut in cuts))
    assert reader.fault is None
    assert reader.done == (expected is not None)
    if expected is not None:
        assert found == expected
        assert wire.endswith(reader.rest)


@given(st.lists(st.sampled_from([b"\r", b"\n", b".", b"a", b"\0", b"\r\n"]), max_size=30), st.integers(0, 40))
def test_any_octets_cut_anywhere_give_what_one_chunk_gives(parts: list[bytes], cut: int) -> None:
    wire = b"".join(parts) + b"\r\n.\r\n"
    whole, _ = read(wire)
    split, _ = read(wire, min(cut, len(wire)))
    assert (whole.done, whole.rest) == (split.done, split.rest)
    assert (whole.fault is None) == (split.fault is None)
