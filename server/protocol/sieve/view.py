"""The message as a script sees it: fields, addresses, body text, size; each made when first asked for.

- Fields we wrote before the message come first and can't be edited; `editheader` changes a copy, never the octets.
- Decoding follows protocol.mime: it never fails and is bounded.

RFC 5228 §2.4.2.2, §5; RFC 5173; RFC 5293.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from server.protocol.mime.addresses import Mailbox, parse_mailboxes
from server.protocol.mime.encoded_words import decode_text, encode_words
from server.protocol.mime.headers import Field, header_end, split_header
from server.protocol.mime.structure import Part, Structure, parse_structure
from server.protocol.mime.text import decode_part, strip_html
from server.protocol.sieve.errors import SieveRuntimeError
from server.protocol.sieve.limits import BODY_OCTETS_MAX, FIELDS_ADDED_MAX

ADDRESSES_MAX = 1_000
_LINE = 76
_TEXT_WORK = 4
_HTML_WORK = 20
_FIELD_WORK = 20
_PART_WORK = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Octets:
    """A message: what we wrote before it, and its own octets."""

    prefix: bytes
    octets: bytes


class MessageView:
    """One message in one run.

    Args:
        spend: Pays for what is decoded.
    """

    def __init__(self, message: Octets, spend: Callable[[int], None]) -> None:
        self._message = message
        self._spend = spend
        self._trace = list(split_header(message.prefix)) if message.prefix else []
        self._fields = list(split_header(message.octets))
        self._by_name: dict[bytes, list[bytes]] | None = None
        self._texts: dict[bytes, list[str]] = {}
        self._header: bytes | None = None
        self._structure: Structure | None = None
        self._edited = False
        self._added = 0

    @property
    def size_octets(self) -> int:
        return len(self._message.octets)

    @property
    def own_fields(self) -> Sequence[Field]:
        """Fields of the message itself, edited ones among them."""
        self._spend(_FIELD_WORK * len(self._fields))
        return self._fields

    def raw(self, name: str) -> list[bytes]:
        """Raw values of all fields of that name, any case, in order."""
        if self._by_name is None:
            self._spend(_FIELD_WORK * len(self._fields))
            self._by_name = {}
            for field in (*self._trace, *self._fields):
                self._by_name.setdefault(field.name, []).append(field.value)
        return self._by_name.get(name.lower().encode(), [])

    def values(self, name: str) -> list[str]:
        """Decoded values without white space at their ends."""
        key = name.lower().encode()
        found = self._texts.get(key)
        if found is None:
            raw = self.raw(name)
            self._spend(_TEXT_WORK * sum(map(len, raw)))
            found = self._texts[key] = [decode_text(value).strip() for value in raw]
        return found

    def addresses(self, name: str, *, place: int | None = None) -> list[Mailbox]:
        """Addresses of all fields of that name, or of the one at `place`, an index into `raw`."""
        raw = self.raw(name)
        if place is not None:
            raw = [raw[place]]
        self._spend(4 * _TEXT_WORK * sum(map(len, raw)))
        found: list[Mailbox] = []
        for value in raw:
            found += parse_mailboxes(value, at_most=ADDRESSES_MAX - len(found))
        return found

    def raw_body(self) -> str:
        """The body undecoded (RFC 5173 §5.1)."""
        start = header_end(self._message.octets)
        body = self._message.octets[start : start + BODY_OCTETS_MAX]
        self._spend(len(body))
        return body.decode("utf-8", "replace")

    def content(self, types: Sequence[str]) -> list[str]:
        """Decoded bodies of parts whose media type is wanted; an empty type means all (RFC 5173 §5.2)."""
        found: list[str] = []
        left = BODY_OCTETS_MAX
        for part in self._parts():
            if left <= 0:
                break
            if not any(_is_type(part, wanted) for wanted in types):
                continue
            if part.is_multipart:
                # Only prologue and epilogue count, which are nobody's text (RFC 5173 §5.2).
                found.append("")
            elif part.is_message:
                inner = part.children[0]
                header = self._message.octets[inner.header_start : min(inner.body_start, inner.header_start + left)]
                found.append(header.decode("utf-8", "replace"))
                left -= len(header)
            else:
                found.append(self._text(part, left))
                left -= part.size_octets
        return found

    def texts(self) -> list[str]:
        """The readable text of the message (RFC 5173 §5.3): every text part, HTML without its markup."""
        found: list[str] = []
        left = BODY_OCTETS_MAX
        for part in self._parts():
            if part.kind != b"text" or left <= 0:
                continue
            text = self._text(part, left)
            left -= part.size_octets
            if part.subtype == b"html":
                self._spend(_HTML_WORK * len(text))
                text = strip_html(text)
            found.append(text)
        return found

    def _text(self, part: Part, at_most: int) -> str:
        self._spend(_TEXT_WORK * min(part.size_octets, at_most))
        return decode_part(self._message.octets, part, at_most=at_most)

    def _parts(self) -> list[Part]:
        if self._structure is None:
            self._spend(len(self._message.octets) // 4)
            self._structure = parse_structure(self._message.octets)
        parts = list(self._structure.walk())
        self._spend(_PART_WORK * len(parts))
        return parts

    # --- editing (RFC 5293)

    def add(self, name: str, value: str, *, last: bool, line: int) -> None:
        """Add a field before all of the message's own, or after them."""
        self._added += 1
        if self._added > FIELDS_ADDED_MAX:
            raise SieveRuntimeError(f"more than {FIELDS_ADDED_MAX} header fields added", line)
        raw = _field(name, value)
        place = len(self._fields) if last else 0
        self._fields.insert(place, Field(name.lower().encode(), raw.partition(b":")[2].removesuffix(b"\r\n"), raw))
        self._changed(name)

    def delete(self, name: str, fields: Sequence[Field]) -> None:
        """Take out fields of one name, by identity."""
        self._spend(_FIELD_WORK * len(self._fields))
        doomed = {id(field) for field in fields}
        self._fields = [field for field in self._fields if id(field) not in doomed]
        self._changed(name)

    def _changed(self, name: str) -> None:
        self._edited = True
        self._by_name = self._header = None
        self._texts.pop(name.lower().encode(), None)

    def header(self) -> bytes | None:
        """The header section with its empty line as edited, or None when nothing was."""
        if not self._edited:
            return None
        if self._header is not None:
            return self._header
        self._spend(sum(len(field.raw) for field in self._fields))
        lines = (field.raw if field.raw.endswith(b"\r\n") else field.raw[:-1] + b"\r\n" for field in self._fields)
        self._header = b"".join(lines) + b"\r\n"
        return self._header


def _is_type(part: Part, wanted: str) -> bool:
    kind, slash, subtype = wanted.strip().lower().partition("/")
    if not slash:
        return not kind or kind.encode() == part.kind
    if not kind or not subtype or "/" in subtype:
        # Not a media type: matches nothing (RFC 5173 §5.2).
        return False
    return kind.encode() == part.kind and subtype.encode() == part.subtype


def _field(name: str, value: str) -> bytes:
    """A whole field, folded; what is not ASCII as encoded words (RFC 2047)."""
    head = name.encode("ascii") + b":"
    words = [word.encode("ascii") for word in value.split()] if value.isascii() else encode_words(value)
    lines, current = [], head
    for word in words:
        if len(current) + 1 + len(word) > _LINE and current != head:
            lines.append(current)
            current = b""
        current += b" " + word
    return b"\r\n".join([*lines, current]) + b"\r\n"
