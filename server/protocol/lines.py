"""Octets of a connection cut into lines and counted pieces, for protocols of CRLF lines.

- Sans-io: `receive` takes octets, the `next_*` functions give what is complete, None means more is needed.
- A line over its limit ends in `LineTooLong`, not in memory. Work is linear in the octets received.
- A line that ended in a bare LF is told apart, never taken for a good one: a peer that forwards somebody else's text
  may be made to send one.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Line:
    """A line without its end. `bare` = it did not end in CRLF."""

    text: bytes
    bare: bool = False


@dataclass(frozen=True, slots=True)
class LineTooLong:
    """The line passed its limit; the stream can't be followed any more."""


class LineBuffer:
    """What has come and was not taken yet."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._scanned = 0

    def __len__(self) -> int:
        return len(self._buffer)

    def receive(self, data: bytes) -> None:
        self._buffer += data

    def next_line(self, limit_octets: int) -> Line | LineTooLong | None:
        """The next line; `limit_octets` counts its text."""
        end = self._buffer.find(b"\n", self._scanned)
        if end < 0:
            self._scanned = len(self._buffer)
            return LineTooLong() if len(self._buffer) > limit_octets + 1 else None
        bare = end == 0 or self._buffer[end - 1] != 0x0D
        text = bytes(self._buffer[: end if bare else end - 1])
        if len(text) > limit_octets:
            return LineTooLong()
        self._drop(end + 1)
        return Line(text, bare)

    def next_piece(self, most_octets: int) -> bytes | None:
        """Up to `most_octets` of what has come."""
        if not self._buffer:
            return None
        piece = bytes(self._buffer[:most_octets])
        self._drop(len(piece))
        return piece

    def take_all(self) -> bytes:
        return self.next_piece(len(self._buffer)) or b""

    def _drop(self, octets: int) -> None:
        del self._buffer[:octets]
        self._scanned = 0
