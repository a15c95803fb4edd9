"""Jobs as the API shows them: make, list, pause, resume, cancel, end (api.md §7).

- A job belongs to one account; a caller sees those of its own account, an administrator those of the tenant.
- Another account's mail needs `mail:any`; reading it needs a reason as well, and every use is audited.
- The other server's password is sealed with the job and erased when the job ends.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import msgspec

from server.domain.changes import TraceEvent
from server.domain.errors import Conflict, InvalidInput, NotFound
from server.domain.identity import Account, Scope
from server.domain.ids import AccountId, new_id
from server.domain.jobs import Counts, Job, JobError, JobId, JobKind, JobStatus
from server.domain.mailbox import Mailbox
from server.domain.paging import Page, PageRequest
from server.domain.scopes import require
from server.services.identity.accounts import resolve
from server.services.identity.writer import found
from server.services.trace.record import Target, record_change
from server.store.database import Database
from server.store.repositories import jobs, mailboxes
from server.store.times import from_us
from server.store.transaction import Transaction

REASON_MAX = 500


class Sealer(Protocol):
    """Seals and opens a secret for one place in the database (security.md §12)."""

    def seal(self, plain: bytes, *, context: str) -> bytes: ...

    def open(self, sealed: bytes, *, context: str) -> bytes: ...


class ExportOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What an export was asked for: some mailboxes by name, or all."""

    mailboxes: list[str] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """What a caller asks for.

    Attributes:
        account: Id or address; empty = the caller's own.
        parameters: The options as JSON.
        password: The other server's.
    """

    kind: JobKind
    account: str
    parameters: bytes
    password: str = ""
    reason: str = ""


