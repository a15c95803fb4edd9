"""First stage of the parser: finds lines and literals, knows no command (RFC 9051 §4.3, RFC 7888).

- Sans-io: `receive` takes octets, `next_event` gives what is complete, None means more is needed.
- Never more than the limits is kept: a line over its limit, or a literal that was refused, ends in an event, not in
  memory. Malformed commands are framed like any other, so the stream stays in step.
- A literal is announced before its octets are taken: the caller accepts it into the command, streams it, or refuses.
- Work is linear in the octets received.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

LINE_MAX_BEFORE_LOGIN = 8 * 1024
LINE_MAX = 64 * 1024
LITERAL_MAX_BEFORE_LOGIN = 8 * 1024
LITERAL_MAX = 100 * 1024
LITERALS_MAX = 1000 * 1024
NON_SYNC_LITERAL_MAX = 4096
"""reliability.md §8; the last is RFC 7888 §5, LITERAL-."""
CHUNK_OCTETS = 64 * 1024

_ANNOUNCED = re.compile(rb"\{([0-9]{1,20})(\+?)\}\Z")
_ANNOUNCED_MAX = 24


@dataclass(frozen=True, slots=True)
class CommandText:
    """A complete command with its literals in place, without the final CRLF."""

    text: bytes
    bare_newline: bool = False


@dataclass(frozen=True, slots=True)
class LiteralAnnounced:
    """The line ended in a literal's size. `text` is the command so far, the announcement included.

    The caller must call `accept_literal`, `stream_literal` or `refuse_literal` before the next event.
    """

    text: bytes
    size_octets: int
    synchronising: bool


@dataclass(frozen=True, slots=True)
class LiteralChunk:
    """Octets of a literal that is streamed; `last` ends it."""

    data: bytes
    last: bool


@dataclass(frozen=True, slots=True)
class LineTooLong:
    """The line passed its limit; the stream can't be followed any more. `text` is its beginning."""

    text: bytes


FragmentEvent = CommandText | LiteralAnnounced | LiteralChunk | LineTooLong


class Fragmentizer:
    """The state of one connection's input."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._scanned = 0
        self._command = bytearray()
        self._line_octets = 0
        self._literal_octets = 0
        self._announced: LiteralAnnounced | None = None
        self._pending = 0
        self._streaming = False
        self._line_max = LINE_MAX_BEFORE_LOGIN
        self._literal_max = LITERAL_MAX_BEFORE_LOGIN

    @property
    def buffered_octets(self) -> int:
        """Octets received but not yet given out."""
        return len(self._buffer)

    def take_buffered(self) -> bytes:
        """Give up what has not been looked at, for a TLS layer that begins here."""
        data = self._take(len(self._buffer))
        self._reset()
        return data

    def logged_in(self) -> None:
        """Raise the limits to those of a logged-in client."""
        self._line_max = LINE_MAX
        self._literal_max = LITERAL_MAX

    def receive(self, data: bytes) -> None:
        self._buffer += data

    def next_event(self) -> FragmentEvent | None:
        """The next event, or None until more octets come."""
        if self._streaming:
            return self._next_chunk()
        if self._pending:
            if len(self._buffer) < self._pending:
                return None
            self._command += self._take(self._pending)
            self._pending = 0
        line = self._next_line(self._line_max - self._line_octets)
        if line is None:
            return None
        if isinstance(line, LineTooLong):
            return LineTooLong(bytes(self._command[:256]) or line.text)
        return self._line(line)

    def next_line(self, limit_octets: int) -> bytes | LineTooLong | None:
        """A line outside any command, for SASL answers and DONE, without its line end."""
        line = self._next_line(limit_octets)
        return line.rstrip(b"\r\n") if isinstance(line, bytes) else line

    def accept_literal(self) -> bool:
        """Take the announced literal into the command; False when it is over a limit (then refuse it)."""
        announced = self._announced
        if announced is None:
            raise RuntimeError("no literal was announced")
        size = announced.size_octets
        if not announced.synchronising and size > NON_SYNC_LITERAL_MAX:
            return False
        if size > self._literal_max or self._literal_octets + size > LITERALS_MAX:
            return False
        self._announced = None
        self._literal_octets += size
        self._pending = size
        return True

    def stream_literal(self) -> None:
        """Give the announced literal out in chunks; the rest of the command follows as a new text."""
        if self._announced is None:
            raise RuntimeError("no literal was announced")
        self._pending = self._announced.size_octets
        self._streaming = True
        self._announced = None
        self._command.clear()

    def refuse_literal(self) -> None:
        """Forget the command; a client that waits for the continuation will not send the literal."""
        self._announced = None
        self._reset()

    def _line(self, line: bytes) -> FragmentEvent:
        bare = not line.endswith(b"\r\n")
        body = line.rstrip(b"\n") if bare else line[:-2]
        self._line_octets += len(line)
        found = None if bare else _ANNOUNCED.search(body, max(0, len(body) - _ANNOUNCED_MAX))
        if found is not None:
            self._command += line
            self._announced = LiteralAnnounced(bytes(self._command), int(found[1]), not found[2])
            return self._announced
        self._command += body
        text = bytes(self._command)
        self._reset()
        return CommandText(text, bare)

    def _next_line(self, limit_octets: int) -> bytes | LineTooLong | None:
        end = self._buffer.find(b"\n", self._scanned)
        if end >= limit_octets or (end < 0 and len(self._buffer) > limit_octets):
            return LineTooLong(bytes(self._buffer[:256]))
        if end < 0:
            self._scanned = len(self._buffer)
            return None
        return self._take(end + 1)

    def _next_chunk(self) -> LiteralChunk | None:
        if not self._buffer and self._pending:
            return None
        data = self._take(min(self._pending, len(self._buffer), CHUNK_OCTETS))
        self._pending -= len(data)
        self._streaming = self._pending > 0
        return LiteralChunk(data, last=not self._streaming)

    def _take(self, count: int) -> bytes:
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        self._scanned = 0
        return data

    def _reset(self) -> None:
        self._command.clear()
        self._line_octets = 0
        self._literal_octets = 0
