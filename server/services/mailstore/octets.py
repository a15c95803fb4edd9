"""The octets of messages, read through a small cache for clients that fetch one message in many parts.

- Octets are `prefix` + the blob's, always whole and checked; the cache holds CACHE_OCTETS in all.
- Reads are paged by size, so that a command over a whole mailbox holds little at a time.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence

from server.domain.errors import Unavailable
from server.domain.ids import AccountId, Uid
from server.domain.ports import BlobStore
from server.services.mailstore.sync import MailboxView
from server.store.database import Database
from server.store.repositories import messages
from server.store.repositories.messages import Source

CACHE_OCTETS = 64 * 1024 * 1024
PAGE_OCTETS = 1024 * 1024
PAGE_MESSAGES = 100


class MessageOctets:
    """Reads messages' octets."""

    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self._database = database
        self._blobs = blobs
        self._cache: OrderedDict[tuple[AccountId, str], bytes] = OrderedDict()
        self._cached_octets = 0

    async def read_all(self, view: MailboxView, uids: Sequence[int]) -> AsyncIterator[tuple[Uid, bytes | None]]:
        """Yield the octets of those messages that exist among `uids` (ascending), in order.

        None stands for a message that is missing or damaged in the blob store; the blob store has logged it.
        """
        pages = _pages(view, uids)
        ahead = asyncio.ensure_future(self._sources(view, pages[0])) if pages else None
        try:
            for place in range(len(pages)):
                assert ahead is not None  # noqa: S101 - made above and below
                sources = await ahead
                # The next page's rows are read while this one is sent.
                more = place + 1 < len(pages)
                ahead = asyncio.ensure_future(self._sources(view, pages[place + 1])) if more else None
                for source in sources:
                    try:
                        octets = await self._read(view.account_id, source)
                    except Unavailable:
                        yield source.uid, None
                    else:
                        yield source.uid, octets
        finally:
            if ahead is not None:
                ahead.cancel()

    async def _sources(self, view: MailboxView, uids: Sequence[int]) -> list[Source]:
        return await self._database.read(
            "mailstore.sources", lambda tx: messages.sources(tx, view.account_id, view.mailbox_id, uids)
        )

    async def _read(self, account_id: AccountId, source: Source) -> bytes:
        key = (account_id, source.email_id)
        found = self._cache.get(key)
        if found is not None:
            self._cache.move_to_end(key)
            return found
        octets = await self._blobs.read(source.blob)
        octets = source.prefix + octets if source.prefix else octets
        if source.blob.inline is None:
            self._keep(key, octets)
        return octets

    def _keep(self, key: tuple[AccountId, str], octets: bytes) -> None:
        """Cache octets that came from a file; those in rows are read as fast as from here."""
        if key in self._cache or len(octets) > CACHE_OCTETS:
            return
        self._cache[key] = octets
        self._cached_octets += len(octets)
        while self._cached_octets > CACHE_OCTETS:
            _, oldest = self._cache.popitem(last=False)
            self._cached_octets -= len(oldest)


def _pages(view: MailboxView, uids: Sequence[int]) -> list[list[int]]:
    """Cut UIDs into pages of at most PAGE_MESSAGES and about PAGE_OCTETS."""
    pages: list[list[int]] = []
    octets = 0
    for uid in uids:
        place = view.index(uid)
        if place is None:
            continue
        size = view.sizes[place]
        if not pages or len(pages[-1]) >= PAGE_MESSAGES or octets + size > PAGE_OCTETS:
            pages.append([])
            octets = 0
        pages[-1].append(uid)
        octets += size
    return pages
