"""Messages as lists and searches of the API show them: what is asked for, and one row of the answer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from server.domain.ids import AccountId, BlobId, MailboxId, MessageId, ModSeq, TraceId, Uid


class MessageOrder(StrEnum):
    """What a list is sorted by; `-` = descending."""

    NEWEST = "-received_at"
    OLDEST = "received_at"
    LATEST_SENT = "-date"
    EARLIEST_SENT = "date"
    LARGEST = "-size_bytes"
    SMALLEST = "size_bytes"

    @property
    def descending(self) -> bool:
        return self.value.startswith("-")

    @property
    def field(self) -> str:
        return self.value.removeprefix("-")


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageFilter:
    """Which messages; None = any.

    Attributes:
        keyword: A keyword that the message carries, whatever its case.
        after, before: Bounds of INTERNALDATE, the first included, the second not.
    """

    mailbox_id: MailboxId | None = None
    thread_id: str | None = None
    keyword: str | None = None
    category: str | None = None
    seen: bool | None = None
    flagged: bool | None = None
    after: datetime | None = None
    before: datetime | None = None

    @property
    def is_plain(self) -> bool:
        """Whether nothing but the mailbox is asked for."""
        return self == MessageFilter(mailbox_id=self.mailbox_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRecord:
    """A message with what was rendered of it at delivery.

    Attributes:
        envelope: The IMAP ENVELOPE list.
        received_at: INTERNALDATE (RFC 8621 §4.1.1).
        deleted_at: When it was expunged, for those that can be restored.
        category_confidence: In percent.
    """

    id: MessageId
    account_id: AccountId
    mailbox_id: MailboxId
    uid: Uid
    email_id: str
    thread_id: str | None
    blob_id: BlobId
    message_id_header: str | None
    subject: str
    envelope: bytes
    sent_at: datetime | None
    received_at: datetime
    size_octets: int
    preview: str
    has_attachments: bool
    flags: int
    keywords: tuple[str, ...]
    category: str | None
    category_source: str | None
    category_confidence: int | None
    list_id: str | None
    trace_id: TraceId | None
    modseq: ModSeq
    deleted_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TagDefinition:
    """What a keyword is called in lists."""

    id: str
    keyword: str
    name: str
    colour: str
    description: str
    created_at: datetime
    updated_at: datetime
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryDefinition:
    id: str
    name: str
    colour: str
    description: str
    priority: int
    enabled: bool
    created_at: datetime
    updated_at: datetime
    revision: int
