"""Message octets before and after they are stored.

- `Content` is what a peer handed over: in memory up to `CONTENT_RAM_MAX`, else in a spool file of the blob store.
- `Blob` is what the store keeps: immutable, under a server-made key, checked by SHA-256 on every whole read.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from server.domain.ids import BlobId, MailboxId, MessageId, ModSeq, Uid

CONTENT_RAM_MAX = 256 * 1024
"""Octets of a message kept in memory while it is read; beyond, a spool file (reliability.md §2, M0)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """Received octets, complete, after dot-unstuffing; exactly one of `data` and `spool_key` is set.

    Attributes:
        sha256: Lower-case hex digest of all octets.
        head: The header section with its empty line, or the first MiB when it is longer.
    """

    size_octets: int
    sha256: str
    head: bytes
    data: bytes | None = None
    spool_key: str | None = None


class BlobPlace(StrEnum):
    """Where a blob's octets lie."""

    ROW = "row"
    FILE = "file"


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """Stored octets. `inline` holds them when `place` is ROW; else the blob store finds them by `id`."""

    id: BlobId
    size_octets: int
    sha256: str
    place: BlobPlace
    inline: bytes | None = None


class SpecialUse(StrEnum):
    """Mailbox roles (RFC 6154)."""

    INBOX = "inbox"
    DRAFTS = "drafts"
    SENT = "sent"
    JUNK = "junk"
    TRASH = "trash"
    ARCHIVE = "archive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """What is computed once at delivery so that listing a mailbox opens no message.

    Attributes:
        envelope: The IMAP ENVELOPE list, rendered, parentheses included (RFC 9051 §7.5.2).
        bodystructure: The IMAP BODYSTRUCTURE list, rendered; `body` is the same without extension data.
        subject, sender, recipients: Decoded UTF-8 text for lists and traces, each at most 998 characters.
        message_id_header: With its angle brackets, at most 998 octets; None when the message has none.
        sent_at: The Date field as an aware UTC instant, or None.
        preview: The first 256 characters of readable text.
        references: Message ids of References and In-Reply-To, oldest first, the last 50, separated by spaces.
        base_subject: The subject without reply and forward marks, case-folded (RFC 5256 §2.1).
        thread_subject: The same without the marks of other languages: what is equal within a thread.
        list_id: The List-Id field's identifier in lower case (RFC 2919).
        from_address: The first From address, lower case; empty when there is none.
        category, category_confidence: What the mail looks like, and how surely in percent (filtering.md section 8).
    """

    envelope: bytes
    body: bytes
    bodystructure: bytes
    subject: str
    sender: str
    recipients: str
    message_id_header: str | None
    sent_at: datetime | None
    preview: str
    has_attachments: bool
    references: str = ""
    base_subject: str = ""
    thread_subject: str = ""
    list_id: str | None = None
    from_address: str = ""
    category: str = "Primary"
    category_confidence: int = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A message after it was stored in a mailbox."""

    message_id: MessageId
    mailbox_id: MailboxId
    uid: Uid
    modseq: ModSeq
