"""The daily round: rows past their retention, blobs that nothing names, files that no row names (reliability.md §7).

- One host at a time, by a lease. Each step works in small writes; an error ends the round, the next one goes on.
- Mail that was in Trash or Junk for its time is expunged, with a trace line each, and purged when it can't be restored
  any more.
- A blob goes a day after its last reference went, a file without a row a day after it was written.
- A crash leaves few such files. Where most have no row the database is not the one that knows them (an old backup,
  another one): nothing is deleted there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Protocol

from server.config.schema import Settings
from server.domain.errors import MaiRustError
from server.domain.ids import BlobId
from server.domain.message import SpecialUse
from server.domain.ports import Clock
from server.services.mailstore.copy_move import remove_in
from server.services.upkeep.purge import Purge
from server.store import leases
from server.store.database import Database
from server.store.repositories import filters, upkeep
from server.store.times import to_us
from server.store.transaction import Transaction
from server.telemetry.log import get_logger

log = get_logger("job")

ROUND_S = 3600.0
LEASE_US = 2 * 3_600 * 1_000_000
GRACE = timedelta(hours=24)
LEASE = "retention"
STRAYS_MAX = 100
"""Files without rows that a folder may have; with more of them than files with rows it is left alone."""
EXPIRED_AT_ONCE = 500
"""Messages that one write expunges, each with its trace line."""
RECENT_FOLDERS = 16
"""Folders of the last three days: each holds 4.7 hours."""


class BlobFiles(Protocol):
    """The blob store's housekeeping."""

    async def remove(self, ids: Sequence[BlobId]) -> None:
        """Delete files whose rows are gone; a missing one is no error."""
        ...

    async def folders(self) -> Sequence[str]:
        """Folders that hold blobs, oldest first."""
        ...

    async def old_files(self, folder: str, older_than_s: float) -> Sequence[str]:
        """Files of a folder written longer ago than that."""
        ...


class Retention:
    """Runs the round each hour; what is not due costs a few queries."""

    def __init__(
        self,
        *,
        database: Database,
        files: BlobFiles,
        clock: Clock,
        settings: Callable[[], Settings],
        owner: str,
        purge: Purge,
    ) -> None:
        self._database = database
        self._files = files
        self._clock = clock
        self._settings = settings
        self._owner = owner
        self._purge = purge
        self._first_folder = 0

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await self._clock.sleep(ROUND_S)
            try:
                await self.round()
            except MaiRustError as error:
                log.warning("retention.cut_short", reason=error.public)

    async def round(self) -> dict[str, int]:
        """One round; returns how many of each kind went. Empty when another host does it."""
        take = partial(leases.take, name=LEASE, owner=self._owner, span_us=LEASE_US)
        if not await self._database.write("retention.lease", take):
            return {}
        kept = self._settings().retention
        steps: dict[str, Callable[[Transaction], Awaitable[int]]] = {
            "events": partial(upkeep.drop_events, before_us=self._before(days=kept.events_days)),
            "deliveries": partial(upkeep.drop_queue_history, before_us=self._before(days=kept.queue_history_days)),
            "expunged": partial(upkeep.drop_expunged, before_us=self._before(days=kept.deleted_messages_days)),
            "mailboxes": partial(upkeep.drop_mailboxes, before_us=self._before(days=kept.deleted_messages_days)),
        }
        aged = {
            "trash": await self._expire(SpecialUse.TRASH, kept.trash_days),
            "junk": await self._expire(SpecialUse.JUNK, kept.junk_days),
        }
        gone = {**aged, **{name: await self._repeat(name, step) for name, step in steps.items()}}
        ended = self._before(days=kept.deleted_accounts_days)
        gone["accounts"] = await self._purge.accounts_before(ended)
        gone["domains"] = await self._purge.domains_before(ended)
        day_ago = to_us(self._clock.now() - GRACE)
        await self._database.write("retention.short_lived", partial(upkeep.drop_short_lived, before_us=day_ago))
        await self._database.write("retention.answers", filters.forget_past)
        now_us = to_us(self._clock.now())
        await self._mark_blobs(now_us)
        gone["blobs"] = await self._drop_blobs(day_ago)
        gone["files"] = await self._drop_strays()
        log.info("retention.done", **gone)
        return gone

    def _before(self, *, days: int) -> int:
        return to_us(self._clock.now() - timedelta(days=days))

    async def _repeat(self, name: str, step: Callable[[Transaction], Awaitable[int]]) -> int:
        total = 0
        while count := await self._database.write(f"retention.{name}", step):
            total += count
            if count < upkeep.BATCH:
                break
            await asyncio.sleep(0)
        return total

    async def _expire(self, role: SpecialUse, days: int) -> int:
        """Expunge what lies in the mailboxes of a role for longer than that; it can still be restored. 0 = for ever."""
        if not days:
            return 0
        before_us = self._before(days=days)
        total = 0
        for account_id, mailbox_id in await self._database.read(
            "retention.aging", partial(upkeep.mailboxes_of_role, role=role)
        ):
            due = partial(upkeep.old_uids, mailbox_id=mailbox_id, before_us=before_us, limit=EXPIRED_AT_ONCE)
            while uids := await self._database.read("retention.old", due):
                await self._database.write(
                    "retention.expire",
                    partial(remove_in, account_id=account_id, mailbox_id=mailbox_id, uids=uids),
                )
                total += len(uids)
        return total

    async def _mark_blobs(self, now_us: int) -> None:
        after: str | None = ""
        while after is not None:
            mark = partial(upkeep.mark_blobs, now_us=now_us, after=after)
            after = await self._database.write("retention.mark", mark)

    async def _drop_blobs(self, before_us: int) -> int:
        total = 0
        while total < upkeep.BLOBS_A_RUN:
            ids = await self._database.write("retention.blobs", partial(upkeep.drop_blobs, before_us=before_us))
            if not ids:
                break
            await self._files.remove(ids)
            total += len(ids)
        return total

    async def _drop_strays(self) -> int:
        """Delete files that a crash left between their rename and their row (state M2).

        The first round looks everywhere, later ones only where a crash since then can have left something.
        """
        removed = 0
        for folder in (await self._files.folders())[self._first_folder :]:
            names = await self._files.old_files(folder, GRACE.total_seconds())
            strays: list[BlobId] = []
            for start in range(0, len(names), upkeep.BATCH):
                some = names[start : start + upkeep.BATCH]
                known = await self._database.read("retention.known", partial(upkeep.known_blobs, ids=some))
                strays += [BlobId(name) for name in some if name not in known]
            if len(strays) > max(STRAYS_MAX, len(names) - len(strays)):
                log.error("retention.unknown_files", folder=folder, files=len(names), without_row=len(strays))
                continue
            await self._files.remove(strays)
            removed += len(strays)
        self._first_folder = -RECENT_FOLDERS
        return removed
