"""Rows of `api_keys`: digests of keys, never the keys."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import bindparam, select, update

from server.domain.identity import ApiKey
from server.domain.ids import AccountId, KeyId, TenantId
from server.domain.paging import Page, PageRequest
from server.store.repositories.rows import (
    instant,
    instant_or_none,
    number,
    page_of,
    strings,
    strings_text,
    text,
    text_or_none,
)
from server.store.schema import api_keys
from server.store.statements import prepared, prepared_insert
from server.store.times import to_us
from server.store.transaction import Row, Transaction

_INSERT = prepared_insert(api_keys)
_BY_LOOKUP = prepared(select(api_keys).where(api_keys.c.lookup == bindparam("lookup")))
_BY_ID = prepared(
    select(api_keys).where(api_keys.c.id == bindparam("key_id"), api_keys.c.tenant_id == bindparam("tenant_id"))
)
_USED = prepared(
    update(api_keys)
    .where(api_keys.c.id == bindparam("b_id"))
    .values(last_used_at=bindparam("b_at"), last_used_ip=bindparam("b_ip"))
)


def key_from_row(row: Row) -> ApiKey:
    account_id = text_or_none(row, "account_id")
    return ApiKey(
        id=KeyId(text(row, "id")),
        tenant_id=TenantId(text(row, "tenant_id")),
        lookup=text(row, "lookup"),
        secret_sha256=text(row, "secret_sha256"),
        previous_sha256=text_or_none(row, "previous_sha256"),
        previous_until=instant_or_none(row, "previous_until"),
        name=text(row, "name"),
        scopes=strings(row, "scopes"),
        system=bool(number(row, "system")),
        account_id=AccountId(account_id) if account_id is not None else None,
        networks=strings(row, "networks"),
        expires_at=instant_or_none(row, "expires_at"),
        last_used_at=instant_or_none(row, "last_used_at"),
        last_used_ip=text_or_none(row, "last_used_ip"),
        created_at=instant(row, "created_at"),
        revision=number(row, "revision"),
        revoked_at=instant_or_none(row, "revoked_at"),
    )


async def insert(tx: Transaction, key: ApiKey) -> None:
    """Raises UniqueViolation when the lookup part exists."""
    await tx.execute(
        _INSERT,
        {
            "id": key.id,
            "tenant_id": key.tenant_id,
            "lookup": key.lookup,
            "secret_sha256": key.secret_sha256,
            "previous_sha256": key.previous_sha256,
            "previous_until": to_us(key.previous_until),
            "name": key.name,
            "scopes": strings_text(key.scopes),
            "system": int(key.system),
            "account_id": key.account_id,
            "networks": strings_text(key.networks),
            "expires_at": to_us(key.expires_at),
            "last_used_at": to_us(key.last_used_at),
            "last_used_ip": key.last_used_ip,
            "created_at": to_us(key.created_at),
            "revision": key.revision,
            "revoked_at": to_us(key.revoked_at),
        },
    )


async def by_lookup(tx: Transaction, lookup: str) -> ApiKey | None:
    """Across all tenants: the lookup part is unique on the server."""
    row = await tx.fetch_one(_BY_LOOKUP, {"lookup": lookup})
    return key_from_row(row) if row else None


async def get(tx: Transaction, tenant_id: TenantId, key_id: KeyId) -> ApiKey | None:
    row = await tx.fetch_one(_BY_ID, {"tenant_id": tenant_id, "key_id": key_id})
    return key_from_row(row) if row else None


async def page(tx: Transaction, tenant_id: TenantId, request: PageRequest) -> Page[ApiKey]:
    """Keys that are not revoked, newest first."""
    query = select(api_keys).where(api_keys.c.tenant_id == tenant_id, api_keys.c.revoked_at.is_(None))
    if request.after is not None:
        query = query.where(api_keys.c.id < request.after)
    query = query.order_by(api_keys.c.id.desc()).limit(request.limit + 1)
    return page_of(await tx.fetch(query), request, key_from_row)


async def change(tx: Transaction, tenant_id: TenantId, key_id: KeyId, values: Mapping[str, object]) -> None:
    """Set columns and raise the revision."""
    await tx.execute(
        update(api_keys)
        .where(api_keys.c.id == key_id, api_keys.c.tenant_id == tenant_id)
        .values(**values, revision=api_keys.c.revision + 1)
    )


async def used(tx: Transaction, key_id: KeyId, ip: str) -> None:
    await tx.execute(_USED, {"b_id": key_id, "b_at": tx.now_us, "b_ip": ip})
