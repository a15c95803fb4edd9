"""POP3 command lines to values (RFC 1939 §9, RFC 2449 §5, RFC 2595 §4, RFC 5034, RFC 6856).

- A line is decoded only where a grammar says so: names and passwords stay octets here.
- Commands are checked for their arguments, never for the state they are legal in: that is the session's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

LINE_MAX = 510
"""Octets of a command without its CRLF (reliability.md §8: 512); RFC 2449 §4 asks for 255."""
_NUMBER = re.compile(rb"[0-9]{1,10}")
_MECHANISM = re.compile(rb"[A-Za-z0-9_-]{1,20}")


class Pop3SyntaxError(Exception):
    """The line is no command, or its arguments are outside the grammar; the text is for the client."""


class Word(StrEnum):
    """Commands without arguments."""

    CAPA = "CAPA"
    NOOP = "NOOP"
    QUIT = "QUIT"
    RSET = "RSET"
    STAT = "STAT"
    STLS = "STLS"
    UTF8 = "UTF8"


@dataclass(frozen=True, slots=True)
class User:
    name: bytes


@dataclass(frozen=True, slots=True)
class Pass:
    """The password is all that follows one space, spaces included (RFC 1939 §7)."""

    password: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Auth:
    """`mechanism` is empty for a bare AUTH, which asks for the list; `initial` is base64, None when absent."""

    mechanism: str
    initial: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Listing:
    """LIST or UIDL of one message, or of all when `number` is None."""

    verb: Literal["LIST", "UIDL"]
    number: int | None


@dataclass(frozen=True, slots=True)
class OnMessage:
    verb: Literal["RETR", "DELE"]
    number: int


@dataclass(frozen=True, slots=True)
class Top:
    """The header and the first `lines` lines of the body."""

    number: int
    lines: int


Command = Word | User | Pass | Auth | Listing | OnMessage | Top


def parse_command(line: bytes) -> Command:
    """Parse a command line without its CRLF.

    Raises:
        Pop3SyntaxError: Anything outside the grammar.

    RFC 1939 §3: a keyword of three or four letters in any case, arguments separated by single spaces.
    """
    keyword, space, rest = line.partition(b" ")
    name = keyword.upper()
    if name == b"PASS" and space:
        return Pass(rest)
    words = rest.split(b" ") if space else []
    # Some clients end their lines in a space.
    while words and not words[-1]:
        words.pop()
    if any(not word or not word.isascii() or not word.decode("ascii").isprintable() for word in words[1:]):
        raise Pop3SyntaxError("malformed arguments")
    match name:
        case b"USER" if len(words) == 1 and words[0]:
            return User(words[0])
        case b"AUTH":
            return _auth(words)
        case b"LIST" | b"UIDL" if len(words) <= 1:
            return Listing("LIST" if name == b"LIST" else "UIDL", _number(words[0]) if words else None)
        case b"RETR" | b"DELE" if len(words) == 1:
            return OnMessage("RETR" if name == b"RETR" else "DELE", _number(words[0]))
        case b"TOP" if len(words) == 2:
            return Top(_number(words[0]), _number(words[1]))
        case b"USER" | b"PASS" | b"LIST" | b"UIDL" | b"RETR" | b"DELE" | b"TOP":
            raise Pop3SyntaxError("wrong number of arguments")
        case _:
            return _word(name, words)


def name_of(command: Command) -> str:
    """The keyword, for logs and lists."""
    match command:
        case Word():
            return command.value
        case Listing() | OnMessage():
            return command.verb
        case _:
            return type(command).__name__.upper()


def _word(name: bytes, words: list[bytes]) -> Word:
    try:
        word = Word(name.decode("ascii"))
    except ValueError:
        raise Pop3SyntaxError("unknown command") from None
    if words:
        raise Pop3SyntaxError("wrong number of arguments")
    return word


def _auth(words: list[bytes]) -> Auth:
    """`AUTH [mechanism [initial-response]]` (RFC 5034 §4)."""
    if not words:
        return Auth("")
    if len(words) > 2 or _MECHANISM.fullmatch(words[0]) is None:
        raise Pop3SyntaxError("malformed arguments")
    return Auth(words[0].decode("ascii").upper(), words[1] if len(words) == 2 else None)


def _number(word: bytes) -> int:
    if _NUMBER.fullmatch(word) is None:
        raise Pop3SyntaxError("not a number")
    return int(word)
