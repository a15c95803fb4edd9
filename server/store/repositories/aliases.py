"""Rows of `aliases`; their addresses are taken in `addresses`."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import bindparam, delete, select, update

from server.domain.identity import Alias
from server.domain.ids import AliasId, DomainId, TenantId
from server.domain.paging import Page, PageRequest
from server.store.repositories.rows import instant, number, page_of, strings, strings_text, text
from server.store.schema import aliases
from server.store.statements import prepared, prepared_insert
from server.store.times import to_us
from server.store.transaction import Row, Transaction

_INSERT = prepared_insert(aliases)
_BY_ID = prepared(
    select(aliases).where(aliases.c.id == bindparam("alias_id"), aliases.c.tenant_id == bindparam("tenant_id"))
)
_BY_ADDRESS = prepared(select(aliases).where(aliases.c.address == bindparam("address")))


def alias_from_row(row: Row) -> Alias:
    return Alias(
        id=AliasId(text(row, "id")),
        tenant_id=TenantId(text(row, "tenant_id")),
        address=text(row, "address"),
        targets=strings(row, "targets"),
        enabled=bool(number(row, "enabled")),
        internal_only=bool(number(row, "internal_only")),
        description=text(row, "description"),
        created_at=instant(row, "created_at"),
        updated_at=instant(row, "updated_at"),
        revision=number(row, "revision"),
    )


async def insert(tx: Transaction, alias: Alias, domain_id: DomainId) -> None:
    """Raises UniqueViolation when the address is taken."""
    await tx.execute(
        _INSERT,
        {
            "id": alias.id,
            "tenant_id": alias.tenant_id,
            "domain_id": domain_id,
            "address": alias.address,
            "targets": strings_text(alias.targets),
            "enabled": int(alias.enabled),
            "internal_only": int(alias.internal_only),
            "description": alias.description,
            "created_at": to_us(alias.created_at),
            "updated_at": to_us(alias.updated_at),
            "revision": alias.revision,
            "deleted_at": None,
        },
    )


async def get(tx: Transaction, tenant_id: TenantId, alias_id: AliasId) -> Alias | None:
    row = await tx.fetch_one(_BY_ID, {"tenant_id": tenant_id, "alias_id": alias_id})
    return alias_from_row(row) if row else None


async def by_address(tx: Transaction, address: str) -> Alias | None:
    """The alias with an `Address.key`, of whichever tenant."""
    row = await tx.fetch_one(_BY_ADDRESS, {"address": address})
    return alias_from_row(row) if row else None


async def page(
    tx: Transaction,
    tenant_id: TenantId,
    request: PageRequest,
    *,
    domain_id: DomainId | None = None,
    containing: str | None = None,
) -> Page[Alias]:
    """Newest first; `containing` is looked for in the address."""
    query = select(aliases).where(aliases.c.tenant_id == tenant_id).order_by(aliases.c.id.desc())
    if domain_id is not None:
        query = query.where(aliases.c.domain_id == domain_id)
    if containing:
        query = query.where(aliases.c.address.contains(containing.casefold(), autoescape=True))
    if request.after is not None:
        query = query.where(aliases.c.id < request.after)
    return page_of(await tx.fetch(query.limit(request.limit + 1)), request, alias_from_row)


async def change(tx: Transaction, tenant_id: TenantId, alias_id: AliasId, values: Mapping[str, object]) -> None:
    """Set columns, raise the revision and the time of change."""
    await tx.execute(
        update(aliases)
        .where(aliases.c.id == alias_id, aliases.c.tenant_id == tenant_id)
        .values(**values, revision=aliases.c.revision + 1, updated_at=tx.now_us)
    )


async def remove(tx: Transaction, tenant_id: TenantId, alias_id: AliasId) -> None:
    await tx.execute(delete(aliases).where(aliases.c.id == alias_id, aliases.c.tenant_id == tenant_id))
