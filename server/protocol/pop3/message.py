"""A message as a multi-line response: dot-stuffed, and TOP's beginning of it (RFC 1939 §3, §7).

- Octets go out as they are stored; only dots are added, and a CRLF where the last line lacks one.
- Stored mail may hold bare CR, bare LF and NUL. Some clients end a line at each of them or drop NULs, so a dot is
  stuffed wherever any client could see the beginning of a line: no mail can end its own response and go on as ours.
- Work is linear, in pieces: `stuff` is called with one after the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

PIECE_OCTETS = 16 * 1024
"""At worst 4 ms of work."""
END = b".\r\n"
_BEHIND_NULS = re.compile(rb"([\r\n])(\x00+\.)")
_LEADING = re.compile(rb"\x00*\.")


class DotStuffer:
    """Stuffs one message, given in pieces of any size."""

    def __init__(self) -> None:
        self._at_start = True
        self._last = b"\r\n"

    def stuff(self, piece: bytes) -> bytes:
        """The piece with its dots doubled where a line may begin."""
        if not piece:
            return b""
        leading = _LEADING.match(piece) if self._at_start else None
        self._last = (self._last + piece[-2:])[-2:]
        visible = piece.rstrip(b"\0")
        if visible:
            self._at_start = visible[-1:] in (b"\r", b"\n")
        stuffed = piece.replace(b"\n.", b"\n..").replace(b"\r.", b"\r..")
        if b"\0." in stuffed:
            stuffed = _BEHIND_NULS.sub(rb"\1.\2", stuffed)
        return b"." + stuffed if leading is not None else stuffed

    def end(self) -> bytes:
        """What ends the response."""
        return END if self._last == b"\r\n" else b"\r\n" + END


def pieces(octets: bytes) -> Iterator[bytes]:
    """A whole message in pieces."""
    view = memoryview(octets)
    for start in range(0, len(view), PIECE_OCTETS):
        yield bytes(view[start : start + PIECE_OCTETS])


def top_pieces(octets: bytes, body_start: int, lines: int) -> Iterator[bytes]:
    """The header and `lines` lines of the body in pieces, which may be empty (RFC 1939 §7 "TOP").

    Args:
        body_start: Where the body begins, behind the empty line.
    """
    yield from pieces(octets[:body_start])
    start = body_start
    while lines > 0 and start < len(octets):
        piece = octets[start : start + PIECE_OCTETS]
        count = piece.count(b"\n")
        if count >= lines:
            piece = piece[: _end_of_line(piece, lines)]
        lines -= count
        start += len(piece)
        yield piece


def _end_of_line(piece: bytes, number: int) -> int:
    """Where the line of this number ends, its LF included; the piece has that many."""
    end = 0
    for _ in range(number):
        end = piece.find(b"\n", end) + 1
    return end
