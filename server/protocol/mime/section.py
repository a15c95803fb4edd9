"""IMAP body sections: which octets of a message a FETCH item names.

- Works on the octets and the tree alone; a section that does not exist is None, which IMAP shows as NIL.
- Contiguous sections are slices: nothing is decoded or copied twice.

RFC 3501 §6.4.5, RFC 9051 §6.4.5.1; RFC 3516 §4 (BINARY).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from server.protocol.mime.headers import split_header
from server.protocol.mime.structure import Part
from server.protocol.mime.transfer import decode_transfer


class SectionText(StrEnum):
    """What follows the part number of a section (RFC 3501 §9 section-text)."""

    HEADER = "HEADER"
    HEADER_FIELDS = "HEADER.FIELDS"
    HEADER_FIELDS_NOT = "HEADER.FIELDS.NOT"
    TEXT = "TEXT"
    MIME = "MIME"


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A section specification.

    Attributes:
        path: Part numbers, from 1; empty for the message itself.
        text: None for the whole body (`BODY[]`, `BODY[1.2]`).
        names: Lower-case field names of HEADER.FIELDS and HEADER.FIELDS.NOT.
    """

    path: tuple[int, ...] = ()
    text: SectionText | None = None
    names: frozenset[bytes] = frozenset()


class UnknownTransferEncoding(Exception):
    """The part's transfer encoding cannot be undone: the answer is NO [UNKNOWN-CTE] (RFC 3516 §4.3)."""


def extract(octets: bytes, root: Part, section: Section) -> bytes | None:
    """The octets a section names, or None when there is no such part.

    Args:
        octets: Exactly the octets the tree was made from (for stored mail: prefix and received octets).
        root: Of the tree; `outline` suffices for a section without a path.
    """
    part = find_part(root, section.path)
    if part is None:
        return None
    if section.text is SectionText.MIME:
        return octets[part.header_start : part.body_start] if section.path else None
    if section.path and section.text is None:
        return octets[part.body_start : part.end]
    # HEADER and TEXT after a number belong to the message inside that part (RFC 3501 §6.4.5).
    message = part
    if section.path:
        if not part.is_message:
            return None
        message = part.children[0]
    if section.text is None:
        return octets[message.header_start : message.end]
    if section.text is SectionText.HEADER:
        return octets[message.header_start : message.body_start]
    if section.text is SectionText.TEXT:
        return octets[message.body_start : message.end]
    wanted = section.text is SectionText.HEADER_FIELDS
    return _chosen_fields(octets, message, section.names, wanted=wanted)


def extract_binary(octets: bytes, root: Part, path: tuple[int, ...]) -> bytes | None:
    """The decoded octets of a part (BINARY, BINARY.SIZE), or None when there is no such part.

    A multipart or message is given as it is; so is the whole message for the empty path.

    Raises:
        UnknownTransferEncoding: RFC 3516 §4.3.
    """
    part = find_part(root, path)
    if part is None:
        return None
    if not path:
        return octets[part.header_start : part.end]
    body = octets[part.body_start : part.end]
    if part.children:
        return body
    decoded = decode_transfer(body, part.encoding)
    if decoded is None:
        raise UnknownTransferEncoding(part.encoding.decode("latin-1"))
    return decoded


def partial(octets: bytes, offset: int, count: int) -> bytes:
    """The `<offset.count>` of a section; empty beyond its end (RFC 3501 §6.4.5)."""
    return octets[offset : offset + count]


def find_part(root: Part, path: tuple[int, ...]) -> Part | None:
    """The part a path of numbers names; the empty path is the message itself.

    Part 1 of a message that is no multipart is its body (RFC 3501 §6.4.5); the numbers of an encapsulated message
    count on below its message/rfc822 part.
    """
    part = root
    may_be_self = True
    for number in path:
        if part.is_message and not may_be_self:
            part = part.children[0]
            may_be_self = True
        if part.is_multipart:
            if not 1 <= number <= len(part.children):
                return None
            part = part.children[number - 1]
        elif not may_be_self or number != 1:
            return None
        may_be_self = False
    return part


def _chosen_fields(octets: bytes, message: Part, names: frozenset[bytes], *, wanted: bool) -> bytes:
    """The fields with, or without, the given names, in their order, and the empty line (RFC 3501 §6.4.5)."""
    fields = split_header(octets, message.header_start, message.end)
    chosen = [field.raw for field in fields if (field.name in names) == wanted]
    return b"".join(chosen) + b"\r\n"
