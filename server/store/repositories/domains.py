"""Rows of `domains`, `domain_aliases` and `dkim_keys`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import BigInteger, bindparam, delete, func, select, update

from server.domain.identity import DkimKey, Domain, DomainAlias, Status
from server.domain.ids import DomainId, TenantId
from server.domain.paging import Page, PageRequest
from server.store.repositories.rows import (
    instant,
    number,
    number_or_none,
    octets,
    page_of,
    text,
    text_or_none,
)
from server.store.schema import accounts, aliases, dkim_keys, domain_aliases, domains
from server.store.statements import prepared, prepared_insert
from server.store.times import to_us
from server.store.transaction import Row, Transaction


def dkim_context(key_id: str) -> str:
    """What a private key is sealed for: this row and no other."""
    return f"dkim_keys.sealed_key:{key_id}"


_INSERT = prepared_insert(domains)
_INSERT_ALIAS = prepared_insert(domain_aliases)
_INSERT_KEY = prepared_insert(dkim_keys)
_BY_ID = prepared(
    select(domains).where(domains.c.id == bindparam("domain_id"), domains.c.tenant_id == bindparam("tenant_id"))
)
_BY_NAME = prepared(select(domains).where(domains.c.name == bindparam("name")))
_ALIAS_BY_NAME = prepared(select(domain_aliases).where(domain_aliases.c.name == bindparam("name")))
_ALIAS_BY_ID = prepared(
    select(domain_aliases).where(
        domain_aliases.c.id == bindparam("alias_id"), domain_aliases.c.tenant_id == bindparam("tenant_id")
    )
)
_KEYS = prepared(
    select(dkim_keys)
    .where(dkim_keys.c.domain_id == bindparam("domain_id"), dkim_keys.c.tenant_id == bindparam("tenant_id"))
    .order_by(dkim_keys.c.id)
)
_SIGNING_KEYS = prepared(
    select(dkim_keys)
    .join(domains, domains.c.id == dkim_keys.c.domain_id)
    .where(domains.c.name == bindparam("name"), domains.c.status == "active", dkim_keys.c.state == "active")
    .order_by(dkim_keys.c.id)
)


def domain_from_row(row: Row) -> Domain:
    return Domain(
        id=DomainId(text(row, "id")),
        tenant_id=TenantId(text(row, "tenant_id")),
        name=text(row, "name"),
        status=Status(text(row, "status")),
        catch_all=text_or_none(row, "catch_all"),
        subaddressing=bool(number(row, "subaddressing")),
        max_message_size=number_or_none(row, "max_message_size"),
        require_tls_in=bool(number(row, "require_tls_in")),
        require_tls_out=bool(number(row, "require_tls_out")),
        quota_octets=number(row, "quota_octets"),
        created_at=instant(row, "created_at"),
        updated_at=instant(row, "updated_at"),
        revision=number(row, "revision"),
    )


def alias_from_row(row: Row) -> DomainAlias:
    return DomainAlias(
        id=text(row, "id"),
        tenant_id=TenantId(text(row, "tenant_id")),
        name=text(row, "name"),
        domain_id=DomainId(text(row, "domain_id")),
        enabled=bool(number(row, "enabled")),
        created_at=instant(row, "created_at"),
        updated_at=instant(row, "updated_at"),
        revision=number(row, "revision"),
    )


def key_from_row(row: Row) -> DkimKey:
    return DkimKey(
        id=text(row, "id"),
        tenant_id=TenantId(text(row, "tenant_id")),
        domain_id=DomainId(text(row, "domain_id")),
        selector=text(row, "selector"),
        algorithm=text(row, "algorithm"),
        state=text(row, "state"),
        sealed_key=octets(row, "sealed_key"),
        public_record=text(row, "public_record"),
        created_at=instant(row, "created_at"),
    )


async def insert(tx: Transaction, domain: Domain) -> None:
    """Raises UniqueViolation when the name is taken."""
    await tx.execute(
        _INSERT,
        {
            "id": domain.id,
            "tenant_id": domain.tenant_id,
            "name": domain.name,
            "status": domain.status.value,
            "catch_all": domain.catch_all,
            "subaddressing": int(domain.subaddressing),
            "max_message_size": domain.max_message_size,
            "require_tls_in": int(domain.require_tls_in),
            "require_tls_out": int(domain.require_tls_out),
            "quota_octets": domain.quota_octets,
            "created_at": to_us(domain.created_at),
            "updated_at": to_us(domain.updated_at),
            "revision": domain.revision,
            "deleted_at": None,
        },
    )


async def get(tx: Transaction, tenant_id: TenantId, domain_id: DomainId) -> Domain | None:
    row = await tx.fetch_one(_BY_ID, {"tenant_id": tenant_id, "domain_id": domain_id})
    return domain_from_row(row) if row else None


async def by_name(tx: Transaction, name: str) -> Domain | None:
    """Across all tenants: a domain name is unique on the server."""
    row = await tx.fetch_one(_BY_NAME, {"name": name})
    return domain_from_row(row) if row else None


async def page(
    tx: Transaction, tenant_id: TenantId, request: PageRequest, *, status: Status | None = None
) -> Page[Domain]:
    """Newest first; without a status, all that are not deleted."""
    query = select(domains).where(domains.c.tenant_id == tenant_id).order_by(domains.c.id.desc())
    query = query.where(domains.c.status == status.value if status else domains.c.deleted_at.is_(None))
    if request.after is not None:
        query = query.where(domains.c.id < request.after)
    return page_of(await tx.fetch(query.limit(request.limit + 1)), request, domain_from_row)


async def all_active(tx: Transaction, *, limit: int) -> Sequence[Domain]:
    """Active domains of every tenant, for the doctor."""
    rows = await tx.fetch(select(domains).where(domains.c.status == "active").order_by(domains.c.name).limit(limit))
    return [domain_from_row(row) for row in rows]


async def change(tx: Transaction, tenant_id: TenantId, domain_id: DomainId, values: Mapping[str, object]) -> None:
    """Set columns, raise the revision and the time of change."""
    await tx.execute(
        update(domains)
        .where(domains.c.id == domain_id, domains.c.tenant_id == tenant_id)
        .values(**values, revision=domains.c.revision + 1, updated_at=tx.now_us)
    )


async def used_octets(tx: Transaction, domain_id: DomainId) -> int:
    """What the domain's accounts store together."""
    query = select(func.coalesce(func.sum(accounts.c.used_octets), 0).cast(BigInteger))
    row = await tx.fetch_one(query.where(accounts.c.domain_id == domain_id))
    return 0 if row is None else int(str(row[0]))


