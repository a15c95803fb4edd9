"""The client's side of IMAP, as far as reading mailboxes needs it (RFC 9051, RFC 3501): octets to responses and back.

- Sans-io: `receive` takes octets, `next_response` gives what is complete, None means more is needed.
- Tolerant of what servers send: bare LF, odd spacing, unknown responses and items; strict about size. A line or a
  literal beyond its limit, or octets that are no IMAP, raise ImapSyntaxError: the connection is of no more use.
- Values are None (NIL), bytes, or lists of values; depth and count are bounded.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from server.domain.flags import ANSWERED, DELETED, DRAFT, FLAGGED, SEEN
from server.protocol.imap.cursor import ImapSyntaxError
from server.protocol.imap.utf7 import decode_utf7

LINE_MAX = 8 * 1024 * 1024
"""Octets of one line: a SEARCH of a million messages."""
TEXT_MAX = 64 * 1024
"""Octets of any other response beside its literals: reading its values stays below some ten milliseconds."""
DEPTH_MAX = 20
LITERALS_MAX = 100

Value = bytes | list["Value"] | None

_LITERAL = re.compile(rb"~?\{([0-9]{1,12})\+?\}\Z")
_ATOM = re.compile(rb'[^ ()"\[\]]*(?:\[[^\[\]]*\][^ ()"\[\]]*)*')
"""A bracket that nothing closes ends at the next one, so that many of them cost one pass over the line."""
_QUOTED = re.compile(rb'"((?:[^"\\]|\\.)*+)"', re.DOTALL)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_SAFE = re.compile(rb"[\x20-\x7e]{0,1000}")
_FLAGS: Mapping[bytes, int] = {
    b"\\SEEN": SEEN,
    b"\\ANSWERED": ANSWERED,
    b"\\FLAGGED": FLAGGED,
    b"\\DELETED": DELETED,
    b"\\DRAFT": DRAFT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One response.

    Attributes:
        tag: The command's for a completion, `*` or `+`.
        kind: OK, NO, BAD, BYE, PREAUTH, FETCH, LIST...: upper case.
        number: What stands before the kind: EXISTS, FETCH.
        values: What follows; empty for the five conditions.
        code: The words of a condition's response code, the first in upper case.
        text: The words of a condition.
    """

    tag: bytes
    kind: bytes
    number: int | None = None
    values: tuple[Value, ...] = ()
    code: tuple[bytes, ...] = ()
    text: str = ""


class ResponseReader:
    """Finds responses in octets.

    Args:
        literal_max: Octets of all literals of one response.
    """

    def __init__(self, *, literal_max: int) -> None:
        self._literal_max = literal_max
        self._data = bytearray()
        self._scanned = 0
        self._parts: list[bytes] = []
        self._wanted = -1
        self._literals = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing was received beyond the last response."""
        return not self._data and not self._parts

    def receive(self, data: bytes) -> None:
        self._data += data

    def next_response(self) -> Response | None:
        """The next whole response, None when octets are missing. Raises ImapSyntaxError."""
        while True:
            if self._wanted >= 0:
                if len(self._data) < self._wanted:
                    return None
                self._parts.append(bytes(self._data[: self._wanted]))
                del self._data[: self._wanted]
                self._wanted, self._scanned = -1, 0
            end = self._data.find(b"\n", self._scanned)
            if end < 0:
                self._scanned = len(self._data)
                if self._scanned > LINE_MAX:
                    raise ImapSyntaxError("the server's line is too long")
                return None
            line = bytes(self._data[:end]).removesuffix(b"\r")
            del self._data[: end + 1]
            self._scanned = 0
            found = _LITERAL.search(line[-20:])
            self._parts.append(line[: len(line) - len(found[0])] if found else line)
            if found is None:
                parts, self._parts, self._literals = self._parts, [], 0
                if parts != [b""]:
                    return _response(parts)
                continue
            self._wanted = int(found[1])
            self._literals += self._wanted
            if self._literals > self._literal_max or len(self._parts) > 2 * LITERALS_MAX:
                raise ImapSyntaxError("the server sends more than is taken")


class _Values:
    """Reads values off a response's parts: text, literal, text, literal..., text."""

    def __init__(self, parts: Sequence[bytes], at: int) -> None:
        self._parts = parts
        self._part = 0
        self._at = at
        if sum(map(len, parts[::2])) > TEXT_MAX:
            raise ImapSyntaxError("the server's response is too long")

    def read_all(self) -> tuple[Value, ...]:
        root: list[Value] = []
        open_lists = [root]
        while True:
            text = self._parts[self._part]
            if self._at >= len(text):
                if self._part + 1 >= len(self._parts):
                    break
                open_lists[-1].append(self._parts[self._part + 1])
                self._part, self._at = self._part + 2, 0
                continue
            char = text[self._at : self._at + 1]
            if char == b" ":
                self._at += 1
            elif char == b"(":
                if len(open_lists) > DEPTH_MAX:
                    raise ImapSyntaxError("the server's response is nested too deep")
                inner: list[Value] = []
                open_lists[-1].append(inner)
                open_lists.append(inner)
                self._at += 1
            elif char == b")":
                if len(open_lists) > 1:
                    open_lists.pop()
                self._at += 1
            elif char == b'"':
                open_lists[-1].append(self._quoted(text))
            else:
                open_lists[-1].append(self._atom(text))
        return tuple(root)

    def _quoted(self, text: bytes) -> bytes:
        found = _QUOTED.match(text, self._at)
        if found is None:
            raise ImapSyntaxError("a string of the server's has no end")
        self._at = found.end()
        return _ESCAPED.sub(rb"\1", found[1])

    def _atom(self, text: bytes) -> bytes | None:
        found = _ATOM.match(text, self._at)
        atom = found[0] if found else b""
        if not atom:
            # A lone bracket: taken as it is, so that the rest of the line stays readable.
            atom = text[self._at : self._at + 1]
        self._at += len(atom)
        return None if atom.upper() == b"NIL" else atom


