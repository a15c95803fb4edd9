"""Messages of an account: lists, content, flags, tags, moves (api.md §4)."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from litestar import Controller, Request, Response, delete, get, patch, post, put
from litestar.datastructures import State
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from server.api.controllers.trace import time_of
from server.api.dependencies import Caller, CurrentSettings, CursorMaker, DeletedMail, MailActions, MailReading
from server.api.guards import needs
from server.api.pagination import Listing
from server.api.paths import PREFIX
from server.api.problems import BadRequest
from server.api.schemas.messages import (
    BatchIn,
    BatchOut,
    BatchResultOut,
    CategoryIn,
    DeletedMessageOut,
    FlagsIn,
    MessageOut,
    RestoreIn,
    TagsIn,
    TargetIn,
    ThreadOut,
    WholeMessageOut,
)
from server.domain.errors import InvalidInput
from server.domain.ids import MailboxId
from server.domain.listing import MessageFilter, MessageOrder
from server.services.identity.writer import found
from server.services.mailstore.acting import Remove, SetCategory, SetFlags, SetTags, Transfer
from server.services.mailstore.flags import FlagChange
from server.services.mailstore.owners import Whose

RFC822 = "message/rfc822"
Sort = Annotated[MessageOrder, QueryParameter(name="sort", description="What comes first; - = descending.")]
_FLAGS = ("seen", "answered", "flagged", "draft", "forwarded")


class MessageController(Controller):
    path = PREFIX + "/messages"
    tags = ("mail",)

    @get(operation_id="list_messages", opt=needs("mail:read"))
    async def list_messages(
        self,
        caller: Caller,
        mail: MailReading,
        cursors: CursorMaker,
        limit: FromQuery[int | None] = None,
        cursor: FromQuery[str | None] = None,
        count: FromQuery[bool] = False,
        sort: Sort = MessageOrder.NEWEST,
        mailbox_id: FromQuery[str | None] = None,
        thread_id: FromQuery[str | None] = None,
        tag: FromQuery[str | None] = None,
        category: FromQuery[str | None] = None,
        seen: FromQuery[bool | None] = None,
        flagged: FromQuery[bool | None] = None,
        after: FromQuery[str | None] = None,
        before: FromQuery[str | None] = None,
        account_id: FromQuery[str | None] = None,
        reason: FromQuery[str | None] = None,
    ) -> Listing[MessageOut]:
        """A page of messages, newest first; with filters it may be short while there is more.

        `tag` is a name, `category` an id; `after` and `before` are RFC 3339 times of arrival.
        """
        wanted = MessageFilter(
            mailbox_id=None if mailbox_id is None else MailboxId(mailbox_id),
            thread_id=thread_id,
            category=category,
            seen=seen,
            flagged=flagged,
            after=time_of(after, "/after"),
            before=time_of(before, "/before"),
        )
        name = f"messages {account_id} {sort} {tag} {wanted}"
        whose = Whose(account=account_id, reason=reason, goes_on=cursor is not None)
        request = cursors.request(caller, name, limit=limit, cursor=cursor)
        page = await mail.messages(caller, whose, wanted, request, order=sort, tag=tag)
        found = cursors.listing(caller, name, page, MessageOut.of)
        if not count:
            return found
        total = await mail.count(caller, whose, wanted, tag=tag)
        return Listing(items=found.items, next_cursor=found.next_cursor, total=total)

    @post(operation_id="append_message", opt=needs("mail:write"), status_code=201, request_max_body_size=None)
    async def append_message(
        self,
        caller: Caller,
        mail_actions: MailActions,
        settings: CurrentSettings,
        request: Request[object, object, State],
        mailbox_id: FromQuery[str],
        flags: FromQuery[str | None] = None,
        account_id: FromQuery[str | None] = None,
        reason: FromQuery[str | None] = None,
    ) -> Response[MessageOut]:
        """Store a message as it is sent (`message/rfc822`); `flags` is a list such as `seen,flagged`."""
        asked = _flag_list(flags)
        length = request.headers.get("content-length", "")
        expected = int(length) if length.isdecimal() and len(length) < 18 else 0
        whose = Whose(account=account_id, reason=reason)
        owner, mailbox = await mail_actions.append_to(caller, whose, mailbox_id, expected)
        writer = mail_actions.writer()
        try:
            async for chunk in request.stream():
                await writer.write(chunk)
                if writer.size_octets > settings().smtp.max_message_size:
                    raise BadRequest("the message is too large", code="too_large")
            if not writer.size_octets:
                raise InvalidInput("the message is empty")
            content = await writer.finish()
        except BaseException:
            await writer.discard()
            raise
        view = await mail_actions.append(owner, mailbox, content, asked)
        location = {"Location": f"{PREFIX}/messages/{view.record.id}"}
        return Response(MessageOut.of(view), status_code=201, headers=location)

    @post("/batch", operation_id="batch_messages", opt=needs("mail:write"), status_code=200)
    async def batch_messages(
        self,
        caller: Caller,
        mail_actions: MailActions,
        data: JSONBody[BatchIn],
        account_id: FromQuery[str | None] = None,
        reason: FromQuery[str | None] = None,
    ) -> BatchOut:
        """Do one thing to up to 500 messages of one account, as one change."""
        done = await mail_actions.batch(caller, Whose(account=account_id, reason=reason), data.ids, data.act())
        return BatchOut(results=[BatchResultOut.of(one) for one in done])

    @get("/{message_id:str}", operation_id="get_message", opt=needs("mail:read"))
    async def get_message(
        self,
        caller: Caller,
        mail: MailReading,
        message_id: FromPath[str],
        account_id: FromQuery[str | None] = None,
        reason: FromQuery[str | None] = None,
    ) -> Response[WholeMessageOut]:
        """One message with its text, header fields and a list of its attachments."""
        message = await mail.message(caller, Whose(account=account_id, reason=reason), message_id)
        return Response(
            WholeMessageOut.opened(message), headers={"ETag": f'"{message.view.record.modseq}"'}, status_code=200
        )

    @get("/{message_id:str}/raw", operation_id="get_message_source", opt=needs("mail:read"), media_type=RFC822)
    async def get_message_source(
        self,
        caller: Caller,
        mail: MailReading,
        message_id: FromPath[str],
        account_id: FromQuery[str | None] = None,
        reason: FromQuery[str | None] = None,
    ) -> Response[bytes]:
        """The message's octets, with the fields that this server put before them."""
        octets = await mail.raw(caller, Whose(account=account_id, reason=reason), message_id)
        return _download(octets, f"{message_id}.eml", RFC822)

    @get(
        "/{message_id:str}/headers", operation_id="get_message_header", opt=needs("mail:read"), media_type="text/plain"
    )
    async def get_message_header(
        self,
        caller: Caller,
        mail: MailReading,
        message_id: FromPath[str],
        account_id: FromQuery[str | None] = None,
        reason: FromQuery[str | None] = None,
    ) -> Response[bytes]:
        """The octets of the message's header section."""
        octets = await mail.header(caller, Whose(account=account_id, reason=reason), message_id)
        return _download(octets, f"{message_id}.txt", "text/plain")

    @get(
        "/{message_id:str}/attachments/{index:int}",
        operation_id="get_attachment",
        opt=needs("mail:read"),
        media_type="application/octet-stream",
    )
    async def get_attachment(
        self,
        caller: Caller,
        mail: MailReading,
        message_id: FromPath[str],
        index: FromPath[int],
        account_id: FromQuery[str | None] = None,
        reason: FromQuery[str | None] = None,
    ) -> Response[bytes]:
        """The decoded octets of one attachment, to be saved, never shown in place."""
        found = await mail.attachment(caller, Whose(account=account_id, reason=reason), message_id, index)
        name = found.filename or f"attachment-{index}"
        return _download(found.data, name, "application/octet-stream")

    @patch("/{message_id:str}/flags", operation_id="set_message_flags", opt=needs("mail:write"))
    async def set_message_flags(
        self,
        caller: Caller,
        mail_actions: MailActions,
        message_id: FromPath[str],
        data: JSONBody[FlagsIn],
        account_id: FromQuery[str | None] = None,
        reason: FromQuery[str | None] = None,
    ) -> MessageOut:
        """Set and take away flags."""
        return await _act(caller, mail_actions, message_id, data.action(), account_id, reason)

    @put("/{message_id:str}/tags", operation_id="replace_message_tags", opt=needs("mail:write"))
    async def replace_message_tags(
        self,
        caller: Caller,
        mail_actions: MailActions,
        message_id: FromPath[str],
        data: JSONBody[TagsIn],
        account_id: FromQuery[str | None] = None,
        reason: FromQuery[str | None] = None,
    ) -> MessageOut:
        """Give a message exactly these tags."""
        return await _act(caller, mail_actions, message_id, data.action(FlagChange.SET), account_id, reason)

    @post("/{message_id:str}/tags", operation_id="add_message_tags", opt=needs("mail:write"), status_code=200)
    async def add_message_tags(
        self,
        caller: Caller,
        mail_actions: MailActions,
        message_id: FromPath[str],
        data: JSONBody[TagsIn],
        account_id: FromQuery[str | None] = None,
        reason: FromQuery[str | None] = None,
    ) -> MessageOut:
        """Add tags to a message."""
        return await _act(caller, mail_actions, message_id, data.action(FlagChange.ADD), account_id, reason)

    @delete("/{message_id:str}/tags", operation_id="remove_message_tags", opt=needs("mail:write"), status_code=200)
    async def remove_message_tags(
        self,
        caller: Caller,
        mail_actions: MailActions,
        message_id: FromPath[str],
        data: JSONBody[TagsIn],
        account_id: FromQuery[str | None] = None,
        reason: FromQuery[str | None] = None,
    ) -> MessageOut:
        """Take tags off a message."""
        return await _act(caller, mail_actions, message_id, data.action(FlagChange.REMOVE), account_id, reason)

    @put("/{message_id:str}/category", operation_id="set_message_category", opt=needs("mail:write"))
    async def set_message_category(
        self,
        caller: Caller,
        mail_actions: MailActions,
        message_id: FromPath[str],
        data: JSONBody[CategoryIn],
        account_id: FromQuery[str | None] = None,
        reason: FromQuery[str | None] = None,
    ) -> MessageOut:
        """Put a message into a category; the owner's word stands above all other sources."""
        action = SetCategory(category_id=data.category_id)
        return await _act(caller, mail_actions, message_id, action, account_id, reason)

    @post("/{message_id:str}/move", operation_id="move_message", opt=needs("mail:write"), status_code=200)
    async def move_message(
        self,
        caller: Caller,
        mail_actions: MailActions,
        message_id: FromPath[str],
        data: JSONBody[TargetIn],
        account_id: FromQuery[str | None] = None,
        reason: FromQuery[str | None] = None,
    ) -> MessageOut:
        """Move a message to another mailbox; it keeps its id."""
        action = Transfer(mailbox_id=MailboxId(data.mailbox_id), move=True)
        return await _act(caller, mail_actions, message_id, action, account_id, reason)

    @post("/{message_id:str}/copy", operation_id="copy_message", opt=needs("mail:write"), status_code=201)
    async def copy_message(
        self,
        caller: Caller,
        mail_actions: MailActions,
        message_id: FromPath[str],
        data: JSONBody[TargetIn],
        account_id: FromQuery[str | None] = None,
        reason: FromQuery[str | None] = None,
    ) -> MessageOut:
        """Copy a message to a mailbox; the answer is the copy."""
        action = Transfer(mailbox_id=MailboxId(data.mailbox_id), move=False)
        return await _act(caller, mail_actions, message_id, action, account_id, reason)

    @delete("/{message_id:str}", operation_id="delete_message", opt=needs("mail:write"))
    async def delete_message(
        self,
        caller: Caller,
        mail_actions: MailActions,
        message_id: FromPath[str],
        account_id: FromQuery[str | None] = None,
        reason: FromQuery[str | None] = None,
    ) -> None:
        """Move a message to Trash; out of Trash it goes to the deleted messages."""
        await mail_actions.act(caller, Whose(account=account_id, reason=reason), message_id, Remove())


