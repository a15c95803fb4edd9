"""ManageSieve grammar: commands in, responses out (RFC 5804 §4).

- A command arrives as segments: a line, the literal it announced, the next line... `announced` says what follows a
  line, `parse_command` takes all segments. Malformed commands are framed like any other, so the stream stays in step.
- Strings are octets until a command says what they are; names are Unicode, scripts and responses stay octets.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

LINE_MAX = 8 * 1024
"""Octets of a line without its CRLF: a few quoted strings of QUOTED_MAX."""
QUOTED_MAX = 1024
"""Octets of a quoted string (RFC 5804 §4)."""
LITERALS_MAX = 4
"""Literals of one command; none has more than two strings."""
NAME_MAX = 128
"""Characters of a script's name (RFC 5804 §1.6)."""
NUMBER_MAX = 2**32 - 1
PRODUCT = "MaiRust"

_ANNOUNCED = re.compile(rb"\{([0-9]{1,20})(\+?)\}\Z")
_ANNOUNCED_MAX = 24
_TOKEN = re.compile(rb'"((?:[^"\\\x00\r\n]|\\["\\])*)"|([0-9]{1,10})(?![^ ])')
_ESCAPED = re.compile(rb"\\(.)")
_NOT_IN_NAMES = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_NOT_QUOTABLE = re.compile(rb"[\x00\r\n]")


class ManageSieveSyntaxError(Exception):
    """The command is outside the grammar; the text is for the client."""


@dataclass(frozen=True, slots=True)
class Announced:
    """A literal's size. `synchronising` ones are the server's alone (RFC 5804 §4 "literal-s2c")."""

    size_octets: int
    synchronising: bool


class Verb(StrEnum):
    """Commands without arguments."""

    CAPABILITY = "CAPABILITY"
    LISTSCRIPTS = "LISTSCRIPTS"
    LOGOUT = "LOGOUT"
    STARTTLS = "STARTTLS"
    UNAUTHENTICATE = "UNAUTHENTICATE"


class ScriptVerb(StrEnum):
    """Commands on one script by its name."""

    DELETESCRIPT = "DELETESCRIPT"
    GETSCRIPT = "GETSCRIPT"
    SETACTIVE = "SETACTIVE"


@dataclass(frozen=True, slots=True)
class Authenticate:
    """`initial` is base64, None when absent."""

    mechanism: str
    initial: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class OnScript:
    """`name` may be empty for SETACTIVE, which then leaves no script active (RFC 5804 §2.8)."""

    verb: ScriptVerb
    name: str


@dataclass(frozen=True, slots=True)
class HaveSpace:
    name: str
    size_octets: int


@dataclass(frozen=True, slots=True)
class PutScript:
    name: str
    script: bytes


@dataclass(frozen=True, slots=True)
class CheckScript:
    script: bytes


@dataclass(frozen=True, slots=True)
class RenameScript:
    name: str
    to: str


@dataclass(frozen=True, slots=True)
class Noop:
    """`tag` is sent back (RFC 5804 §2.13)."""

    tag: bytes | None


Command = Verb | Authenticate | OnScript | HaveSpace | PutScript | CheckScript | RenameScript | Noop
Argument = bytes | int


def announced(line: bytes) -> Announced | None:
    """The literal that follows this line, None when the command ends with it."""
    found = _ANNOUNCED.search(line, max(0, len(line) - _ANNOUNCED_MAX))
    return None if found is None else Announced(int(found[1]), synchronising=not found[2])


def parse_command(segments: Sequence[bytes]) -> Command:
    """Parse a command.

    Args:
        segments: Lines without CRLF and literals in turns; the first and the last are lines.

    Raises:
        ManageSieveSyntaxError: Anything outside the grammar.

    RFC 5804 §4: a keyword in any case, then arguments, all separated by single spaces.
    """
    keyword, space, rest = segments[0].partition(b" ")
    name = keyword.upper().decode("ascii", "replace")
    arguments = _arguments([rest, *segments[1:]]) if space or len(segments) > 1 else []
    if name in Verb.__members__ and not arguments:
        return Verb(name)
    match name, arguments:
        case "AUTHENTICATE", [bytes(mechanism)]:
            return Authenticate(_mechanism(mechanism))
        case "AUTHENTICATE", [bytes(mechanism), bytes(initial)]:
            return Authenticate(_mechanism(mechanism), initial)
        case "HAVESPACE", [bytes(script), int(size)]:
            return HaveSpace(parse_name(script), size)
        case "PUTSCRIPT", [bytes(script), bytes(octets)]:
            return PutScript(parse_name(script), octets)
        case "CHECKSCRIPT", [bytes(octets)]:
            return CheckScript(octets)
        case "RENAMESCRIPT", [bytes(script), bytes(to)]:
            return RenameScript(parse_name(script), parse_name(to))
        case "SETACTIVE", [b""]:
            return OnScript(ScriptVerb.SETACTIVE, "")
        case "SETACTIVE" | "GETSCRIPT" | "DELETESCRIPT", [bytes(script)]:
            return OnScript(ScriptVerb(name), parse_name(script))
        case "NOOP", []:
            return Noop(None)
        case "NOOP", [bytes(tag)]:
            return Noop(tag)
        case _:
            known = name in Verb.__members__ or name in _WITH_ARGUMENTS
            raise ManageSieveSyntaxError("wrong arguments" if known else "unknown command")


