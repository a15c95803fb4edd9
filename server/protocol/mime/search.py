"""IMAP SEARCH over one message that is not in the index, by the terms the index would hold of it.

- A key is found where its words follow one another in the text, the last of them perhaps as the beginning of a word;
  in scripts without spaces any piece is found. Case, accents, encoded words, transfer encodings and charsets count for
  nothing.
- A key without a letter or digit, and a key for a header field that is not indexed, is looked for as it is written.

RFC 3501 §6.4.4, RFC 9051 §6.4.4 (BCC, BODY, CC, FROM, HEADER, SUBJECT, TEXT, TO).
"""

from __future__ import annotations

import re

from server.domain.search import ANY_FIELD, Document, SearchField
from server.protocol.mime.document import HEADER_FIELDS, body_text, header_text, make_document
from server.protocol.mime.structure import Structure
from server.protocol.mime.terms import make_phrase

_FOLD_CHARACTERS = 128 * 1024
"""Characters that are split into words at a time: a word costs fifty octets beside its own."""
_SPACE = re.compile(r"\s")


def fold(text: str) -> str:
    """The form in which texts are compared as they are written: case-folded, runs of white space one space."""
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
        self._made: Document | None = None
        self._body: str | None = None

    def header_contains(self, name: bytes, needle: str) -> bool:
        """Whether a field of that lower-case name contains the needle; an empty needle asks whether it exists."""
        fields = self._structure.fields
        field, phrase = HEADER_FIELDS.get(name), make_phrase(needle, open_end=True)
        if field is not None and phrase.terms:
            return self._document.has(phrase, (field,))
        if not needle:
            return fields.count(name) > 0
        return fold(needle) in fold(header_text(fields, (name,)))

    def body_contains(self, needle: str) -> bool:
        """Whether the body text contains the needle: all text parts, and headers of encapsulated messages."""
        phrase = make_phrase(needle, open_end=True)
        return self._document.has(phrase, (SearchField.BODY,)) if phrase.terms else self._body_has(needle)

    def text_contains(self, needle: str) -> bool:
        """Whether the header, as far as it is searched, the names of attachments or the body contain the needle."""
        phrase = make_phrase(needle, open_end=True)
        if phrase.terms:
            return self._document.has(phrase, ANY_FIELD)
        fields = self._structure.fields
        return fold(needle) in fold(header_text(fields, dict.fromkeys(fields.names))) or self._body_has(needle)

    @property
    def _document(self) -> Document:
        if self._made is None:
            self._made = make_document(self._octets, self._structure)
        return self._made

    def _body_has(self, needle: str) -> bool:
        if self._body is None:
            self._body = fold(body_text(self._octets, self._structure))
        return fold(needle) in self._body
