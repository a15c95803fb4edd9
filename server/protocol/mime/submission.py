"""What a submitted message needs before it is stored, and who its author is.

- Octets change only where a rule demands it; a message that needs nothing is returned as the same object.
- Fields are taken out of the message's own header alone, over its whole length, whatever the header limits are.
- The author of a message is decided here once, on octets, for sender rights and for DMARC alike.

RFC 6409 §8 (Date, Message-ID), RFC 5322 §3.6.2, §3.6.3 (From, Bcc), RFC 2045 §6 and RFC 5322 §2.1.1 (long lines).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from server.protocol.mime.addresses import Mailbox, mailboxes, parse_address_list
from server.protocol.mime.headers import HeaderFields, header_end, split_header
from server.protocol.mime.structure import Part, parse_structure
from server.protocol.mime.transfer import IDENTITY, encode_quoted_printable

LINE_MAX = 998
"""Octets of a line without its CRLF (RFC 5321 §4.5.3.1.6)."""

_BLIND = re.compile(rb"^(?:Resent-)?Bcc[ \t]*+:[^\n]*+(?:\n[ \t][^\n]*+)*+(?:\n|\Z)", re.IGNORECASE | re.MULTILINE)
_ENCODING = re.compile(
    rb"^Content-Transfer-Encoding[ \t]*+:[^\n]*+(?:\n[ \t][^\n]*+)*+(?:\n|\Z)", re.IGNORECASE | re.MULTILINE
)
_SEALED = frozenset((b"signed", b"encrypted"))


class AuthorProblem(StrEnum):
    """Why a message has no single, certain author."""

    MISSING = "missing"
    REPEATED = "repeated"
    SEVERAL = "several"
    GROUP = "group"
    UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True, kw_only=True)
class Author:
    """What the From fields say.

    Attributes:
        field_count: From fields, `From :` among them.
        mailboxes: All mailboxes of all From fields, members of groups included.
        problem: None when there is one field with one plain mailbox, the form all programs read alike.
    """

    field_count: int
    mailboxes: tuple[Mailbox, ...]
    problem: AuthorProblem | None


def analyse_author(fields: HeaderFields) -> Author:
    """Find the author of a message (RFC 5322 §3.6.2; RFC 7489 §6.6.1 wants one domain).

    SEVERAL mailboxes and a GROUP are legal mail; MISSING and REPEATED are not; UNCLEAR is an address that two
    programs may read differently (comments inside, routes, encoded words, control octets, left-over text).
    """
    values = fields.every(b"from")
    entries = [entry for value in values for entry in parse_address_list(value)]
    found = tuple(mailboxes(entries))
    problem = None
    if not values:
        problem = AuthorProblem.MISSING
    elif len(values) > 1:
        problem = AuthorProblem.REPEATED
    elif not found or any(entry.odd for entry in entries):
        problem = AuthorProblem.UNCLEAR
    elif any(entry.group_starts for entry in entries):
        problem = AuthorProblem.GROUP
    elif len(found) > 1:
        problem = AuthorProblem.SEVERAL
    return Author(field_count=len(values), mailboxes=found, problem=problem)


def complete_submission(octets: bytes, *, date: bytes | None, message_id: bytes | None) -> bytes:
    """Make a submitted message complete: Date and Message-ID if missing, no Bcc, no line over 998 octets in text.

    Args:
        octets: The message in CRLF lines.
        date: For a missing Date field, as `dates.format_date` writes it; None leaves it missing.
        message_id: For a missing Message-ID, with its brackets; None leaves it missing.

    Returns:
        New octets, or `octets` itself when nothing had to change. Cost: about 15 us for a small text mail, then one
        look at every 998 octets. Long lines outside text parts, and in signed or encrypted ones, stay as they are.
    """
    if has_long_line(octets):
        octets = _reencode_long_text(octets)
    end = header_end(octets)
    head = octets[:end]
    fields = split_header(head)
    added = b""
    if date is not None and not fields.count(b"date"):
        added += b"Date: " + date + b"\r\n"
    if message_id is not None and not fields.count(b"message-id"):
        added += b"Message-ID: " + message_id + b"\r\n"
    # The pattern is looked for wherever the letters occur, so that no header limit can hide a Bcc.
    kept = _BLIND.sub(b"", head) if b"bcc" in head.lower() else head
    if not added and len(kept) == len(head):
        return octets
    if not kept.endswith(b"\n"):
        kept += b"\r\n" if kept else b""
    return added + kept + octets[end:]


def has_long_line(octets: bytes) -> bool:
    """Whether any line is longer than 998 octets; looks at one line end in each 998 octets only."""
    at = 0
    while at + LINE_MAX < len(octets):
        # A line of 998 octets has its LF at 998, or at 999 after a CR.
        newline = octets.rfind(b"\n", at, at + LINE_MAX + 1)
        if newline < 0:
            if octets[at + LINE_MAX : at + LINE_MAX + 2] != b"\r\n":
                return True
            newline = at + LINE_MAX + 1
        at = newline + 1
    return False


def _reencode_long_text(octets: bytes) -> bytes:
    """Write unencoded text parts that hold long lines as quoted-printable; all else is copied once."""
    structure = parse_structure(octets)
    # Without MIME-Version a reader need not undo the encoding (RFC 2045 §4).
    version = b"" if structure.fields.count(b"mime-version") else b"MIME-Version: 1.0"
    pieces = []
    copied = 0
    for part in _open_text_parts(structure.root):
        body = octets[part.body_start : part.end]
        if part.encoding not in IDENTITY or not has_long_line(body):
            continue
        head = _ENCODING.sub(b"", octets[part.header_start : part.body_start])
        # The header ends in its empty line, which the new fields go before.
        line_end = b"\n" if head == b"\n" or head.endswith(b"\n\n") else b"\r\n"
        added = [version] if version and part.depth == 0 else []
        added += [b"Content-Transfer-Encoding: quoted-printable", b""]
        pieces.append(octets[copied : part.header_start])
        pieces.append(head[: -len(line_end)] + b"".join(line + line_end for line in added))
        pieces.append(encode_quoted_printable(body))
        copied = part.end
    pieces.append(octets[copied:])
    return b"".join(pieces)


def _open_text_parts(root: Part) -> list[Part]:
    """Text leaves that no signature, encryption or encapsulated message covers, in the order they stand."""
    found = []
    pending = [root]
    while pending:
        part = pending.pop()
        if part.kind == b"text" and not part.children:
            found.append(part)
        elif part.is_multipart and part.subtype not in _SEALED:
            pending.extend(reversed(part.children))
    return found