class Holder:
    """Names this process as a holder of jobs: each piece of work is told apart, former lives are known."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.life = new_id()

    def owner(self) -> str:
        return f"{self.host}/{self.life}/{new_id()}"


class JobService:
    """Use cases of jobs."""

    def __init__(self, *, database: Database, sealer: Sealer, wake: Callable[[], None]) -> None:
        self._database = database
        self._sealer = sealer
        self._wake = wake

    async def create(self, scope: Scope, new: NewJob) -> Job:
        """Make a job. Raises Forbidden, NotFound (the account), InvalidInput (a reason is needed)."""
        require(scope, "mail:read" if new.kind.is_export else "mail:write")
        job_id = JobId(new_id())
        sealed = self._sealer.seal(new.password.encode(), context=secret_context(job_id)) if new.password else None

        async def unit(tx: Transaction) -> Job:
            account = await _account(tx, scope, new)
            if new.kind.is_export:
                await check_mailboxes(tx, account.id, new.parameters)
            now = from_us(tx.now_us)
            job = _new(job_id, scope, account, new, sealed, now)
            await jobs.insert(tx, job)
            kind = "mail.accessed" if new.kind.is_export and scope.account_id != account.id else "job.created"
            await record_change(tx, scope, type=kind, target=_target(job, account.address), reason=new.reason)
            return job

        made = await self._database.write("job.create", unit)
        self._wake()
        return made

    async def get(self, scope: Scope, job_id: str) -> Job:
        return await self._database.read("job.get", lambda tx: visible(tx, scope, job_id))

    async def page(
        self, scope: Scope, request: PageRequest, *, kind: JobKind | None = None, status: JobStatus | None = None
    ) -> Page[Job]:
        """Jobs, newest first."""
        account_id = _seen(scope)
        return await self._database.read(
            "job.page",
            lambda tx: jobs.page(tx, scope.tenant_id, request, account_id=account_id, kind=kind, status=status),
        )

    async def pause(self, scope: Scope, job_id: str) -> Job:
        return await self._change(scope, job_id, JobStatus.PAUSED)

    async def resume(self, scope: Scope, job_id: str) -> Job:
        changed = await self._change(scope, job_id, JobStatus.PENDING)
        self._wake()
        return changed

    async def cancel(self, scope: Scope, job_id: str) -> Job:
        """End a job; what it stored stays."""
        return await self._change(scope, job_id, JobStatus.CANCELLED)

    async def finish(self, scope: Scope, job_id: str) -> Job:
        """End a job whose client has sent, or read, everything. Raises Conflict for one by IMAP."""
        job = await self.get(scope, job_id)
        if job.kind is JobKind.IMPORT_IMAP:
            raise Conflict("the job ends by itself", code="invalid_state")
        return await self._change(scope, job_id, JobStatus.SUCCEEDED)

    async def _change(self, scope: Scope, job_id: str, status: JobStatus) -> Job:
        require(scope, "mail:read")

        async def unit(tx: Transaction) -> Job:
            job = await visible(tx, scope, job_id)
            require(scope, "mail:read" if job.kind.is_export else "mail:write")
            if job.status is status:
                return job
            if job.status.is_final or (status is JobStatus.PENDING and job.status is not JobStatus.PAUSED):
                raise Conflict(f"the job is {job.status.value}", code="invalid_state")
            if status.is_final:
                await end(tx, job, status)
            else:
                await jobs.set_status(tx, job.id, status)
            await record_change(tx, scope, type="job.updated", target=_target(job, status.value))
            return await visible(tx, scope, job_id)

        return await self._database.write("job.change", unit)


async def end(tx: Transaction, job: Job, status: JobStatus, detail: str = "") -> None:
    """End a job and tell of it; its secret is erased. Nothing happens when it is over already."""
    if detail:
        errors = [*job.errors, JobError(place=job.place, detail=detail)]
        await jobs.set_progress(tx, job, job.counts, place=job.place, total=job.total, errors=errors)
    if not await jobs.finish(tx, job.id, status):
        return
    counts = job.counts
    tx.record(
        TraceEvent(
            type="job.finished",
            component="jobs",
            verdict=status.value,
            detail=detail,
            tenant_id=job.tenant_id,
            account_id=job.account_id,
            data={
                "job_id": job.id,
                "kind": job.kind.value,
                "added": counts.added,
                "skipped": counts.skipped,
                "failed": counts.failed,
            },
        )
    )


async def visible(tx: Transaction, scope: Scope, job_id: str) -> Job:
    """A job that the caller may see. Raises NotFound."""
    account_id = _seen(scope)
    job = await jobs.get(tx, scope.tenant_id, job_id)
    return found(job if job is not None and account_id in (None, job.account_id) else None, "job")


async def check_mailboxes(tx: Transaction, account_id: AccountId, parameters: bytes | str) -> list[Mailbox]:
    """The mailboxes an export is of, by name. Raises NotFound when one that is named is not there."""
    names = set(msgspec.json.decode(parameters, type=ExportOptions).mailboxes)
    have = await mailboxes.list_all(tx, account_id)
    missing = names - {mailbox.name for mailbox in have}
    if missing:
        raise NotFound(f"no mailbox {min(missing)[:100]!r}")
    return [mailbox for mailbox in have if not names or mailbox.name in names]


def made_by(scope: Scope) -> str:
    """What `Job.created_by` says of a caller."""
    return f"{scope.actor_kind.value}:{scope.actor_id}"


def secret_context(job_id: JobId) -> str:
    return f"jobs.sealed_secret:{job_id}"


def _seen(scope: Scope) -> AccountId | None:
    """Whose jobs the caller sees; None = all of the tenant. Raises Forbidden."""
    if scope.account_id is None or "mail:any" in scope.scopes:
        require(scope, "mail:any")
        return None
    return scope.account_id


async def _account(tx: Transaction, scope: Scope, new: NewJob) -> Account:
    ref = new.account or scope.account_id
    if not ref:
        raise InvalidInput("say whose mail", pointer="/account_id")
    if ref != scope.account_id and "mail:any" not in scope.scopes:
        # One's own address is one's own account; any other is not told from one that isn't there.
        own = await resolve(tx, scope, ref)
        if own.id != scope.account_id:
            require(scope, "mail:any")
    account = await resolve(tx, scope, ref)
    if len(new.reason) > REASON_MAX:
        raise InvalidInput(f"at most {REASON_MAX} characters", pointer="/reason")
    if new.kind.is_export and account.id != scope.account_id and not new.reason.strip():
        raise InvalidInput("say why another account's mail is read", pointer="/reason")
    return account


def _new(job_id: JobId, scope: Scope, account: Account, new: NewJob, sealed: bytes | None, now: datetime) -> Job:
    return Job(
        id=job_id,
        tenant_id=account.tenant_id,
        account_id=account.id,
        kind=new.kind,
        status=JobStatus.PENDING,
        parameters=new.parameters.decode(),
        sealed_secret=sealed,
        counts=Counts(),
        place="",
        total=None,
        errors=(),
        created_by=made_by(scope),
        created_at=now,
        started_at=None,
        updated_at=now,
        finished_at=None,
    )


def _target(job: Job, name: str) -> Target:
    return Target(
        kind="job", id=job.id, name=f"{job.kind.value} {name}", tenant_id=job.tenant_id, account_id=job.account_id
    )
