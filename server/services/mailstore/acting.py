"""What the API does to messages and mailboxes: flags, tags, move, copy, delete, category, append.

- One request is one unit of work: a batch is done as a whole, or not at all but for messages that are not there.
- It is what IMAP does, through the same functions: sessions are told by modseq.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TypeVar

from server.domain.errors import Conflict, InvalidInput, NotFound
from server.domain.flags import ANSWERED, DRAFT, FLAGGED, SEEN
from server.domain.identity import Scope
from server.domain.ids import AccountId, MailboxId
from server.domain.listing import MessageRecord
from server.domain.mailbox import Mailbox
from server.domain.message import Content, SpecialUse
from server.domain.ports import ContentWriter
from server.services.identity.writer import found
from server.services.mailstore import mailboxes as boxes
from server.services.mailstore.copy_move import copy_in, remove_in
from server.services.mailstore.flags import FlagChange, store_flags_in
from server.services.mailstore.owners import WRITE, MailOwners, Whose
from server.services.mailstore.reading import MailboxNode, MailReader, MessageView, nodes
from server.services.mailstore.store import MailStore
from server.services.mailstore.tags import define_missing, names_in
from server.store.database import Database
from server.store.errors import StoreReadOnly, UniqueViolation
from server.store.repositories import listing, mailboxes, tags, threads
from server.store.transaction import Transaction, Unit

T = TypeVar("T")
FORWARDED = "$Forwarded"
EMPTY_AT_ONCE = 1000
"""Messages of a mailbox that one unit of work takes out while it is being deleted."""
BATCH_MAX = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class SetFlags:
    """Which flags to set and to take away; None = as it is."""

    seen: bool | None = None
    answered: bool | None = None
    flagged: bool | None = None
    draft: bool | None = None
    forwarded: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SetTags:
    """Replace (SET), add or remove tags by their names."""

    change: FlagChange
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """Move or copy to a mailbox of the same account."""

    mailbox_id: MailboxId
    move: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Remove:
    """To Trash; from Trash, out of sight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetCategory:
    """None = in no category."""

    category_id: str | None


