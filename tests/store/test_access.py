"""App passwords, bans, places and the watch on both databases."""

from __future__ import annotations

import pytest

from server.domain.errors import RateLimited, Unauthenticated
from server.domain.identity import Principal
from server.domain.paging import PageRequest
from server.services.identity.app_passwords import NewAppPassword
from server.services.identity.bans import NewBan
from server.services.identity.watch import AccessWatch
from server.store.database import Database
from server.store.repositories import bans
from server.store.times import to_us
from tests.support.identity import PASSWORD, Identity, connection, make_identity

ANNA = "anna@example.org"


async def log_in(identity: Identity, secret: str = PASSWORD, ip: str = "203.0.113.9", login: str = ANNA) -> Principal:
    return await identity.login.authenticate(
        login=login, password=secret.encode(), connection=connection(ip), mechanism="PLAIN"
    )


async def test_two_processes_share_app_passwords_bans_and_the_end_of_rights(store: Database) -> None:
    here, there = await make_identity(store), await make_identity(store)
    await here.account(ANNA)
    closed: list[str] = []
    looking = AccessWatch(store, there.clock, bans=there.bans, connections=there.connections)
    phone = await here.app_passwords.create(here.root, ANNA, NewAppPassword(name="phone"))
    principal = await log_in(there, phone.text)
    there.connections.entered(principal, connection("203.0.113.9"), lambda: closed.append("phone"))
    await looking.look()
    assert closed == []
    (row,) = (await here.app_passwords.page(here.root, ANNA, PageRequest(limit=5))).items
    assert (row.last_used_ip, row.last_used_protocol) == ("203.0.113.9", "imaps")
    await here.app_passwords.revoke(here.root, ANNA, phone.password.id)
    ban = await here.bans.add(here.root, NewBan(network="198.51.100.0/24", account_id=ANNA))
    await looking.look()
    assert closed == ["phone"]
    with pytest.raises(RateLimited):
        await log_in(there, ip="198.51.100.7")
    await here.bans.remove(here.root, ban.id)
    await looking.look()
    assert (await log_in(there, ip="198.51.100.7")).address == ANNA
    assert (await here.bans.page(here.root, PageRequest(limit=5))).items == ()


async def test_failures_ban_and_known_places_are_spared(store: Database) -> None:
    identity = await make_identity(store)
    account = await identity.account(ANNA)
    await log_in(identity)
    for ip in ("203.0.113.9", "198.51.100.7"):
        for number in range(10):
            with pytest.raises(Unauthenticated):
                await log_in(identity, f"wrong password {number}", ip, f"u{number}@example.org")
    (ban,) = (await identity.bans.page(identity.root, PageRequest(limit=5))).items
    assert ban.network == "198.51.100.7/32"
    assert (await log_in(identity)).account_id == account.id
    now_us = to_us(identity.clock.now())
    assert list(await store.read("test.places", lambda tx: bans.places(tx, account.id))) == ["4cb007109"]
    assert await store.read("test.any", lambda tx: bans.anybody_from(tx, "4cb007100", "4cb0071ff", since_us=now_us - 1))
    identity.clock.step(40 * 86_400)
    await identity.bans.clean()
    rows = await store.read("test.same", lambda tx: bans.same(tx, ban.network, None))
    assert rows == ()
    identity.clock.step(60 * 86_400)
    await identity.bans.clean()
    assert await store.read("test.places", lambda tx: bans.places(tx, account.id)) == {}
