"""What the API shows of an account's mail: mailboxes, lists of messages, one message, its octets.

- Every call says who asks and whose mail is meant; `MailOwners` decides.
- Lists come off indexes, a page at a time, and are told by descending time unless another order is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from server.domain.errors import InvalidInput, NotFound
from server.domain.identity import Scope
from server.domain.ids import AccountId, MailboxId
from server.domain.listing import CategoryDefinition, MessageFilter, MessageOrder, MessageRecord
from server.domain.mailbox import DELIMITER, Mailbox
from server.domain.paging import Page, PageRequest
from server.domain.ports import BlobStore, Worker
from server.protocol.mime.headers import header_end
from server.services.identity.writer import found
from server.services.mailstore.content import AttachmentOctets, Opened, open_attachment, open_message
from server.services.mailstore.owners import READ, MailOwners, Whose
from server.services.mailstore.tags import TagNames, names_in
from server.store.database import Database
from server.store.repositories import listing, mailboxes, tags
from server.store.repositories.listing import Position
from server.store.transaction import Transaction

T = TypeVar("T")
SCAN_ROWS = 20_000
"""Rows that one page looks at when it is filtered: some ten milliseconds of a reader."""
SCAN_ROWS_LEAST = 200
WORKER_OCTETS = 64 * 1024
"""Larger messages are taken apart off the event loop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageView:
    """A message with the names of its tags and its category."""

    record: MessageRecord
    tags: tuple[str, ...]
    category: CategoryDefinition | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxNode:
    """A mailbox with the id of the one above it, None at the top or where there is none."""

    mailbox: Mailbox
    parent_id: MailboxId | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedMessage:
    view: MessageView
    opened: Opened


