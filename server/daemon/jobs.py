"""The parts that import and export mail, and the service that runs their jobs."""

from __future__ import annotations

from dataclasses import dataclass

from server.adapters.dialer import StreamDialer
from server.daemon.parts import Adapters, Live
from server.daemon.service import Service
from server.services.queue.mx import MxRouter
from server.services.queue.networks import AddressGuard
from server.services.upkeep.exporting import ExportService
from server.services.upkeep.imap_import import ImapImporter
from server.services.upkeep.job_runner import JobRunner
from server.services.upkeep.jobs import Holder, JobService
from server.services.upkeep.uploads import UploadService


@dataclass(frozen=True, slots=True, kw_only=True)
class JobParts:
    """Jobs, and those who work on them."""

    jobs: JobService
    uploads: UploadService
    exports: ExportService
    runner: JobRunner


def make_jobs(live: Live, adapters: Adapters) -> JobParts:
    database, clock = adapters.database, adapters.clock
    holder = Holder(live().server.hostname)
    importer = ImapImporter(
        database=database,
        blobs=adapters.blobs,
        worker=adapters.workers.sign,
        clock=clock,
        sealer=adapters.box,
        dialer=StreamDialer(),
        router=MxRouter(adapters.resolver, clock, _guard(live)),
        context=adapters.client_tls.verified,
        largest=lambda: live().smtp.max_message_size,
    )
    runner = JobRunner(database=database, clock=clock, holder=holder, work=importer.run)
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
        exports=ExportService(
            database=database,
            blobs=adapters.blobs,
            worker=adapters.workers.sign,
            hostname=lambda: live().server.hostname,
            holder=holder,
        ),
        runner=runner,
    )


def _guard(live: Live) -> AddressGuard:
    """Which addresses may be connected to: as for mail out."""
    own = tuple(address for address in live().server.bind if address not in ("0.0.0.0", "::"))  # noqa: S104
    return AddressGuard(own=own, allowed=lambda: live().outbound.allow_private)


def job_service(parts: JobParts) -> Service:
    return Service(name="jobs", start=parts.runner.start, run=parts.runner.run)
