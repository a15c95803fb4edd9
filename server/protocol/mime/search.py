"""IMAP SEARCH over the decoded text of one message.

- Case-insensitive by Unicode case folding; encoded words, transfer encodings and charsets are undone first.
- Bounded: at most `SEARCH_OCTETS_MAX` of body octets are decoded for one message; each part is decoded once.

RFC 3501 §6.4.4, RFC 9051 §6.4.4 (BCC, BODY, CC, FROM, HEADER, SUBJECT, TEXT, TO).
"""

from __future__ import annotations

import re

from server.protocol.mime.encoded_words import decode_text
from server.protocol.mime.headers import HeaderFields, split_header
from server.protocol.mime.structure import Part, Structure
from server.protocol.mime.text import decode_part, strip_html

SEARCH_OCTETS_MAX = 4 * 1024 * 1024
"""Octets of transferred text decoded for one message."""


_FOLD_CHARACTERS = 128 * 1024
"""Characters that are split into words at a time: a word costs fifty octets beside its own."""
_SPACE = re.compile(r"\s")


def fold(text: str) -> str:
    """The form in which needles and texts are compared: case-folded, runs of white space one space."""
    text = text.casefold()
    if len(text) <= _FOLD_CHARACTERS:
        return " ".join(text.split())
    pieces = []
    start = 0
    while start < len(text):
        space = _SPACE.search(text, start + _FOLD_CHARACTERS)
        end = space.start() if space is not None else len(text)
        pieces.append(" ".join(text[start:end].split()))
        start = end
    return " ".join(filter(None, pieces))


class MessageText:
    """The searchable texts of one message, made when first asked for.

    Args:
        octets: The octets the tree was made from.
    """

    def __init__(self, octets: bytes, structure: Structure) -> None:
        self._octets = octets
        self._structure = structure
        self._header: str | None = None
        self._body: str | None = None

    def header_contains(self, name: bytes, needle: str) -> bool:
        """Whether a field of that lower-case name contains the needle; an empty needle asks whether it exists."""
        wanted = fold(needle)
        return any(wanted in fold(decode_text(value)) for value in self._structure.fields.every(name))

    def body_contains(self, needle: str) -> bool:
        """Whether the body text contains the needle: all text parts, and headers of encapsulated messages."""
        if self._body is None:
            self._body = self._body_text()
        return fold(needle) in self._body

    def text_contains(self, needle: str) -> bool:
        """Whether the header or the body contains the needle."""
        if self._header is None:
            self._header = _header_text(self._structure.fields)
        return fold(needle) in self._header or self.body_contains(needle)

    def _body_text(self) -> str:
        left = SEARCH_OCTETS_MAX
        texts = []
        for part in self._structure.walk():
            if left <= 0:
                break
            if part.is_message:
                inner = part.children[0]
                fields = split_header(self._octets, inner.header_start, inner.end)
                left -= fields.size_octets
                texts.append(_header_text(fields))
            elif part.kind == b"text" and not part.children:
                texts.append(self._leaf_text(part, left))
                left -= part.size_octets
        return "\n".join(texts)

    def _leaf_text(self, part: Part, at_most: int) -> str:
        text = decode_part(self._octets, part, at_most=at_most)
        return fold(strip_html(text) if part.subtype == b"html" else text)


def _header_text(fields: HeaderFields) -> str:
    return "\n".join(fold(f"{field.name.decode('latin-1')}: {decode_text(field.value)}") for field in fields)
