"""Bans: stored, doubling, never against a trusted network, never shutting an office (product.md 43, security.md §4)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import select

from server.domain.access import Ban
from server.domain.errors import Forbidden, InvalidInput, MaiRustError, NotFound, RateLimited, Unauthenticated
from server.domain.paging import PageRequest
from server.services.identity import bans as bans_module
from server.services.identity.bans import Bans, NewBan
from server.services.identity.limiter import UNSEEN_MAX
from server.services.identity.networks import neighbourhood_of, parse_network, place_of, places_in, tiers_of
from server.services.identity.watch import AccessWatch
from server.store.repositories import audit
from server.store.schema import events
from tests.support.identity import CHEAP, PASSWORD, Identity, connection, make_identity, open_identity
from tests.support.stores import open_sqlite

ANNA, BEN = "anna@example.org", "ben@example.org"
OFFICE = "203.0.113.9"


async def attempt(identity: Identity, login: str, password: str = PASSWORD, ip: str = OFFICE) -> MaiRustError | None:
    """One login; the clock moves on whenever it has to wait."""
    info = connection(ip)
    task = asyncio.create_task(
        identity.login.authenticate(login=login, password=password.encode(), connection=info, mechanism="PLAIN")
    )
    while not task.done():
        await asyncio.sleep(0.001)
        if identity.clock.sleepers:
            await identity.clock.advance(9)
    error = task.exception()
    assert error is None or isinstance(error, MaiRustError)
    return error


async def in_force(identity: Identity) -> tuple[Ban, ...]:
    return (await identity.bans.page(identity.root, PageRequest(limit=200))).items


async def audit_types(identity: Identity) -> list[str]:
    records = await identity.database.read("test.audit", lambda tx: audit.newest(tx, None, limit=1000))
    return [record.entry.type for record in records]


async def events_of(identity: Identity, kind: str) -> list[tuple[object, ...]]:
    query = select(events.c.tenant_id, events.c.account_id, events.c.remote_ip).where(events.c.type == kind)
    rows = await identity.database.read("test.events", lambda tx: tx.fetch(query))
    return [(row[0], row[1], row[2]) for row in rows]


def test_networks_of_an_address() -> None:
    assert [(t.network, t.factor) for t in tiers_of("192.0.2.77")] == [
        ("192.0.2.77/32", 1),
        ("192.0.2.64/26", 3),
        ("192.0.0.0/21", 9),
    ]
    assert [t.network for t in tiers_of("2001:db8:1:2::5")] == ["2001:db8:1:2::/64", "2001:db8:1::/48", "2001:db8::/32"]
    assert tiers_of("::ffff:192.0.2.77") == tiers_of("192.0.2.77")
    assert tiers_of("unix") == ()
    assert place_of("2001:db8::1") == place_of("2001:db8::ffff") != place_of("2001:db8:0:1::1")
    assert place_of("unix") == ""
    low, high = places_in("192.0.2.64/26")
    assert low <= place_of("192.0.2.77") <= high < place_of("192.0.2.128")
    assert places_in("2001:db8::/48")[1] >= place_of("2001:db8:0:ff::1")
    assert neighbourhood_of(place_of("192.0.2.77")) == neighbourhood_of(place_of("192.0.2.200"))
    assert neighbourhood_of(place_of("192.0.2.77")) != neighbourhood_of(place_of("192.0.3.77"))
    assert str(parse_network("::ffff:192.0.2.0/120")) == "192.0.2.0/24"


async def test_a_storm_of_one_old_password_bans_nobody(identity: Identity) -> None:
    """A phone that nobody told of the new password, for three days."""
    await identity.account(ANNA)
    for _ in range(60):
        assert isinstance(await attempt(identity, ANNA, "old old old old"), Unauthenticated)
        identity.clock.step(4500)
    assert await attempt(identity, BEN, "x" * 12) is not None
    assert await in_force(identity) == ()


async def test_distinct_guesses_ban_a_strange_network(identity: Identity) -> None:
    for number in range(10):
        assert isinstance(await attempt(identity, f"u{number}@example.org", "wrong wrong 1"), Unauthenticated)
    (ban,) = await in_force(identity)
    assert (ban.network, ban.account_id, ban.made_by, ban.spares_known) == (f"{OFFICE}/32", None, "server", False)
    assert identity.bans.refuses(OFFICE)
    assert not identity.bans.refuses("203.0.113.10")
    assert isinstance(await attempt(identity, ANNA), RateLimited)
    assert "ban.added" in await audit_types(identity)


async def test_a_ban_outlives_the_process(state_dir: Path) -> None:
    async with open_sqlite(state_dir) as database:
        first = await make_identity(database)
        for number in range(10):
            await attempt(first, f"u{number}@example.org", "wrong wrong 1")
        second = await make_identity(database)
        assert not second.bans.refuses(OFFICE)
        await second.bans.load()
        assert second.bans.refuses(OFFICE)
        second.clock.step(901)
        assert not second.bans.refuses(OFFICE)


async def test_a_ban_of_one_process_reaches_the_other(state_dir: Path) -> None:
    async with open_sqlite(state_dir) as database:
        first, second = await make_identity(database), await make_identity(database)
        watch = AccessWatch(database, second.clock, bans=second.bans, connections=second.connections)
        await watch.look()
        ban = await first.bans.add(first.root, NewBan(network="198.51.100.0/24"))
        await watch.look()
        assert second.bans.refuses("198.51.100.7")
        await first.bans.remove(first.root, ban.id)
        await watch.look()
        assert not second.bans.refuses("198.51.100.7")


async def test_a_known_network_has_one_account_banned_from_it(identity: Identity) -> None:
    """Guessing from an office: its other people notice nothing."""
    await identity.account(ANNA)
    await identity.account(BEN)
    for login in (ANNA, BEN):
        assert await attempt(identity, login) is None
    for number in range(10):
        assert isinstance(await attempt(identity, ANNA, f"guess number {number}"), Unauthenticated)
    (ban,) = await in_force(identity)
    assert ban.account_id is not None
    assert not identity.bans.refuses(OFFICE)
    assert isinstance(await attempt(identity, ANNA), RateLimited)
    assert await attempt(identity, BEN) is None
    assert await attempt(identity, ANNA, ip="198.51.100.1") is None


async def test_a_known_network_that_goes_on_guessing_is_shut_for_strangers_only(identity: Identity) -> None:
    await identity.account(ANNA)
    await identity.account(BEN)
    assert await attempt(identity, BEN) is None
    for number in range(50):
        await attempt(identity, f"u{number}@example.org", "wrong wrong 1")
    (ban,) = await in_force(identity)
    assert (ban.account_id, ban.spares_known) == (None, True)
    assert not identity.bans.refuses(OFFICE)
    assert isinstance(await attempt(identity, ANNA), RateLimited)
    assert await attempt(identity, BEN) is None


async def test_what_is_known_is_known_after_a_restart(state_dir: Path) -> None:
    async with open_sqlite(state_dir) as database:
        first = await make_identity(database)
        await first.account(ANNA)
        assert await attempt(first, ANNA) is None
        second = await make_identity(database)
        for number in range(12):
            await attempt(second, f"u{number}@example.org", "wrong wrong 1")
        assert await in_force(second) == ()
        assert await attempt(second, ANNA) is None


async def test_scram_failures_of_one_login_ban_that_login_only(identity: Identity) -> None:
    """A proof does not show the password, so repeats can't be told from guesses."""
    await identity.account(ANNA)
    await identity.account(BEN)

    async def fail(login: str, ip: str) -> MaiRustError | None:
        task = asyncio.create_task(identity.login.scram_result(login=login, ok=False, connection=connection(ip)))
        while not task.done():
            await asyncio.sleep(0.001)
            if identity.clock.sleepers:
                await identity.clock.advance(1)
        error = task.exception()
        return error if isinstance(error, MaiRustError) else None

    assert UNSEEN_MAX < 10
    for login, ip in ((ANNA, OFFICE), ("nobody@example.org", "198.51.100.1")):
        outcomes = [await fail(login, ip) for _ in range(12)]
        assert isinstance(outcomes[0], Unauthenticated)
        assert isinstance(outcomes[-1], RateLimited), login
    assert [ban.account_id is not None for ban in await in_force(identity)] == [True]
    assert await attempt(identity, BEN) is None


