"""New messages from values: API sends, DSNs, automatic replies.

- What is written reparses to the input's intent; what cannot is refused with `InvalidInput` and its pointer.
- Output is 7-bit (but for UTF-8 addresses), in CRLF lines of at most 998 octets, 78 where words allow it.
- Deterministic: the same draft gives the same octets; boundaries come from the content and occur nowhere in it.
- Bcc is never written: blind recipients exist in the envelope alone.

RFC 5322, RFC 2045, RFC 2046 §5.1, RFC 2183, RFC 2387.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from server.domain.errors import InvalidInput
from server.protocol.mime.dates import format_date
from server.protocol.mime.folding import (
    NamedAddress,
    check_text,
    write_addresses,
    write_message_ids,
    write_parameterised,
    write_text,
)
from server.protocol.mime.transfer import encode_base64, encode_quoted_printable

FILENAME_MAX = 255
"""Characters of a file name (api.md, POST /send)."""
HEADERS_MAX = 100
"""Extra header fields of one draft."""

_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}")
_HEADER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,75}")
_CONTENT_ID = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,255}@[A-Za-z0-9.-]{1,255}")
_LINE_END = re.compile(r"\r\n|\r|\n")
_OWN = frozenset(
    "from sender reply-to to cc bcc subject date message-id mime-version received return-path delivered-to "
    "authentication-results dkim-signature domainkey-signature".split()
)
_OWN_PREFIXES = ("content-", "resent-", "arc-", "x-spam-")
_IDENTIFIERS = frozenset(("in-reply-to", "references"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A file of a draft; with a `content_id` (no brackets) it is part of the HTML, shown inline."""

    filename: str
    content_type: str
    data: bytes
    content_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What a message shall say.

    Attributes:
        author: The one From address; `sender` only where it differs (RFC 5322 §3.6.2).
        text, html: Bodies; line ends of any kind; one of them at least unless there are attachments.
        headers: Further fields in order; In-Reply-To and References may be given here or below, not both.
        in_reply_to, references: Identifiers with their brackets.
        message_id: With its brackets, new for each message.
        date: Aware.
    """

    author: NamedAddress
    date: datetime
    message_id: str
    to: Sequence[NamedAddress] = ()
    cc: Sequence[NamedAddress] = ()
    reply_to: Sequence[NamedAddress] = ()
    sender: NamedAddress | None = None
    subject: str = ""
    text: str | None = None
    html: str | None = None
    attachments: Sequence[Attachment] = ()
    headers: Sequence[tuple[str, str]] = ()
    in_reply_to: Sequence[str] = ()
    references: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Entity:
    """A MIME entity: its Content-* fields, each ending in CRLF, and its body as transferred."""

    fields: bytes
    body: bytes


def compose(draft: Draft) -> bytes:
    """Write a whole message.

    Raises:
        InvalidInput: `pointer` names the field of the draft (`/subject`, `/to/0/name`, `/headers/X-A`...).
    """
    return write_header(draft) + _content(draft)


def write_header(draft: Draft) -> bytes:
    """Write the header fields of a draft but for Content-*; without the empty line.

    Raises:
        InvalidInput: As `compose`.
    """
    lines = [b"Date: " + format_date(draft.date) + b"\r\n", write_addresses(b"From", [draft.author], "/from")]
    if draft.sender is not None:
        lines.append(write_addresses(b"Sender", [draft.sender], "/sender"))
    for name, addresses in ((b"Reply-To", draft.reply_to), (b"To", draft.to), (b"Cc", draft.cc)):
        if addresses:
            lines.append(write_addresses(name, addresses, "/" + name.decode().lower().replace("-", "_")))
    lines.append(write_text(b"Subject", draft.subject, "/subject"))
    lines.append(write_message_ids(b"Message-ID", [draft.message_id], "/message_id"))
    if draft.in_reply_to:
        lines.append(write_message_ids(b"In-Reply-To", draft.in_reply_to, "/in_reply_to"))
    if draft.references:
        lines.append(write_message_ids(b"References", draft.references, "/references"))
    lines += _extra_headers(draft)
    lines.append(b"MIME-Version: 1.0\r\n")
    return b"".join(lines)


def text_entity(subtype: bytes, text: str, pointer: str) -> Entity:
    """Make a text entity in UTF-8: 7bit where lines allow it, else quoted-printable or base64, whichever is shorter.

    Raises:
        InvalidInput: NUL or lone surrogates.
    """
    normal = _LINE_END.sub("\r\n", text)
    if normal and not normal.endswith("\r\n"):
        normal += "\r\n"
    try:
        octets = normal.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidInput("not valid Unicode text", pointer=pointer) from None
    if "\x00" in normal:
        raise InvalidInput("NUL is not allowed", pointer=pointer)
    lines = octets.split(b"\r\n")
    if octets.isascii() and all(len(line) <= 78 for line in lines):
        return _leaf(b"text/" + subtype, b"us-ascii", b"7bit", octets)
    quoted = encode_quoted_printable(octets)
    if len(quoted) * 3 <= len(octets) * 4 + 200:
        return _leaf(b"text/" + subtype, b"utf-8", b"quoted-printable", quoted)
    return _leaf(b"text/" + subtype, b"utf-8", b"base64", encode_base64(octets))


def multipart(subtype: bytes, entities: Sequence[Entity], *, parameters: bytes = b"") -> Entity:
    """Join entities; `parameters` follow the boundary, each beginning with `;` (RFC 2046 §5.1)."""
    boundary = _boundary(entities)
    parts = [b"--" + boundary + b"\r\n" + part.fields + b"\r\n" + part.body + b"\r\n" for part in entities]
    fields = b"Content-Type: multipart/" + subtype + b';\r\n boundary="' + boundary + b'"' + parameters + b"\r\n"
    return Entity(fields, b"".join(parts) + b"--" + boundary + b"--\r\n")


def _content(draft: Draft) -> bytes:
    bodies = []
    if draft.text is not None:
        bodies.append(text_entity(b"plain", draft.text, "/text"))
    files = [_file(attachment, f"/attachments/{index}") for index, attachment in enumerate(draft.attachments)]
    inline = [bool(attachment.content_id and draft.html) for attachment in draft.attachments]
    related = [file for file, shown in zip(files, inline, strict=True) if shown]
    if draft.html is not None:
        entity = text_entity(b"html", draft.html, "/html")
        bodies.append(
            multipart(b"related", [entity, *related], parameters=b'; type="text/html"') if related else entity
        )
    if not bodies and not files:
        bodies.append(text_entity(b"plain", "", "/text"))
    content = [multipart(b"alternative", bodies)] if len(bodies) > 1 else bodies
    content += [file for file, shown in zip(files, inline, strict=True) if not shown]
    whole = content[0] if len(content) == 1 else multipart(b"mixed", content)
    return whole.fields + b"\r\n" + whole.body


def _file(attachment: Attachment, pointer: str) -> Entity:
    if not attachment.filename:
        raise InvalidInput("a file name is required", pointer=pointer + "/filename")
    check_text(attachment.filename, pointer + "/filename", at_most=FILENAME_MAX)
    content_type = attachment.content_type
    if _TYPE.fullmatch(content_type) is None or content_type.lower().startswith(("multipart/", "message/")):
        raise InvalidInput("not the media type of a file", pointer=pointer + "/content_type")
    disposition = b"inline" if attachment.content_id else b"attachment"
    fields = b"Content-Type: " + content_type.encode("ascii") + b"\r\nContent-Transfer-Encoding: base64\r\n"
    fields += write_parameterised(
        b"Content-Disposition", disposition, [(b"filename", attachment.filename)], pointer + "/filename"
    )
    if attachment.content_id is not None:
        if _CONTENT_ID.fullmatch(attachment.content_id) is None:
            raise InvalidInput("not a content identifier (left@right)", pointer=pointer + "/content_id")
        fields += b"Content-ID: <" + attachment.content_id.encode("ascii") + b">\r\n"
    return Entity(fields, encode_base64(attachment.data))


def _extra_headers(draft: Draft) -> list[bytes]:
    if len(draft.headers) > HEADERS_MAX:
        raise InvalidInput(f"more than {HEADERS_MAX} header fields", pointer="/headers")
    lines = []
    linked = bool(draft.in_reply_to or draft.references)
    seen: set[str] = set()
    for name, value in draft.headers:
        pointer = f"/headers/{name}" if name.isprintable() else "/headers"
        key = name.lower()
        if _HEADER_NAME.fullmatch(name) is None or key in _OWN or key.startswith(_OWN_PREFIXES):
            raise InvalidInput("this header field may not be set", pointer=pointer)
        if key in _IDENTIFIERS:
            if linked or key in seen:
                raise InvalidInput("this header field was given twice", pointer=pointer)
            seen.add(key)
            identifiers = check_text(value, pointer).split()
            if identifiers:
                lines.append(write_message_ids(name.encode("ascii"), identifiers, pointer))
        else:
            lines.append(write_text(name.encode("ascii"), value, pointer))
    return lines


def _leaf(content_type: bytes, charset: bytes, encoding: bytes, body: bytes) -> Entity:
    fields = b"Content-Type: %b; charset=%b\r\nContent-Transfer-Encoding: %b\r\n" % (content_type, charset, encoding)
    return Entity(fields, body)


def _boundary(entities: Sequence[Entity]) -> bytes:
    """A boundary that occurs in no entity: nothing can hold the digest of itself."""
    digest = hashlib.sha256()
    for entity in entities:
        digest.update(entity.fields)
        digest.update(entity.body)
    return b"=_" + digest.hexdigest()[:32].encode("ascii")
