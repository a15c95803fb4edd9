"""The right to send as another account, on both databases."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from server.domain.ids import AccountId
from server.store.database import Database
from server.store.repositories import purge, send_grants
from server.store.schema import accounts
from server.store.transaction import Transaction
from tests.support.imap_edge import add_account


async def _holds(store: Database, owner: AccountId, grantee: AccountId) -> bool:
    return await store.read("test", lambda tx: send_grants.holds(tx, owner, grantee))


async def _add(store: Database, owner: AccountId, grantee: AccountId) -> bool:
    return await store.write("test", lambda tx: send_grants.add(tx, owner, grantee))


async def _set(store: Database, account_id: AccountId, **values: object) -> None:
    async def unit(tx: Transaction) -> None:
        await tx.execute(update(accounts).where(accounts.c.id == account_id).values(**values))

    await store.write("test", unit)


async def test_a_grant_is_added_once_and_goes_one_way(store: Database) -> None:
    anna = await add_account(store, "anna@example.org")
    bert = await add_account(store, "bert@example.org", colleague=anna)
    assert await _add(store, anna, bert) is True
    assert await _add(store, anna, bert) is False
    assert await _holds(store, anna, bert)
    assert not await _holds(store, bert, anna)
    assert await store.read("test", lambda tx: send_grants.of_account(tx, anna)) == ["bert@example.org"]
    assert await store.write("test", lambda tx: send_grants.remove(tx, anna, bert)) is True
    assert await store.write("test", lambda tx: send_grants.remove(tx, anna, bert)) is False
    assert not await _holds(store, anna, bert)


@pytest.mark.parametrize("values", [{"status": "disabled"}, {"status": "deleted", "deleted_at": 1}])
@pytest.mark.parametrize("whose", ["owner", "grantee"])
async def test_accounts_not_in_use_give_and_get_nothing(store: Database, whose: str, values: dict[str, object]) -> None:
    anna = await add_account(store, "anna@example.org")
    bert = await add_account(store, "bert@example.org", colleague=anna)
    await _add(store, anna, bert)
    await _set(store, anna if whose == "owner" else bert, **values)
    assert not await _holds(store, anna, bert)


async def test_grants_never_cross_tenants_and_go_with_either_account(store: Database) -> None:
    anna = await add_account(store, "anna@example.org")
    bert = await add_account(store, "bert@example.org", colleague=anna)
    stranger = await add_account(store, "stranger@example.net")
    for owner, grantee in ((anna, bert), (bert, anna), (anna, stranger)):
        await _add(store, owner, grantee)
    assert not await _holds(store, anna, stranger)
    await store.write("test", lambda tx: purge.drop_account(tx, bert))
    await store.write("test", lambda tx: purge.drop_account(tx, stranger))
    assert await store.read("test", lambda tx: send_grants.of_account(tx, anna)) == []