_WITH_ARGUMENTS = frozenset(
    {"AUTHENTICATE", "HAVESPACE", "PUTSCRIPT", "CHECKSCRIPT", "RENAMESCRIPT", "NOOP", *ScriptVerb.__members__}
)


def parse_string(segments: Sequence[bytes]) -> bytes:
    """A client's answer to a challenge: one string. Raises ManageSieveSyntaxError."""
    match _arguments(segments):
        case [bytes(text)]:
            return text
        case _:
            raise ManageSieveSyntaxError("not one string")


def parse_name(octets: bytes) -> str:
    """A script's name: 1 to NAME_MAX characters of UTF-8 without controls (RFC 5804 §1.6)."""
    try:
        name = octets.decode("utf-8")
    except UnicodeDecodeError:
        raise ManageSieveSyntaxError("the script's name is not UTF-8") from None
    if not 0 < len(name) <= NAME_MAX or _NOT_IN_NAMES.search(name):
        raise ManageSieveSyntaxError("the script's name is empty, too long, or holds controls")
    return name


def format_string(octets: bytes) -> bytes:
    """As a quoted string where that is possible, else as a literal (RFC 5804 §4)."""
    if len(octets) > QUOTED_MAX or _NOT_QUOTABLE.search(octets):
        return b"{%d}\r\n%s" % (len(octets), octets)
    return b'"%s"' % octets.replace(b"\\", b"\\\\").replace(b'"', b'\\"')


def format_response(status: bytes, text: str = "", code: bytes = b"") -> bytes:
    """OK, NO or BYE with a response code and a text for people (RFC 5804 §1.2, §1.3)."""
    parts = [status]
    if code:
        parts.append(b"(%s)" % code)
    if text:
        parts.append(format_string(text.encode("utf-8", "replace")))
    return b" ".join(parts) + b"\r\n"


def format_capability(name: str, value: str | None = None) -> bytes:
    """One line of the capabilities (RFC 5804 §1.7)."""
    line = format_string(name.encode("ascii"))
    return line + b"\r\n" if value is None else line + b" " + format_string(value.encode("utf-8")) + b"\r\n"


def _arguments(segments: Sequence[bytes]) -> list[Argument]:
    """All arguments; a literal stands for the announcement at the end of the line before it."""
    found: list[Argument] = []
    for place in range(0, len(segments), 2):
        line = segments[place]
        if place:
            # What follows a literal is a space and more, or the command's end.
            if line[:1] not in (b"", b" "):
                raise ManageSieveSyntaxError("malformed arguments")
            line = line[1:]
        literal = segments[place + 1] if place + 1 < len(segments) else None
        if literal is not None:
            line = _ANNOUNCED.sub(b"", line)
            if line and not line.endswith(b" "):
                raise ManageSieveSyntaxError("malformed arguments")
            line = line.removesuffix(b" ")
        found += _tokens(line)
        if literal is not None:
            found.append(literal)
    return found


def _tokens(line: bytes) -> list[Argument]:
    found: list[Argument] = []
    at = 0
    while at < len(line):
        token = _TOKEN.match(line, at)
        if token is None:
            raise ManageSieveSyntaxError("malformed arguments")
        found.append(_number(token[2]) if token[2] is not None else _unquoted(token[1]))
        at = token.end()
        if at < len(line):
            # Some clients end their lines in a space.
            if line[at : at + 1] != b" ":
                raise ManageSieveSyntaxError("malformed arguments")
            at += 1
    return found


def _unquoted(text: bytes) -> bytes:
    if len(text) > QUOTED_MAX:
        raise ManageSieveSyntaxError("quoted string is too long")
    return _ESCAPED.sub(rb"\1", text)


def _number(text: bytes) -> int:
    number = int(text)
    if number > NUMBER_MAX:
        raise ManageSieveSyntaxError("number is too large")
    return number


def _mechanism(octets: bytes) -> str:
    return octets.decode("ascii", "replace").upper()
