"""The octets between 354 and the final dot (RFC 5321 §4.1.1.4, §4.5.2), in chunks of any size.

- Only CRLF "." CRLF ends; a line's leading dot is removed once; nothing else is changed unless `normalise` is set.
- Bare CR, bare LF and NUL are flagged, never interpreted; the message is read to its end (RFC 5321 §2.3.8).
- After the first fault no octet comes out any more: what a peer sends then costs no memory.
- Work is linear in the input and done on whole chunks; at most four octets wait between two of them.
"""

from __future__ import annotations

import re
from enum import StrEnum
from io import IncrementalNewlineDecoder

from server.protocol.smtp.limits import FIELD_MAX, FIELDS_MAX, HEAD_MAX, TEXT_LINE_MAX

_END = b"\r\n.\r\n"
_NEWLINE = re.compile(rb"\r\n|\r|\n")
_FIELD_START = re.compile(rb"\r\n(?=[^ \t])")


class DataFault(StrEnum):
    """Why a message that was read to its end is not taken."""

    BARE_NEWLINE = "bare_newline"
    NUL = "nul"
    TOO_BIG = "too_big"
    LINE_TOO_LONG = "line_too_long"
    HEAD_TOO_BIG = "head_too_big"


class DataReader:
    """Turns DATA's chunks into the message's octets.

    Attributes:
        done: Whether the final dot was seen; `rest` then holds what followed it.
        fault: The first fault found, or None.
        size_octets: Octets handed out so far, dots removed.
    """

    def __init__(self, *, size_max: int, normalise: bool = False) -> None:
        self.done = False
        self.rest = b""
        self.fault: DataFault | None = None
        self.size_octets = 0
        self._size_max = size_max
        self._normalise = normalise
        # The CRLF that ended the DATA line counts as the one before the first line; it is not part of the message.
        self._held = b"\r\n"
        self._virtual = 2
        self._line_octets = 0
        self._head: _HeadMeter | None = _HeadMeter()

    def feed(self, chunk: bytes) -> bytes:
        """Take the next octets from the peer and return those that belong to the message.

        The result may be empty. After `done` nothing may be fed any more.
        """
        data = self._held + chunk
        dot = data.find(b"\r\n.")
        end = data.find(_END, dot) if dot >= 0 else -1
        if end >= 0:
            body, self._held, self.rest, self.done = data[: end + 2], b"", data[end + 5 :], True
        else:
            cut = len(data) - _partial_end(data)
            body, self._held = data[:cut], data[cut:]
        if self.fault is not None or not body:
            return b""
        return self._checked(body, stuffed=dot not in (-1, end))

    def _checked(self, body: bytes, *, stuffed: bool) -> bytes:
        """Check and unstuff `body`, which never begins or ends between CR and LF."""
        if stuffed:
            # The first dot of each line that begins with one (RFC 5321 §4.5.2).
            body = body.replace(b"\r\n.", b"\r\n")
        if b"\0" in body:
            self.fault = DataFault.NUL
        elif _has_bare_newline(body):
            if self._normalise:
                body = _NEWLINE.sub(b"\r\n", body)
            else:
                self.fault = DataFault.BARE_NEWLINE
        if self.fault is None:
            self._measure(body)
        if self.fault is not None:
            return b""
        if self._virtual:
            body, self._virtual = body[self._virtual :], 0
        return body

    def _measure(self, body: bytes) -> None:
        self.size_octets += len(body) - self._virtual
        if self.size_octets > self._size_max:
            self.fault = DataFault.TOO_BIG
        elif not self._lines_fit(body):
            self.fault = DataFault.LINE_TOO_LONG
        elif self._head is not None:
            if not self._head.fits(body):
                self.fault = DataFault.HEAD_TOO_BIG
            elif self._head.complete:
                self._head = None

    def _lines_fit(self, body: bytes) -> bool:
        """Whether no line is longer than TEXT_LINE_MAX, by jumping to the last line end within reach."""
        at, size = 0, len(body)
        while self._line_octets + size - at > TEXT_LINE_MAX:
            last = body.rfind(b"\r\n", at, at + TEXT_LINE_MAX - self._line_octets)
            if last < 0:
                return False
            at, self._line_octets = last + 2, 0
        last = body.rfind(b"\r\n", at)
        self._line_octets = size - last - 2 if last >= 0 else self._line_octets + size - at
        return True


class _HeadMeter:
    """Measures the header section as it arrives: its size, its fields, the longest of them."""

    def __init__(self) -> None:
        self.complete = False
        self._octets = 0
        self._fields = 0
        self._field_octets = 0
        self._held = b""

    def fits(self, body: bytes) -> bool:
        """Whether the header section up to here is within the limits; sets `complete` at its empty line."""
        data = self._held + body
        end = data.find(b"\r\n\r\n")
        self.complete = end >= 0
        # A CRLF at the end waits: what follows it decides whether the field goes on.
        keep = 0 if self.complete else 2 if data.endswith(b"\r\n") else 0
        stop = end + 2 if self.complete else len(data) - keep
        self._held = data[stop:] if keep else b""
        self._octets += stop
        if self._octets > HEAD_MAX:
            return False
        if self._octets <= FIELD_MAX and self.complete and data.count(b"\r\n", 0, stop) <= FIELDS_MAX:
            return True
        at = 0
        for match in _FIELD_START.finditer(data, 0, stop if not self.complete else end + 1):
            if self._field_octets + match.start() - at > FIELD_MAX:
                return False
            at, self._field_octets = match.start(), 0
            self._fields += 1
            if self._fields > FIELDS_MAX:
                return False
        self._field_octets += stop - at
        return self._field_octets <= FIELD_MAX


def _has_bare_newline(body: bytes) -> bool:
    """Whether a CR or LF stands without the other; the standard library's newline census is the fastest linear way."""
    census = IncrementalNewlineDecoder(None, translate=False)
    census.decode(body.decode("latin-1"), final=True)
    return census.newlines not in (None, "\r\n")


def _partial_end(data: bytes) -> int:
    """How many octets at the end of `data` may be the beginning of the final dot."""
    for size in (4, 3, 2, 1):
        if data.endswith(_END[:size]):
            return size
    return 0
