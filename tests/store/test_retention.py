"""The daily round: what is past its time goes, what is referenced stays."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from sqlalchemy import delete, func, insert, select, update

from server.adapters.blobs_fs import FileBlobStore
from server.adapters.worker import ThreadWorker
from server.config.schema import Settings
from server.domain.changes import TraceEvent
from server.domain.ids import BlobId, MailboxId, new_id
from server.domain.message import Blob, BlobPlace, SpecialUse
from server.protocol.mime.render import render
from server.services.identity.accounts import AccountService
from server.services.identity.directory import Directory
from server.services.identity.passwords import Passwords
from server.services.identity.writer import DirectoryWriter
from server.services.mailstore.append import append_in
from server.services.mailstore.copy_move import remove_in
from server.services.mailstore.mailboxes import create_default_mailboxes
from server.services.mailstore.undelete import restore_in
from server.services.upkeep.purge import Purge
from server.services.upkeep.retention import Retention
from server.store.database import Database
from server.store.repositories import audit, listing, mailboxes, upkeep
from server.store.repositories import blobs as blob_rows
from server.store.schema import (
    accounts,
    blobs,
    domains,
    emails,
    events,
    messages,
    queued_messages,
    queued_recipients,
    tenants,
)
from server.store.times import to_us
from server.store.transaction import Transaction
from tests.store.test_messages import OCTETS, append_one
from tests.support.identity import CHEAP, AtOnce
from tests.support.imap_edge import add_account


class SetClock:
    """A clock that stands where it was put."""

    def __init__(self) -> None:
        self.instant = datetime.now(UTC)

    def now(self) -> datetime:
        return self.instant

    def monotonic(self) -> float:
        return self.instant.timestamp()

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("no test waits")

    def random(self) -> float:
        return 0.5


def _retention(
    store: Database, files: FileBlobStore, clock: SetClock, settings: Settings, *, owner: str = "here"
) -> Retention:
    directory = Directory(store, clock)
    accounts = AccountService(
        DirectoryWriter(store, directory),
        Passwords(AtOnce(), lambda: CHEAP),
        create_mailboxes=create_default_mailboxes,
        default_quota=lambda: 0,
    )
    return Retention(
        database=store,
        files=files,
        clock=clock,
        settings=lambda: settings,
        owner=owner,
        purge=Purge(database=store, accounts=accounts, directory=directory),
    )


async def _count(store: Database, table: object) -> int:
    row = await store.read("count", lambda tx: tx.fetch_one(select(func.count()).select_from(table)))  # type: ignore[call-overload]
    assert row is not None
    return int(str(row[0]))


def _old(path: Path) -> None:
    before = (datetime.now(UTC) - timedelta(days=2)).timestamp()
    os.utime(path, (before, before))


async def test_what_is_past_its_time_goes_and_the_rest_stays(store: Database, tmp_path: Path) -> None:
    worker = ThreadWorker("blob", threads=2)
    files = FileBlobStore(tmp_path / "mail", inline_max=0, worker=worker, fatal=lambda _r: None, reserve=0)
    files.open()
    clock = SetClock()
    settings = Settings()
    retention = _retention(store, files, clock, settings)
    kept = await files.place(await files.content(b"a: b\r\n\r\nkept"))
    loose = await files.place(await files.content(b"a: b\r\n\r\nloose"))
    stray = await files.place(await files.content(b"a: b\r\n\r\nstray"))
    fresh = await files.place(await files.content(b"a: b\r\n\r\nfresh"))
    _old(tmp_path / "mail" / stray.id[:6] / stray.id)
    now_us = to_us(clock.now())
    life = {"created_at": now_us, "updated_at": now_us, "revision": 1}

    async def fill(tx: Transaction) -> None:
        await blob_rows.insert(tx, kept)
        await blob_rows.insert(tx, loose)
        await tx.execute(insert(tenants).values(id="t", name="t", display_name="", status="active", **life))
        for number, finished in (("1", now_us), ("2", now_us - 10 * 86_400_000_000)):
            await tx.execute(insert(queued_messages).values(**_message(number, kept.id, now_us)))
            await tx.execute(insert(queued_recipients).values(**_recipient(number, finished)))
        tx.record(TraceEvent(type="test.event", component="test", verdict="old"))

    await store.write("fill", fill)
    assert await retention.round() == {
        "trash": 0,
        "junk": 0,
        "events": 0,
        "deliveries": 1,
        "expunged": 0,
        "mailboxes": 0,
        "accounts": 0,
        "domains": 0,
        "blobs": 0,
        "files": 1,
    }
    assert not (tmp_path / "mail" / stray.id[:6] / stray.id).exists()
    assert (tmp_path / "mail" / fresh.id[:6] / fresh.id).exists()
    assert await _count(store, queued_messages) == 1

    clock.instant += timedelta(days=31)
    other = _retention(store, files, clock, settings, owner="there")
    assert await other.round() == {}, "the lease is with another host until it runs out"
    gone = await retention.round()
    assert (gone["events"], gone["deliveries"], gone["blobs"]) == (1, 1, 1)
    assert not (tmp_path / "mail" / loose.id[:6] / loose.id).exists()
    assert (tmp_path / "mail" / kept.id[:6] / kept.id).exists(), "its last reference went in this very round"
    assert await _count(store, events) == 0
    assert await _count(store, blobs) == 1
    worker.close()


def _message(number: str, blob_id: BlobId, now_us: int) -> dict[str, object]:
    return {
        "id": number,
        "tenant_id": "t",
        "origin": "api",
        "sender": "",
        "blob_id": blob_id,
        "prefix": b"",
        "size_octets": 1,
        "subject": "",
        "trace_id": new_id(),
        "smtputf8": 0,
        "body_8bit": 0,
        "created_at": now_us,
        "expires_at": now_us,
    }


def _recipient(number: str, finished: int) -> dict[str, object]:
    return {
        "id": f"r{number}",
        "queue_id": number,
        "tenant_id": "t",
        "recipient": "a@b.example",
        "domain": "b.example",
        "kind": "remote",
        "status": "sent",
        "hold_reason": "",
        "attempts": 0,
        "due_at": finished,
        "notify": "[]",
        "warned": 0,
        "last_reply": "",
        "last_host": "",
        "created_at": finished,
        "updated_at": finished,
        "finished_at": finished,
    }


async def test_trash_and_junk_are_emptied_in_time_and_mail_stays_restorable(store: Database, tmp_path: Path) -> None:
    account = await add_account(store, "a@example.org")
    clock, worker = SetClock(), ThreadWorker("blob", threads=1)
    files = FileBlobStore(tmp_path / "mail", inline_max=16384, worker=worker, fatal=lambda _r: None, reserve=0)
    files.open()
    kept = msgspec.structs.replace(Settings().retention, trash_days=7, deleted_messages_days=14)
    settings = msgspec.structs.replace(Settings(), retention=kept)
    retention = _retention(store, files, clock, settings)

    async def fill(tx: Transaction) -> tuple[str, str]:
        ids = [(await append_one(tx, account, role)).message_id for role in (SpecialUse.TRASH, SpecialUse.JUNK)]
        return ids[0], ids[1]

    trashed, junk = await store.write("fill", fill)
    clock.instant += timedelta(days=6)
    assert (await retention.round())["trash"] == 0
    clock.instant += timedelta(days=2)
    assert (await retention.round())["trash"] == 1
    assert await store.read("junk", lambda tx: listing.get(tx, account, junk)) is not None, "0 days are for ever"
    assert await store.read("gone", lambda tx: listing.get(tx, account, trashed)) is None
    back = await store.write("restore", lambda tx: restore_in(tx, account, trashed))
    clock.instant += timedelta(days=30)
    await store.write("remove", lambda tx: remove_in(tx, account_id=account, mailbox_id=back, uids=range(1, 9)))
    gone = await retention.round()
    assert gone["expunged"] == 2, "the rows of both expunges"
    worker.close()


async def test_what_was_purged_is_noted_so_that_nobody_is_told_too_little(store: Database) -> None:
    """RFC 7162 section 3.2.5.1."""
    account = await add_account(store, "a@example.org")

    async def fill(tx: Transaction) -> MailboxId:
        stored = await append_one(tx, account, SpecialUse.INBOX)
        await remove_in(tx, account_id=account, mailbox_id=stored.mailbox_id, uids=[stored.uid])
        return stored.mailbox_id

    inbox = await store.write("fill", fill)
    far = to_us(datetime.now(UTC) + timedelta(days=1))
    assert await store.write("purge", lambda tx: upkeep.drop_expunged(tx, far)) == 1
    mailbox = await store.read("box", lambda tx: mailboxes.get(tx, account, inbox))
    assert mailbox is not None
    assert mailbox.purged_modseq == mailbox.modseq
    assert await _count(store, messages) == await _count(store, emails) == 0


async def test_a_blob_that_is_named_while_the_collector_runs_stays(store: Database) -> None:
    """Deliveries and the collector race: a mail never lacks its octets (reliability.md section 7)."""
    account = await add_account(store, "a@example.org")
    blob = Blob(id=BlobId(new_id()), size_octets=len(OCTETS), sha256="0" * 64, place=BlobPlace.ROW, inline=OCTETS)
    now_us = to_us(datetime.now(UTC))

    async def deliver(tx: Transaction) -> None:
        await append_in(
            tx,
            account_id=account,
            mailbox=SpecialUse.INBOX,
            blob=blob,
            blob_is_new=False,
            prefix=b"",
            rendered=render(OCTETS),
            flags=0,
            keywords=(),
            internal_date=datetime.now(UTC),
            received_at=datetime.now(UTC),
            trace_id=None,
        )

    async def collect() -> None:
        while await store.write("mark", lambda tx: upkeep.mark_blobs(tx, now_us)) is not None:
            pass
        await store.write("drop", lambda tx: upkeep.drop_blobs(tx, now_us + 1))

    for _ in range(10):
        await store.write("clear", lambda tx: tx.execute(delete(blobs).where(blobs.c.id == blob.id)))
        await store.write("blob", lambda tx: blob_rows.insert(tx, blob))
        done = await asyncio.gather(collect(), store.write("deliver", deliver), return_exceptions=True)
        assert done[0] is None, done[0]
        delivered = not isinstance(done[1], BaseException)
        there = await store.read("there", lambda tx: blob_rows.get(tx, blob.id)) is not None
        assert there == delivered, "either the mail is there with its octets, or the sender was not told so"
        if delivered:
            break


async def test_deleted_accounts_and_domains_go_after_their_days_with_all_that_is_theirs(
    store: Database, tmp_path: Path
) -> None:
    account, other = await add_account(store, "a@example.org"), await add_account(store, "b@example.net")
    clock, worker = SetClock(), ThreadWorker("blob", threads=1)
    files = FileBlobStore(tmp_path / "mail", inline_max=16384, worker=worker, fatal=lambda _r: None, reserve=0)
    files.open()
    retention = _retention(store, files, clock, Settings())

    async def fill(tx: Transaction) -> None:
        for owner in (account, other):
            await append_one(tx, owner, SpecialUse.INBOX)
            stored = await append_one(tx, owner, SpecialUse.INBOX, keywords=("Urgent",))
            await remove_in(tx, account_id=owner, mailbox_id=stored.mailbox_id, uids=[stored.uid])
        gone = {"status": "deleted", "deleted_at": to_us(clock.now())}
        await tx.execute(update(accounts).where(accounts.c.id == account).values(**gone))
        domain = select(accounts.c.domain_id).where(accounts.c.id == account).scalar_subquery()
        await tx.execute(update(domains).where(domains.c.id == domain).values(**gone))

    await store.write("fill", fill)
    clock.instant += timedelta(days=13)
    gone = await retention.round()
    assert (gone["accounts"], gone["domains"]) == (0, 0)
    clock.instant += timedelta(days=2)
    gone = await retention.round()
    assert (gone["accounts"], gone["domains"]) == (1, 1)
    assert await _count(store, accounts) == await _count(store, domains) == 1
    left = await store.read("left", lambda tx: tx.fetch(select(messages.c.account_id)))
    assert {row[0] for row in left} == {other}
    records = await store.read("audit", lambda tx: audit.newest(tx, None, limit=1))
    assert records[0].entry.type == "account.purged"
    worker.close()
