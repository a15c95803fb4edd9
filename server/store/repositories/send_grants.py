"""Rows of the right to send with another account's addresses.

- A grant holds while both accounts are active and of one tenant: that is joined from their rows at each look.
"""

from __future__ import annotations

from typing import cast

from sqlalchemy import bindparam, delete, select

from server.domain.identity import Status
from server.domain.ids import AccountId
from server.store.schema import accounts, send_grants
from server.store.statements import prepared, prepared_insert
from server.store.transaction import Transaction

g = send_grants
_owner = accounts.alias("owner")
_grantee = accounts.alias("grantee")

_INSERT = prepared_insert(g)
_DELETE = prepared(delete(g).where(g.c.account_id == bindparam("b_account"), g.c.grantee_id == bindparam("b_grantee")))
_EXISTS = prepared(
    select(g.c.created_at).where(g.c.account_id == bindparam("b_account"), g.c.grantee_id == bindparam("b_grantee"))
)
_HOLDS = prepared(
    select(g.c.created_at)
    .join(_owner, _owner.c.id == g.c.account_id)
    .join(_grantee, _grantee.c.id == g.c.grantee_id)
    .where(
        g.c.account_id == bindparam("b_account"),
        g.c.grantee_id == bindparam("b_grantee"),
        _owner.c.tenant_id == _grantee.c.tenant_id,
        _owner.c.status == bindparam("b_owner_status"),
        _grantee.c.status == bindparam("b_grantee_status"),
        _owner.c.deleted_at.is_(None),
        _grantee.c.deleted_at.is_(None),
    )
)
_OF_ACCOUNT = prepared(
    select(_grantee.c.address)
    .join(g, g.c.grantee_id == _grantee.c.id)
    .where(g.c.account_id == bindparam("b_account"), _grantee.c.deleted_at.is_(None))
    .order_by(_grantee.c.address)
)


async def add(tx: Transaction, account_id: AccountId, grantee_id: AccountId) -> bool:
    """Grant; False when it was granted already."""
    if await tx.fetch_one(_EXISTS, {"b_account": account_id, "b_grantee": grantee_id}) is not None:
        return False
    await tx.execute(_INSERT, {"account_id": account_id, "grantee_id": grantee_id, "created_at": tx.now_us})
    return True


async def remove(tx: Transaction, account_id: AccountId, grantee_id: AccountId) -> bool:
    """Revoke; False when there was no such grant."""
    return await tx.execute(_DELETE, {"b_account": account_id, "b_grantee": grantee_id}) > 0


async def of_account(tx: Transaction, account_id: AccountId) -> list[str]:
    """Addresses of those who may send as the account, sorted; deleted accounts are left out."""
    return [cast(str, row[0]) for row in await tx.fetch(_OF_ACCOUNT, {"b_account": account_id})]


async def holds(tx: Transaction, account_id: AccountId, grantee_id: AccountId) -> bool:
    """Whether the grantee may send as the account now."""
    active = Status.ACTIVE.value
    params = {
        "b_account": account_id,
        "b_grantee": grantee_id,
        "b_owner_status": active,
        "b_grantee_status": active,
    }
    return await tx.fetch_one(_HOLDS, params) is not None
