"""The lock of a maildrop among processes: two of them on one database (RFC 1939 §4)."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from server.adapters.blobs_fs import FileBlobStore
from server.adapters.worker import ThreadWorker
from server.domain.errors import Conflict
from server.services.mailstore.maildrop import LEASE_S, RENEW_S, Maildrops
from server.services.mailstore.store import MailStore
from server.store import leases
from server.store.database import Database
from tests.support.clock import FakeClock
from tests.support.imap_edge import add_account
from tests.support.stores import RecordingNotifier, WallClock


@pytest.fixture
def mailstore(store: Database, tmp_path: Path) -> MailStore:
    worker = ThreadWorker("test", threads=1)
    blobs = FileBlobStore(tmp_path / "mail", inline_max=1024, worker=worker, fatal=lambda _r: None, reserve=0)
    return MailStore(database=store, blobs=blobs, notifier=RecordingNotifier(), clock=WallClock(), worker=worker)


def maildrops(store: Database, mailstore: MailStore, host: str, clock: FakeClock | None = None) -> Maildrops:
    return Maildrops(mailstore=mailstore, database=store, clock=clock or FakeClock(), owner=host, shared=True)


async def test_one_process_has_the_maildrop_until_it_gives_it_back(store: Database, mailstore: MailStore) -> None:
    account_id = await add_account(store, "a@example.org")
    here, there = maildrops(store, mailstore, "mx1.example.org"), maildrops(store, mailstore, "mx2.example.org")
    drop = await here.open(account_id)
    for other in (here, there):
        with pytest.raises(Conflict):
            await other.open(account_id)
    await drop.close()
    await (await there.open(account_id)).close()


async def test_a_dead_process_keeps_the_maildrop_for_the_lease_alone(store: Database, mailstore: MailStore) -> None:
    account_id = await add_account(store, "a@example.org")
    await store.write(
        "test.dead",
        lambda tx: leases.take(tx, name=f"maildrop:{account_id}", owner="mx1.example.org/dead", span_us=-1),
    )
    await (await maildrops(store, mailstore, "mx2.example.org").open(account_id)).close()


async def test_a_host_that_starts_frees_what_its_former_life_held(store: Database, mailstore: MailStore) -> None:
    first, second = await add_account(store, "a@example.org"), await add_account(store, "b@example.org")
    await maildrops(store, mailstore, "mx1.example.org").open(first)
    await maildrops(store, mailstore, "mx10.example.org").open(second)
    clock = FakeClock()
    again = maildrops(store, mailstore, "mx1.example.org", clock)
    renewing = asyncio.create_task(again.run())
    async with asyncio.timeout(15):
        while not clock.sleepers:
            await asyncio.sleep(0.01)
    await (await again.open(first)).close()
    with pytest.raises(Conflict):
        await again.open(second)
    renewing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await renewing


async def test_what_is_held_is_renewed(store: Database, mailstore: MailStore) -> None:
    account_id = await add_account(store, "a@example.org")
    clock = FakeClock()
    here, there = maildrops(store, mailstore, "mx1.example.org", clock), maildrops(store, mailstore, "mx2.example.org")
    renewing = asyncio.create_task(here.run())
    drop = await here.open(account_id)
    name = f"maildrop:{account_id}"
    # As if the time of the lease were nearly over.
    await store.write("test.old", lambda tx: leases.take(tx, name=name, owner=here.owner, span_us=-1))
    async with asyncio.timeout(15):
        while not clock.sleepers:
            await asyncio.sleep(0.01)
        await clock.advance(RENEW_S)
        while not clock.sleepers:
            await asyncio.sleep(0.01)
    with pytest.raises(Conflict):
        await there.open(account_id)
    assert RENEW_S * 2 < LEASE_S
    renewing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await renewing
    await drop.close()
