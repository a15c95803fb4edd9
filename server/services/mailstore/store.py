"""The mailstore as edges see it: every call names the account, and touches nothing of any other.

- A change returns after its commit. Reads see every change that was answered before them.
- Views and octets are shared by all sessions of the process.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime
from functools import partial
from typing import TypeVar

from server.domain.errors import Conflict, MaiRustError, OverQuota, Unavailable
from server.domain.flags import ALL_FLAGS
from server.domain.ids import AccountId, MailboxId, ModSeq, Uid
from server.domain.mailbox import Mailbox
from server.domain.message import CONTENT_RAM_MAX, Blob, Content, Rendered, SpecialUse, Stored
from server.domain.ports import BlobStore, Clock, ContentWriter, Notifier, Worker
from server.protocol.imap.search_keys import SearchKey
from server.protocol.imap.sort import SortCriterion, ThreadAlgorithm
from server.protocol.imap.threads import ThreadNode
from server.protocol.mime.render import render
from server.services.mailstore import mailboxes as boxes
from server.services.mailstore.access import Access, Place, flag_mask
from server.services.mailstore.annotations import Annotations
from server.services.mailstore.append import NewMessage, append_in
from server.services.mailstore.copy_move import Copied, Expunged, copy_in, expunge_in, remove_in
from server.services.mailstore.flags import FlagChange, FlagsStored, format_stored_keywords, store_flags_in
from server.services.mailstore.match import slice_of
from server.services.mailstore.octets import MessageOctets
from server.services.mailstore.quota import Quota, quota_in
from server.services.mailstore.search import Searcher, SearchScope, TextIndex
from server.services.mailstore.sort import Sortables
from server.services.mailstore.sync import Follower, MailboxView, OpenMailboxes
from server.services.mailstore.thread import make_threads
from server.store.database import Database
from server.store.errors import StoreReadOnly, UniqueViolation
from server.store.repositories import mailboxes as mailbox_rows
from server.store.repositories import message_details, message_order, messages
from server.store.repositories.message_details import Details as Details
from server.store.repositories.message_order import SortRow, ThreadRow
from server.store.repositories.messages import SearchRow
from server.store.times import to_us
from server.store.transaction import Transaction, Unit
from server.telemetry.log import get_logger

T = TypeVar("T")
ORDER_PAGE = 500
"""Rows read at once to sort or thread."""
REFRESH_CHUNKS = 5
"""Chunks of flags after which the view takes over what changed."""
STORE_CHUNK = 2000
"""Messages whose flags one unit of work changes: about 30 ms of the writer."""
log = get_logger("storage")


class MailStore:
    """Use cases on mailboxes and messages."""

    def __init__(
        self,
        *,
        database: Database,
        blobs: BlobStore,
        notifier: Notifier,
        clock: Clock,
        worker: Worker,
        index: TextIndex | None = None,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._clock = clock
        self.worker = worker
        self.access = Access(database)
        self.annotations = Annotations(database)
        self._octets = MessageOctets(database, blobs)
        self._open = OpenMailboxes(database, notifier, clock)
        self._notifier = notifier
        self._searcher = Searcher(reader=self, worker=worker, index=index, now_us=lambda: to_us(clock.now()))

    # Mailboxes.

    async def list_mailboxes(self, account_id: AccountId) -> list[Mailbox]:
        """All mailboxes by name."""
        return await self._database.read("mailstore.list", lambda tx: mailbox_rows.list_all(tx, account_id))

    async def mailbox(self, account_id: AccountId, name: str) -> Mailbox:
        """Raises NotFound, and InvalidInput for what can't be a name."""
        return await self._database.read("mailstore.mailbox", lambda tx: boxes.find_in(tx, account_id, name))

    async def create(self, account_id: AccountId, name: str, role: SpecialUse | None = None) -> Mailbox:
        """Create a mailbox; one that is given a role takes it from the mailbox that has it (RFC 6154 §3)."""
        return await self._write("mailstore.create", lambda tx: boxes.create_in(tx, account_id, name, role))

    async def delete(self, account_id: AccountId, name: str) -> None:
        await self._write("mailstore.delete", lambda tx: boxes.delete_in(tx, account_id, name))

    async def rename(self, account_id: AccountId, name: str, to: str) -> None:
        await self._write("mailstore.rename", lambda tx: boxes.rename_in(tx, account_id, name, to))

    async def subscribe(self, account_id: AccountId, name: str, *, subscribed: bool) -> None:
        await self._write(
            "mailstore.subscribe", lambda tx: boxes.subscribe_in(tx, account_id, name, subscribed=subscribed)
        )

    def on_change(self, account_id: AccountId, wake: Callable[[], None]) -> Callable[[], None]:
        """Call `wake`, in the event loop, when the account may have changed; returns what ends it."""
        return self._notifier.subscribe(account_id, lambda _change: wake())

    async def quota(self, account_id: AccountId) -> Quota:
        return await self._database.read("mailstore.quota", lambda tx: quota_in(tx, account_id))

    # Messages.

    def writer(self) -> ContentWriter:
        """Takes a message while it arrives. Raises DiskReserve when the disk is short."""
        self._blobs.check_space()
        return self._blobs.writer()

    async def check_room(self, account_id: AccountId, name: str, octets: int) -> Mailbox:
        """The mailbox a message of this size would go to, before its octets are taken.

        Raises:
            NotFound, OverQuota: There is no such mailbox; no room.
        """

        async def unit(tx: Transaction) -> Mailbox:
            mailbox = await boxes.find_in(tx, account_id, name)
            if not (await quota_in(tx, account_id)).has_room(octets):
                raise OverQuota("the account has no room left")
            return mailbox

        return await self._database.read("mailstore.check_room", unit)

    async def append(
        self,
        account_id: AccountId,
        mailbox_id: MailboxId,
        content: Content,
        *,
        flags: int,
        keywords: Sequence[str],
        internal_date: datetime | None,
    ) -> Stored:
        """Store a message as it is; takes over `content` whatever happens.

        Raises:
            NotFound, OverQuota, InvalidInput: Nothing was stored.
        """
        try:
            format_stored_keywords(keywords)
            rendered = await self._rendered(content)
            blob = await self._blobs.place(content)
        except BaseException:
            await self._blobs.discard(content)
            raise
        now = self._clock.now()

        async def unit(tx: Transaction) -> Stored:
            return await append_in(
                tx,
                account_id=account_id,
                mailbox=mailbox_id,
                blob=blob,
                blob_is_new=True,
                prefix=b"",
                rendered=rendered,
                flags=flags,
                keywords=keywords,
                internal_date=internal_date or now,
                received_at=now,
                trace_id=None,
            )

        return await self._write("mailstore.append", unit)

    async def append_all(
        self,
        account_id: AccountId,
        mailbox_id: MailboxId,
        new: Sequence[NewMessage],
        *,
        replacing: tuple[MailboxView, Uid] | None = None,
    ) -> list[Stored]:
        """Store messages, all or none; takes over their contents whatever happens (RFC 3502 §3).

        Args:
            replacing: A message that goes in the same unit of work (RFC 8508 §3.2).

        Raises:
            NotFound, OverQuota, InvalidInput: Nothing was stored.
        """
        placed: list[tuple[NewMessage, Blob, Rendered]] = []
        waiting = list(new)
        try:
            for message in new:
                format_stored_keywords(message.keywords)
                rendered = await self._rendered(message.content)
                placed.append((message, await self._blobs.place(message.content), rendered))
                waiting.pop(0)
        except BaseException:
            for message in waiting:
                await self._blobs.discard(message.content)
            raise
        now = self._clock.now()

        async def unit(tx: Transaction) -> list[Stored]:
            if replacing is not None:
                view, uid = replacing
                await remove_in(tx, account_id=view.account_id, mailbox_id=view.mailbox_id, uids=[uid])
            return [
                await append_in(
                    tx,
                    account_id=account_id,
                    mailbox=mailbox_id,
                    blob=blob,
                    blob_is_new=True,
                    prefix=b"",
                    rendered=rendered,
                    flags=message.flags,
                    keywords=message.keywords,
                    internal_date=message.internal_date or now,
                    received_at=now,
                    trace_id=None,
                )
                for message, blob, rendered in placed
            ]

        stored = await self._write("mailstore.append", unit)
        if replacing is not None:
            await replacing[0].refresh()
        return stored

    async def discard(self, content: Content) -> None:
        """Forget a content that will not be stored."""
        await self._blobs.discard(content)

    async def store_flags(
        self,
        view: MailboxView,
        uids: Sequence[int],
        change: FlagChange,
        *,
        flags: int,
        keywords: Sequence[str] = (),
        unchanged_since: ModSeq | None = None,
        permitted: int = ALL_FLAGS,
    ) -> FlagsStored:
        """Change flags and bring the view up to date; `uids` ascend.

        Many messages are changed STORE_CHUNK at a time, so that other writes have their turn in between: each chunk is
        atomic, and what was changed before an error stays changed.
        """
        parts: list[FlagsStored] = []
        for start in range(0, len(uids), STORE_CHUNK):
            chunk = uids[start : start + STORE_CHUNK]
            parts.append(await self._store_chunk(view, chunk, change, flags, keywords, unchanged_since, permitted))
            # The view follows on the way: what it has to take over at once stays small.
            if len(parts) % REFRESH_CHUNKS == 0 or start + STORE_CHUNK >= len(uids):
                await view.refresh()
        return FlagsStored(
            modseq=max((part.modseq for part in parts if part.modseq is not None), default=None),
            changed=tuple(uid for part in parts for uid in part.changed),
            modified=tuple(uid for part in parts for uid in part.modified),
        )

    async def _store_chunk(
        self,
        view: MailboxView,
        uids: Sequence[int],
        change: FlagChange,
        flags: int,
        keywords: Sequence[str],
        unchanged_since: ModSeq | None,
        permitted: int,
    ) -> FlagsStored:
        async def unit(tx: Transaction) -> FlagsStored:
            return await store_flags_in(
                tx,
                account_id=view.account_id,
                mailbox_id=view.mailbox_id,
                uids=uids,
                change=change,
                flags=flags,
                keywords=keywords,
                unchanged_since=unchanged_since,
                permitted=permitted,
            )

        return await self._write("mailstore.store", unit)

    async def copy(self, view: MailboxView, uids: Sequence[int], to: Place, *, move: bool) -> Copied:
        """Copy or move to a mailbox, perhaps another account's, and bring the view up to date."""
        name = boxes.normalise_name(to.name)
        copied = await self._write(
            "mailstore.move" if move else "mailstore.copy",
            lambda tx: copy_in(
                tx,
                account_id=view.account_id,
                mailbox_id=view.mailbox_id,
                uids=uids,
                to=name,
                move=move,
                to_account=to.account_id,
                permitted=flag_mask(to.rights),
            ),
        )
        await view.refresh()
        return copied

    async def expunge(self, view: MailboxView, uids: Sequence[int]) -> Expunged:
        """Expunge those among `uids` that are \\Deleted and bring the view up to date."""
        expunged = await self._write(
            "mailstore.expunge",
            lambda tx: expunge_in(tx, account_id=view.account_id, mailbox_id=view.mailbox_id, uids=uids),
        )
        await view.refresh()
        return expunged

    async def remove(self, view: MailboxView, uids: Sequence[int]) -> Expunged:
        """Expunge those that exist among `uids` (ascending), whatever their flags; all or none."""
        return await self._write(
            "mailstore.remove",
            lambda tx: remove_in(tx, account_id=view.account_id, mailbox_id=view.mailbox_id, uids=uids),
        )

    # Reading.

    async def open(self, account_id: AccountId, mailbox_id: MailboxId, follower: Follower) -> MailboxView:
        """Open a mailbox's shared view; `close` must follow. Raises NotFound."""
        return await self._open.open(account_id, mailbox_id, follower)

    def close(self, view: MailboxView, follower: Follower) -> None:
        self._open.close(view, follower)

    async def claim_recent(self, view: MailboxView, below: Uid) -> None:
        """Messages below this UID are \\Recent in no later session; best effort."""
        if not view.claim_recent(below):
            return
        try:
            await self._write(
                "mailstore.recent",
                lambda tx: mailbox_rows.claim_recent(tx, view.account_id, view.mailbox_id, below),
            )
        except MaiRustError as error:
            log.warning("mailstore.recent_not_kept", reason=error.public)

    async def deleted(self, account_id: AccountId, mailbox_id: MailboxId) -> tuple[int, int]:
        """Messages marked \\Deleted and their octets (RFC 9051 §6.3.11, RFC 9208 §4.1.4)."""
        return await self._database.read("mailstore.deleted", lambda tx: messages.deleted(tx, account_id, mailbox_id))

    async def details(self, view: MailboxView, uids: Sequence[int]) -> dict[int, Details]:
        """Ids, preview and date of saving by UID; ask for a page at a time."""
        return await self._database.read(
            "mailstore.details", lambda tx: message_details.details(tx, view.account_id, view.mailbox_id, uids)
        )

    async def vanished(self, view: MailboxView, since: ModSeq) -> list[int] | None:
        """UIDs expunged after `since`, ascending; None where such rows may have been purged (RFC 7162 §3.2.5.1)."""

        async def unit(tx: Transaction) -> list[int] | None:
            mailbox = await mailbox_rows.get(tx, view.account_id, view.mailbox_id)
            if mailbox is None or since < mailbox.purged_modseq:
                return None
            return await messages.vanished(tx, view.account_id, view.mailbox_id, since)

        return await self._database.read("mailstore.vanished", unit)

    async def rendered(self, view: MailboxView, uids: Sequence[int]) -> dict[int, tuple[bytes, bytes, bytes]]:
        """ENVELOPE, BODY and BODYSTRUCTURE by UID; ask for a page at a time."""
        return await self._database.read(
            "mailstore.rendered", lambda tx: messages.rendered(tx, view.account_id, view.mailbox_id, uids)
        )

    async def search_rows(self, view: MailboxView, uids: Sequence[int]) -> dict[int, SearchRow]:
        """What searches ask of rows, by UID; ask for a page at a time."""
        return await self._database.read(
            "mailstore.search_rows", lambda tx: messages.search_rows(tx, view.account_id, view.mailbox_id, uids)
        )

    def octets(self, view: MailboxView, uids: Sequence[int]) -> AsyncIterator[tuple[Uid, bytes | None]]:
        """The messages' octets one after the other, by ascending UID; None for one that can't be read."""
        return self._octets.read_all(view, uids)

    async def search(
        self, scope: SearchScope, key: SearchKey, pace: Callable[[], Awaitable[None]]
    ) -> list[tuple[int, int]]:
        """Sequence number and UID of the messages that match; `pace` is awaited after each slice of work."""
        return await self._searcher.search(scope, key, pace)

    async def sort(
        self,
        scope: SearchScope,
        key: SearchKey,
        criteria: Sequence[SortCriterion],
        pace: Callable[[], Awaitable[None]],
    ) -> list[tuple[int, int]]:
        """As `search`, in the order of the criteria."""
        view = scope.view
        found = await self._searcher.search(scope, key, pace)
        sortables = Sortables(criteria)
        for start in range(0, len(found), ORDER_PAGE):
            page = slice_of(view, found[start : start + ORDER_PAGE])
            page.settle()
            rows: Sequence[SortRow] = ()
            if sortables.needs_rows:
                rows = await self._sort_rows(view, page.uids, envelopes=sortables.needs_envelopes)
            if sortables.needs_envelopes:
                # Each is read up to the address wanted, and may name thousands.
                await self.worker.run(partial(sortables.add, page, rows))
            else:
                sortables.add(page, rows)
            await pace()
        return await self.worker.run(sortables.in_order)

    async def threads(
        self,
        scope: SearchScope,
        key: SearchKey,
        algorithm: ThreadAlgorithm,
        pace: Callable[[], Awaitable[None]],
        shape: Callable[[Sequence[ThreadNode]], T],
    ) -> T:
        """As `search`, in threads of UIDs.

        Args:
            shape: Makes the result of them, in a worker: so many nodes are not for the event loop.
        """
        uids = [uid for _, uid in await self._searcher.search(scope, key, pace)]
        rows: list[ThreadRow] = []
        for start in range(0, len(uids), ORDER_PAGE):
            rows += await self._thread_rows(scope.view, uids[start : start + ORDER_PAGE])
            await pace()

        def work() -> T:
            shaped = shape(make_threads(algorithm, rows))
            rows.clear()
            return shaped

        return await self.worker.run(work)

    async def _sort_rows(self, view: MailboxView, uids: Sequence[int], *, envelopes: bool) -> list[SortRow]:
        return await self._database.read(
            "mailstore.sort",
            lambda tx: message_order.sort_rows(tx, view.account_id, view.mailbox_id, uids, envelopes=envelopes),
        )

    async def _thread_rows(self, view: MailboxView, uids: Sequence[int]) -> list[ThreadRow]:
        return await self._database.read(
            "mailstore.threads", lambda tx: message_order.thread_rows(tx, view.account_id, view.mailbox_id, uids)
        )

    async def _rendered(self, content: Content) -> Rendered:
        if content.data is not None and content.size_octets <= CONTENT_RAM_MAX // 8:
            return render(content.data)
        octets = await self._blobs.read_content(content)
        return await self.worker.run(lambda: render(octets))

    async def _write(self, name: str, unit: Unit[T]) -> T:
        try:
            return await self._database.write(name, unit)
        except UniqueViolation as error:
            raise Conflict("the mailbox exists already") from error
        except StoreReadOnly as error:
            raise Unavailable("mail can be read but not changed now") from error
