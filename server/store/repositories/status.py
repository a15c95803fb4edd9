"""Counts over the whole store, for status screens and health checks."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import bindparam, func, select

from server.store.repositories.rows import number, number_or_none, text
from server.store.repositories.trace import first_seq_since
from server.store.schema import accounts, domains, events, queued_recipients, tenants
from server.store.statements import prepared
from server.store.transaction import Transaction

WAITING = ("queued", "sending", "deferred", "held")

_ALIVE = prepared(select(func.count()).select_from(tenants))
_WAITING = prepared(
    select(func.count().label("length"), func.min(queued_recipients.c.created_at).label("oldest")).where(
        queued_recipients.c.status.in_(WAITING)
    )
)
_COUNTED = ("message.stored", "delivery.sent", "message.refused")
_BY_TYPE = prepared(
    select(events.c.type, func.count().label("count"))
    .where(events.c.seq >= bindparam("first"), events.c.type.in_(_COUNTED))
    .group_by(events.c.type)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Deliveries not in a final state; `oldest_us` is when the oldest was queued."""

    length: int
    oldest_us: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Figures of all tenants; `received`, `sent` and `refused` since the given time."""

    tenants: int
    domains: int
    accounts: int
    received: int
    sent: int
    refused: int
    held: int
    waiting: Waiting


async def alive(tx: Transaction) -> None:
    """Read something."""
    await tx.fetch_one(_ALIVE)


async def waiting(tx: Transaction) -> Waiting:
    row = await tx.fetch_one(_WAITING)
    if row is None:
        return Waiting(length=0, oldest_us=None)
    return Waiting(length=number(row, "length"), oldest_us=number_or_none(row, "oldest"))


async def totals(tx: Transaction, *, since_us: int) -> Totals:
    """Count everything a status screen shows."""
    counts: dict[str, int] = {}
    for name, table in (("tenants", tenants), ("domains", domains), ("accounts", accounts)):
        row = await tx.fetch_one(
            select(func.count().label("count")).select_from(table).where(table.c.deleted_at.is_(None))
        )
        counts[name] = number(row, "count") if row else 0
    rows = await tx.fetch(_BY_TYPE, {"first": await first_seq_since(tx, since_us)})
    by_type = {text(row, "type"): number(row, "count") for row in rows}
    held = await tx.fetch_one(
        select(func.count().label("count")).select_from(queued_recipients).where(queued_recipients.c.status == "held")
    )
    return Totals(
        tenants=counts["tenants"],
        domains=counts["domains"],
        accounts=counts["accounts"],
        received=by_type.get("message.stored", 0),
        sent=by_type.get("delivery.sent", 0),
        refused=by_type.get("message.refused", 0),
        held=number(held, "count") if held else 0,
        waiting=await waiting(tx),
    )


async def sqlite_version(tx: Transaction) -> str:
    """The version of the SQLite library; on SQLite only."""
    row = await tx.fetch_one(select(func.sqlite_version().label("version")))
    return text(row, "version") if row else ""
