"""Messages as multi-line responses (RFC 1939 §3, §7)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.protocol.mime.headers import header_end
from server.protocol.pop3 import message
from server.protocol.pop3.message import DotStuffer, pieces, top_pieces

MAIL = st.lists(st.sampled_from([b"\r\n", b"\n", b"\r", b".", b"..", b"\0", b"a", b"text ", b"\xff"]), max_size=40).map(
    b"".join
)


def response(parts: Iterable[bytes]) -> bytes:
    stuffer = DotStuffer()
    return b"".join([stuffer.stuff(part) for part in parts]) + stuffer.end()


def cut(octets: bytes, sizes: list[int]) -> Iterator[bytes]:
    start = 0
    for size in sizes:
        yield octets[start : start + size]
        start += size
    yield octets[start:]


def received(stuffed: bytes) -> bytes:
    """What a client of RFC 1939 §3 makes of a response: lines end in CRLF and nothing else."""
    lines = stuffed.split(b"\r\n")
    assert lines[-2:] == [b".", b""]
    assert b"." not in lines[:-2]
    return b"".join(line.removeprefix(b".") + b"\r\n" for line in lines[:-2])


@given(st.lists(st.sampled_from([b"", b".", b"..", b".a", b"a.", b"a", b"\xff."]), max_size=20), st.data())
def test_mail_of_crlf_lines_arrives_as_it_is(lines: list[bytes], data: st.DataObject) -> None:
    octets = b"".join(line + b"\r\n" for line in lines)
    sizes = data.draw(st.lists(st.integers(0, 9), max_size=9))
    assert received(response(cut(octets, sizes))) == octets


@given(MAIL, st.lists(st.integers(0, 9), max_size=9))
def test_however_it_is_cut_the_response_is_the_same(octets: bytes, sizes: list[int]) -> None:
    octets = octets.replace(b"\0", b"")
    assert response(cut(octets, sizes)) == response([octets])


@given(MAIL, st.lists(st.integers(0, 9), max_size=9))
def test_no_client_sees_the_end_before_the_end(octets: bytes, sizes: list[int]) -> None:
    """Lines may end in CRLF, LF or CR for it, and NULs may be dropped."""
    stuffed = response(cut(octets, sizes))
    for text in (stuffed, stuffed.replace(b"\0", b"")):
        for ends in (rb"\r\n", rb"\r?\n", rb"\r\n|\r|\n", rb"\r|\n"):
            lines = re.split(ends, text)
            dots = [place for place, line in enumerate(lines) if line == b"."]
            assert len(dots) == 1
            assert not b"".join(lines[dots[0] + 1 :])


@given(MAIL)
def test_nothing_but_dots_and_the_last_line_end_is_added(octets: bytes) -> None:
    stuffed = response([octets])
    assert stuffed.endswith(b".\r\n")
    assert stuffed.removesuffix(b".\r\n").removesuffix(b"\r\n").replace(b".", b"") in (
        octets.replace(b".", b""),
        octets.removesuffix(b"\r\n").replace(b".", b""),
    )


def test_an_empty_message_is_an_empty_response() -> None:
    assert response(pieces(b"")) == b".\r\n"


@pytest.mark.parametrize(
    ("octets", "lines", "expected"),
    [
        (b"a: b\r\n\r\n1\r\n2\r\n3\r\n", 0, b"a: b\r\n\r\n"),
        (b"a: b\r\n\r\n1\r\n2\r\n3\r\n", 2, b"a: b\r\n\r\n1\r\n2\r\n"),
        (b"a: b\r\n\r\n1\r\n2\r\n3\r\n", 4, b"a: b\r\n\r\n1\r\n2\r\n3\r\n"),
        (b"a: b\r\n\r\n1\r\n2", 2, b"a: b\r\n\r\n1\r\n2"),
        (b"a: b\r\n", 5, b"a: b\r\n"),
        (b"a: b\n\n1\n2\n", 1, b"a: b\n\n1\n"),
        (b"\r\n1\r\n", 0, b"\r\n"),
        (b"", 3, b""),
    ],
)
def test_top(octets: bytes, lines: int, expected: bytes) -> None:
    """RFC 1939 §7 TOP."""
    assert b"".join(top_pieces(octets, header_end(octets), lines)) == expected


@given(st.lists(st.sampled_from([b"", b"x", b"yy"]), max_size=30), st.integers(0, 40), st.integers(1, 9))
def test_top_counts_lines_across_pieces(lines: list[bytes], count: int, size: int) -> None:
    head, body = b"a: b\r\n\r\n", [line + b"\r\n" for line in lines]
    octets = head + b"".join(body)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(message, "PIECE_OCTETS", size)
        assert b"".join(top_pieces(octets, len(head), count)) == head + b"".join(body[:count])
