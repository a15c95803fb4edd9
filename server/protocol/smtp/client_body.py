"""Message octets as DATA carries them: CRLF lines, dots stuffed, one end (RFC 5321 §4.5.2).

- No bare CR and no bare LF ever leaves: each becomes CRLF, so nothing inside a message can look like its end (T02).
- Works in pieces of any size with the same result; memory is one piece.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

PIECE_OCTETS = 64 * 1024
"""Octets encoded and written at once (reliability.md §4.11)."""

_LINE_END = re.compile(rb"\r\n|\r|\n")


class BodyEncoder:
    """Encodes one message, piece by piece."""

    def __init__(self) -> None:
        self._line_start = True
        self._held_cr = False

    def encode(self, piece: bytes) -> bytes:
        """Encode the next octets; a CR at the very end is held back until what follows is known."""
        if self._held_cr:
            piece = b"\r" + piece
        self._held_cr = piece.endswith(b"\r")
        if self._held_cr:
            piece = piece[:-1]
        if not piece:
            return b""
        pairs = piece.count(b"\r\n")
        if piece.count(b"\n") != pairs or piece.count(b"\r") != pairs:
            piece = _LINE_END.sub(b"\r\n", piece)
        stuffed = piece.replace(b"\r\n.", b"\r\n..")
        if self._line_start and piece.startswith(b"."):
            stuffed = b"." + stuffed
        self._line_start = piece.endswith(b"\r\n")
        return stuffed

    def finish(self) -> bytes:
        """End the last line if it has no end, and the message."""
        line_start = self._line_start and not self._held_cr
        return b".\r\n" if line_start else b"\r\n.\r\n"


def encode_body(parts: Sequence[bytes]) -> Iterator[bytes]:
    """Encode a message made of parts, as octets to write one after the other, the final dot in the last of them."""
    encoder = BodyEncoder()
    waiting = b""
    for part in parts:
        for at in range(0, len(part), PIECE_OCTETS):
            if len(waiting) >= PIECE_OCTETS:
                yield waiting
                waiting = b""
            waiting += encoder.encode(part[at : at + PIECE_OCTETS])
    yield waiting + encoder.finish()
