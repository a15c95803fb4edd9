"""The parts that import and export mail, and the service that runs their jobs."""

from __future__ import annotations

from dataclasses import dataclass

from server.daemon.parts import Adapters, Live
from server.daemon.service import Service
from server.domain.jobs import Job
from server.services.upkeep.job_runner import JobFailed, JobRunner
from server.services.upkeep.jobs import Holder, JobService
from server.services.upkeep.uploads import UploadService


@dataclass(frozen=True, slots=True, kw_only=True)
class JobParts:
    """Jobs, and those who work on them."""

    jobs: JobService
    uploads: UploadService
    runner: JobRunner


def make_jobs(live: Live, adapters: Adapters) -> JobParts:
    database, clock = adapters.database, adapters.clock
    holder = Holder(live().server.hostname)
    runner = JobRunner(database=database, clock=clock, holder=holder, work=_by_imap)
    return JobParts(
        jobs=JobService(database=database, sealer=adapters.box, wake=runner.wake),
        uploads=UploadService(
            database=database,
            blobs=adapters.blobs,
            worker=adapters.workers.sign,
            clock=clock,
            settings=live,
            holder=holder,
        ),
        runner=runner,
    )


async def _by_imap(_job: Job, _owner: str) -> None:
    raise JobFailed("imports by IMAP are not available")


def job_service(parts: JobParts) -> Service:
    return Service(name="jobs", start=parts.runner.start, run=parts.runner.run)
