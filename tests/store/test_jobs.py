"""Rows of jobs on both databases: one holder, one running job an account, a former life's leases, what was imported."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from sqlalchemy import select

from server.domain.ids import AccountId, TenantId, new_id
from server.domain.jobs import ERRORS_MAX, Counts, Job, JobError, JobId, JobKind, JobStatus
from server.domain.paging import PageRequest
from server.store.database import Database
from server.store.errors import UniqueViolation
from server.store.repositories import jobs
from server.store.schema import accounts
from server.store.transaction import Transaction
from tests.support.imap_edge import add_account

SPAN = 180_000_000
NOW = datetime(2026, 11, 2, tzinfo=UTC)


async def tenant_of(store: Database, account: AccountId) -> TenantId:
    row = await store.read("t", lambda tx: tx.fetch_one(select(accounts.c.tenant_id).where(accounts.c.id == account)))
    assert row is not None
    return TenantId(str(row[0]))


async def add(store: Database, account: AccountId, kind: JobKind = JobKind.IMPORT_IMAP) -> Job:
    tenant = await tenant_of(store, account)
    job = Job(
        id=JobId(new_id()),
        tenant_id=tenant,
        account_id=account,
        kind=kind,
        status=JobStatus.PENDING,
        parameters="{}",
        sealed_secret=b"sealed",
        counts=Counts(),
        place="",
        total=None,
        errors=(),
        created_by="uid:0",
        created_at=NOW,
        started_at=None,
        updated_at=NOW,
        finished_at=None,
    )
    await store.write("t", lambda tx: jobs.insert(tx, job))
    return job


async def claim(store: Database, job: Job, owner: str, span: int = SPAN) -> bool:
    return await store.write("t", lambda tx: jobs.claim(tx, job, owner=owner, span_us=span))


async def look(store: Database, job: Job) -> Job:
    found = await store.read("t", lambda tx: jobs.get_any(tx, job.id))
    assert found is not None
    return found


async def test_one_holder_wins_however_many_try(store: Database) -> None:
    job = await add(store, await add_account(store, "anna@a.test"))
    won = await asyncio.gather(*(claim(store, job, f"h/l/{n}") for n in range(8)))
    assert sum(won) == 1
    assert (await look(store, job)).status is JobStatus.RUNNING


async def test_an_account_has_one_running_job(store: Database) -> None:
    account = await add_account(store, "anna@a.test")
    first, second = await add(store, account), await add(store, account, JobKind.IMPORT_MBOX)
    won = await asyncio.gather(claim(store, first, "h/l/1"), claim(store, second, "h/l/2"))
    assert sum(won) == 1
    winner, loser, owner = (first, second, "h/l/1") if won[0] else (second, first, "h/l/2")
    await store.write("t", lambda tx: jobs.release(tx, winner.id, owner=owner))
    assert await claim(store, loser, "h/l/3")


async def test_a_lease_that_ran_out_is_free_and_its_former_holder_learns_it(store: Database) -> None:
    job = await add(store, await add_account(store, "anna@a.test"))
    assert await claim(store, job, "h/l/1", span=-1)
    assert await claim(store, job, "h/l/2")
    assert not await store.write("t", lambda tx: jobs.renew(tx, job.id, owner="h/l/1", span_us=SPAN))
    assert await store.write("t", lambda tx: jobs.renew(tx, job.id, owner="h/l/2", span_us=SPAN))


async def test_leases_of_a_former_life_are_freed_and_no_others(store: Database) -> None:
    one = await add(store, await add_account(store, "anna@a.test"))
    two = await add(store, await add_account(store, "ben@b.test"))
    assert await claim(store, one, "host/former/1")
    assert await claim(store, two, "other/life/1")
    assert await store.write("t", lambda tx: jobs.drop_former(tx, host="host", life="now")) == 1
    assert await store.read("t", lambda tx: jobs.due(tx, limit=10)) == [one.id]
    assert await claim(store, one, "host/now/1")
    assert not await claim(store, two, "host/now/2")


@pytest.mark.parametrize("status", [JobStatus.PAUSED, JobStatus.CANCELLED])
async def test_a_holder_whose_job_was_stopped_can_not_go_on(store: Database, status: JobStatus) -> None:
    job = await add(store, await add_account(store, "anna@a.test"))
    assert await claim(store, job, "h/l/1")
    change = jobs.set_status if status is JobStatus.PAUSED else jobs.finish
    assert await store.write("t", lambda tx: change(tx, job.id, status))
    assert not await store.write("t", lambda tx: jobs.renew(tx, job.id, owner="h/l/1", span_us=SPAN))
    assert not await claim(store, job, "h/l/1")


async def test_the_secret_is_erased_with_the_end_and_an_end_is_final(store: Database) -> None:
    job = await add(store, await add_account(store, "anna@a.test"))
    assert (await look(store, job)).sealed_secret == b"sealed"
    assert await store.write("t", lambda tx: jobs.finish(tx, job.id, JobStatus.SUCCEEDED))
    ended = await look(store, job)
    assert (ended.sealed_secret, ended.status, ended.finished_at is not None) == (None, JobStatus.SUCCEEDED, True)
    assert not await store.write("t", lambda tx: jobs.finish(tx, job.id, JobStatus.FAILED))
    assert not await store.write("t", lambda tx: jobs.set_status(tx, job.id, JobStatus.PAUSED))


async def test_progress_is_kept_with_the_first_hundred_errors(store: Database) -> None:
    job = await add(store, await add_account(store, "anna@a.test"))
    counts = Counts(added=3, skipped=2, failed=200, changed=1)
    errors = [JobError(place=str(n), detail="x") for n in range(200)]
    await store.write("t", lambda tx: jobs.set_progress(tx, job, counts, place="INBOX", total=9, errors=errors))
    seen = await look(store, job)
    assert (seen.counts, seen.place, seen.total, len(seen.errors)) == (counts, "INBOX", 9, ERRORS_MAX)


async def test_jobs_are_listed_by_account_kind_and_status(store: Database) -> None:
    account = await add_account(store, "anna@a.test")
    other = await add_account(store, "ben@b.test", colleague=account)
    first, second = await add(store, account), await add(store, account, JobKind.EXPORT_EML)
    await add(store, other)

    async def ids(**wanted: object) -> list[str]:
        every = {"account_id": account, "kind": None, "status": None, **wanted}
        page = await store.read(
            "t",
            lambda tx: jobs.page(tx, first.tenant_id, PageRequest(limit=10), **every),  # type: ignore[arg-type]
        )
        return [job.id for job in page.items]

    assert await ids() == [second.id, first.id]
    assert await ids(kind=JobKind.EXPORT_EML) == [second.id]
    assert await ids(status=JobStatus.PAUSED) == []


async def test_what_was_imported_is_known_by_source_and_key_of_the_account(store: Database) -> None:
    account = await add_account(store, "anna@a.test")
    other = await add_account(store, "ben@b.test", colleague=account)
    rows = [("imap:x/INBOX", f"1:{n}", f"m{n}", "0") for n in range(3)]
    await store.write("t", lambda tx: jobs.remember(tx, account, rows))
    keys = ["1:0", "1:2", "1:9"]
    assert await store.read("t", lambda tx: jobs.known_keys(tx, account, "imap:x/INBOX", keys)) == {
        "1:0": "m0",
        "1:2": "m2",
    }
    assert await store.read("t", lambda tx: jobs.of_source(tx, other, "imap:x/INBOX")) == {}
    await store.write("t", lambda tx: jobs.set_states(tx, account, "imap:x/INBOX", {"1:1": "1 work"}))
    known = await store.read("t", lambda tx: jobs.of_source(tx, account, "imap:x/INBOX"))
    assert known["1:1"] == ("m1", "1 work")

    async def twice(tx: Transaction) -> None:
        await jobs.remember(tx, account, rows[:1])

    with pytest.raises(UniqueViolation):
        await store.write("t", twice)
