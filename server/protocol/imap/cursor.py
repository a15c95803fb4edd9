"""A position in the octets of one complete command, and the grammar's terminals (RFC 9051 §9, RFC 3501 §9).

- Literals stand in the text as the client sent them, announced and followed by their octets; the fragmentizer has
  already seen that they are complete.
- Each method takes what it names or raises ImapSyntaxError; `take_if` alone may decline.
- Every pattern is linear: one character class repeated, no nesting.
"""

from __future__ import annotations

import re

ATOM = re.compile(rb'[^\x00-\x20\x7f-\xff(){%*"\\\]]+')
ASTRING = re.compile(rb'[^\x00-\x20\x7f-\xff(){%*"\\]+')
TAG = re.compile(rb'[^\x00-\x20\x7f-\xff(){%*"\\+]+')
LIST_MAILBOX = re.compile(rb'[^\x00-\x20\x7f(){"\\]+')
NUMBER = re.compile(rb"[0-9]{1,20}")
QUOTED = re.compile(rb'"([^\x00\r\n"\\]*(?:\\["\\][^\x00\r\n"\\]*)*)"')
LITERAL = re.compile(rb"\{([0-9]{1,20})\+?\}\r\n")
ESCAPED = re.compile(rb"\\(.)")
NUMBER_MAX = 2**32 - 1
NUMBER64_MAX = 2**63 - 1


class ImapSyntaxError(Exception):
    """The command is outside the grammar or over a limit; `text` may be shown to the client."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class Cursor:
    """Reads one command from left to right.

    Attributes:
        utf8: Whether the client speaks UTF-8: names are not modified UTF-7 then (RFC 6855 §3, RFC 9051 §5.1).
    """

    __slots__ = ("data", "pos", "utf8")

    def __init__(self, data: bytes, pos: int = 0, *, utf8: bool = False) -> None:
        self.data = data
        self.pos = pos
        self.utf8 = utf8

    @property
    def at_end(self) -> bool:
        return self.pos >= len(self.data)

    def peek(self) -> bytes:
        """The next octet, or nothing at the end."""
        return self.data[self.pos : self.pos + 1]

    def take_if(self, token: bytes) -> bool:
        """Step over `token` when it comes next; case counts."""
        if self.data.startswith(token, self.pos):
            self.pos += len(token)
            return True
        return False

    def expect(self, token: bytes) -> None:
        if not self.take_if(token):
            raise ImapSyntaxError(f"expected {_shown(token)}")

    def space(self) -> None:
        """SP = %x20, exactly one."""
        self.expect(b" ")

    def end(self) -> None:
        """Nothing may follow."""
        if not self.at_end:
            raise ImapSyntaxError("unexpected text after the command")

    def matched(self, pattern: re.Pattern[bytes], what: str) -> bytes:
        """Take what `pattern` matches here."""
        found = pattern.match(self.data, self.pos)
        if found is None:
            raise ImapSyntaxError(f"expected {what}")
        self.pos = found.end()
        return found.group()

    def atom(self) -> bytes:
        """atom = 1*ATOM-CHAR"""
        return self.matched(ATOM, "an atom")

    def keyword(self) -> bytes:
        """An atom in upper case, for the grammar's own words."""
        return self.atom().upper()

    def number(self) -> int:
        """number = 1*DIGIT, unsigned 32-bit (RFC 9051 §9)"""
        return self._number(NUMBER_MAX)

    def number64(self) -> int:
        """number64 = 1*DIGIT, unsigned 63-bit (RFC 9051 §9)"""
        return self._number(NUMBER64_MAX)

    def nz_number(self) -> int:
        """nz-number = digit-nz *DIGIT"""
        value = self.number()
        if value == 0:
            raise ImapSyntaxError("number must not be zero")
        return value

    def string(self) -> bytes:
        """string = quoted / literal; 8-bit octets are taken in both, their meaning is the caller's."""
        found = QUOTED.match(self.data, self.pos)
        if found is not None:
            self.pos = found.end()
            text = found.group(1)
            return ESCAPED.sub(rb"\1", text) if b"\\" in text else text
        if self.peek() == b"{":
            return self._literal()
        raise ImapSyntaxError("expected a string")

    def astring(self) -> bytes:
        """astring = 1*ASTRING-CHAR / string"""
        if self.peek() in (b'"', b"{"):
            return self.string()
        return self.matched(ASTRING, "a string")

    def nstring(self) -> bytes | None:
        """nstring = string / nil"""
        if self.peek() in (b'"', b"{"):
            return self.string()
        if self.keyword() != b"NIL":
            raise ImapSyntaxError("expected a string or NIL")
        return None

    def list_mailbox(self) -> bytes:
        """list-mailbox = 1*list-char / string; list-char adds the wildcards and "]" to ATOM-CHAR"""
        if self.peek() in (b'"', b"{"):
            return self.string()
        return self.matched(LIST_MAILBOX, "a mailbox pattern")

    def _number(self, most: int) -> int:
        value = int(self.matched(NUMBER, "a number"))
        if value > most:
            raise ImapSyntaxError("number too large")
        return value

    def _literal(self) -> bytes:
        """literal = "{" number64 ["+"] "}" CRLF *CHAR8, without NUL"""
        found = LITERAL.match(self.data, self.pos)
        if found is None:
            raise ImapSyntaxError("malformed literal")
        end = found.end() + int(found.group(1))
        if end > len(self.data):
            raise ImapSyntaxError("literal is cut short")
        octets = self.data[found.end() : end]
        if b"\x00" in octets:
            raise ImapSyntaxError("NUL in a literal")
        self.pos = end
        return octets


def _shown(token: bytes) -> str:
    return "a space" if token == b" " else f'"{token.decode("ascii")}"'
