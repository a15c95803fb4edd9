"""Lines cut from octets as they come."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from server.protocol.lines import Line, LineBuffer, LineTooLong

LIMIT = 8


def lines_of(chunks: list[bytes]) -> list[Line | LineTooLong]:
    buffer, found = LineBuffer(), []
    for chunk in chunks:
        buffer.receive(chunk)
        while (line := buffer.next_line(LIMIT)) is not None:
            found.append(line)
            if isinstance(line, LineTooLong):
                return found
    return found


def test_bare_newlines_are_told_apart() -> None:
    assert lines_of([b"a\r\nb\n\n\r\r\n"]) == [Line(b"a"), Line(b"b", True), Line(b"", True), Line(b"\r")]


def test_limits_at_and_beyond() -> None:
    assert lines_of([b"x" * LIMIT + b"\r\n"]) == [Line(b"x" * LIMIT)]
    assert lines_of([b"x" * (LIMIT + 1) + b"\r\n"]) == [LineTooLong()]
    assert lines_of([b"x" * LIMIT + b"\r"]) == []
    assert lines_of([b"x" * (LIMIT + 2)]) == [LineTooLong()]


@given(st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"a", b"bcd"]), max_size=30).map(b"".join), st.data())
def test_however_octets_come_the_lines_are_the_same(octets: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(octets)), max_size=6)))
    chunks = [octets[a:b] for a, b in zip([0, *cuts], [*cuts, len(octets)], strict=True)]
    whole, split = lines_of([octets]), lines_of(chunks)
    assert split == whole


def test_pieces_and_lines_follow_each_other() -> None:
    buffer = LineBuffer()
    buffer.receive(b"NOOP {3+}\r\nx\r\n\r\nrest")
    assert buffer.next_line(80) == Line(b"NOOP {3+}")
    assert buffer.next_piece(3) == b"x\r\n"
    assert buffer.next_line(80) == Line(b"")
    assert buffer.next_line(80) is None
    assert len(buffer) == 4
    assert buffer.take_all() == b"rest"
    assert buffer.next_piece(1) is None
