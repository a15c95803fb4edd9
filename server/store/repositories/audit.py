"""The audit log: rows that are only added, each carrying the hash of the one before.

- The number comes from a counter row that stays locked until the commit, so the chain has one order on any database.
- The hash is SHA-256 over the previous hash and the record in canonical JSON: any later change shows (product.md 46).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec
from sqlalchemy import bindparam, select, update

from server.domain.ids import TenantId, new_id
from server.store.repositories.rows import instant, number, text, text_or_none
from server.store.schema import audit, counters
from server.store.statements import prepared, prepared_insert
from server.store.transaction import Row, Transaction

GENESIS = "0" * 64
"""The previous hash of the first record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One changed field; a secret's values are both the word `changed`."""

    field: str
    old: str | None
    new: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """What is to be recorded; the store adds number, id, time and hashes."""

    tenant_id: TenantId | None
    type: str
    actor_kind: str
    actor_id: str
    actor_name: str
    ip: str
    request_id: str
    target_kind: str
    target_id: str
    target_name: str
    changes: tuple[Change, ...] = ()
    reason: str = ""
    result: str = "ok"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """A recorded entry."""

    seq: int
    id: str
    time: datetime
    entry: AuditEntry
    prev_hash: str
    hash: str


_NEXT = prepared(
    update(counters).where(counters.c.name == "audit").values(value=counters.c.value + 1).returning(counters.c.value)
)
_HASH_OF = prepared(select(audit.c.hash).where(audit.c.seq == bindparam("seq")))
_INSERT = prepared_insert(audit)
_FROM = prepared(select(audit).where(audit.c.seq > bindparam("after")).order_by(audit.c.seq).limit(bindparam("count")))


async def append(tx: Transaction, entry: AuditEntry) -> None:
    """Add a record at the end of the chain."""
    taken = await tx.fetch_one(_NEXT)
    if taken is None:
        raise RuntimeError("the audit counter is missing")
    seq = number(taken, "value")
    last = await tx.fetch_one(_HASH_OF, {"seq": seq - 1})
    row: dict[str, object] = {
        "seq": seq,
        "id": new_id(),
        "time": tx.now_us,
        "tenant_id": entry.tenant_id,
        "type": entry.type,
        "actor_kind": entry.actor_kind,
        "actor_id": entry.actor_id,
        "actor_name": entry.actor_name,
        "ip": entry.ip,
        "request_id": entry.request_id,
        "target_kind": entry.target_kind,
        "target_id": entry.target_id,
        "target_name": entry.target_name,
        "changes": msgspec.json.encode([[c.field, c.old, c.new] for c in entry.changes]).decode(),
        "reason": entry.reason,
        "result": entry.result,
        "prev_hash": text(last, "hash") if last else GENESIS,
    }
    row["hash"] = _digest(row)
    await tx.execute(_INSERT, row)


async def verify(tx: Transaction, *, after: int, count: int) -> tuple[int, int | None]:
    """Check `count` records from number `after` on.

    Returns:
        How many were read, and the number of the first that does not fit, or None.
    """
    before = await tx.fetch_one(_HASH_OF, {"seq": after})
    expected = text(before, "hash") if before else GENESIS
    rows = await tx.fetch(_FROM, {"after": after, "count": count})
    for place, row in enumerate(rows):
        seq = number(row, "seq")
        wanted = after + 1 + place
        if seq != wanted or text(row, "prev_hash") != expected or text(row, "hash") != _digest_of_row(row):
            return place, wanted
        expected = text(row, "hash")
    return len(rows), None


async def newest(tx: Transaction, tenant_id: TenantId | None, *, limit: int) -> Sequence[AuditRecord]:
    """The newest records of a tenant, or of all with None."""
    query = select(audit).order_by(audit.c.seq.desc()).limit(limit)
    if tenant_id is not None:
        query = query.where(audit.c.tenant_id == tenant_id)
    return [_record_from_row(row) for row in await tx.fetch(query)]


_HASHED = [column.name for column in audit.columns if column.name != "hash"]


def _digest(row: dict[str, object]) -> str:
    return hashlib.sha256(msgspec.json.encode([row[name] for name in _HASHED])).hexdigest()


def _digest_of_row(row: Row) -> str:
    return _digest({name: row[name] for name in _HASHED})


def _record_from_row(row: Row) -> AuditRecord:
    tenant_id = text_or_none(row, "tenant_id")
    changes = msgspec.json.decode(text(row, "changes"), type=list[tuple[str, str | None, str | None]])
    entry = AuditEntry(
        tenant_id=TenantId(tenant_id) if tenant_id else None,
        type=text(row, "type"),
        actor_kind=text(row, "actor_kind"),
        actor_id=text(row, "actor_id"),
        actor_name=text(row, "actor_name"),
        ip=text(row, "ip"),
        request_id=text(row, "request_id"),
        target_kind=text(row, "target_kind"),
        target_id=text(row, "target_id"),
        target_name=text(row, "target_name"),
        changes=tuple(Change(field=field, old=old, new=new) for field, old, new in changes),
        reason=text(row, "reason"),
        result=text(row, "result"),
    )
    return AuditRecord(
        seq=number(row, "seq"),
        id=text(row, "id"),
        time=instant(row, "time"),
        entry=entry,
        prev_hash=text(row, "prev_hash"),
        hash=text(row, "hash"),
    )