_CONDITIONS = frozenset({b"OK", b"NO", b"BAD", b"BYE", b"PREAUTH"})


def _response(parts: Sequence[bytes]) -> Response:
    line = parts[0]
    tag, _, rest = line.partition(b" ")
    if tag == b"+" or line == b"+":
        return Response(tag=b"+", kind=b"+", text=rest.decode("utf-8", "replace"))
    word, _, after = rest.partition(b" ")
    number = None
    if word.isdigit() and len(word) < 12:
        number = int(word)
        word, _, after = after.partition(b" ")
    kind = word.upper()
    if kind in _CONDITIONS and number is None:
        return _condition(tag, kind, after)
    if tag != b"*":
        raise ImapSyntaxError("the server's response can't be read")
    if kind == b"SEARCH" and len(parts) == 1:
        return Response(tag=tag, kind=kind, values=tuple(after.split()))
    return Response(tag=tag, kind=kind, number=number, values=_Values(parts, len(line) - len(after)).read_all())


def _condition(tag: bytes, kind: bytes, rest: bytes) -> Response:
    code: tuple[bytes, ...] = ()
    if rest.startswith(b"["):
        inside, bracket, text = rest[1:].partition(b"]")
        if bracket:
            words = inside.split()
            code = (words[0].upper(), *words[1:]) if words else ()
            rest = text.lstrip()
    return Response(tag=tag, kind=kind, code=code, text=rest[:500].decode("utf-8", "replace"))


def items_of(values: Value) -> dict[bytes, Value]:
    """The items of a FETCH response's list by upper-case name; `BODY[]` keeps its brackets."""
    if not isinstance(values, list):
        return {}
    found: dict[bytes, Value] = {}
    for place in range(0, len(values) - 1, 2):
        name = values[place]
        if isinstance(name, bytes):
            found[name.upper()] = values[place + 1]
    return found


def flags_of(value: Value) -> tuple[int, tuple[str, ...]]:
    """System flags as bits, and keywords, of a FLAGS item."""
    bits, words = 0, []
    for word in value if isinstance(value, list) else ():
        if not isinstance(word, bytes):
            continue
        if word.startswith(b"\\"):
            bits |= _FLAGS.get(word.upper(), 0)
        else:
            words.append(word.decode("utf-8", "replace"))
    return bits, tuple(dict.fromkeys(words))


def number_of(value: Value) -> int:
    """A number, 0 for what is none."""
    return int(value) if isinstance(value, bytes) and value.isdigit() and len(value) < 12 else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A mailbox as LIST shows it; `raw` is its name on the wire, `attributes` are in lower case."""

    raw: bytes
    delimiter: str
    attributes: frozenset[str]

    @property
    def levels(self) -> tuple[str, ...]:
        """Its name by levels; a `/` that is no delimiter there becomes `_`."""
        try:
            name = decode_utf7(self.raw)
        except ImapSyntaxError:
            name = self.raw.decode("utf-8", "replace")
        parts = name.split(self.delimiter) if self.delimiter else [name]
        return tuple(part.replace("/", "_") for part in parts if part)


def folder_of(values: Sequence[Value]) -> Folder | None:
    """A LIST response's mailbox; None when it can't be read."""
    if len(values) < 3 or not isinstance(values[0], list) or not isinstance(values[2], bytes):
        return None
    attributes = frozenset(word.decode("ascii", "replace").lower() for word in values[0] if isinstance(word, bytes))
    delimiter = values[1].decode("ascii", "replace") if isinstance(values[1], bytes) else ""
    return Folder(raw=values[2], delimiter=delimiter, attributes=attributes)


def foreign_prefixes(values: Sequence[Value]) -> tuple[bytes, ...]:
    """The prefixes of other users' and shared mailboxes in a NAMESPACE response (RFC 2342); empty ones left out."""
    entries = [entry for namespace in values[1:3] if isinstance(namespace, list) for entry in namespace]
    prefixes = [entry[0] for entry in entries if isinstance(entry, list) and entry]
    return tuple(prefix for prefix in prefixes if isinstance(prefix, bytes) and prefix)


def format_quoted(value: bytes) -> bytes | None:
    """A quoted string, None when only a literal can carry the value."""
    if _SAFE.fullmatch(value) is None:
        return None
    return b'"' + value.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def plain_response(login: str, password: str) -> bytes:
    """The answer to AUTHENTICATE PLAIN (RFC 4616)."""
    return base64.b64encode(b"\0" + login.encode() + b"\0" + password.encode())


def format_uids(uids: Sequence[int]) -> bytes:
    """Ascending UIDs as a set with ranges."""
    ranges: list[list[int]] = []
    for uid in uids:
        if ranges and uid == ranges[-1][1] + 1:
            ranges[-1][1] = uid
        else:
            ranges.append([uid, uid])
    return b",".join(b"%d" % first if first == last else b"%d:%d" % (first, last) for first, last in ranges)
