"""Long-running work on an account's mail: imports and exports, as the store keeps them and the API shows them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NewType

from server.domain.ids import AccountId, TenantId

JobId = NewType("JobId", str)

ERRORS_MAX = 100
"""Errors that a job lists; all are counted."""


class JobKind(StrEnum):
    """What a job does; imports but the one by IMAP take what a client uploads."""

    IMPORT_IMAP = "import_imap"
    IMPORT_MAILDIR = "import_maildir"
    IMPORT_MBOX = "import_mbox"
    IMPORT_EML = "import_eml"
    EXPORT_MAILDIR = "export_maildir"
    EXPORT_MBOX = "export_mbox"
    EXPORT_EML = "export_eml"

    @property
    def is_upload(self) -> bool:
        return self in (JobKind.IMPORT_MAILDIR, JobKind.IMPORT_MBOX, JobKind.IMPORT_EML)

    @property
    def is_export(self) -> bool:
        return self.value.startswith("export_")


class JobStatus(StrEnum):
    """PENDING waits for its turn; the last three are final."""

    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return self in (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobError:
    """What could not be taken: `place` names it for people (a file, a folder and UID)."""

    place: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Messages by outcome.

    Attributes:
        added: Stored, or to be stored in a dry run.
        skipped: There already, imported before, or older than asked for.
        failed: Could not be taken; `JobError` says why.
        changed: Flags brought up to date.
    """

    added: int = 0
    skipped: int = 0
    failed: int = 0
    changed: int = 0

    @property
    def done(self) -> int:
        return self.added + self.skipped + self.failed

    def plus(self, other: Counts) -> Counts:
        return Counts(
            added=self.added + other.added,
            skipped=self.skipped + other.skipped,
            failed=self.failed + other.failed,
            changed=self.changed + other.changed,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job.

    Attributes:
        parameters: JSON of what was asked for, without secrets.
        sealed_secret: The password of the other server, sealed; erased when the job ends.
        place: Where it goes on: the folder in hand, for people and for a restart.
        total: Messages in all where that is known.
    """

    id: JobId
    tenant_id: TenantId
    account_id: AccountId
    kind: JobKind
    status: JobStatus
    parameters: str
    sealed_secret: bytes | None
    counts: Counts
    place: str
    total: int | None
    errors: tuple[JobError, ...]
    created_by: str
    created_at: datetime
    started_at: datetime | None
    updated_at: datetime
    finished_at: datetime | None
