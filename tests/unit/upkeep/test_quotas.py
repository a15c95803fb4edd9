"""Owners are told that their mailbox fills up: once at each level, by mail and by event."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import select, update

from server.adapters.blobs_fs import FileBlobStore
from server.config.schema import Settings
from server.domain.ids import AccountId, BlobId, new_id
from server.domain.message import Blob, BlobPlace, SpecialUse
from server.protocol.mime.render import render
from server.services.mailstore.append import append_in
from server.services.upkeep.quotas import QuotaWarnings
from server.store.database import Database
from server.store.repositories import listing, mailboxes
from server.store.schema import accounts, events
from server.store.transaction import Transaction
from tests.support.identity import AtOnce
from tests.support.imap_edge import add_account
from tests.support.stores import WallClock, open_sqlite


def _warnings(store: Database, folder: Path) -> QuotaWarnings:
    blobs = FileBlobStore(folder / "mail", inline_max=16384, worker=AtOnce(), fatal=lambda _r: None, reserve=0)
    blobs.open()
    return QuotaWarnings(database=store, blobs=blobs, clock=WallClock(), settings=Settings)


async def test_each_level_is_told_once_and_again_after_there_was_room(tmp_path: Path) -> None:
    async with open_sqlite(tmp_path) as store:
        account = await add_account(store, "a@example.org", quota=100_000)
        warnings = _warnings(store, tmp_path)

        async def told(quota: int) -> int:
            await store.write("quota", lambda tx: tx.execute(update(accounts).values(quota_octets=quota)))
            return await warnings.round()

        async def used() -> int:
            row = await store.read("used", lambda tx: tx.fetch_one(select(accounts.c.used_octets)))
            assert row is not None
            return int(str(row[0]))

        assert await told(100_000) == 0
        assert await told(0) == 0, "no quota, nothing to be full"
        await store.write("use", lambda tx: _use(tx, account))
        size = await used()
        assert await told(size * 10 // 9) == 1
        assert await warnings.round() == 0, "told once"
        assert await told(await used()) == 1, "95 percent"
        assert await warnings.round() == 0
        assert await told(10**9) == 0
        assert await told(await used() * 10 // 9) == 1, "crossed again"
        rows = await store.read("events", lambda tx: tx.fetch(select(events.c.type, events.c.severity)))
        assert [(row[0], row[1]) for row in rows].count(("account.quota_warning", "warning")) == 3
        inbox = await store.read("box", lambda tx: mailboxes.by_role(tx, account, SpecialUse.INBOX))
        assert inbox is not None
        ids = await store.read("ids", lambda tx: listing.ids_of(tx, account, inbox.id, range(2, 5)))
        mails = await store.read("mails", lambda tx: listing.many(tx, account, list(ids.values())))
        assert [mail.subject for mail in mails] == [
            "Your mailbox is 90 % full",
            "Your mailbox is 100 % full",
            "Your mailbox is 90 % full",
        ]


async def _use(tx: Transaction, account: AccountId) -> None:
    """Store a megabyte, beside which a warning is little."""
    octets = b"Subject: big\r\n\r\n" + b"x" * 1_000_000
    blob = Blob(id=BlobId(new_id()), size_octets=len(octets), sha256="0" * 64, place=BlobPlace.ROW, inline=octets)
    now = datetime.now(UTC)
    await append_in(
        tx,
        account_id=account,
        mailbox=SpecialUse.INBOX,
        blob=blob,
        blob_is_new=True,
        prefix=b"",
        rendered=render(octets[:100]),
        flags=0,
        keywords=(),
        internal_date=now,
        received_at=now,
        trace_id=None,
        check_quota=False,
    )