async def test_bans_in_a_row_double_up_to_a_day_and_lifting_forgives(state_dir: Path) -> None:
    settings = msgspec.structs.replace(CHEAP, failures_per_minute=2)
    async with open_identity(state_dir, settings=settings) as identity:
        await doubling(identity)


async def doubling(identity: Identity) -> None:
    lengths = []
    for turn in range(9):
        for number in range(2):
            await attempt(identity, f"u{turn}.{number}@example.org", "wrong wrong 1", ip="198.51.100.7")
        (ban,) = await in_force(identity)
        assert ban.expires_at is not None
        lengths.append((ban.expires_at - ban.created_at) / timedelta(minutes=15))
        identity.clock.step((ban.expires_at - identity.clock.now()).total_seconds() + 1)
    assert lengths == [1, 2, 4, 8, 16, 32, 64, 96, 96]
    for number in range(2):
        await attempt(identity, f"v{number}@example.org", "wrong wrong 1", ip="198.51.100.7")
    (ban,) = await in_force(identity)
    await identity.bans.remove(identity.root, ban.id)
    assert not identity.bans.refuses("198.51.100.7")
    identity.clock.step(86_400)
    for number in range(2):
        await attempt(identity, f"w{number}@example.org", "wrong wrong 1", ip="198.51.100.7")
    (ban,) = await in_force(identity)
    assert ban.strikes == 0


