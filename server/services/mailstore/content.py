"""One message opened for a reader: its texts, header fields and attachments, out of the stored octets.

- Pure work on octets, for a worker thread: bounded by the limits of the MIME parser and those named here.
- Attachments are numbered by their place in the message, so a number stays right for ever: octets never change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from server.domain.errors import InvalidInput, NotFound
from server.protocol.mime.encoded_words import decode_text
from server.protocol.mime.headers import split_header
from server.protocol.mime.structure import Part, Structure, parse_structure
from server.protocol.mime.text import decode_part, readable_part, strip_html
from server.protocol.mime.transfer import decode_transfer

TEXT_OCTETS_MAX = 1024 * 1024
"""Octets of a body's transferred text that are shown."""
FIELDS_MAX = 1000
ATTACHMENTS_MAX = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderField:
    """A field as a person reads it."""

    name: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachmentInfo:
    """A part that is not the text shown.

    Attributes:
        size_octets, sha256: Of the octets without transfer encoding, as `attachment` gives them.
        inline: Whether the text refers to it (Content-Disposition inline, or a Content-ID).
    """

    index: int
    filename: str | None
    content_type: str
    content_id: str | None
    size_octets: int
    sha256: str
    inline: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A message's readable content; `truncated` when its text goes on."""

    text: str | None
    truncated: bool
    fields: tuple[HeaderField, ...]
    attachments: tuple[AttachmentInfo, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachmentOctets:
    filename: str | None
    content_type: str
    data: bytes


def open_message(octets: bytes) -> Opened:
    """Everything a reader shows of a message but its HTML."""
    structure = parse_structure(octets)
    shown = readable_part(structure)
    attachments = tuple(
        _info(octets, index, part)
        for index, part in enumerate(_attachments(structure, shown))
        if index < ATTACHMENTS_MAX
    )
    return Opened(
        text=None if shown is None else _text(octets, shown),
        truncated=shown is not None and shown.size_octets > TEXT_OCTETS_MAX,
        fields=tuple(header_fields(octets)),
        attachments=attachments,
    )


def header_fields(octets: bytes) -> list[HeaderField]:
    """The message's own fields in order, decoded, the first FIELDS_MAX."""
    return [
        HeaderField(name=_field_name(field.raw), value=decode_text(field.value))
        for field in islice(split_header(octets), FIELDS_MAX)
    ]


def open_attachment(octets: bytes, index: int) -> AttachmentOctets:
    """The decoded octets of one attachment.

    Raises:
        NotFound: The message has no attachment of that number.
        InvalidInput: Its transfer encoding is not known.
    """
    structure = parse_structure(octets)
    for place, part in enumerate(_attachments(structure, readable_part(structure))):
        if place == index:
            data = _decoded(octets, part)
            if data is None:
                raise InvalidInput("the attachment's transfer encoding is not known")
            return AttachmentOctets(filename=part.filename, content_type=_content_type(part), data=data)
    raise NotFound("no such attachment")


def _attachments(structure: Structure, shown: Part | None) -> Iterator[Part]:
    """Every leaf but the text shown and other forms of it; a message inside is one attachment."""
    pending = [(structure.root, False)]
    while pending:
        part, is_other_form = pending.pop()
        if part.is_multipart:
            # Other forms of the text that is shown are no attachments; pictures that only they refer to are.
            is_other_form |= part.subtype == b"alternative" and shown is not None and _holds(part, shown)
            pending.extend((child, is_other_form) for child in reversed(part.children))
        elif part is not shown and (part.depth > 0 or part.kind != b"text"):
            disposition = part.disposition
            if not is_other_form or part.kind != b"text" or (disposition and disposition.value == b"attachment"):
                yield part


def _holds(container: Part, wanted: Part) -> bool:
    return container.body_start <= wanted.header_start and wanted.end <= container.end


def _text(octets: bytes, part: Part) -> str:
    text = decode_part(octets, part, at_most=TEXT_OCTETS_MAX)
    return strip_html(text) if part.subtype == b"html" else text


def _info(octets: bytes, index: int, part: Part) -> AttachmentInfo:
    data = _decoded(octets, part) or b""
    disposition = part.disposition
    content_id = part.content.get(b"content-id")
    is_inline = disposition is not None and disposition.value == b"inline"
    return AttachmentInfo(
        index=index,
        filename=part.filename,
        content_type=_content_type(part),
        content_id=None if content_id is None else decode_text(content_id).strip("<> ")[:998],
        size_octets=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        inline=is_inline or (disposition is None and content_id is not None),
    )


def _decoded(octets: bytes, part: Part) -> bytes | None:
    body = octets[part.body_start : part.end]
    return body if part.is_message else decode_transfer(body, part.encoding)


def _field_name(raw: bytes) -> str:
    """The name as it is written."""
    return raw.partition(b":")[0].decode("ascii", "replace").strip()


def _content_type(part: Part) -> str:
    return f"{part.kind.decode('ascii', 'replace')}/{part.subtype.decode('ascii', 'replace')}"