class MailReader:
    """Reads mail for the API."""

    def __init__(self, *, database: Database, blobs: BlobStore, worker: Worker, owners: MailOwners) -> None:
        self._database = database
        self._blobs = blobs
        self._worker = worker
        self._owners = owners

    async def mailboxes(self, scope: Scope, whose: Whose) -> list[MailboxNode]:
        """All mailboxes of an account by name."""
        account_id = await self._owners.account(scope, whose, READ, "list mailboxes")
        return nodes(await self._database.read("mail.mailboxes", lambda tx: mailboxes.list_all(tx, account_id)))

    async def mailbox(self, scope: Scope, whose: Whose, mailbox_id: str) -> MailboxNode:
        account_id = await self.mailbox_holder(scope, whose, mailbox_id, READ, "show mailbox")
        every = nodes(await self._database.read("mail.mailboxes", lambda tx: mailboxes.list_all(tx, account_id)))
        return found(next((node for node in every if node.mailbox.id == mailbox_id), None), "mailbox")

    async def messages(
        self,
        scope: Scope,
        whose: Whose,
        wanted: MessageFilter,
        request: PageRequest,
        *,
        order: MessageOrder = MessageOrder.NEWEST,
        tag: str | None = None,
    ) -> Page[MessageView]:
        """A page of messages; with a filter it may be short, or empty, while there is more.

        Raises:
            NotFound: No such mailbox.
        """
        account_id = await self._owners.account(scope, whose, READ, "list messages")

        async def unit(tx: Transaction) -> Page[MessageView]:
            names = await names_in(tx, account_id)
            asked = _with_tag(wanted, names, tag)
            boxes = await _mailboxes_of(tx, account_id, asked)
            page = await _page(tx, account_id, boxes, asked, order, request)
            return Page(items=await views_in(tx, account_id, page.items, names), next_after=page.next_after)

        return await self._database.read("mail.messages", unit)

    async def count(self, scope: Scope, whose: Whose, wanted: MessageFilter, *, tag: str | None = None) -> int:
        """How many messages match, at most 10,000; ask after `messages`."""
        account_id = await self._owners.account(scope, _silent(whose), READ, "list messages")

        async def unit(tx: Transaction) -> int:
            asked = _with_tag(wanted, await names_in(tx, account_id), tag)
            boxes = await _mailboxes_of(tx, account_id, asked)
            if asked.is_plain:
                return min(sum(box.total for box in boxes), 10_000)
            return await listing.count(tx, account_id, asked, [box.id for box in boxes])

        return await self._database.read("mail.count", unit)

    async def thread(self, scope: Scope, whose: Whose, thread_id: str) -> list[MessageView]:
        """The messages of a thread, oldest first. Raises NotFound when there are none."""
        account_id = await self._owners.holder(
            scope, whose, READ, "show thread", find=partial(_thread_owner, scope, thread_id), kind="thread"
        )

        async def unit(tx: Transaction) -> tuple[MessageView, ...]:
            records = await listing.thread(tx, account_id, thread_id)
            return await views_in(tx, account_id, records, await names_in(tx, account_id))

        messages = await self._database.read("mail.thread", unit)
        if not messages:
            raise NotFound("no such thread")
        return list(messages)

    async def message(self, scope: Scope, whose: Whose, message_id: str) -> OpenedMessage:
        """A message with its text, fields and attachments."""
        account_id = await self.message_holder(scope, whose, message_id, READ, "show message")
        view = await self.view(account_id, message_id)
        return OpenedMessage(view=view, opened=await self._work(account_id, message_id, open_message))

    async def raw(self, scope: Scope, whose: Whose, message_id: str) -> bytes:
        """The message's octets: what we put before it, and what was received."""
        account_id = await self.message_holder(scope, whose, message_id, READ, "show source")
        return await self._octets(account_id, message_id)

    async def header(self, scope: Scope, whose: Whose, message_id: str) -> bytes:
        """The octets of the header section, with its empty line."""
        account_id = await self.message_holder(scope, whose, message_id, READ, "show header")
        return await self._work(account_id, message_id, header_octets)

    async def attachment(self, scope: Scope, whose: Whose, message_id: str, index: int) -> AttachmentOctets:
        account_id = await self.message_holder(scope, whose, message_id, READ, f"show attachment {index}")
        return await self._work(account_id, message_id, lambda octets: open_attachment(octets, index))

    async def view(self, account_id: AccountId, message_id: str) -> MessageView:
        """A message of an account that may be seen. Raises NotFound."""
        return (await self.views(account_id, [message_id]))[0]

    async def views(self, account_id: AccountId, ids: Sequence[str]) -> tuple[MessageView, ...]:
        """Messages of an account that may be seen, in order. Raises NotFound when one is missing."""

        async def unit(tx: Transaction) -> tuple[MessageView, ...]:
            by_id: dict[str, MessageRecord] = {one.id: one for one in await listing.many(tx, account_id, ids)}
            if any(one not in by_id for one in ids):
                raise NotFound("no such message")
            records = [by_id[one] for one in ids]
            return await views_in(tx, account_id, records, await names_in(tx, account_id))

        return await self._database.read("mail.views", unit)

    async def message_holder(self, scope: Scope, whose: Whose, message_id: str, word: str, action: str) -> AccountId:
        """The account of a message, as far as the caller may know of it."""

        async def find(tx: Transaction) -> AccountId | None:
            return await listing.owner(tx, scope.tenant_id, message_id)

        return await self._owners.holder(scope, whose, word, action, find=find, kind="message")

    async def mailbox_holder(self, scope: Scope, whose: Whose, mailbox_id: str, word: str, action: str) -> AccountId:
        """The account of a mailbox, as far as the caller may know of it."""

        async def find(tx: Transaction) -> AccountId | None:
            return await listing.mailbox_owner(tx, scope.tenant_id, mailbox_id)

        return await self._owners.holder(scope, whose, word, action, find=find, kind="mailbox")

    async def _octets(self, account_id: AccountId, message_id: str) -> bytes:
        source = await self._database.read("mail.source", lambda tx: listing.source(tx, account_id, message_id))
        if source is None:
            raise NotFound("no such message")
        octets = await self._blobs.read(source.blob)
        return source.prefix + octets if source.prefix else octets

    async def _work(self, account_id: AccountId, message_id: str, work: Callable[[bytes], T]) -> T:
        octets = await self._octets(account_id, message_id)
        return work(octets) if len(octets) <= WORKER_OCTETS else await self._worker.run(lambda: work(octets))


