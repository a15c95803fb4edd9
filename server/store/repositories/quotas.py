"""How full accounts, domains and tenants are."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import BigInteger, bindparam, case, func, select, update

from server.domain.ids import AccountId, TenantId
from server.domain.usage import DomainUsage, TenantUsage
from server.store.repositories.rows import number, text
from server.store.schema import accounts, domains, mailboxes, queued_recipients
from server.store.statements import prepared
from server.store.transaction import Transaction

LEVELS = (95, 80)
"""Percent of a quota at which its owner is warned, the highest first."""
_a = accounts
_level = case(
    *((((_a.c.quota_octets > 0) & (_a.c.used_octets * 100 >= _a.c.quota_octets * level)), level) for level in LEVELS),
    else_=0,
)
_MOVED = prepared(
    select(_a.c.id, _a.c.tenant_id, _a.c.address, _a.c.quota_octets, _a.c.used_octets, _a.c.quota_warned, _level)
    .where(_a.c.deleted_at.is_(None), _a.c.quota_warned != _level)
    .order_by(_a.c.id)
    .limit(bindparam("b_limit", type_=BigInteger))
)
_SET = prepared(
    update(_a)
    .where(_a.c.id == bindparam("b_id"), _a.c.quota_warned == bindparam("b_was"))
    .values(quota_warned=bindparam("b_level"))
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fullness:
    """An account that crossed a level since its owner was last told; `level` 0 = below all of them."""

    account_id: AccountId
    tenant_id: TenantId
    address: str
    quota_octets: int
    used_octets: int
    warned: int
    level: int


async def crossed(tx: Transaction, limit: int) -> list[Fullness]:
    """Accounts whose level differs from the one their owner was told of."""
    return [
        Fullness(
            account_id=AccountId(text(row, "id")),
            tenant_id=TenantId(text(row, "tenant_id")),
            address=text(row, "address"),
            quota_octets=number(row, "quota_octets"),
            used_octets=number(row, "used_octets"),
            warned=number(row, "quota_warned"),
            level=int(str(row[6])),
        )
        for row in await tx.fetch(_MOVED, {"b_limit": limit})
    ]


async def set_warned(tx: Transaction, account_id: AccountId, *, was: int, level: int) -> bool:
    """Note the level; False when somebody else did so first."""
    return await tx.execute(_SET, {"b_id": account_id, "b_was": was, "b_level": level}) > 0


async def usage(tx: Transaction, tenant_id: TenantId, *, day_us: int) -> TenantUsage:
    """What a tenant uses; recipients of its mail out since `day_us`."""
    held = select(
        domains.c.name,
        domains.c.quota_octets,
        func.count(_a.c.id).label("accounts"),
        func.coalesce(func.sum(_a.c.used_octets), 0).cast(BigInteger).label("used"),
    ).select_from(domains.outerjoin(_a, (_a.c.domain_id == domains.c.id) & _a.c.deleted_at.is_(None)))
    held = held.where(domains.c.tenant_id == tenant_id, domains.c.deleted_at.is_(None))
    rows = await tx.fetch(held.group_by(domains.c.name, domains.c.quota_octets).order_by(domains.c.name))
    by_domain = tuple(
        DomainUsage(
            name=text(row, "name"),
            accounts=number(row, "accounts"),
            used_octets=number(row, "used"),
            quota_octets=number(row, "quota_octets"),
        )
        for row in rows
    )
    total = select(func.coalesce(func.sum(mailboxes.c.total), 0).cast(BigInteger).label("n"))
    total = total.select_from(mailboxes.join(_a, _a.c.id == mailboxes.c.account_id))
    counted = await tx.fetch_one(total.where(_a.c.tenant_id == tenant_id, _a.c.deleted_at.is_(None)))
    sent = select(func.count().label("n")).select_from(queued_recipients)
    today = await tx.fetch_one(
        sent.where(queued_recipients.c.tenant_id == tenant_id, queued_recipients.c.created_at >= day_us)
    )
    return TenantUsage(
        accounts=sum(one.accounts for one in by_domain),
        messages=number(counted, "n") if counted is not None else 0,
        used_octets=sum(one.used_octets for one in by_domain),
        recipients_today=number(today, "n") if today is not None else 0,
        domains=by_domain,
    )
