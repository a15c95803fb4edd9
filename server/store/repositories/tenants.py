"""Rows of `tenants`."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import bindparam, select, update

from server.domain.identity import Status, Tenant
from server.domain.ids import TenantId
from server.domain.paging import Page, PageRequest
from server.store.repositories.rows import instant, number, page_of, text
from server.store.schema import tenants
from server.store.statements import prepared, prepared_insert
from server.store.times import to_us
from server.store.transaction import Row, Transaction

_INSERT = prepared_insert(tenants)
_BY_ID = prepared(select(tenants).where(tenants.c.id == bindparam("tenant_id")))
_BY_NAME = prepared(select(tenants).where(tenants.c.name == bindparam("name")))


def tenant_from_row(row: Row) -> Tenant:
    return Tenant(
        id=TenantId(text(row, "id")),
        name=text(row, "name"),
        display_name=text(row, "display_name"),
        status=Status(text(row, "status")),
        created_at=instant(row, "created_at"),
        updated_at=instant(row, "updated_at"),
        revision=number(row, "revision"),
    )


async def insert(tx: Transaction, tenant: Tenant) -> None:
    """Raises UniqueViolation when the name is taken."""
    await tx.execute(
        _INSERT,
        {
            "id": tenant.id,
            "name": tenant.name,
            "display_name": tenant.display_name,
            "status": tenant.status.value,
            "created_at": to_us(tenant.created_at),
            "updated_at": to_us(tenant.updated_at),
            "revision": tenant.revision,
            "deleted_at": None,
        },
    )


async def get(tx: Transaction, tenant_id: TenantId) -> Tenant | None:
    row = await tx.fetch_one(_BY_ID, {"tenant_id": tenant_id})
    return tenant_from_row(row) if row else None


async def by_name(tx: Transaction, name: str) -> Tenant | None:
    row = await tx.fetch_one(_BY_NAME, {"name": name})
    return tenant_from_row(row) if row else None


async def page(tx: Transaction, request: PageRequest, *, status: Status | None = None) -> Page[Tenant]:
    """Newest first; without a status, all that are not deleted."""
    query = select(tenants).order_by(tenants.c.id.desc()).limit(request.limit + 1)
    query = query.where(tenants.c.status == status.value if status else tenants.c.deleted_at.is_(None))
    if request.after is not None:
        query = query.where(tenants.c.id < request.after)
    return page_of(await tx.fetch(query), request, tenant_from_row)


async def change(tx: Transaction, tenant_id: TenantId, values: Mapping[str, object]) -> None:
    """Set columns, raise the revision and the time of change."""
    await tx.execute(
        update(tenants)
        .where(tenants.c.id == tenant_id)
        .values(**values, revision=tenants.c.revision + 1, updated_at=tx.now_us)
    )