def nodes(boxes: Sequence[Mailbox]) -> list[MailboxNode]:
    """The mailboxes with their parents."""
    by_name = {box.name: box.id for box in boxes}
    return [MailboxNode(mailbox=box, parent_id=by_name.get(box.name.rpartition(DELIMITER)[0])) for box in boxes]


def header_octets(octets: bytes) -> bytes:
    return octets[: header_end(octets)]


def _silent(whose: Whose) -> Whose:
    """The same claim where its first use was recorded already."""
    return Whose(account=whose.account, reason=whose.reason, goes_on=True)


def _with_tag(wanted: MessageFilter, names: TagNames, tag: str | None) -> MessageFilter:
    return wanted if tag is None else replace(wanted, keyword=names.keyword(tag, pointer="/tag"))


async def _mailboxes_of(tx: Transaction, account_id: AccountId, wanted: MessageFilter) -> list[Mailbox]:
    if wanted.mailbox_id is None:
        return [box for box in await mailboxes.list_all(tx, account_id) if box.total]
    return [found(await mailboxes.get(tx, account_id, wanted.mailbox_id), "mailbox")]


async def _page(
    tx: Transaction,
    account_id: AccountId,
    boxes: Sequence[Mailbox],
    wanted: MessageFilter,
    order: MessageOrder,
    request: PageRequest,
) -> Page[MessageRecord]:
    """Merge the mailboxes' lists; what lies behind the place where one of them stopped looking waits for the next."""
    after = None if request.after is None else _position(request.after)
    scan = max(SCAN_ROWS // max(len(boxes), 1), SCAN_ROWS_LEAST)
    rows: list[tuple[Position, MessageRecord]] = []
    stops: list[Position] = []
    for box in boxes:
        part = await listing.mailbox_page(
            tx, account_id, box.id, wanted=wanted, order=order, after=after, limit=request.limit + 1, scan=scan
        )
        rows += part.rows
        stops += [part.stopped_at] if part.stopped_at is not None else []
    rows.sort(key=lambda row: row[0], reverse=order.descending)
    stop = (max(stops) if order.descending else min(stops)) if stops else None
    if stop is not None:
        rows = [row for row in rows if (row[0] >= stop if order.descending else row[0] <= stop)]
    kept = rows[: request.limit]
    if len(rows) > request.limit:
        stop = kept[-1][0]
    return Page(items=tuple(record for _, record in kept), next_after=None if stop is None else _cursor(stop))


async def views_in(
    tx: Transaction, account_id: AccountId, records: Sequence[MessageRecord], names: TagNames
) -> tuple[MessageView, ...]:
    """The messages with their tags' names and their categories."""
    categories: dict[str, CategoryDefinition] = {}
    if any(record.category for record in records):
        tenant_id = await tags.tenant_of(tx, account_id)
        if tenant_id is not None:
            categories = {one.id: one for one in await tags.list_categories(tx, tenant_id)}
    return tuple(
        MessageView(
            record=record, tags=tuple(names.names(record.keywords)), category=categories.get(record.category or "")
        )
        for record in records
    )


async def _thread_owner(scope: Scope, thread_id: str, tx: Transaction) -> AccountId | None:
    return await listing.thread_owner(tx, scope.tenant_id, thread_id)


def _cursor(place: Position) -> str:
    return f"{place.value} {place.mailbox_id} {place.uid}"


def _position(after: str) -> Position:
    value, _, rest = after.partition(" ")
    mailbox_id, _, uid = rest.partition(" ")
    if not (value.lstrip("-").isdecimal() and uid.isdecimal()):
        raise InvalidInput("the cursor belongs to another list", pointer="/cursor")
    return Position(int(value), mailbox_id, int(uid))