Action = SetFlags | SetTags | Transfer | Remove | SetCategory
_WORDS = {SetFlags: "flags", SetTags: "tags", Transfer: "move or copy", Remove: "delete", SetCategory: "category"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What became of one message: its id now (a copy's own one), or that it was not there."""

    id: str
    message_id: str | None


class MailActor:
    """Changes mail for the API."""

    def __init__(self, *, database: Database, store: MailStore, reader: MailReader, owners: MailOwners) -> None:
        self._database = database
        self._store = store
        self._reader = reader
        self._owners = owners

    # Messages.

    async def act(self, scope: Scope, whose: Whose, message_id: str, action: Action) -> MessageView | None:
        """Do it to one message; the message as it is then, None when it is no more to be seen.

        Raises:
            NotFound: No such message, mailbox or category.
            InvalidInput, OverQuota: Nothing was changed.
        """
        account_id = await self._reader.message_holder(scope, whose, message_id, WRITE, _WORDS[type(action)])
        done = (await self._run(account_id, [message_id], action))[0]
        if done.message_id is None:
            raise NotFound("no such message")
        try:
            return await self._reader.view(account_id, done.message_id)
        except NotFound:
            return None

    async def batch(self, scope: Scope, whose: Whose, ids: Sequence[str], action: Action) -> list[Done]:
        """Do it to up to BATCH_MAX messages of one account; one answer for each id, in order."""
        if not 1 <= len(ids) <= BATCH_MAX:
            raise InvalidInput(f"1 to {BATCH_MAX} messages", pointer="/ids")
        words = f"{_WORDS[type(action)]}, {len(ids)} messages"
        account_id = await self._reader.message_holder(scope, whose, ids[0], WRITE, words)
        return await self._run(account_id, ids, action)

    def writer(self) -> ContentWriter:
        """Takes a message while it arrives. Raises DiskReserve."""
        return self._store.writer()

    async def append_to(self, scope: Scope, whose: Whose, mailbox_id: str, octets: int) -> tuple[AccountId, Mailbox]:
        """Where a message goes, before it is read. Raises NotFound, OverQuota."""
        account_id = await self._reader.mailbox_holder(scope, whose, mailbox_id, WRITE, "append message")
        mailbox = found(
            await self._database.read("mail.mailbox", lambda tx: mailboxes.get(tx, account_id, MailboxId(mailbox_id))),
            "mailbox",
        )
        await self._store.check_room(account_id, mailbox.name, octets)
        return account_id, mailbox

    async def append(self, account_id: AccountId, mailbox: Mailbox, content: Content, flags: SetFlags) -> MessageView:
        """Store a message; takes over `content` whatever happens. Raises NotFound, OverQuota."""
        bits, words = _bits(flags, wanted=True)
        stored = await self._store.append(
            account_id, mailbox.id, content, flags=bits, keywords=words, internal_date=None
        )
        return await self._reader.view(account_id, stored.message_id)

    # Mailboxes.

    async def create_mailbox(self, scope: Scope, whose: Whose, name: str, *, subscribed: bool) -> MailboxNode:
        """Raises Conflict, InvalidInput."""
        account_id = await self._owners.account(scope, whose, WRITE, "create mailbox")

        async def unit(tx: Transaction) -> MailboxNode:
            made = await boxes.create_in(tx, account_id, name)
            if subscribed:
                await mailboxes.subscribe(tx, account_id, made.id, subscribed=True)
            return await _node(tx, account_id, made.id)

        return await self._write("mail.create_mailbox", unit)

    async def change_mailbox(
        self, scope: Scope, whose: Whose, mailbox_id: str, *, name: str | None, subscribed: bool | None
    ) -> MailboxNode:
        """Rename, with those below it, and subscribe. Raises Conflict, also for INBOX."""
        account_id = await self._reader.mailbox_holder(scope, whose, mailbox_id, WRITE, "change mailbox")

        async def unit(tx: Transaction) -> MailboxNode:
            mailbox = found(await mailboxes.get(tx, account_id, MailboxId(mailbox_id)), "mailbox")
            if name is not None and boxes.normalise_name(name) != mailbox.name:
                if mailbox.role is SpecialUse.INBOX:
                    raise Conflict("INBOX keeps its name", code="invalid_state")
                await boxes.rename_in(tx, account_id, mailbox.name, name)
            if subscribed is not None:
                await boxes.set_subscribed_in(tx, account_id, mailbox.id, subscribed=subscribed)
            return await _node(tx, account_id, mailbox.id)

        return await self._write("mail.change_mailbox", unit)

    async def delete_mailbox(self, scope: Scope, whose: Whose, mailbox_id: str, *, messages: str | None) -> None:
        """Delete a mailbox; those below it stay.

        Args:
            messages: What becomes of its mail: `trash`, `delete`, or None when there is none.

        Raises:
            Conflict: It has a role, or mail and nothing said of it.
        """
        account_id = await self._reader.mailbox_holder(scope, whose, mailbox_id, WRITE, "delete mailbox")
        while await self._write("mail.empty_mailbox", lambda tx: _empty(tx, account_id, mailbox_id, messages)):
            pass

        async def unit(tx: Transaction) -> None:
            mailbox = found(await mailboxes.get(tx, account_id, MailboxId(mailbox_id)), "mailbox")
            await boxes.delete_in(tx, account_id, mailbox.name)

        await self._write("mail.delete_mailbox", unit)

    async def _run(self, account_id: AccountId, ids: Sequence[str], action: Action) -> list[Done]:
        async def unit(tx: Transaction) -> list[Done]:
            return await _act(tx, account_id, ids, action)

        return await self._write("mail.act", unit)

    async def _write(self, name: str, unit: Unit[T]) -> T:
        try:
            return await self._database.write(name, unit)
        except UniqueViolation as error:
            raise Conflict("the mailbox exists already") from error
        except StoreReadOnly as error:
            raise Conflict("mail can be read but not changed now", code="read_only") from error


async def _act(tx: Transaction, account_id: AccountId, ids: Sequence[str], action: Action) -> list[Done]:
    records = await listing.many(tx, account_id, ids)
    now: dict[str, str] = {}
    for mailbox_id, group in groupby(records, key=lambda record: record.mailbox_id):
        some = list(group)
        now |= await _act_in(tx, account_id, mailbox_id, some, action)
    return [Done(id=one, message_id=now.get(one)) for one in ids]


async def _act_in(
    tx: Transaction, account_id: AccountId, mailbox_id: MailboxId, records: list[MessageRecord], action: Action
) -> dict[str, str]:
    """Do it to messages of one mailbox, by ascending UID; their ids afterwards."""
    same: dict[str, str] = {record.id: record.id for record in records}
    uids = [record.uid for record in records]
    match action:
        case SetFlags():
            for wanted, change in ((True, FlagChange.ADD), (False, FlagChange.REMOVE)):
                bits, words = _bits(action, wanted=wanted)
                if bits or words:
                    await store_flags_in(
                        tx,
                        account_id=account_id,
                        mailbox_id=mailbox_id,
                        uids=uids,
                        change=change,
                        flags=bits,
                        keywords=words,
                    )
            return same
        case SetTags():
            await _tag(tx, account_id, mailbox_id, records, action)
            return same
        case SetCategory():
            await _categorise(tx, account_id, records, action.category_id)
            return same
        case Transfer():
            target = found(await mailboxes.get(tx, account_id, action.mailbox_id), "mailbox")
            if action.move and target.id == mailbox_id:
                return same
            copied = await copy_in(
                tx, account_id=account_id, mailbox_id=mailbox_id, uids=uids, to=target.name, move=action.move
            )
            if action.move:
                return same
            ids = await listing.ids_of(tx, account_id, target.id, copied.target)
            return {record.id: ids[uid] for record, uid in zip(records, copied.target, strict=True)}
        case Remove():
            await _remove(tx, account_id, mailbox_id, uids)
            return same


async def _remove(tx: Transaction, account_id: AccountId, mailbox_id: MailboxId, uids: Sequence[int]) -> None:
    trash = await mailboxes.by_role(tx, account_id, SpecialUse.TRASH)
    if trash is None or trash.id == mailbox_id:
        await remove_in(tx, account_id=account_id, mailbox_id=mailbox_id, uids=uids)
    else:
        await copy_in(tx, account_id=account_id, mailbox_id=mailbox_id, uids=uids, to=trash.name, move=True)


async def _tag(
    tx: Transaction, account_id: AccountId, mailbox_id: MailboxId, records: list[MessageRecord], action: SetTags
) -> None:
    names = await names_in(tx, account_id)
    words = names.keywords(action.names)
    if action.change is not FlagChange.REMOVE:
        await define_missing(tx, account_id, action.names, names)
    steps = [(action.change, words)]
    if action.change is FlagChange.SET:
        kept = {word.lower() for word in words}
        gone = {w for r in records for w in r.keywords if not w.startswith("$") and w.lower() not in kept}
        steps = [(FlagChange.REMOVE, sorted(gone)), (FlagChange.ADD, words)]
    for change, some in steps:
        if some:
            await store_flags_in(
                tx,
                account_id=account_id,
                mailbox_id=mailbox_id,
                uids=[record.uid for record in records],
                change=change,
                flags=0,
                keywords=some,
            )


async def _categorise(
    tx: Transaction, account_id: AccountId, records: list[MessageRecord], category_id: str | None
) -> None:
    if category_id is not None:
        tenant_id = found(await tags.tenant_of(tx, account_id), "account")
        found(await tags.get_category(tx, tenant_id, category_id), "category")
        await threads.learn(tx, account_id, [record.email_id for record in records], category_id)
    await listing.set_category(
        tx, account_id, [record.email_id for record in records], category_id=category_id, source="user", confidence=100
    )


async def _empty(tx: Transaction, account_id: AccountId, mailbox_id: str, messages: str | None) -> bool:
    """Take some messages out of a mailbox that is to be deleted; whether there may be more."""
    mailbox = found(await mailboxes.get(tx, account_id, MailboxId(mailbox_id)), "mailbox")
    if mailbox.role is not None:
        raise Conflict("a mailbox with a role can't be deleted", code="invalid_state")
    if mailbox.total and messages is None:
        raise Conflict("the mailbox holds mail: say what becomes of it by ?messages=trash or delete", code="in_use")
    uids = await listing.first_uids(tx, account_id, mailbox.id, EMPTY_AT_ONCE)
    if not uids:
        return False
    if messages == "trash":
        await _remove(tx, account_id, mailbox.id, uids)
    else:
        await remove_in(tx, account_id=account_id, mailbox_id=mailbox.id, uids=uids)
    return len(uids) == EMPTY_AT_ONCE


async def _node(tx: Transaction, account_id: AccountId, mailbox_id: MailboxId) -> MailboxNode:
    every = nodes(await mailboxes.list_all(tx, account_id))
    return found(next((node for node in every if node.mailbox.id == mailbox_id), None), "mailbox")


def _bits(flags: SetFlags, *, wanted: bool) -> tuple[int, list[str]]:
    """The flags that are to be set, or to be taken away, as bits and keywords."""
    pairs = (
        (flags.seen, SEEN),
        (flags.answered, ANSWERED),
        (flags.flagged, FLAGGED),
        (flags.draft, DRAFT),
    )
    bits = sum(bit for asked, bit in pairs if asked is wanted)
    return bits, [FORWARDED] if flags.forwarded is wanted else []
