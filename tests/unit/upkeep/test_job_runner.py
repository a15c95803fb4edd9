"""The runner of jobs: takes what is due, tries again what may pass, ends what can't be done, stops when told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from server.domain.errors import Unavailable
from server.domain.ids import AccountId
from server.domain.jobs import Job, JobStatus
from server.services.upkeep.importing import JobStopped
from server.services.upkeep.job_runner import TRIES_MAX, JobFailed, JobRunner, JobTroubled
from server.services.upkeep.jobs import Holder
from server.store.database import Database
from server.store.repositories import jobs
from tests.store.test_jobs import add, look
from tests.support.imap_edge import add_account
from tests.support.stores import WallClock, open_sqlite

WAIT_S = 10.0


@asynccontextmanager
async def running(database: Database, work: Callable[[Job, str], Awaitable[None]]) -> AsyncIterator[JobRunner]:
    runner = JobRunner(database=database, clock=WallClock(), holder=Holder("host"), work=work, retry_s=0.001)
    await runner.start()
    task = asyncio.create_task(runner.run())
    try:
        yield runner
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(database: Database, job: Job, status: JobStatus) -> Job:
    async with asyncio.timeout(WAIT_S):
        while (seen := await look(database, job)).status is not status:
            await asyncio.sleep(0.01)
    return seen


@pytest.fixture
async def account(tmp_path: Path) -> AsyncIterator[tuple[Database, AccountId]]:
    async with open_sqlite(tmp_path) as database:
        yield database, await add_account(database, "anna@a.test")


async def test_a_job_that_is_made_runs_and_succeeds(account: tuple[Database, AccountId]) -> None:
    database, owner = account
    done: list[str] = []

    async def work(job: Job, _owner: str) -> None:
        done.append(job.id)

    async with running(database, work) as runner:
        job = await add(database, owner)
        runner.wake()
        await until(database, job, JobStatus.SUCCEEDED)
    assert done == [job.id]


async def test_what_can_not_be_done_fails_with_the_reason(account: tuple[Database, AccountId]) -> None:
    database, owner = account

    async def work(_job: Job, _owner: str) -> None:
        raise JobFailed("the login was refused")

    job = await add(database, owner)
    async with running(database, work):
        ended = await until(database, job, JobStatus.FAILED)
    assert ended.errors[-1].detail == "the login was refused"


@pytest.mark.parametrize("trouble", [JobTroubled("nothing answers"), Unavailable()])
async def test_trouble_is_tried_again_until_it_passes(account: tuple[Database, AccountId], trouble: Exception) -> None:
    database, owner = account
    tries = 0

    async def work(_job: Job, _owner: str) -> None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise trouble

    job = await add(database, owner)
    async with running(database, work):
        await until(database, job, JobStatus.SUCCEEDED)
    assert tries == 3


async def test_a_fault_of_ours_in_one_job_does_not_end_the_runner(account: tuple[Database, AccountId]) -> None:
    database, owner = account
    tries = 0

    async def work(_job: Job, _owner: str) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise KeyError("a fault")

    job = await add(database, owner)
    async with running(database, work):
        await until(database, job, JobStatus.SUCCEEDED)


async def test_trouble_without_end_ends_the_job(account: tuple[Database, AccountId]) -> None:
    database, owner = account
    tries = 0

    async def work(_job: Job, _owner: str) -> None:
        nonlocal tries
        tries += 1
        raise JobTroubled("nothing answers")

    job = await add(database, owner)
    async with running(database, work):
        await until(database, job, JobStatus.FAILED)
    assert tries == TRIES_MAX


async def test_a_paused_job_stops_and_goes_on_when_it_is_resumed(account: tuple[Database, AccountId]) -> None:
    database, owner = account
    begun, paused = asyncio.Event(), asyncio.Event()

    async def work(job: Job, holder: str) -> None:
        if begun.is_set():
            return
        begun.set()
        await paused.wait()
        if not await database.write("t", lambda tx: jobs.renew(tx, job.id, owner=holder, span_us=1)):
            raise JobStopped("paused")

    job = await add(database, owner)
    async with running(database, work) as runner:
        await begun.wait()
        await database.write("t", lambda tx: jobs.set_status(tx, job.id, JobStatus.PAUSED))
        paused.set()
        async with asyncio.timeout(WAIT_S):
            while await database.read("t", lambda tx: jobs.due(tx, limit=1)):
                await asyncio.sleep(0.01)
        assert (await look(database, job)).status is JobStatus.PAUSED
        await database.write("t", lambda tx: jobs.set_status(tx, job.id, JobStatus.PENDING))
        runner.wake()
        await until(database, job, JobStatus.SUCCEEDED)


async def test_a_job_of_a_former_life_is_taken_up_at_once(account: tuple[Database, AccountId]) -> None:
    database, owner = account
    job = await add(database, owner)
    await database.write("t", lambda tx: jobs.claim(tx, job, owner="host/former/1", span_us=10**12))

    async def work(_job: Job, _owner: str) -> None:
        return

    async with running(database, work):
        await until(database, job, JobStatus.SUCCEEDED)
