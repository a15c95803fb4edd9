"""Imports, exports and jobs (api.md §7)."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Literal

import msgspec

from server.api.schemas.common import Output, time_or_none, time_text
from server.domain.errors import InvalidInput
from server.domain.jobs import Job, JobError, JobKind
from server.services.identity.writer import Input
from server.services.upkeep.importing import ImportOptions
from server.services.upkeep.jobs import ExportOptions, NewJob
from server.services.upkeep.uploads import Taken

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]


class ImportKind(StrEnum):
    IMAP = "imap"
    MAILDIR = "maildir"
    MBOX = "mbox"
    EML = "eml"


class ExportKind(StrEnum):
    MAILDIR = "maildir"
    MBOX = "mbox"
    EML = "eml"


class SourceIn(Input, frozen=True, kw_only=True):
    """Another mail server; `port` 0 = 993, or 143 where TLS is not implicit. `none` sends the password in clear."""

    host: Annotated[str, msgspec.Meta(min_length=1, max_length=253)]
    login: Annotated[str, msgspec.Meta(min_length=1, max_length=320)]
    password: Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 0
    tls: Literal["implicit", "starttls", "none"] = "implicit"


class ImportIn(Input, frozen=True, kw_only=True):
    """An import. `mailbox_map` renames folders; `source`, `sync_flags` and `folders` are for `imap` only."""

    kind: ImportKind
    account_id: str = ""
    source: SourceIn | None = None
    mailbox_map: dict[Name, Name] = msgspec.field(default_factory=dict)
    since: datetime | None = None
    dry_run: bool = False
    sync_flags: bool = False
    folders: Annotated[list[Name], msgspec.Meta(max_length=1000)] = msgspec.field(default_factory=list)
    reason: str = ""

    def job(self) -> NewJob:
        source = self.source
        if (source is not None) != (self.kind is ImportKind.IMAP):
            raise InvalidInput("an import by IMAP has a source, no other has", pointer="/source")
        if len(self.mailbox_map) > 1000:
            raise InvalidInput("at most 1000 folders", pointer="/mailbox_map")
        since = self.since
        options = ImportOptions(
            mailbox_map=self.mailbox_map,
            since=since.replace(tzinfo=UTC) if since is not None and since.tzinfo is None else since,
            dry_run=self.dry_run,
            sync_flags=self.sync_flags,
            folders=self.folders,
            host=source.host if source else "",
            port=(source.port or (993 if source.tls == "implicit" else 143)) if source else 0,
            tls=source.tls if source else "implicit",
            login=source.login if source else "",
        )
        return NewJob(
            kind=JobKind(f"import_{self.kind.value}"),
            account=self.account_id,
            parameters=msgspec.json.encode(options),
            password=source.password if source else "",
            reason=self.reason,
        )


class ExportIn(Input, frozen=True, kw_only=True):
    """An export of an account's mailboxes, all or those named."""

    kind: ExportKind
    account_id: str = ""
    mailboxes: Annotated[list[Name], msgspec.Meta(max_length=5000)] = msgspec.field(default_factory=list)
    reason: str = ""

    def job(self) -> NewJob:
        return NewJob(
            kind=JobKind(f"export_{self.kind.value}"),
            account=self.account_id,
            parameters=msgspec.json.encode(ExportOptions(mailboxes=self.mailboxes)),
            reason=self.reason,
        )


class JobErrorOut(Output, frozen=True, kw_only=True):
    """What could not be taken, and why."""

    place: str
    detail: str

    @classmethod
    def of(cls, error: JobError) -> JobErrorOut:
        return cls(place=error.place, detail=error.detail)


class JobOut(Output, frozen=True, kw_only=True):
    """A job. `done` is the sum of added, skipped and failed; `eta` in seconds where it can be told.

    When it is made, an import from files says how large a piece may be, and an export which mailboxes it has.
    """

    id: str
    kind: str
    status: str
    account_id: str
    done: int
    total: int | None
    added: int
    skipped: int
    failed: int
    changed: int
    place: str
    errors: list[JobErrorOut]
    created_at: str
    started_at: str | None
    updated_at: str
    finished_at: str | None
    eta: int | None
    piece_max_bytes: int | None = None
    mailboxes: list[str] | None = None

    @classmethod
    def of(cls, job: Job, piece_max: int | None = None, mailboxes: list[str] | None = None) -> JobOut:
        counts = job.counts
        eta = None
        if job.started_at is not None and job.total is not None and counts.done and not job.status.is_final:
            spent = (job.updated_at - job.started_at).total_seconds()
            eta = int(spent * max(0, job.total - counts.done) / counts.done)
        return cls(
            id=job.id,
            kind=job.kind.value,
            status=job.status.value,
            account_id=job.account_id,
            done=counts.done,
            total=job.total,
            added=counts.added,
            skipped=counts.skipped,
            failed=counts.failed,
            changed=counts.changed,
            place=job.place,
            errors=[JobErrorOut.of(error) for error in job.errors],
            created_at=time_text(job.created_at),
            started_at=time_or_none(job.started_at),
            updated_at=time_text(job.updated_at),
            finished_at=time_or_none(job.finished_at),
            eta=eta,
            piece_max_bytes=piece_max if job.kind.is_upload else None,
            mailboxes=mailboxes,
        )


class PieceOut(Output, frozen=True, kw_only=True):
    """What became of a piece: its octets that are dealt with, and the job's counts."""

    consumed: int
    added: int
    skipped: int
    failed: int

    @classmethod
    def of(cls, taken: Taken) -> PieceOut:
        counts = taken.counts
        return cls(consumed=taken.consumed, added=counts.added, skipped=counts.skipped, failed=counts.failed)
