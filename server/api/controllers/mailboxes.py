"""Mailboxes of an account (api.md §4)."""

from __future__ import annotations

from litestar import Controller, Response, delete, get, patch, post
from litestar.params import FromPath, FromQuery, JSONBody
from msgspec import UnsetType

from server.api.dependencies import Caller, MailActions, MailReading
from server.api.guards import needs
from server.api.paths import PREFIX
from server.api.schemas.messages import MailboxChange, MailboxesOut, MailboxFate, MailboxOut, NewMailbox
from server.services.mailstore.owners import Whose


class MailboxController(Controller):
    path = PREFIX + "/mailboxes"
    tags = ("mail",)

    @get(operation_id="list_mailboxes", opt=needs("mail:read"))
    async def list_mailboxes(
        self,
        caller: Caller,
        mail: MailReading,
        account_id: FromQuery[str | None] = None,
        reason: FromQuery[str | None] = None,
    ) -> MailboxesOut:
        """All mailboxes of the account by name."""
        nodes = await mail.mailboxes(caller, Whose(account=account_id, reason=reason))
        return MailboxesOut(items=[MailboxOut.of(node) for node in nodes])

    @post(operation_id="create_mailbox", opt=needs("mail:write"))
    async def create_mailbox(
        self,
        caller: Caller,
        mail_actions: MailActions,
        data: JSONBody[NewMailbox],
        account_id: FromQuery[str | None] = None,
        reason: FromQuery[str | None] = None,
    ) -> Response[MailboxOut]:
        """Make a mailbox, and those above it that are missing."""
        whose = Whose(account=account_id, reason=reason)
        node = await mail_actions.create_mailbox(caller, whose, data.name, subscribed=data.subscribed)
        location = {"Location": f"{PREFIX}/mailboxes/{node.mailbox.id}"}
        return Response(MailboxOut.of(node), status_code=201, headers=location)

    @get("/{mailbox_id:str}", operation_id="get_mailbox", opt=needs("mail:read"))
    async def get_mailbox(
        self,
        caller: Caller,
        mail: MailReading,
        mailbox_id: FromPath[str],
        account_id: FromQuery[str | None] = None,
        reason: FromQuery[str | None] = None,
    ) -> MailboxOut:
        """One mailbox with its counts."""
        return MailboxOut.of(await mail.mailbox(caller, Whose(account=account_id, reason=reason), mailbox_id))

    @patch("/{mailbox_id:str}", operation_id="change_mailbox", opt=needs("mail:write"))
    async def change_mailbox(
        self,
        caller: Caller,
        mail_actions: MailActions,
        mailbox_id: FromPath[str],
        data: JSONBody[MailboxChange],
        account_id: FromQuery[str | None] = None,
        reason: FromQuery[str | None] = None,
    ) -> MailboxOut:
        """Rename a mailbox with those below it, or subscribe to it."""
        node = await mail_actions.change_mailbox(
            caller,
            Whose(account=account_id, reason=reason),
            mailbox_id,
            name=None if isinstance(data.name, UnsetType) else data.name,
            subscribed=None if isinstance(data.subscribed, UnsetType) else data.subscribed,
        )
        return MailboxOut.of(node)

    @delete("/{mailbox_id:str}", operation_id="delete_mailbox", opt=needs("mail:write"))
    async def delete_mailbox(
        self,
        caller: Caller,
        mail_actions: MailActions,
        mailbox_id: FromPath[str],
        messages: FromQuery[MailboxFate | None] = None,
        account_id: FromQuery[str | None] = None,
        reason: FromQuery[str | None] = None,
    ) -> None:
        """Delete a mailbox without a role; those below it stay, and its mail can be restored."""
        whose = Whose(account=account_id, reason=reason)
        await mail_actions.delete_mailbox(caller, whose, mailbox_id, messages=messages.value if messages else None)
