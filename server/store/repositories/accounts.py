"""Rows of `accounts` and of `addresses`, the one table that says which address is taken by whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from sqlalchemy import bindparam, case, delete, or_, select, update

from server.domain.identity import Account, Forwarding, Role, Status
from server.domain.ids import AccountId, DomainId, TenantId
from server.domain.paging import Page, PageRequest
from server.store.counters import access_changed
from server.store.repositories import filters
from server.store.repositories.rows import instant, instant_or_none, number, text, text_or_none
from server.store.schema import accounts, addresses, tenants
from server.store.statements import prepared, prepared_insert
from server.store.times import to_us
from server.store.transaction import Row, Transaction

_INSERT = prepared_insert(accounts)
_INSERT_ADDRESS = prepared_insert(addresses)
_BY_ID = prepared(
    select(accounts).where(accounts.c.id == bindparam("account_id"), accounts.c.tenant_id == bindparam("tenant_id"))
)
_ANY = prepared(select(accounts).where(accounts.c.id == bindparam("account_id")))
_BY_ADDRESS = prepared(
    select(accounts)
    .join(addresses, addresses.c.owner_id == accounts.c.id)
    .where(addresses.c.address == bindparam("address"), addresses.c.kind == "account")
)
_ADDRESSES = prepared(
    select(addresses.c.address).where(addresses.c.owner_id == bindparam("owner_id")).order_by(addresses.c.position)
)
_OWNER = prepared(
    select(addresses.c.kind, addresses.c.owner_id, addresses.c.tenant_id).where(
        addresses.c.address == bindparam("address")
    )
)
_FIRST_READER = prepared(
    select(accounts.c.id)
    .where(accounts.c.domain_id == bindparam("b_domain_id"), accounts.c.status == "active")
    .order_by(case((accounts.c.role == "owner", 0), else_=1), accounts.c.created_at)
    .limit(1)
)
_LOGGED_IN = prepared(
    update(accounts).where(accounts.c.id == bindparam("b_id")).values(last_login_at=bindparam("b_at"))
)


def account_from_row(row: Row, addresses_of: Sequence[str]) -> Account:
    return Account(
        id=AccountId(text(row, "id")),
        tenant_id=TenantId(text(row, "tenant_id")),
        domain_id=DomainId(text(row, "domain_id")),
        address=text(row, "address"),
        addresses=tuple(addresses_of),
        display_name=text(row, "display_name"),
        role=Role(text(row, "role")),
        status=Status(text(row, "status")),
        quota_octets=number(row, "quota_octets"),
        used_octets=number(row, "used_octets"),
        credential_version=number(row, "credential_version"),
        last_login_at=instant_or_none(row, "last_login_at"),
        created_at=instant(row, "created_at"),
        updated_at=instant(row, "updated_at"),
        revision=number(row, "revision"),
        filter_version=number(row, "filter_version"),
        forward=_forwarding(text_or_none(row, "forward")),
    )


def _forwarding(stored: str | None) -> Forwarding | None:
    if stored is None:
        return None
    found = _stored_forward.decode(stored)
    return Forwarding(targets=tuple(found.targets), keep_copy=found.keep_copy)


class _StoredForward(msgspec.Struct, frozen=True, kw_only=True):
    targets: list[str]
    keep_copy: bool


_stored_forward = msgspec.json.Decoder(_StoredForward)


def forward_text(forward: Forwarding | None) -> str | None:
    """A forward as its column holds it."""
    if forward is None:
        return None
    return msgspec.json.encode(_StoredForward(targets=list(forward.targets), keep_copy=forward.keep_copy)).decode()


async def insert_account(tx: Transaction, account: Account) -> None:
    """Insert the account with its addresses. Raises UniqueViolation when one of them is taken."""
    await tx.execute(
        _INSERT,
        {
            "id": account.id,
            "tenant_id": account.tenant_id,
            "domain_id": account.domain_id,
            "address": account.address,
            "display_name": account.display_name,
            "role": account.role.value,
            "status": account.status.value,
            "quota_octets": account.quota_octets,
            "used_octets": account.used_octets,
            "modseq": 1,
            "credential_version": account.credential_version,
            "filter_version": await filters.first_version(tx, account.tenant_id),
            "quota_warned": 0,
            "forward": None,
            "last_login_at": to_us(account.last_login_at),
            "created_at": to_us(account.created_at),
            "updated_at": to_us(account.updated_at),
            "revision": account.revision,
            "deleted_at": None,
        },
    )


async def take_address(
    tx: Transaction, address: str, *, tenant_id: TenantId, domain_id: DomainId, kind: str, owner_id: str, position: int
) -> None:
    """Write that an address is taken. Raises UniqueViolation."""
    await tx.execute(
        _INSERT_ADDRESS,
        {
            "address": address,
            "tenant_id": tenant_id,
            "domain_id": domain_id,
            "kind": kind,
            "owner_id": owner_id,
            "position": position,
        },
    )


async def free_addresses(tx: Transaction, tenant_id: TenantId, owner_id: str) -> None:
    await tx.execute(delete(addresses).where(addresses.c.owner_id == owner_id, addresses.c.tenant_id == tenant_id))


async def address_owner(tx: Transaction, address: str) -> Row | None:
    """Columns kind, owner_id and tenant_id of who holds an address, or None."""
    return await tx.fetch_one(_OWNER, {"address": address})


async def addresses_of(tx: Transaction, owner_id: str) -> tuple[str, ...]:
    return tuple(text(row, "address") for row in await tx.fetch(_ADDRESSES, {"owner_id": owner_id}))


async def get(tx: Transaction, tenant_id: TenantId, account_id: AccountId) -> Account | None:
    row = await tx.fetch_one(_BY_ID, {"tenant_id": tenant_id, "account_id": account_id})
    return account_from_row(row, await addresses_of(tx, account_id)) if row else None


async def get_any(tx: Transaction, account_id: AccountId) -> Account | None:
    """An account of whichever tenant: for code that already holds a right to it."""
    row = await tx.fetch_one(_ANY, {"account_id": account_id})
    return account_from_row(row, await addresses_of(tx, account_id)) if row else None


async def by_address(tx: Transaction, address: str) -> Account | None:
    """The account that holds an `Address.key`, of whichever tenant."""
    row = await tx.fetch_one(_BY_ADDRESS, {"address": address})
    return account_from_row(row, await addresses_of(tx, text(row, "id"))) if row else None


async def page(
    tx: Transaction,
    tenant_id: TenantId,
    request: PageRequest,
    *,
    status: Status | None = None,
    role: Role | None = None,
    domain_id: DomainId | None = None,
    containing: str | None = None,
) -> Page[Account]:
    """Newest first; without a status, all that are not deleted; `containing` is looked for in address and name."""
    query = select(accounts).where(accounts.c.tenant_id == tenant_id).order_by(accounts.c.id.desc())
    query = query.where(accounts.c.status == status.value if status else accounts.c.deleted_at.is_(None))
    if role is not None:
        query = query.where(accounts.c.role == role.value)
    if domain_id is not None:
        query = query.where(accounts.c.domain_id == domain_id)
    if containing:
        query = query.where(
            or_(
                accounts.c.address.contains(containing.casefold(), autoescape=True),
                accounts.c.display_name.contains(containing, autoescape=True),
            )
        )
    if request.after is not None:
        query = query.where(accounts.c.id < request.after)
    rows = await tx.fetch(query.limit(request.limit + 1))
    kept = rows[: request.limit]
    held = await _addresses_of_many(tx, tenant_id, [text(row, "id") for row in kept])
    items = tuple(account_from_row(row, held.get(text(row, "id"), ())) for row in kept)
    return Page(items=items, next_after=items[-1].id if len(rows) > request.limit else None)


async def _addresses_of_many(tx: Transaction, tenant_id: TenantId, owners: Sequence[str]) -> Mapping[str, list[str]]:
    held: dict[str, list[str]] = {}
    if owners:
        rows = await tx.fetch(
            select(addresses.c.owner_id, addresses.c.address)
            .where(addresses.c.owner_id.in_(list(owners)), addresses.c.tenant_id == tenant_id)
            .order_by(addresses.c.position)
        )
        for row in rows:
            held.setdefault(text(row, "owner_id"), []).append(text(row, "address"))
    return held


async def change(tx: Transaction, tenant_id: TenantId, account_id: AccountId, values: Mapping[str, object]) -> None:
    """Set columns, raise the revision and the time of change."""
    await tx.execute(
        update(accounts)
        .where(accounts.c.id == account_id, accounts.c.tenant_id == tenant_id)
        .values(**values, revision=accounts.c.revision + 1, updated_at=tx.now_us)
    )


async def raise_credential_version(tx: Transaction, tenant_id: TenantId, account_id: AccountId) -> None:
    """Make caches and sessions of the account's credentials worthless, in every process."""
    await change(tx, tenant_id, account_id, {"credential_version": accounts.c.credential_version + 1})
    await access_changed(tx)


async def login_states(tx: Transaction, ids: Sequence[str]) -> dict[AccountId, int]:
    """The credential versions of those accounts that may log in now."""
    rows = await tx.fetch(
        select(accounts.c.id, accounts.c.credential_version)
        .join(tenants, tenants.c.id == accounts.c.tenant_id)
        .where(accounts.c.id.in_(list(ids)), accounts.c.status == "active", tenants.c.status == "active")
    )
    return {AccountId(text(row, "id")): number(row, "credential_version") for row in rows}


async def logged_in(tx: Transaction, account_id: AccountId) -> None:
    await tx.execute(_LOGGED_IN, {"b_id": account_id, "b_at": tx.now_us})


async def first_reader(tx: Transaction, domain_id: DomainId) -> AccountId | None:
    """The domain's oldest active owner, else its oldest active account."""
    row = await tx.fetch_one(_FIRST_READER, {"b_domain_id": domain_id})
    return None if row is None else AccountId(text(row, "id"))
