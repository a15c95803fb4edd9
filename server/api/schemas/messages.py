"""Mailboxes, messages, tags and categories as the API shows and takes them (api.md section 4)."""

from __future__ import annotations

from enum import StrEnum

import msgspec
from msgspec import UNSET, UnsetType

from server.api.schemas.common import Output, time_or_none, time_text
from server.domain.errors import InvalidInput
from server.domain.flags import ANSWERED, DRAFT, FLAGGED, SEEN
from server.domain.ids import MailboxId
from server.domain.listing import CategoryDefinition, TagDefinition
from server.protocol.mime.envelope import Person, envelope_addresses
from server.services.mailstore.acting import (
    FORWARDED,
    Action,
    Done,
    Remove,
    SetCategory,
    SetFlags,
    SetTags,
    Transfer,
)
from server.services.mailstore.content import AttachmentInfo, HeaderField
from server.services.mailstore.flags import FlagChange
from server.services.mailstore.reading import MailboxNode, MessageView, OpenedMessage
from server.services.mailstore.undelete import DeletedView


class Input(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a caller sends."""


class MailboxOut(Output, frozen=True, kw_only=True):
    """A folder; `name` is its whole path, levels joined by `/`."""

    id: str
    account_id: str
    name: str
    parent_id: str | None
    role: str | None
    subscribed: bool
    total: int
    unread: int
    size_bytes: int
    uidvalidity: int

    @classmethod
    def of(cls, node: MailboxNode) -> MailboxOut:
        mailbox = node.mailbox
        return cls(
            id=mailbox.id,
            account_id=mailbox.account_id,
            name=mailbox.name,
            parent_id=node.parent_id,
            role=mailbox.role.value if mailbox.role else None,
            subscribed=mailbox.subscribed,
            total=mailbox.total,
            unread=mailbox.unseen,
            size_bytes=mailbox.size_octets,
            uidvalidity=mailbox.uidvalidity,
        )


class MailboxesOut(Output, frozen=True, kw_only=True):
    """All mailboxes of the account, on one page."""

    items: list[MailboxOut]
    next_cursor: str | None = None


class NewMailbox(Input, frozen=True, kw_only=True):
    """`name` is the whole path; levels that are missing are made too."""

    name: str
    subscribed: bool = False


class MailboxChange(Input, frozen=True, kw_only=True):
    """A new name takes along what lies below the mailbox."""

    name: str | UnsetType = UNSET
    subscribed: bool | UnsetType = UNSET


class MailboxFate(StrEnum):
    """What becomes of the mail in a mailbox that is deleted."""

    TRASH = "trash"
    DELETE = "delete"


class PersonOut(Output, frozen=True, kw_only=True):
    name: str
    address: str

    @classmethod
    def all(cls, people: tuple[Person, ...]) -> list[PersonOut]:
        return [cls(name=person.name, address=person.address) for person in people]


class FlagsOut(Output, frozen=True, kw_only=True):
    seen: bool
    answered: bool
    flagged: bool
    draft: bool
    forwarded: bool


class MessageCategoryOut(Output, frozen=True, kw_only=True):
    """`confidence` from 0 to 1; `source` is user, policy, plugin, sender or rule."""

    id: str
    name: str
    confidence: float | None
    source: str | None


class MessageOut(Output, frozen=True, kw_only=True, rename={"sender": "from"}):
    """A message in one mailbox; `received_at` is its INTERNALDATE, `deleted_at` set where it can be restored."""

    id: str
    account_id: str
    mailbox_ids: list[str]
    thread_id: str | None
    blob_id: str
    message_id_header: str | None
    subject: str
    sender: list[PersonOut]
    to: list[PersonOut]
    cc: list[PersonOut]
    reply_to: list[PersonOut]
    date: str | None
    received_at: str
    size_bytes: int
    preview: str
    has_attachments: bool
    flags: FlagsOut
    tags: list[str]
    category: MessageCategoryOut | None
    list_id: str | None
    trace_id: str | None
    uid: int
    revision: int
    deleted_at: str | UnsetType = UNSET

    @classmethod
    def of(cls, view: MessageView) -> MessageOut:
        return cls(**_fields(view))  # type: ignore[arg-type]


class HeaderOut(Output, frozen=True, kw_only=True):
    name: str
    value: str

    @classmethod
    def of(cls, field: HeaderField) -> HeaderOut:
        return cls(name=field.name, value=field.value)


class AttachmentOut(Output, frozen=True, kw_only=True):
    """`index` is its number in `/attachments/{index}`; size and digest are of the decoded octets."""

    index: int
    filename: str | None
    content_type: str
    content_id: str | None
    size_bytes: int
    sha256: str
    inline: bool

    @classmethod
    def of(cls, info: AttachmentInfo) -> AttachmentOut:
        return cls(
            index=info.index,
            filename=info.filename,
            content_type=info.content_type,
            content_id=info.content_id,
            size_bytes=info.size_octets,
            sha256=info.sha256,
            inline=info.inline,
        )


class WholeMessageOut(MessageOut, frozen=True, kw_only=True):
    """A message that was opened; `text` is the readable text, of HTML without its marks."""

    text: str | None
    text_truncated: bool
    headers: list[HeaderOut]
    attachments: list[AttachmentOut]

    @classmethod
    def opened(cls, message: OpenedMessage) -> WholeMessageOut:
        opened = message.opened
        return cls(
            **_fields(message.view),  # type: ignore[arg-type]
            text=opened.text,
            text_truncated=opened.truncated,
            headers=[HeaderOut.of(field) for field in opened.fields],
            attachments=[AttachmentOut.of(info) for info in opened.attachments],
        )


class DeletedMessageOut(MessageOut, frozen=True, kw_only=True):
    """A message that can be restored; `mailbox` is the name of the one it was in."""

    mailbox: str

    @classmethod
    def deleted(cls, message: DeletedView) -> DeletedMessageOut:
        return cls(**_fields(message.view), mailbox=message.mailbox)  # type: ignore[arg-type]


class FlagsIn(Input, frozen=True, kw_only=True):
    """Flags left out stay as they are."""

    seen: bool | None = None
    answered: bool | None = None
    flagged: bool | None = None
    draft: bool | None = None
    forwarded: bool | None = None

    def action(self) -> SetFlags:
        return SetFlags(
            seen=self.seen,
            answered=self.answered,
            flagged=self.flagged,
            draft=self.draft,
            forwarded=self.forwarded,
        )


class TagsIn(Input, frozen=True, kw_only=True):
    """Names of tags, up to 50; one that is not defined is made."""

    tags: list[str]

    def action(self, change: FlagChange) -> SetTags:
        return SetTags(change=change, names=tuple(self.tags))


class TargetIn(Input, frozen=True, kw_only=True):
    mailbox_id: str


class CategoryIn(Input, frozen=True, kw_only=True):
    """null = in no category."""

    category_id: str | None


class RestoreIn(Input, frozen=True, kw_only=True):
    """Where it is put back; null or left out = where it was, else INBOX."""

    mailbox_id: str | None = None


class BatchAction(StrEnum):
    FLAGS = "flags"
    SET_TAGS = "set_tags"
    ADD_TAGS = "add_tags"
    REMOVE_TAGS = "remove_tags"
    MOVE = "move"
    COPY = "copy"
    DELETE = "delete"
    CATEGORY = "category"


class BatchIn(Input, frozen=True, kw_only=True):
    """`flags`, `tags`, `mailbox_id` and `category_id` belong to the actions of their names."""

    ids: list[str]
    action: BatchAction
    flags: FlagsIn = FlagsIn()
    tags: list[str] = msgspec.field(default_factory=list)
    mailbox_id: str | None = None
    category_id: str | None = None

    def act(self) -> Action:
        """Raises InvalidInput when the action lacks its field."""
        changes = {
            BatchAction.SET_TAGS: FlagChange.SET,
            BatchAction.ADD_TAGS: FlagChange.ADD,
            BatchAction.REMOVE_TAGS: FlagChange.REMOVE,
        }
        if self.action in changes:
            return SetTags(change=changes[self.action], names=tuple(self.tags))
        if self.action is BatchAction.FLAGS:
            return self.flags.action()
        if self.action is BatchAction.DELETE:
            return Remove()
        if self.action is BatchAction.CATEGORY:
            return SetCategory(category_id=self.category_id)
        if self.mailbox_id is None:
            raise InvalidInput("the field is needed", pointer="/mailbox_id")
        return Transfer(mailbox_id=MailboxId(self.mailbox_id), move=self.action is BatchAction.MOVE)


class BatchResultOut(Output, frozen=True, kw_only=True):
    """`status` is `done` or `not_found`; `message_id` is that of the copy where one was made."""

    id: str
    status: str
    message_id: str | None

    @classmethod
    def of(cls, done: Done) -> BatchResultOut:
        return cls(id=done.id, status="not_found" if done.message_id is None else "done", message_id=done.message_id)


class BatchOut(Output, frozen=True, kw_only=True):
    results: list[BatchResultOut]


class ThreadOut(Output, frozen=True, kw_only=True):
    """A conversation, the oldest message first."""

    id: str
    messages: list[MessageOut]


class TagOut(Output, frozen=True, kw_only=True):
    """`keyword` is what IMAP calls it."""

    id: str
    name: str
    keyword: str
    colour: str
    description: str
    created_at: str
    updated_at: str
    revision: int

    @classmethod
    def of(cls, tag: TagDefinition) -> TagOut:
        return cls(
            id=tag.id,
            name=tag.name,
            keyword=tag.keyword,
            colour=tag.colour,
            description=tag.description,
            created_at=time_text(tag.created_at),
            updated_at=time_text(tag.updated_at),
            revision=tag.revision,
        )


class TagsOut(Output, frozen=True, kw_only=True):
    items: list[TagOut]
    next_cursor: str | None = None


class CategoryOut(Output, frozen=True, kw_only=True):
    id: str
    name: str
    colour: str
    description: str
    priority: int
    enabled: bool
    created_at: str
    updated_at: str
    revision: int

    @classmethod
    def of(cls, category: CategoryDefinition) -> CategoryOut:
        return cls(
            id=category.id,
            name=category.name,
            colour=category.colour,
            description=category.description,
            priority=category.priority,
            enabled=category.enabled,
            created_at=time_text(category.created_at),
            updated_at=time_text(category.updated_at),
            revision=category.revision,
        )


class CategoriesOut(Output, frozen=True, kw_only=True):
    items: list[CategoryOut]
    next_cursor: str | None = None


def _fields(view: MessageView) -> dict[str, object]:
    record = view.record
    people = envelope_addresses(record.envelope)
    return {
        "id": record.id,
        "account_id": record.account_id,
        "mailbox_ids": [record.mailbox_id],
        "thread_id": record.thread_id,
        "blob_id": record.blob_id,
        "message_id_header": record.message_id_header,
        "subject": record.subject,
        "sender": PersonOut.all(people.sender),
        "to": PersonOut.all(people.to),
        "cc": PersonOut.all(people.cc),
        "reply_to": PersonOut.all(people.reply_to),
        "date": time_or_none(record.sent_at),
        "received_at": time_text(record.received_at),
        "size_bytes": record.size_octets,
        "preview": record.preview,
        "has_attachments": record.has_attachments,
        "flags": _flags(view),
        "tags": list(view.tags),
        "category": _category(view),
        "list_id": record.list_id,
        "trace_id": record.trace_id,
        "uid": record.uid,
        "revision": record.modseq,
        "deleted_at": UNSET if record.deleted_at is None else time_text(record.deleted_at),
    }


def _flags(view: MessageView) -> FlagsOut:
    flags = view.record.flags
    return FlagsOut(
        seen=bool(flags & SEEN),
        answered=bool(flags & ANSWERED),
        flagged=bool(flags & FLAGGED),
        draft=bool(flags & DRAFT),
        forwarded=any(word.lower() == FORWARDED.lower() for word in view.record.keywords),
    )


def _category(view: MessageView) -> MessageCategoryOut | None:
    if view.category is None:
        return None
    confidence = view.record.category_confidence
    return MessageCategoryOut(
        id=view.category.id,
        name=view.category.name,
        confidence=None if confidence is None else confidence / 100,
        source=view.record.category_source,
    )
