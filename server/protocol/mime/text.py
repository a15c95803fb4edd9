"""Readable text of parts: transfer encoding and charset undone, HTML reduced to its words.

- Never fails; linear; every call bounds how many octets it decodes.
- HTML is never interpreted here: tags, comments, scripts and styles are dropped, character references resolved once.

RFC 2045 §6, RFC 2046 §4.1; RFC 3676 is left to the reader's program.
"""

from __future__ import annotations

import html
import re

from server.protocol.mime.charset import decode_charset
from server.protocol.mime.encoded_words import clean_text
from server.protocol.mime.structure import Part, Structure
from server.protocol.mime.transfer import decode_transfer

PREVIEW_CHARS = 256
"""Characters of a preview (product.md §7)."""
_PREVIEW_OCTETS = 4 * 1024
"""Octets of a plain body from which a preview is made: blank lines and encodings leave enough of them."""
_PREVIEW_HTML_OCTETS = 64 * 1024
"""Octets of an HTML body from which a preview is made: style sheets come first."""
_META_OCTETS = 1024
"""Octets of an HTML body in which a charset may be declared (the HTML standard, "prescan a byte stream")."""

_META = re.compile(rb"<meta[^>]{0,200}?charset[ \t]*=[ \t\"']*([A-Za-z0-9_:-]{1,40})", re.IGNORECASE)
_MISSPELT = {
    b"quoted_printable": b"quoted-printable",
    b"quotedprintable": b"quoted-printable",
    b"quoted printable": b"quoted-printable",
    b"base-64": b"base64",
    b"base 64": b"base64",
}
_TAG = re.compile(
    r"<!--.*?(?:-->|\Z)"
    r"|<(script|style|head|title|template)(?=[\s>/]).*?(?:</\1(?=[\s>/])[^>]*+(?:>|\Z)|\Z)"
    r"|<[a-zA-Z/!?][^>]*+(?:>|\Z)",
    re.IGNORECASE | re.DOTALL,
)


def decode_part(octets: bytes, part: Part, *, at_most: int | None = None) -> str:
    """The text of one leaf, line ends as they are.

    Args:
        octets: The message the part's offsets index.
        at_most: Octets of the transferred body that are decoded; None = all.

    Returns:
        The text; as transferred when the transfer encoding is unknown: most often it is misspelt.
    """
    end = part.end if at_most is None else min(part.end, part.body_start + at_most)
    transferred = octets[part.body_start : end]
    encoding = part.encoding
    body = decode_transfer(transferred, _MISSPELT.get(encoding, encoding))
    if body is None:
        body = transferred
    charset = part.charset
    if not charset and part.subtype == b"html" and not body.isascii():
        found = _META.search(body, 0, _META_OCTETS)
        charset = found[1].decode("ascii") if found is not None else ""
    return decode_charset(body, charset)


def strip_html(text: str) -> str:
    """Drop all markup and resolve character references; blocks are parted by a space."""
    return html.unescape(_TAG.sub(" ", text))


def readable_part(structure: Structure) -> Part | None:
    """The part a reader sees first: the first text/plain that is no attachment, else the first text/html."""
    root = structure.root
    if root.kind == b"text":
        return root
    first_html = None
    for part in structure.walk():
        if part.kind != b"text" or part.children or part.size_octets == 0:
            continue
        disposition = part.disposition
        if disposition is not None and disposition.value == b"attachment":
            continue
        if part.subtype == b"plain":
            return part
        if part.subtype == b"html" and first_html is None:
            first_html = part
    return first_html


def readable_text(octets: bytes, structure: Structure, at_most: int) -> str:
    """The text of the part a reader sees first, HTML reduced to its words, from at most that many of its octets."""
    part = readable_part(structure)
    if part is None:
        return ""
    text = decode_part(octets, part, at_most=at_most)
    return strip_html(text) if part.subtype == b"html" else text


def preview(octets: bytes, structure: Structure) -> str:
    """The first 256 characters of readable text on one line (RFC 8970 §3.1)."""
    part = readable_part(structure)
    if part is None:
        return ""
    is_html = part.subtype == b"html"
    text = decode_part(octets, part, at_most=_PREVIEW_HTML_OCTETS if is_html else _PREVIEW_OCTETS)
    if is_html:
        text = strip_html(text)
    line = " ".join(text[: 2 * PREVIEW_CHARS].split())
    if len(line) < PREVIEW_CHARS:
        line = " ".join(text.split())
    line = line[:PREVIEW_CHARS]
    return line if line.isprintable() else " ".join(clean_text(line).split())