async def test_administrators_ban_and_lift(identity: Identity) -> None:
    account = await identity.account(ANNA)
    until = identity.clock.now() + timedelta(hours=1)
    ban = await identity.bans.add(identity.root, NewBan(network="198.51.100.7", reason="noise", expires_at=until))
    assert (ban.network, ban.made_by) == ("198.51.100.7/32", "uid root")
    again = await identity.bans.add(identity.root, NewBan(network="198.51.100.7/32"))
    await identity.bans.add(identity.root, NewBan(network="2001:db8::/48", account_id=ANNA))
    assert {one.id for one in await in_force(identity)} >= {again.id}
    assert len(await in_force(identity)) == 2
    assert identity.bans.wait_s("2001:db8::9", account.id, known=False) > 0
    assert not identity.bans.refuses("2001:db8::9")
    assert (await identity.bans.get(identity.root, again.id)).expires_at is None
    await identity.bans.remove(identity.root, again.id)
    assert not identity.bans.refuses("198.51.100.7")
    with pytest.raises(NotFound):
        await identity.bans.remove(identity.root, again.id)
    types = await audit_types(identity)
    assert types.count("ban.added") == 3
    assert types.count("ban.removed") == 1


async def test_many_bans_are_read_page_by_page(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bans_module, "PAGE", 3)
    async with open_sqlite(state_dir) as database:
        identity = await make_identity(database)
        for number in range(7):
            await identity.bans.add(identity.root, NewBan(network=f"198.51.100.{number}"))
        again = Bans(database, identity.clock, lambda: CHEAP)
        await again.load()
        assert all(again.refuses(f"198.51.100.{number}") for number in range(7))
        assert not again.refuses("198.51.100.7")


@pytest.mark.parametrize(
    "network", ["127.0.0.1", "127.0.0.0/16", "::1", "0.0.0.0/0", "10.0.0.0/7", "::/0", "nonsense", "", "192.0.2.1/33"]
)
async def test_trusted_wide_and_wrong_networks_are_refused(identity: Identity, network: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        await identity.bans.add(identity.root, NewBan(network=network))
    assert refused.value.pointer == "/network"


async def test_only_the_system_bans(identity: Identity) -> None:
    tenant = replace(identity.root, system=False)
    with pytest.raises(Forbidden):
        await identity.bans.add(tenant, NewBan(network="198.51.100.7"))
    with pytest.raises(Forbidden):
        await identity.bans.page(tenant, PageRequest(limit=5))


async def test_a_network_that_becomes_trusted_is_let_in_at_once(state_dir: Path) -> None:
    async with open_sqlite(state_dir) as database:
        identity = await make_identity(database)
        settings = [CHEAP]
        bans = Bans(database, identity.clock, lambda: settings[0])
        await bans.add(identity.root, NewBan(network="198.51.100.0/24"))
        assert bans.refuses("198.51.100.7")
        settings[0] = type(CHEAP)(trusted_networks=(parse_network("198.51.100.7/32"),))
        assert not bans.refuses("198.51.100.7")
        assert bans.refuses("198.51.100.8")


async def test_a_login_from_a_new_place_is_an_event(identity: Identity) -> None:
    account = await identity.account(ANNA)
    assert await attempt(identity, ANNA, ip=OFFICE) is None
    assert await attempt(identity, ANNA, ip="203.0.113.200") is None
    assert await events_of(identity, "auth.login_new_place") == []
    assert await attempt(identity, ANNA, ip="198.51.100.1") is None
    assert await attempt(identity, ANNA, ip="198.51.100.2") is None
    (event,) = await events_of(identity, "auth.login_new_place")
    assert event == (account.tenant_id, account.id, "198.51.100.1")