async def in_use(tx: Transaction, tenant_id: TenantId, domain_id: DomainId) -> int:
    """How many accounts and aliases that are not deleted stand on the domain."""
    total = 0
    for table in (accounts, aliases):
        row = await tx.fetch_one(
            select(func.count())
            .select_from(table)
            .where(table.c.domain_id == domain_id, table.c.tenant_id == tenant_id, table.c.deleted_at.is_(None))
        )
        total += int(str(row[0])) if row else 0
    return total


async def insert_alias(tx: Transaction, alias: DomainAlias) -> None:
    """Raises UniqueViolation when the name is taken."""
    await tx.execute(
        _INSERT_ALIAS,
        {
            "id": alias.id,
            "tenant_id": alias.tenant_id,
            "name": alias.name,
            "domain_id": alias.domain_id,
            "enabled": int(alias.enabled),
            "created_at": to_us(alias.created_at),
            "updated_at": to_us(alias.updated_at),
            "revision": alias.revision,
            "deleted_at": None,
        },
    )


async def alias_by_name(tx: Transaction, name: str) -> DomainAlias | None:
    row = await tx.fetch_one(_ALIAS_BY_NAME, {"name": name})
    return alias_from_row(row) if row else None


async def get_alias(tx: Transaction, tenant_id: TenantId, alias_id: str) -> DomainAlias | None:
    row = await tx.fetch_one(_ALIAS_BY_ID, {"tenant_id": tenant_id, "alias_id": alias_id})
    return alias_from_row(row) if row else None


async def alias_page(tx: Transaction, tenant_id: TenantId, request: PageRequest) -> Page[DomainAlias]:
    query = select(domain_aliases).where(domain_aliases.c.tenant_id == tenant_id).order_by(domain_aliases.c.id.desc())
    if request.after is not None:
        query = query.where(domain_aliases.c.id < request.after)
    return page_of(await tx.fetch(query.limit(request.limit + 1)), request, alias_from_row)


async def change_alias(tx: Transaction, tenant_id: TenantId, alias_id: str, values: Mapping[str, object]) -> None:
    await tx.execute(
        update(domain_aliases)
        .where(domain_aliases.c.id == alias_id, domain_aliases.c.tenant_id == tenant_id)
        .values(**values, revision=domain_aliases.c.revision + 1, updated_at=tx.now_us)
    )


async def delete_alias(tx: Transaction, tenant_id: TenantId, alias_id: str) -> None:
    await tx.execute(
        delete(domain_aliases).where(domain_aliases.c.id == alias_id, domain_aliases.c.tenant_id == tenant_id)
    )


async def insert_key(tx: Transaction, key: DkimKey) -> None:
    """Raises UniqueViolation when the domain has the selector."""
    await tx.execute(
        _INSERT_KEY,
        {
            "id": key.id,
            "tenant_id": key.tenant_id,
            "domain_id": key.domain_id,
            "selector": key.selector,
            "algorithm": key.algorithm,
            "state": key.state,
            "sealed_key": key.sealed_key,
            "public_record": key.public_record,
            "created_at": to_us(key.created_at),
        },
    )


async def keys(tx: Transaction, tenant_id: TenantId, domain_id: DomainId) -> Sequence[DkimKey]:
    """All keys of a domain, oldest first."""
    rows = await tx.fetch(_KEYS, {"tenant_id": tenant_id, "domain_id": domain_id})
    return [key_from_row(row) for row in rows]


async def signing_keys(tx: Transaction, name: str) -> Sequence[DkimKey]:
    """Active keys of an active domain, by its name; empty when it has none or isn't ours."""
    return [key_from_row(row) for row in await tx.fetch(_SIGNING_KEYS, {"name": name})]


async def set_key_state(tx: Transaction, tenant_id: TenantId, key_id: str, state: str) -> None:
    await tx.execute(
        update(dkim_keys).where(dkim_keys.c.id == key_id, dkim_keys.c.tenant_id == tenant_id).values(state=state)
    )
