"""Rows of `jobs` and `imported_messages`.

- A claim is one statement: a job runs in one place, and an account has one running job.
- Progress is written in the transaction that stores what it counts, so a restart counts right.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import cast

import msgspec
from sqlalchemy import bindparam, exists, func, or_, select, update

from server.domain.ids import AccountId, TenantId
from server.domain.jobs import ERRORS_MAX, Counts, Job, JobError, JobId, JobKind, JobStatus
from server.domain.paging import Page, PageRequest
from server.store.repositories.rows import instant, instant_or_none, number_or_none, page_of, text
from server.store.schema import accounts, blobs, emails, imported_messages, jobs, messages
from server.store.statements import prepared, prepared_insert
from server.store.transaction import Row, Transaction

_LIVE = (JobStatus.PENDING.value, JobStatus.RUNNING.value)
_OPEN = (*_LIVE, JobStatus.PAUSED.value)
_other = jobs.alias("other")

_INSERT = prepared_insert(jobs)
_GET = prepared(select(jobs).where(jobs.c.id == bindparam("b_id"), jobs.c.tenant_id == bindparam("b_tenant")))
_ANY = prepared(select(jobs).where(jobs.c.id == bindparam("b_id")))
_LOCK = prepared(select(accounts.c.id).where(accounts.c.id == bindparam("b_account")).with_for_update())
_CLAIM = prepared(
    update(jobs)
    .where(
        jobs.c.id == bindparam("b_id"),
        jobs.c.status.in_(_LIVE),
        or_(
            jobs.c.lease_until.is_(None),
            jobs.c.lease_until < bindparam("b_now"),
            jobs.c.lease_owner == bindparam("b_owner"),
        ),
        ~exists(
            select(_other.c.id).where(
                _other.c.account_id == jobs.c.account_id,
                _other.c.id != jobs.c.id,
                _other.c.lease_until >= bindparam("b_now"),
            )
        ),
    )
    .values(
        lease_owner=bindparam("b_owner"),
        lease_until=bindparam("b_until"),
        status=JobStatus.RUNNING.value,
        started_at=func.coalesce(jobs.c.started_at, bindparam("b_now")),
        updated_at=bindparam("b_now"),
    )
)
_RENEW = prepared(
    update(jobs)
    .where(
        jobs.c.id == bindparam("b_id"),
        jobs.c.lease_owner == bindparam("b_owner"),
        jobs.c.status == JobStatus.RUNNING.value,
    )
    .values(lease_until=bindparam("b_until"))
)
_RELEASE = prepared(
    update(jobs)
    .where(jobs.c.id == bindparam("b_id"), jobs.c.lease_owner == bindparam("b_owner"))
    .values(lease_owner=None, lease_until=None)
)
_DROP_FORMER = prepared(
    update(jobs)
    .where(
        jobs.c.lease_owner.startswith(bindparam("b_host"), autoescape=False),
        ~jobs.c.lease_owner.startswith(bindparam("b_life"), autoescape=False),
    )
    .values(lease_owner=None, lease_until=None)
)
_DUE = prepared(
    select(jobs.c.id)
    .where(
        jobs.c.kind == JobKind.IMPORT_IMAP.value,
        jobs.c.status.in_(_LIVE),
        or_(jobs.c.lease_until.is_(None), jobs.c.lease_until < bindparam("b_now")),
    )
    .order_by(jobs.c.id)
    .limit(bindparam("b_count"))
)
_LEFT = prepared(
    select(jobs.c.id).where(
        jobs.c.kind != JobKind.IMPORT_IMAP.value,
        jobs.c.status.in_(_LIVE),
        jobs.c.updated_at < bindparam("b_before"),
    )
)
_PROGRESS = prepared(
    update(jobs)
    .where(jobs.c.id == bindparam("b_id"))
    .values(
        done=bindparam("b_done"),
        total=bindparam("b_total"),
        progress=bindparam("b_progress"),
        errors=bindparam("b_errors"),
        updated_at=bindparam("b_now"),
    )
)
_STATUS = prepared(
    update(jobs)
    .where(jobs.c.id == bindparam("b_id"), jobs.c.status.in_(_OPEN))
    .values(status=bindparam("b_status"), updated_at=bindparam("b_now"))
)
_FINISH = prepared(
    update(jobs)
    .where(jobs.c.id == bindparam("b_id"), jobs.c.status.in_(_OPEN))
    .values(
        status=bindparam("b_status"),
        sealed_secret=None,
        lease_owner=None,
        lease_until=None,
        updated_at=bindparam("b_now"),
        finished_at=bindparam("b_now"),
    )
)
_IMPORTED = prepared_insert(imported_messages)
_SET_STATE = prepared(
    update(imported_messages)
    .where(
        imported_messages.c.account_id == bindparam("b_account"),
        imported_messages.c.source == bindparam("b_source"),
        imported_messages.c.key == bindparam("b_key"),
    )
    .values(state=bindparam("b_state"))
)
_OF_SOURCE = prepared(
    select(imported_messages.c.key, imported_messages.c.message_id, imported_messages.c.state).where(
        imported_messages.c.account_id == bindparam("b_account"), imported_messages.c.source == bindparam("b_source")
    )
)
_DIGESTS = prepared(
    select(messages.c.uid, emails.c.message_id_header, messages.c.size_octets, emails.c.prefix, blobs.c.sha256)
    .select_from(messages.join(emails, emails.c.id == messages.c.email_id).join(blobs, blobs.c.id == emails.c.blob_id))
    .where(
        messages.c.account_id == bindparam("b_account"),
        messages.c.mailbox_id == bindparam("b_mailbox"),
        messages.c.expunged_at.is_(None),
        messages.c.uid > bindparam("b_after"),
    )
    .order_by(messages.c.uid)
    .limit(bindparam("b_count"))
)
_PLACES = prepared(
    select(messages.c.mailbox_id, messages.c.uid).where(
        messages.c.id == bindparam("b_id"),
        messages.c.account_id == bindparam("b_account"),
        messages.c.expunged_at.is_(None),
    )
)


class _Progress(msgspec.Struct, frozen=True, kw_only=True):
    """The `progress` column."""

    added: int = 0
    skipped: int = 0
    failed: int = 0
    changed: int = 0
    place: str = ""


_progress = msgspec.json.Decoder(_Progress)
_errors = msgspec.json.Decoder(list[tuple[str, str]])


async def insert(tx: Transaction, job: Job) -> None:
    await tx.execute(
        _INSERT,
        {
            "id": job.id,
            "tenant_id": job.tenant_id,
            "account_id": job.account_id,
            "kind": job.kind.value,
            "status": job.status.value,
            "parameters": job.parameters,
            "sealed_secret": job.sealed_secret,
            "progress": _progress_text(job.counts, job.place),
            "done": job.counts.done,
            "total": job.total,
            "errors": "[]",
            "created_by": job.created_by,
            "lease_owner": None,
            "lease_until": None,
            "created_at": tx.now_us,
            "started_at": None,
            "updated_at": tx.now_us,
            "finished_at": None,
        },
    )


async def get(tx: Transaction, tenant_id: TenantId, job_id: str) -> Job | None:
    row = await tx.fetch_one(_GET, {"b_id": job_id, "b_tenant": tenant_id})
    return None if row is None else _job(row)


async def get_any(tx: Transaction, job_id: str) -> Job | None:
    """Of any tenant: for the runner."""
    row = await tx.fetch_one(_ANY, {"b_id": job_id})
    return None if row is None else _job(row)


async def page(
    tx: Transaction,
    tenant_id: TenantId,
    request: PageRequest,
    *,
    account_id: AccountId | None,
    kind: JobKind | None,
    status: JobStatus | None,
) -> Page[Job]:
    """Jobs, newest first; of one account unless None."""
    query = select(jobs).where(jobs.c.tenant_id == tenant_id).order_by(jobs.c.id.desc()).limit(request.limit + 1)
    if account_id is not None:
        query = query.where(jobs.c.account_id == account_id)
    if kind is not None:
        query = query.where(jobs.c.kind == kind.value)
    if status is not None:
        query = query.where(jobs.c.status == status.value)
    if request.after is not None:
        query = query.where(jobs.c.id < request.after)
    return page_of(await tx.fetch(query), request, _job)


async def claim(tx: Transaction, job: Job, *, owner: str, span_us: int) -> bool:
    """Take or renew a job's lease and set it running; False when it, or another of its account, runs elsewhere."""
    await tx.fetch_one(_LOCK, {"b_account": job.account_id})
    params = {"b_id": job.id, "b_owner": owner, "b_now": tx.now_us, "b_until": tx.now_us + span_us}
    return await tx.execute(_CLAIM, params) > 0


