"""Rows of `tags` and `categories`: what keywords and categories are called in a tenant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import bindparam, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from server.domain.ids import AccountId, TenantId, new_id
from server.domain.listing import CategoryDefinition, TagDefinition
from server.store.repositories.rows import instant, number, text
from server.store.schema import accounts, categories, tags
from server.store.statements import prepared, prepared_insert
from server.store.transaction import Row, Transaction

TAGS_MAX = 500
"""Tags of a tenant (filtering.md section 9)."""
COLOUR = "#888888"
"""Of a tag that a client made by setting a keyword."""
_INSERT_TAG = prepared_insert(tags)
_NOTE_TAG = prepared(
    sqlite.insert(tags).values({c.name: bindparam(c.name) for c in tags.columns}).on_conflict_do_nothing(),
    postgres=postgresql.insert(tags).values({c.name: bindparam(c.name) for c in tags.columns}).on_conflict_do_nothing(),
)
_INSERT_CATEGORY = prepared_insert(categories)
_TAGS = prepared(select(tags).where(tags.c.tenant_id == bindparam("b_tenant")).order_by(tags.c.name, tags.c.keyword))
_TAG = prepared(select(tags).where(tags.c.tenant_id == bindparam("b_tenant"), tags.c.id == bindparam("b_id")))
_CATEGORIES = prepared(
    select(categories)
    .where(categories.c.tenant_id == bindparam("b_tenant"))
    .order_by(categories.c.priority.desc(), categories.c.name)
)
_CATEGORY = prepared(
    select(categories).where(categories.c.tenant_id == bindparam("b_tenant"), categories.c.id == bindparam("b_id"))
)
_TENANT = prepared(select(accounts.c.tenant_id).where(accounts.c.id == bindparam("b_account")))

DEFAULT_CATEGORIES: tuple[tuple[str, str, int], ...] = (
    ("Primary", "#4285F4", 100),
    ("Social", "#34A853", 80),
    ("Promotions", "#FBBC05", 60),
    ("Updates", "#EA4335", 40),
    ("Forums", "#9E9E9E", 20),
)
"""Name, colour and priority of what every tenant begins with (filtering.md section 8)."""


async def tenant_of(tx: Transaction, account_id: AccountId) -> TenantId | None:
    row = await tx.fetch_one(_TENANT, {"b_account": account_id})
    return None if row is None else TenantId(text(row, "tenant_id"))


async def list_tags(tx: Transaction, tenant_id: TenantId) -> list[TagDefinition]:
    """All of a tenant by name."""
    return [_tag(row) for row in await tx.fetch(_TAGS, {"b_tenant": tenant_id})]


async def get_tag(tx: Transaction, tenant_id: TenantId, tag_id: str) -> TagDefinition | None:
    row = await tx.fetch_one(_TAG, {"b_tenant": tenant_id, "b_id": tag_id})
    return None if row is None else _tag(row)


async def insert_tag(
    tx: Transaction, tenant_id: TenantId, *, keyword: str, name: str, colour: str, description: str
) -> TagDefinition:
    """Raises UniqueViolation when the keyword has a definition."""
    params = _tag_params(tx, tenant_id, keyword, name, colour, description)
    await tx.execute(_INSERT_TAG, params)
    found = await get_tag(tx, tenant_id, str(params["id"]))
    assert found is not None  # noqa: S101 - inserted above
    return found


async def note_keywords(tx: Transaction, account_id: AccountId, keywords: Sequence[str]) -> None:
    """Define tags for keywords that clients set and nobody has described, while the tenant has room for more.

    System keywords, which begin with `$`, are no tags (filtering.md section 9).
    """
    wanted = {keyword.lower(): keyword for keyword in keywords if not keyword.startswith("$")}
    tenant_id = await tenant_of(tx, account_id) if wanted else None
    if tenant_id is None:
        return
    query = select(func.lower(tags.c.keyword).label("keyword")).where(tags.c.tenant_id == tenant_id)
    for row in await tx.fetch(query.where(func.lower(tags.c.keyword).in_(list(wanted)))):
        wanted.pop(text(row, "keyword"), None)
    if not wanted:
        return
    counted = await tx.fetch_one(select(func.count().label("n")).where(tags.c.tenant_id == tenant_id))
    room = TAGS_MAX - (number(counted, "n") if counted is not None else 0)
    for keyword in sorted(wanted.values())[: max(room, 0)]:
        await tx.execute(_NOTE_TAG, _tag_params(tx, tenant_id, keyword, keyword, COLOUR, ""))


async def change_tag(tx: Transaction, tenant_id: TenantId, tag_id: str, values: Mapping[str, object]) -> None:
    await tx.execute(
        update(tags)
        .where(tags.c.id == tag_id, tags.c.tenant_id == tenant_id)
        .values(**values, revision=tags.c.revision + 1, updated_at=tx.now_us)
    )


async def delete_tag(tx: Transaction, tenant_id: TenantId, tag_id: str) -> None:
    await tx.execute(delete(tags).where(tags.c.id == tag_id, tags.c.tenant_id == tenant_id))


async def list_categories(tx: Transaction, tenant_id: TenantId) -> list[CategoryDefinition]:
    """All of a tenant, the most important first."""
    return [_category(row) for row in await tx.fetch(_CATEGORIES, {"b_tenant": tenant_id})]


async def get_category(tx: Transaction, tenant_id: TenantId, category_id: str) -> CategoryDefinition | None:
    row = await tx.fetch_one(_CATEGORY, {"b_tenant": tenant_id, "b_id": category_id})
    return None if row is None else _category(row)


async def insert_category(
    tx: Transaction,
    tenant_id: TenantId,
    *,
    name: str,
    colour: str,
    description: str = "",
    priority: int,
    enabled: bool = True,
) -> CategoryDefinition:
    """Raises UniqueViolation when the name is taken."""
    category_id = new_id()
    row = {"id": category_id, "tenant_id": tenant_id, "name": name, "colour": colour, "description": description}
    life = {"created_at": tx.now_us, "updated_at": tx.now_us, "revision": 1}
    await tx.execute(_INSERT_CATEGORY, {**row, "priority": priority, "enabled": int(enabled), **life})
    found = await get_category(tx, tenant_id, category_id)
    assert found is not None  # noqa: S101 - inserted above
    return found


async def insert_default_categories(tx: Transaction, tenant_id: TenantId) -> None:
    """Give a new tenant the categories that every tenant begins with."""
    for name, colour, priority in DEFAULT_CATEGORIES:
        await insert_category(tx, tenant_id, name=name, colour=colour, priority=priority)


async def change_category(tx: Transaction, tenant_id: TenantId, category_id: str, values: Mapping[str, object]) -> None:
    """Raises UniqueViolation when the name is taken."""
    await tx.execute(
        update(categories)
        .where(categories.c.id == category_id, categories.c.tenant_id == tenant_id)
        .values(**values, revision=categories.c.revision + 1, updated_at=tx.now_us)
    )


async def delete_category(tx: Transaction, tenant_id: TenantId, category_id: str) -> None:
    await tx.execute(delete(categories).where(categories.c.id == category_id, categories.c.tenant_id == tenant_id))


def _tag_params(
    tx: Transaction, tenant_id: TenantId, keyword: str, name: str, colour: str, description: str
) -> dict[str, object]:
    row = {"id": new_id(), "tenant_id": tenant_id, "keyword": keyword, "name": name, "colour": colour}
    return {**row, "description": description, "created_at": tx.now_us, "updated_at": tx.now_us, "revision": 1}


def _tag(row: Row) -> TagDefinition:
    return TagDefinition(
        id=text(row, "id"),
        keyword=text(row, "keyword"),
        name=text(row, "name"),
        colour=text(row, "colour"),
        description=text(row, "description"),
        created_at=instant(row, "created_at"),
        updated_at=instant(row, "updated_at"),
        revision=number(row, "revision"),
    )


def _category(row: Row) -> CategoryDefinition:
    return CategoryDefinition(
        id=text(row, "id"),
        name=text(row, "name"),
        colour=text(row, "colour"),
        description=text(row, "description"),
        priority=number(row, "priority"),
        enabled=bool(number(row, "enabled")),
        created_at=instant(row, "created_at"),
        updated_at=instant(row, "updated_at"),
        revision=number(row, "revision"),
    )
