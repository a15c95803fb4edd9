"""Rows of `idempotency`: first answers to POSTs that carried an Idempotency-Key."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import bindparam, delete, select, update

from server.store.repositories.rows import number, octets, text
from server.store.schema import idempotency
from server.store.statements import prepared, prepared_insert
from server.store.transaction import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAnswer:
    """An answer; status 0 means that the first request still runs, or died while it ran."""

    body_sha256: str
    status: int
    headers: str
    body: bytes
    created_at_us: int


_INSERT = prepared_insert(idempotency)
_GET = prepared(select(idempotency).where(idempotency.c.key == bindparam("key")))
_FINISH = prepared(
    update(idempotency)
    .where(idempotency.c.key == bindparam("b_key"))
    .values(status=bindparam("b_status"), headers=bindparam("b_headers"), body=bindparam("b_body"))
)
_DELETE = prepared(delete(idempotency).where(idempotency.c.key == bindparam("b_key")))
_EXPIRE = prepared(delete(idempotency).where(idempotency.c.created_at < bindparam("b_before")))


async def claim(tx: Transaction, key: str, body_sha256: str) -> None:
    """Write that a request runs. Raises UniqueViolation when the key is known."""
    await tx.execute(
        _INSERT,
        {
            "key": key,
            "body_sha256": body_sha256,
            "status": 0,
            "headers": "[]",
            "body": b"",
            "created_at": tx.now_us,
        },
    )


async def get(tx: Transaction, key: str) -> StoredAnswer | None:
    row = await tx.fetch_one(_GET, {"key": key})
    if row is None:
        return None
    return StoredAnswer(
        body_sha256=text(row, "body_sha256"),
        status=number(row, "status"),
        headers=text(row, "headers"),
        body=octets(row, "body"),
        created_at_us=number(row, "created_at"),
    )


async def finish(tx: Transaction, key: str, *, status: int, headers: str, body: bytes) -> None:
    await tx.execute(_FINISH, {"b_key": key, "b_status": status, "b_headers": headers, "b_body": body})


async def forget(tx: Transaction, key: str) -> None:
    await tx.execute(_DELETE, {"b_key": key})


async def expire(tx: Transaction, before_us: int) -> int:
    """Delete what is older; the number of rows."""
    return await tx.execute(_EXPIRE, {"b_before": before_us})
