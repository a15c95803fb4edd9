"""The daily round: what is past its time goes, what is referenced stays."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import func, insert, select

from server.adapters.blobs_fs import FileBlobStore
from server.adapters.worker import ThreadWorker
from server.config.schema import Settings
from server.domain.changes import TraceEvent
from server.domain.ids import BlobId, new_id
from server.services.upkeep.retention import Retention
from server.store.database import Database
from server.store.repositories import blobs as blob_rows
from server.store.schema import blobs, events, queued_messages, queued_recipients, tenants
from server.store.times import to_us
from server.store.transaction import Transaction


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
    retention = Retention(database=store, files=files, clock=clock, settings=lambda: settings, owner="here")
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
        "events": 0,
        "deliveries": 1,
        "expunged": 0,
        "mailboxes": 0,
        "blobs": 0,
        "files": 1,
    }
    assert not (tmp_path / "mail" / stray.id[:6] / stray.id).exists()
    assert (tmp_path / "mail" / fresh.id[:6] / fresh.id).exists()
    assert await _count(store, queued_messages) == 1

    clock.instant += timedelta(days=31)
    other = Retention(database=store, files=files, clock=clock, settings=lambda: settings, owner="there")
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
