"""What of a message can be searched: its fields, each as a line of terms.

- One maker for the index and for messages that are scanned, so that both find the same.
- Never fails; bounded: `TEXT_MAX` characters of each field, at most `DECODED_MAX` octets decoded for the body.
- The body is all text parts, attached ones too, HTML reduced to its words, and what encapsulated messages say of
  themselves. Transfer encodings, charsets and encoded words are undone.

RFC 9051 §6.4.4, RFC 2919 (List-Id); filtering.md section 10.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from server.domain.search import Document, SearchField
from server.protocol.mime.encoded_words import decode_text
from server.protocol.mime.headers import HeaderFields, split_header
from server.protocol.mime.structure import Part, Structure
from server.protocol.mime.terms import TEXT_MAX, term_line
from server.protocol.mime.text import decode_part, strip_html

DECODED_MAX = 4 * 1024 * 1024
"""Octets of transferred text decoded for one message."""
DECODED_PART_MAX = 1024 * 1024
"""Octets of one part: style sheets and the fourfold octets of UTF-32 leave enough of them."""


HEADER_FIELDS = {
    b"subject": SearchField.SUBJECT,
    b"from": SearchField.FROM,
    b"to": SearchField.TO,
    b"cc": SearchField.CC,
    b"bcc": SearchField.BCC,
    b"list-id": SearchField.LIST,
}
"""The header fields that are search fields of their own."""
_OTHER = (b"sender", b"reply-to", b"message-id", b"comments", b"keywords", b"organization", b"x-mailer", b"user-agent")
"""Fields people wrote or may look for; the rest is the transport's."""
_INNER = (b"subject", b"from", b"to", b"cc")


def make_document(octets: bytes, structure: Structure) -> Document:
    """Make a message's terms.

    Args:
        octets: The octets the tree was made from. Cost: about 100 us for a small text mail, at most half a second.
    """
    fields = structure.fields
    values = {field: header_text(fields, (name,)) for name, field in HEADER_FIELDS.items()}
    values[SearchField.BODY] = body_text(octets, structure)
    values[SearchField.FILENAME] = _joined(_filenames(structure))
    values[SearchField.OTHER] = header_text(fields, _OTHER)
    return Document(tuple(term_line(values[field]) if values[field] else "" for field in SearchField))


def header_text(fields: HeaderFields, names: Iterable[bytes]) -> str:
    """The decoded values of the fields of these lower-case names, a line each."""
    return _joined(decode_text(value) for name in names if name in fields.names for value in fields.every(name))


def body_text(octets: bytes, structure: Structure) -> str:
    """The text of all text parts and the main fields of encapsulated messages, at most `TEXT_MAX` characters."""
    return _joined(_texts(octets, structure))


def _texts(octets: bytes, structure: Structure) -> Iterator[str]:
    left = DECODED_MAX
    for part in structure.walk():
        if left <= 0:
            return
        if part.is_message:
            inner = part.children[0]
            fields = split_header(octets, inner.header_start, inner.end)
            left -= fields.size_octets
            yield header_text(fields, _INNER)
        elif part.kind == b"text" and not part.children:
            at_most = min(left, DECODED_PART_MAX)
            left -= min(part.size_octets, at_most)
            yield _leaf_text(octets, part, at_most)


def _leaf_text(octets: bytes, part: Part, at_most: int) -> str:
    text = decode_part(octets, part, at_most=at_most)
    return strip_html(text) if part.subtype == b"html" else text


def _filenames(structure: Structure) -> Iterator[str]:
    for part in structure.walk():
        if b"content-disposition" in part.content or part.declared is not None:
            name = part.filename
            if name:
                yield name


def _joined(texts: Iterable[str]) -> str:
    """Join with line ends, no further than `TEXT_MAX` characters."""
    kept: list[str] = []
    size = 0
    for text in texts:
        kept.append(text)
        size += len(text) + 1
        if size >= TEXT_MAX:
            break
    return "\n".join(kept)[:TEXT_MAX]