class DeletedMessageController(Controller):
    path = PREFIX + "/deleted-messages"
    tags = ("mail",)

    @get(operation_id="list_deleted_messages", opt=needs("mail:read"))
    async def list_deleted_messages(
        self,
        caller: Caller,
        deleted: DeletedMail,
        cursors: CursorMaker,
        limit: FromQuery[int | None] = None,
        cursor: FromQuery[str | None] = None,
        q: FromQuery[str | None] = None,
        account_id: FromQuery[str | None] = None,
        reason: FromQuery[str | None] = None,
    ) -> Listing[DeletedMessageOut]:
        """Messages that can be restored, the last deleted first; `q` is part of subject, sender or recipients."""
        name = f"deleted {account_id} {q}"
        whose = Whose(account=account_id, reason=reason, goes_on=cursor is not None)
        request = cursors.request(caller, name, limit=limit, cursor=cursor)
        page = await deleted.page(caller, whose, request, containing=q)
        return cursors.listing(caller, name, page, DeletedMessageOut.deleted)

    @post("/{message_id:str}/restore", operation_id="restore_deleted_message", opt=needs("mail:write"), status_code=200)
    async def restore_deleted_message(
        self,
        caller: Caller,
        deleted: DeletedMail,
        message_id: FromPath[str],
        data: JSONBody[RestoreIn | None] = None,
        account_id: FromQuery[str | None] = None,
        reason: FromQuery[str | None] = None,
    ) -> MessageOut:
        """Put a deleted message back where it was, with its id and a new UID."""
        whose = Whose(account=account_id, reason=reason)
        view = await deleted.restore(caller, whose, message_id, to=data.mailbox_id if data is not None else None)
        return MessageOut.of(view)


