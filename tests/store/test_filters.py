"""Rows of scripts, rules, vacation and what they remember, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from server.domain.filters import Place, VacationRow
from server.domain.identity import Forwarding
from server.domain.ids import AccountId, TenantId
from server.store.database import Database
from server.store.repositories import accounts, filters
from server.store.repositories.accounts import forward_text
from server.store.transaction import Transaction
from tests.support.imap_edge import add_account


@pytest.fixture
async def account(store: Database) -> AccountId:
    return await add_account(store, "a@example.org")


async def tenant_of(store: Database, account: AccountId) -> TenantId:
    found = await store.read("tenant", lambda tx: filters.tenant_of(tx, account))
    assert found is not None
    return found


async def put(store: Database, account: AccountId, name: str, content: bytes) -> None:
    tenant_id = await tenant_of(store, account)

    async def unit(tx: Transaction) -> None:
        old = await filters.script(tx, account, name)
        await filters.put_script(
            tx, tenant_id=tenant_id, account_id=account, place=Place.USER, name=name, content=content, old=old
        )

    await store.write("put", unit)


async def version(store: Database, account: AccountId) -> int:
    tenant_id = await tenant_of(store, account)
    await store.write("refresh", lambda tx: filters.refresh_version(tx, account, tenant_id))
    found = await store.read("account", lambda tx: accounts.get_any(tx, account))
    assert found is not None
    return found.filter_version


async def test_scripts_are_kept_and_one_is_active(store: Database, account: AccountId) -> None:
    await put(store, account, "b", b"keep;")
    await put(store, account, "a", b"\xc3\xa9")
    await put(store, account, "b", b"stop;")
    assert await version(store, account) == 0
    one = await store.read("script", lambda tx: filters.script(tx, account, "b"))
    assert one is not None
    await store.write("activate", lambda tx: filters.activate(tx, account, one.id))
    found = await store.read("scripts", lambda tx: filters.scripts(tx, account))
    assert [(row.name, row.octets, row.active) for row in found] == [("a", b"\xc3\xa9", False), ("b", b"stop;", True)]
    assert await version(store, account) > 0
    await store.write("rename", lambda tx: filters.rename_script(tx, one.id, "c"))
    await store.write("activate", lambda tx: filters.activate(tx, account, None))
    await store.write("remove", lambda tx: filters.remove_script(tx, one.id))
    assert [row.name for row in await store.read("scripts", lambda tx: filters.scripts(tx, account))] == ["a"]
    assert await version(store, account) == 0


async def test_vacation_rules_and_forward_come_back_as_they_were(store: Database, account: AccountId) -> None:
    tenant_id = await tenant_of(store, account)
    row = VacationRow(
        enabled=True,
        starts_at=datetime(2026, 12, 1, tzinfo=UTC),
        ends_at=None,
        subject="s",
        text="é",
        html=None,
        days=3,
        revision=1,
        updated_at=datetime(2026, 11, 22, tzinfo=UTC),
    )
    await store.write("vacation", lambda tx: filters.put_vacation(tx, account, row))
    found = await store.read("vacation", lambda tx: filters.vacation(tx, account))
    assert found is not None
    assert (found.enabled, found.starts_at, found.ends_at, found.text) == (True, row.starts_at, None, "é")
    assert await version(store, account) > 0
    assert await store.write("vacation", lambda tx: filters.remove_vacation(tx, account)) == 1
    await store.write("rules", lambda tx: filters.put_rules(tx, account, '[{"name":"x"}]', 2))
    rules = await store.read("rules", lambda tx: filters.rules(tx, account))
    assert rules is not None
    assert (rules.rules, rules.revision) == ('[{"name":"x"}]', 2)
    forward = Forwarding(targets=("a@b.example",), keep_copy=False)
    values = {"forward": forward_text(forward)}
    await store.write("forward", lambda tx: accounts.change(tx, tenant_id, account, values))
    changed = await store.read("account", lambda tx: accounts.get_any(tx, account))
    assert changed is not None
    assert changed.forward == forward


async def test_an_answer_is_claimed_once_until_its_time(store: Database, account: AccountId) -> None:
    async def claim(tx: Transaction, handle: str, seconds: int) -> bool:
        until_us = tx.now_us + seconds * 1_000_000
        return await filters.claim_reply(tx, account, handle, "s@x.example", until_us)

    assert await store.write("claim", lambda tx: claim(tx, "h", 3600))
    assert not await store.write("claim", lambda tx: claim(tx, "h", 3600))
    assert await store.write("claim", lambda tx: claim(tx, "other", -1))
    assert await store.write("claim", lambda tx: claim(tx, "other", -1))
    await store.write("forget", lambda tx: filters.forget_replies(tx, account, "h"))
    assert await store.write("claim", lambda tx: claim(tx, "h", 3600))
    assert await store.write("past", filters.forget_past) == 1


async def test_unique_ids_are_remembered_until_their_time(store: Database, account: AccountId) -> None:
    async def remember(tx: Transaction) -> None:
        await filters.remember(tx, account, [("new", tx.now_us + 3_600_000_000), ("old", tx.now_us - 1)])

    for _ in range(2):
        await store.write("remember", remember)
    assert await store.read("seen", lambda tx: filters.was_seen(tx, account, "new"))
    assert not await store.read("seen", lambda tx: filters.was_seen(tx, account, "old"))
    assert not await store.read("seen", lambda tx: filters.was_seen(tx, account, "none"))
