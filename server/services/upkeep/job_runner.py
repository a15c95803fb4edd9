"""The runner of jobs that need no client: imports by IMAP, one at a time for each account.

- A job is claimed by a lease that is renewed with every batch and every minute; a killed daemon's jobs are free again
  when it is back, a killed host's when their leases end. They go on where the rows of `imported_messages` say.
- Pause and cancel are seen at the next batch, or within a minute.
- An error of ours or of the other server's that may pass is tried again later and later, up to TRIES_MAX in a row
  without progress.
- Jobs whose client has left them alone for a day are ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta

from server.domain.errors import MaiRustError, OverQuota
from server.domain.jobs import Job, JobId, JobStatus
from server.domain.ports import Clock
from server.services.upkeep.importing import LEASE_S, JobStopped
from server.services.upkeep.jobs import Holder, end
from server.store.database import Database
from server.store.repositories import jobs
from server.store.times import to_us
from server.store.transaction import Transaction
from server.telemetry.log import get_logger

log = get_logger("job")

AT_ONCE = 2
LOOK_S = 60.0
RETRY_S = 2.0
"""Wait before the second try; each further wait is twice as long, up to LOOK_S."""
TRIES_MAX = 12
LEFT_ALONE = timedelta(days=1)


class JobFailed(Exception):
    """The job can't be done; the text says why, for whoever asked for it."""


class JobTroubled(Exception):
    """The job may be done later; the text says what is in its way."""


Work = Callable[[Job, str], Awaitable[None]]
"""Runs a claimed job (with the lease's owner) to its end. Raises JobFailed, JobTroubled, JobStopped, MaiRustError."""


class JobRunner:
    """Looks for jobs and runs them.

    Args:
        retry_s: How long a job in trouble waits first.
    """

    def __init__(
        self, *, database: Database, clock: Clock, holder: Holder, work: Work, retry_s: float = RETRY_S
    ) -> None:
        self._database = database
        self._clock = clock
        self._holder = holder
        self._work = work
        self._retry_s = retry_s
        self._wake = asyncio.Event()
        self._running: set[JobId] = set()
        self._waits: dict[JobId, float] = {}
        self._tries: dict[JobId, tuple[int, int]] = {}

    def wake(self) -> None:
        """There may be something to do."""
        self._wake.set()

    async def start(self) -> None:
        """Free what a former life of this host held; before anything else asks for a job."""
        holder = self._holder
        await self._database.write("job.former", lambda tx: jobs.drop_former(tx, host=holder.host, life=holder.life))

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._wake.clear()
                await self._end_left()
                for job_id in await self._due():
                    if len(self._running) < AT_ONCE and job_id not in self._running:
                        self._running.add(job_id)
                        group.create_task(self._run(job_id))
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._pause_s()):
                        await self._wake.wait()

    def _pause_s(self) -> float:
        now = self._clock.monotonic()
        return min([LOOK_S, *(max(0.05, until - now) for until in self._waits.values())])

    async def _due(self) -> list[JobId]:
        now = self._clock.monotonic()
        self._waits = {job_id: until for job_id, until in self._waits.items() if until > now}
        found = await self._database.read("job.due", lambda tx: jobs.due(tx, limit=100))
        return [job_id for job_id in found if job_id not in self._waits]

    async def _run(self, job_id: JobId) -> None:
        owner = self._holder.owner()
        try:
            job = await self._claim(job_id, owner)
            if job is None:
                self._waits[job_id] = self._clock.monotonic() + self._retry_s
                return
            log.info("job.started", job_id=job_id, kind=job.kind.value)
            try:
                async with asyncio.TaskGroup() as group:
                    keeper = group.create_task(self._keep(job_id, owner))
                    await self._work(job, owner)
                    keeper.cancel()
            except* (JobFailed, JobTroubled, JobStopped, MaiRustError) as errors:
                await self._ended_badly(job_id, errors.exceptions[0])
            except* Exception as errors:
                # A fault of ours in one job must not end the others.
                log.exception("job.crashed", errors.exceptions[0], job_id=job_id)
                await self._ended_badly(job_id, JobTroubled("internal error"))
            else:
                await self._end(job_id, JobStatus.SUCCEEDED, "")
            await self._database.write("job.release", lambda tx: jobs.release(tx, job_id, owner=owner))
        finally:
            self._running.discard(job_id)
            self._wake.set()

    async def _claim(self, job_id: JobId, owner: str) -> Job | None:
        async def unit(tx: Transaction) -> Job | None:
            job = await jobs.get_any(tx, job_id)
            if job is None or not await jobs.claim(tx, job, owner=owner, span_us=LEASE_S * 1_000_000):
                return None
            return await jobs.get_any(tx, job_id)

        return await self._database.write("job.claim", unit)

    async def _keep(self, job_id: JobId, owner: str) -> None:
        """Renew the lease; JobStopped when it is no longer ours to hold."""
        while True:
            await self._clock.sleep(LEASE_S / 3)
            if not await self._database.write(
                "job.renew", lambda tx: jobs.renew(tx, job_id, owner=owner, span_us=LEASE_S * 1_000_000)
            ):
                raise JobStopped("the job was paused, cancelled or has ended")

    async def _ended_badly(self, job_id: JobId, error: Exception) -> None:
        if isinstance(error, JobStopped):
            log.info("job.stopped", job_id=job_id)
            return
        words = error.public if isinstance(error, MaiRustError) else str(error)
        tries = TRIES_MAX if isinstance(error, JobFailed | OverQuota) else await self._count_try(job_id)
        if tries >= TRIES_MAX:
            await self._end(job_id, JobStatus.FAILED, words)
            return
        log.warning("job.troubled", job_id=job_id, reason=words)
        self._waits[job_id] = self._clock.monotonic() + min(LOOK_S, self._retry_s * 2 ** (tries - 1))

    async def _count_try(self, job_id: JobId) -> int:
        """How many tries there were since the last progress, this one included."""
        job = await self._database.read("job.look", lambda tx: jobs.get_any(tx, job_id))
        done = job.counts.done if job is not None else 0
        last, tries = self._tries.get(job_id, (done, 0))
        tries = tries + 1 if last == done else 1
        self._tries[job_id] = (done, tries)
        return tries

    async def _end(self, job_id: JobId, status: JobStatus, words: str) -> None:
        async def unit(tx: Transaction) -> None:
            job = await jobs.get_any(tx, job_id)
            if job is not None:
                await end(tx, job, status, words)

        await self._database.write("job.end", unit)
        self._tries.pop(job_id, None)
        log.info("job.finished", job_id=job_id, status=status.value, reason=words)

    async def _end_left(self) -> None:
        before = to_us(self._clock.now() - LEFT_ALONE)
        for job_id in await self._database.read("job.left", lambda tx: jobs.left_alone(tx, before)):
            await self._end(job_id, JobStatus.FAILED, "nothing was sent for a day")
