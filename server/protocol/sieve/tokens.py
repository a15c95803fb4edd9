"""The lexical grammar (RFC 5228 §8.1): octets of a script to tokens.

- Linear in the script; line ends may be CRLF or LF and are CRLF inside strings.
- Identifiers and tags come in lower case: Sieve does not tell cases apart (RFC 5228 §2.1).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from server.protocol.sieve.errors import SieveSyntaxError
from server.protocol.sieve.limits import NUMBER_MAX, SCRIPT_OCTETS_MAX


class TokenKind(StrEnum):
    NAME = "name"
    TAG = "tag"
    NUMBER = "number"
    STRING = "string"
    MARK = "mark"
    END = "end"


@dataclass(frozen=True, slots=True)
class Token:
    """One token; `text` is a name or tag in lower case, a string's value, or a mark; `number` a number's value."""

    kind: TokenKind
    text: str
    line: int
    number: int = 0


_TOKEN = re.compile(
    r"(?P<space>[ \t\r\n]++)|(?P<hash>\#[^\n]*+)|(?P<comment>/\*)"
    r"|(?P<multi>[tT][eE][xX][tT]:[ \t]*+(?:\#[^\n]*+)?\r?\n)"
    r"|(?P<number>[0-9]++[KMGkmg]?)(?![A-Za-z0-9_])|(?P<tag>:[A-Za-z_][A-Za-z0-9_]*+)|(?P<name>[A-Za-z_][A-Za-z0-9_]*+)"
    r'|"(?P<quoted>(?:[^"\\]++|\\.)*+)"|(?P<mark>[;,(){}\[\]])',
    re.DOTALL,
)
_MULTI_END = re.compile(r"^\.\r?(?:\n|\Z)", re.MULTILINE)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_LINE_END = re.compile(r"\r?\n")
_QUANTIFIER = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def tokens(script: bytes) -> Iterator[Token]:
    """Yield the tokens of a script, an END last.

    Raises:
        SieveSyntaxError: Too long, not UTF-8, a NUL, or octets that are no token.
    """
    text = _decoded(script)
    at = 0
    line = 1
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise SieveSyntaxError(_complaint(text, at), line)
        kind = match.lastgroup or ""
        end = match.end()
        if kind == "comment":
            end = text.find("*/", end) + 2
            if end < 2:
                raise SieveSyntaxError("the comment has no end", line)
        elif kind == "multi":
            value, end = _multi_line(text, end, line)
            yield Token(TokenKind.STRING, value, line)
        elif kind not in ("space", "hash"):
            yield _token(kind, match[kind], line)
        line += text.count("\n", at, end)
        at = end
    yield Token(TokenKind.END, "", line)


def _decoded(script: bytes) -> str:
    if len(script) > SCRIPT_OCTETS_MAX:
        raise SieveSyntaxError(f"the script is larger than {SCRIPT_OCTETS_MAX} octets")
    try:
        text = script.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SieveSyntaxError("not UTF-8", script.count(b"\n", 0, error.start) + 1) from error
    if "\0" in text:
        raise SieveSyntaxError("a NUL octet", text.count("\n", 0, text.index("\0")) + 1)
    return text.removeprefix("\ufeff")


def _token(kind: str, text: str, line: int) -> Token:
    if kind == "number":
        factor = _QUANTIFIER.get(text[-1].lower(), 1)
        digits = text if factor == 1 else text[:-1]
        value = int(digits) * factor if len(digits) <= 19 else NUMBER_MAX + 1
        if value > NUMBER_MAX:
            raise SieveSyntaxError("the number is too large", line)
        return Token(TokenKind.NUMBER, text, line, value)
    if kind == "quoted":
        if "\\" in text:
            text = _ESCAPE.sub(r"\1", text)
        return Token(TokenKind.STRING, _LINE_END.sub("\r\n", text) if "\n" in text else text, line)
    if kind == "tag":
        return Token(TokenKind.TAG, text[1:].lower(), line)
    if kind == "name":
        return Token(TokenKind.NAME, text.lower(), line)
    return Token(TokenKind.MARK, text, line)


def _multi_line(text: str, start: int, line: int) -> tuple[str, int]:
    """The value of a multi-line string that begins at `start`, dots unstuffed, and the offset after it."""
    match = _MULTI_END.search(text, start)
    if match is None:
        raise SieveSyntaxError("the text: string has no line with a single dot at its end", line)
    lines = _LINE_END.split(text[start : match.start()])
    value = "\r\n".join(one[1:] if one.startswith(".") else one for one in lines)
    return value, match.end()


def _complaint(text: str, at: int) -> str:
    found = text[at]
    if found == '"':
        return "the string has no closing quote"
    return f"unexpected character {found!r}" if found.isprintable() else "unexpected control character"