async def renew(tx: Transaction, job_id: JobId, *, owner: str, span_us: int) -> bool:
    """Keep the lease; False when it is lost or the job was paused, cancelled or ended meanwhile."""
    return await tx.execute(_RENEW, {"b_id": job_id, "b_owner": owner, "b_until": tx.now_us + span_us}) > 0


async def release(tx: Transaction, job_id: JobId, *, owner: str) -> None:
    await tx.execute(_RELEASE, {"b_id": job_id, "b_owner": owner})


async def drop_former(tx: Transaction, *, host: str, life: str) -> int:
    """Free the leases that former lives of this host held; owners are `HOST/LIFE/...`."""
    return await tx.execute(_DROP_FORMER, {"b_host": f"{host}/", "b_life": f"{host}/{life}/"})


async def due(tx: Transaction, *, limit: int) -> list[JobId]:
    """Jobs that the runner may take, oldest first."""
    rows = await tx.fetch(_DUE, {"b_now": tx.now_us, "b_count": limit})
    return [JobId(text(row, "id")) for row in rows]


async def left_alone(tx: Transaction, before_us: int) -> list[JobId]:
    """Live jobs a client should drive that nothing was heard of since."""
    return [JobId(text(row, "id")) for row in await tx.fetch(_LEFT, {"b_before": before_us})]


