"""Deleted messages and their way back (product.md 25).

- What was expunged stays restorable for `retention.deleted_messages_days`, its mailbox deleted or not.
- It comes back where it was, with a new UID and its old id: out of Trash to where it was before, out of a deleted
  mailbox to one of that name, which is made again. Where that can't be, to INBOX. Quota counts it again.
"""

from __future__ import annotations

from dataclasses import dataclass

from server.domain.changes import TraceEvent
from server.domain.errors import Conflict, InvalidInput, NotFound
from server.domain.flags import SEEN
from server.domain.identity import Scope
from server.domain.ids import AccountId, MailboxId
from server.domain.mailbox import Mailbox
from server.domain.message import SpecialUse
from server.domain.paging import Page, PageRequest
from server.services.identity.writer import found
from server.services.mailstore import mailboxes as boxes
from server.services.mailstore.owners import READ, WRITE, MailOwners, Whose
from server.services.mailstore.reading import MailReader, MessageView, views_in
from server.services.mailstore.tags import names_in
from server.store.database import Database
from server.store.repositories import listing, mailboxes, messages, tags, undelete
from server.store.repositories.undelete import DeletedMessage, GonePosition
from server.store.transaction import Transaction

SCAN_ROWS = 20_000
"""Expunged rows that one page looks at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletedView:
    """A message that can be restored, and the name of the mailbox it was in."""

    view: MessageView
    mailbox: str


class Undelete:
    """Lists and restores what was deleted."""

    def __init__(self, *, database: Database, reader: MailReader, owners: MailOwners) -> None:
        self._database = database
        self._reader = reader
        self._owners = owners

    async def page(
        self, scope: Scope, whose: Whose, request: PageRequest, *, containing: str | None = None
    ) -> Page[DeletedView]:
        """The last deleted first; `containing` is looked for in subject, sender and recipients."""
        account_id = await self._owners.account(scope, whose, READ, "list deleted messages")
        after = None if request.after is None else _position(request.after)

        async def unit(tx: Transaction) -> Page[DeletedView]:
            rows, stop = await undelete.page(
                tx, account_id, after=after, containing=containing, limit=request.limit + 1, scan=SCAN_ROWS
            )
            kept = rows[: request.limit]
            if len(rows) > request.limit:
                stop = kept[-1].position
            views = await views_in(tx, account_id, [row.record for row in kept], await names_in(tx, account_id))
            items = [DeletedView(view=view, mailbox=_name(row)) for view, row in zip(views, kept, strict=True)]
            return Page(items=tuple(items), next_after=None if stop is None else _cursor(stop))

        return await self._database.read("mail.deleted", unit)

    async def restore(self, scope: Scope, whose: Whose, message_id: str, *, to: str | None = None) -> MessageView:
        """Put a message back, where it was or into the mailbox with the id `to`.

        Raises:
            NotFound: It can't be restored any more; there is no such mailbox.
            Conflict: It is not deleted.
            OverQuota: No room for it.
        """
        account_id = await self._reader.message_holder(scope, whose, message_id, WRITE, "restore message")
        await self._database.write("mail.restore", lambda tx: restore_in(tx, account_id, message_id, to=to))
        return await self._reader.view(account_id, message_id)


async def restore_in(tx: Transaction, account_id: AccountId, message_id: str, *, to: str | None = None) -> MailboxId:
    """Put one message back; the mailbox it is in now. Raises as `Undelete.restore`."""
    deleted = await undelete.get(tx, account_id, message_id)
    if deleted is None:
        if await listing.get(tx, account_id, message_id) is not None:
            raise Conflict("the message is not deleted", code="invalid_state")
        raise NotFound("no such deleted message")
    gone = deleted.record
    target = await _target(tx, deleted) if to is None else await mailboxes.get(tx, account_id, MailboxId(to))
    target = found(target, "mailbox")
    modseq = await messages.charge(tx, account_id, gone.size_octets)
    unseen = 0 if gone.flags & SEEN else 1
    mailbox_id, uid = await mailboxes.take_uids(
        tx, account_id, target.id, modseq=modseq, count=1, unseen=unseen, octets=gone.size_octets
    )
    await undelete.put_back(tx, gone, mailbox_id=mailbox_id, uid=uid, modseq=modseq)
    if gone.trace_id is not None:
        tx.record(
            TraceEvent(
                type="message.restored",
                component="mailstore",
                verdict="restored",
                detail=f"restored to {target.name}",
                tenant_id=await tags.tenant_of(tx, account_id),
                account_id=account_id,
                trace_id=gone.trace_id,
                message_id_header=gone.message_id_header,
                data={"mailbox": target.name, "uid": uid, "message_id": gone.id},
            )
        )
    return mailbox_id


async def _target(tx: Transaction, deleted: DeletedMessage) -> Mailbox:
    account_id = deleted.record.account_id
    home: Mailbox | None
    if deleted.mailbox_role is SpecialUse.TRASH:
        before = await undelete.last_place(tx, account_id, deleted.record.email_id)
        home = None if before is None else await mailboxes.get(tx, account_id, before)
    else:
        home = await mailboxes.get(tx, account_id, deleted.record.mailbox_id)
    if home is None and (name := mailboxes.name_before(deleted.mailbox_name)):
        home = await mailboxes.by_name(tx, account_id, name) or await _made_again(tx, account_id, name)
    return home or found(await mailboxes.by_role(tx, account_id, SpecialUse.INBOX), "mailbox")


async def _made_again(tx: Transaction, account_id: AccountId, name: str) -> Mailbox | None:
    try:
        return await boxes.create_in(tx, account_id, name)
    except InvalidInput:
        return None


def _name(deleted: DeletedMessage) -> str:
    return mailboxes.name_before(deleted.mailbox_name) or deleted.mailbox_name


def _cursor(place: GonePosition) -> str:
    return f"{place.expunged_at} {place.uid} {place.mailbox_id}"


def _position(after: str) -> GonePosition:
    expunged_at, _, rest = after.partition(" ")
    uid, _, mailbox_id = rest.partition(" ")
    if not (expunged_at.isdecimal() and uid.isdecimal()):
        raise InvalidInput("the cursor belongs to another list", pointer="/cursor")
    return GonePosition(int(expunged_at), int(uid), mailbox_id)
