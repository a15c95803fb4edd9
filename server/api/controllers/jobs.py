"""Imports, exports and the jobs they are (api.md §7)."""

from __future__ import annotations

from enum import StrEnum

from litestar import Controller, Response, get, post
from litestar.connection import Request
from litestar.datastructures import State
from litestar.params import FromPath, FromQuery, JSONBody
from litestar.response import Stream

from server.api.dependencies import Caller, CursorMaker, Exports, Jobs, Uploads
from server.api.guards import needs
from server.api.pagination import Listing
from server.api.paths import PREFIX
from server.api.schemas.jobs import ExportIn, ImportIn, JobOut, PieceOut
from server.domain.jobs import JobKind, JobStatus


class JobAction(StrEnum):
    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"


class JobController(Controller):
    path = PREFIX + "/jobs"
    tags = ("jobs",)

    @get(operation_id="list_jobs", opt=needs("mail:read"))
    async def list_jobs(
        self,
        caller: Caller,
        jobs: Jobs,
        cursors: CursorMaker,
        limit: FromQuery[int | None] = None,
        cursor: FromQuery[str | None] = None,
        kind: FromQuery[JobKind | None] = None,
        status: FromQuery[JobStatus | None] = None,
    ) -> Listing[JobOut]:
        """List jobs, newest first."""
        name = f"jobs {kind} {status}"
        page = await jobs.page(
            caller, cursors.request(caller, name, limit=limit, cursor=cursor), kind=kind, status=status
        )
        return cursors.listing(caller, name, page, JobOut.of)

    @get("/{job_id:str}", operation_id="get_job", opt=needs("mail:read"))
    async def get_job(self, caller: Caller, jobs: Jobs, job_id: FromPath[str]) -> JobOut:
        """Show a job with the first 100 of its errors."""
        return JobOut.of(await jobs.get(caller, job_id))

    @post("/{job_id:str}/{action:str}", operation_id="act_on_job", opt=needs("mail:write"), status_code=200)
    async def act_on_job(
        self, caller: Caller, jobs: Jobs, job_id: FromPath[str], action: FromPath[JobAction]
    ) -> JobOut:
        """pause, resume or cancel; what a job stored stays."""
        act = {JobAction.PAUSE: jobs.pause, JobAction.RESUME: jobs.resume, JobAction.CANCEL: jobs.cancel}[action]
        return JobOut.of(await act(caller, job_id))


class ImportController(Controller):
    path = PREFIX + "/imports"
    tags = ("jobs",)

    @post(operation_id="create_import", opt=needs("mail:write"), status_code=202)
    async def create_import(
        self, caller: Caller, jobs: Jobs, uploads: Uploads, data: JSONBody[ImportIn]
    ) -> Response[JobOut]:
        """Begin an import: by IMAP it runs by itself, from files it waits for their pieces."""
        job = JobOut.of(await jobs.create(caller, data.job()), uploads.piece_max)
        return Response(job, status_code=202, headers={"Location": f"{PREFIX}/jobs/{job.id}"})

    @post(
        "/{job_id:str}/pieces",
        operation_id="upload_piece",
        opt=needs("mail:write"),
        status_code=200,
        request_max_body_size=None,
    )
    async def upload_piece(
        self,
        request: Request[object, object, State],
        caller: Caller,
        uploads: Uploads,
        job_id: FromPath[str],
        folder: FromQuery[str] = "INBOX",
        name: FromQuery[str] = "",
        final: FromQuery[bool] = True,
    ) -> PieceOut:
        """Send a piece: part of an mbox (`application/mbox`), or a tar of a Maildir or of mails (`application/x-tar`).

        The answer comes when all in it is stored. Of an mbox that goes on (`final=false`) the next piece begins
        `consumed` octets after this one.
        """
        taken = await uploads.take(
            caller, job_id, request.body, folder=folder[:1000], name=name[:300] or folder[:300], final=final
        )
        return PieceOut.of(taken)

    @post("/{job_id:str}/finish", operation_id="finish_import", opt=needs("mail:write"), status_code=200)
    async def finish_import(self, caller: Caller, jobs: Jobs, job_id: FromPath[str]) -> JobOut:
        """End an import whose pieces are all sent."""
        return JobOut.of(await jobs.finish(caller, job_id))


class ExportController(Controller):
    path = PREFIX + "/exports"
    tags = ("jobs",)

    @post(operation_id="create_export", opt=needs("mail:read"), status_code=202)
    async def create_export(
        self, caller: Caller, jobs: Jobs, exports: Exports, data: JSONBody[ExportIn]
    ) -> Response[JobOut]:
        """Begin an export; of another account's mail it needs `mail:any` and a reason, and is audited."""
        made = await jobs.create(caller, data.job())
        job = JobOut.of(made, mailboxes=await exports.mailboxes(caller, made.id))
        return Response(job, status_code=202, headers={"Location": f"{PREFIX}/jobs/{job.id}"})

    @get("/{job_id:str}/content", operation_id="get_export", opt=needs("mail:read"))
    async def get_export(
        self, caller: Caller, exports: Exports, job_id: FromPath[str], mailbox: FromQuery[str] = ""
    ) -> Stream:
        """The mail itself: an mbox of one mailbox, or a tar of all. An answer cut short is no export: ask again."""
        export = await exports.open(caller, job_id, mailbox=mailbox[:1000])
        headers = {"Content-Disposition": "attachment"}
        return Stream(export.octets, media_type=export.media_type, headers=headers)

    @post("/{job_id:str}/finish", operation_id="finish_export", opt=needs("mail:read"), status_code=200)
    async def finish_export(self, caller: Caller, jobs: Jobs, job_id: FromPath[str]) -> JobOut:
        """End an export that was read whole."""
        return JobOut.of(await jobs.finish(caller, job_id))