async def set_progress(
    tx: Transaction, job: Job, counts: Counts, *, place: str, total: int | None, errors: Sequence[JobError]
) -> None:
    """Write what is done; of the errors the first ERRORS_MAX are kept."""
    kept = [(error.place, error.detail) for error in errors[:ERRORS_MAX]]
    await tx.execute(
        _PROGRESS,
        {
            "b_id": job.id,
            "b_done": counts.done,
            "b_total": total,
            "b_progress": _progress_text(counts, place),
            "b_errors": msgspec.json.encode(kept).decode(),
            "b_now": tx.now_us,
        },
    )


async def set_status(tx: Transaction, job_id: JobId, status: JobStatus) -> bool:
    """Change the status of a job that is not over; False when it is."""
    return await tx.execute(_STATUS, {"b_id": job_id, "b_status": status.value, "b_now": tx.now_us}) > 0


async def finish(tx: Transaction, job_id: JobId, status: JobStatus) -> bool:
    """End a job: its secret is erased, its lease given back. False when it was over already."""
    return await tx.execute(_FINISH, {"b_id": job_id, "b_status": status.value, "b_now": tx.now_us}) > 0


async def known_keys(tx: Transaction, account_id: AccountId, source: str, keys: Sequence[str]) -> dict[str, str]:
    """Those of the keys (a page of them) that were imported, each with the id of its message."""
    t = imported_messages
    query = select(t.c.key, t.c.message_id).where(
        t.c.account_id == account_id, t.c.source == source, t.c.key.in_(list(keys))
    )
    return {text(row, "key"): text(row, "message_id") for row in await tx.fetch(query)}


async def of_source(tx: Transaction, account_id: AccountId, source: str) -> dict[str, tuple[str, str]]:
    """All that came from a source: key to message id and state."""
    rows = await tx.fetch(_OF_SOURCE, {"b_account": account_id, "b_source": source})
    return {cast(str, row[0]): (cast(str, row[1]), cast(str, row[2])) for row in rows}


async def remember(tx: Transaction, account_id: AccountId, rows: Iterable[tuple[str, str, str, str]]) -> None:
    """Insert (source, key, message id, state). Raises UniqueViolation."""
    await tx.execute_many(
        _IMPORTED,
        [
            {"account_id": account_id, "source": source, "key": key, "message_id": message_id, "state": state}
            for source, key, message_id, state in rows
        ],
    )


async def set_states(tx: Transaction, account_id: AccountId, source: str, states: Mapping[str, str]) -> None:
    """Keep the flags that messages of a source had at this pass."""
    await tx.execute_many(
        _SET_STATE,
        [
            {"b_account": account_id, "b_source": source, "b_key": key, "b_state": state}
            for key, state in states.items()
        ],
    )


async def digests(
    tx: Transaction, account_id: AccountId, mailbox_id: str, *, after: int, limit: int
) -> list[tuple[int, str, int, bool, str]]:
    """UID, Message-ID, size, whether trace fields of ours stand before the octets, and their SHA-256."""
    params = {"b_account": account_id, "b_mailbox": mailbox_id, "b_after": after, "b_count": limit}
    return [
        (cast(int, row[0]), cast("str | None", row[1]) or "", cast(int, row[2]), bool(row[3]), cast(str, row[4]))
        for row in await tx.fetch(_DIGESTS, params)
    ]


async def place_of(tx: Transaction, account_id: AccountId, message_id: str) -> tuple[str, int] | None:
    """Mailbox and UID of a message by its id; None when it is expunged or gone."""
    row = await tx.fetch_one(_PLACES, {"b_id": message_id, "b_account": account_id})
    return None if row is None else (cast(str, row[0]), cast(int, row[1]))


def _progress_text(counts: Counts, place: str) -> str:
    return msgspec.json.encode(
        _Progress(added=counts.added, skipped=counts.skipped, failed=counts.failed, changed=counts.changed, place=place)
    ).decode()


def _job(row: Row) -> Job:
    progress = _progress.decode(text(row, "progress"))
    secret = row["sealed_secret"]
    return Job(
        id=JobId(text(row, "id")),
        tenant_id=TenantId(text(row, "tenant_id")),
        account_id=AccountId(text(row, "account_id")),
        kind=JobKind(text(row, "kind")),
        status=JobStatus(text(row, "status")),
        parameters=text(row, "parameters"),
        sealed_secret=secret if isinstance(secret, bytes) else None,
        counts=Counts(added=progress.added, skipped=progress.skipped, failed=progress.failed, changed=progress.changed),
        place=progress.place,
        total=number_or_none(row, "total"),
        errors=tuple(JobError(place=place, detail=detail) for place, detail in _errors.decode(text(row, "errors"))),
        created_by=text(row, "created_by"),
        created_at=instant(row, "created_at"),
        started_at=instant_or_none(row, "started_at"),
        updated_at=instant(row, "updated_at"),
        finished_at=instant_or_none(row, "finished_at"),
    )
