"""Replies of a remote server, from octets to values (RFC 5321 §4.2, RFC 3463).

- A line ends in CRLF; a lone LF is forgiven, nothing depends on where a remote ends its lines.
- Line length, lines of one reply and octets that wait are bounded: a remote that never ends its reply is cut.
- Text is kept as it came, but for controls and octets that are not UTF-8, which show as `?` and U+FFFD.
"""

from __future__ import annotations

import re

from server.domain.reply import Reply

REPLY_LINE_MAX = 4096
"""Octets of one line with its end; RFC 5321 §4.5.3.1.5 asks for 512, long explanations are common."""

REPLY_LINES_MAX = 100
"""Lines of one reply."""

BUFFERED_MAX = 64 * 1024
"""Octets that may wait unread: as many as pipelined replies of one transaction need, and no flood."""

_LINE = re.compile(rb"([2-5][0-9]{2})(?:([ -])(.*))?", re.DOTALL)
_ENHANCED = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})(?: |$)")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class RemoteSyntaxError(Exception):
    """The remote left the protocol; the connection can't be used any further."""


class ReplyReader:
    """Collects octets and gives out whole replies in order."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._lines: list[str] = []
        self._code = 0
        self._enhanced = ""

    def feed(self, data: bytes) -> None:
        """Take octets as they arrive.

        Raises:
            RemoteSyntaxError: More than `BUFFERED_MAX` octets wait.
        """
        self._buffer += data
        if len(self._buffer) > BUFFERED_MAX:
            raise RemoteSyntaxError("the remote sends more than was asked for")

    @property
    def pending(self) -> bool:
        """Whether octets wait that belong to no reply given out."""
        return bool(self._buffer) or bool(self._lines)

    def next_reply(self) -> Reply | None:
        """The next whole reply; None = more octets are needed.

        Raises:
            RemoteSyntaxError: No reply line, or a limit was passed.
        """
        while True:
            end = self._buffer.find(b"\n", 0, REPLY_LINE_MAX)
            if end < 0:
                if len(self._buffer) >= REPLY_LINE_MAX:
                    raise RemoteSyntaxError("a reply line of the remote is too long")
                return None
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            if self._take(line.removesuffix(b"\r")):
                found = Reply(code=self._code, enhanced=self._enhanced, lines=tuple(self._lines))
                self._lines, self._code, self._enhanced = [], 0, ""
                return found

    def _take(self, line: bytes) -> bool:
        """Add a line to the reply; True when it was its last. Reply-line, RFC 5321 §4.2."""
        match = _LINE.fullmatch(line)
        if match is None:
            raise RemoteSyntaxError("the remote sent a line that is no reply")
        code = int(match.group(1))
        if self._lines and code != self._code:
            raise RemoteSyntaxError("the remote changed its code within one reply")
        if len(self._lines) >= REPLY_LINES_MAX:
            raise RemoteSyntaxError("a reply of the remote has too many lines")
        text = _CONTROLS.sub("?", (match.group(3) or b"").decode("utf-8", "replace"))
        self._code = code
        enhanced = _ENHANCED.match(text)
        if enhanced is not None and int(enhanced.group(1)) == code // 100:
            self._enhanced = self._enhanced or enhanced.group(0).rstrip(" ")
            if self._enhanced == enhanced.group(0).rstrip(" "):
                text = text[enhanced.end() :]
        self._lines.append(text)
        return match.group(2) != b"-"