class ThreadController(Controller):
    path = PREFIX + "/threads"
    tags = ("mail",)

    @get("/{thread_id:str}", operation_id="get_thread", opt=needs("mail:read"))
    async def get_thread(
        self,
        caller: Caller,
        mail: MailReading,
        thread_id: FromPath[str],
        account_id: FromQuery[str | None] = None,
        reason: FromQuery[str | None] = None,
    ) -> ThreadOut:
        """A conversation, the oldest message first."""
        views = await mail.thread(caller, Whose(account=account_id, reason=reason), thread_id)
        return ThreadOut(id=thread_id, messages=[MessageOut.of(view) for view in views])


async def _act(
    caller: Caller,
    mail_actions: MailActions,
    message_id: str,
    action: SetFlags | SetTags | SetCategory | Transfer,
    account_id: str | None,
    reason: str | None,
) -> MessageOut:
    view = await mail_actions.act(caller, Whose(account=account_id, reason=reason), message_id, action)
    return MessageOut.of(found(view, "message"))


def _flag_list(text: str | None) -> SetFlags:
    words = [word.strip().lower() for word in (text or "").split(",") if word.strip()]
    for word in words:
        if word not in _FLAGS:
            raise InvalidInput(f"flags are {', '.join(_FLAGS)}", pointer="/flags")
    return SetFlags(**{word: True for word in words})


def _download(octets: bytes, name: str, media_type: str) -> Response[bytes]:
    """Octets to be saved: whatever they are, no browser shows them (RFC 6266 §4)."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in " ._-()") else "_" for c in name)[:100]
    named = f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name[:200], safe='')}"
    return Response(octets, media_type=media_type, headers={"Content-Disposition": named})
