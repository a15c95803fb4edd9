"""Strings of a script: encoded characters, and variables put in when it runs.

- A string without a reference stays a plain `str`: most scripts pay nothing for variables.
- What only looks like a reference stays as it is written (RFC 5229 §3, RFC 5228 §2.4.2.4).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from server.protocol.sieve.errors import SieveSyntaxError
from server.protocol.sieve.limits import NAME_MAX

_ENCODED = re.compile(
    rb"\$\{(?:(?P<hex>[hH][eE][xX]):(?P<octets>[ \t\r\n]*+[0-9A-Fa-f]{1,2}(?:[ \t\r\n]++[0-9A-Fa-f]{1,2})*+[ \t\r\n]*+)"
    rb"|[uU][nN][iI][cC][oO][dD][eE]:(?P<points>[ \t\r\n]*+[0-9A-Fa-f]++(?:[ \t\r\n]++[0-9A-Fa-f]++)*+[ \t\r\n]*+))\}"
)
_REFERENCE = re.compile(r"\$\{((?:[A-Za-z_][A-Za-z0-9_]*+\.)*+)([A-Za-z_][A-Za-z0-9_]*+|[0-9]{1,9})\}")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*+")


@dataclass(frozen=True, slots=True)
class Reference:
    """A variable: a lower-case name, `global.` before it when it is of that namespace; or a match number."""

    name: str
    number: int | None = None


@dataclass(frozen=True, slots=True)
class Template:
    """A string with references in it."""

    parts: tuple[str | Reference, ...]


Text = str | Template


def decode_characters(value: str, line: int) -> str:
    """Put in the characters of `${hex:...}` and `${unicode:...}` (RFC 5228 §2.4.2.4)."""
    if "${" not in value:
        return value

    def decoded(match: re.Match[bytes]) -> bytes:
        if match["hex"]:
            return bytes(int(digits, 16) for digits in match["octets"].split())
        return b"".join(_character(digits, line) for digits in match["points"].split())

    return _ENCODED.sub(decoded, value.encode("utf-8")).decode("utf-8", "replace")


def _character(digits: bytes, line: int) -> bytes:
    number = int(digits, 16) if len(digits.lstrip(b"0")) <= 6 else 0x110000
    if number > 0x10FFFF or 0xD800 <= number <= 0xDFFF:
        raise SieveSyntaxError(f"${{unicode:{digits[:12].decode()}}} is no character", line)
    return chr(number).encode("utf-8")


def compile_text(value: str, line: int, *, namespaces: frozenset[str]) -> Text:
    """Find the variables of a string (RFC 5229 §3).

    Args:
        namespaces: Those the script may name, such as `global`.

    Raises:
        SieveSyntaxError: A namespace that is not there, or a name that is too long.
    """
    if "${" not in value:
        return value
    parts: list[str | Reference] = []
    end = 0
    for match in _REFERENCE.finditer(value):
        parts += [value[end : match.start()], _reference(match[1], match[2], line, namespaces)]
        end = match.end()
    if not parts:
        return value
    parts.append(value[end:])
    return Template(tuple(part for part in parts if part != ""))


def _reference(namespace: str, name: str, line: int, namespaces: frozenset[str]) -> Reference:
    if name.isdigit():
        if namespace:
            raise SieveSyntaxError("a match variable has no namespace", line)
        return Reference("", int(name))
    if namespace and namespace[:-1].lower() not in namespaces:
        raise SieveSyntaxError(f"the namespace {namespace[:-1][:40]} is not known", line)
    return Reference(variable_name(namespace + name, line, namespaces))


def variable_name(name: str, line: int, namespaces: frozenset[str]) -> str:
    """A variable's name for `set`, `global` and the flag commands, in lower case.

    Raises:
        SieveSyntaxError: Not an identifier, too long, or of an unknown namespace.
    """
    namespace, dot, last = name.rpartition(".")
    if (dot and namespace.lower() not in namespaces) or not _IDENTIFIER.fullmatch(last) or len(last) > NAME_MAX:
        raise SieveSyntaxError(f"{name[:40]!r} is no name of a variable", line)
    return name.lower()
