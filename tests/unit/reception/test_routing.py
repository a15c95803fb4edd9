"""Where addresses lead (product.md 4)."""

from __future__ import annotations

import msgspec
import pytest

from server.domain.address import Address
from server.protocol.smtp.address import parse_address
from server.services.identity.accounts import AccountChange
from server.services.identity.aliases import NewAlias
from server.services.identity.directory import Entry
from server.services.identity.domain_aliases import NewDomainAlias
from server.services.identity.domains import DomainChange
from server.services.reception.routing import Route
from tests.support.doors import Doors


async def _route(doors: Doors, address: str, **more: bool) -> Route:
    doors.identity.directory.invalidate()
    return await doors.routing.resolve(parse_address(address), **more)


def _targets(route: Route) -> list[str]:
    assert route.refusal is None, route.refusal
    return [target.address for target in route.accounts] + [f">{forward}" for forward in route.forwards]


@pytest.mark.parametrize(
    ("address", "leads_to"),
    [
        ("anna@example.org", ["anna@example.org"]),
        ("ANNA@EXAMPLE.ORG", ["ANNA@example.org"]),
        ("anna+shop@example.org", ["anna+shop@example.org"]),
        ("postmaster@example.org", ["postmaster@example.org"]),
        ("Postmaster@example.org", ["Postmaster@example.org"]),
    ],
)
async def test_addresses_of_an_account(doors: Doors, address: str, leads_to: list[str]) -> None:
    assert _targets(await _route(doors, address)) == leads_to


@pytest.mark.parametrize(
    ("address", "code", "enhanced"),
    [
        ("nobody@example.org", 550, "5.1.1"),
        ("nobody+anna@example.org", 550, "5.1.1"),
        ("+anna@example.org", 550, "5.1.1"),
        ("anna@elsewhere.example", 550, "5.7.1"),
        ("anna@sub.example.org", 550, "5.7.1"),
        ('"anna@outside.example"@example.org', 550, "5.1.1"),
        ("anna%outside.example@example.org", 550, "5.1.1"),
    ],
)
async def test_what_nobody_owns_is_refused(doors: Doors, address: str, code: int, enhanced: str) -> None:
    refusal = (await _route(doors, address)).refusal
    assert refusal is not None
    assert (refusal.code, refusal.enhanced) == (code, enhanced)


async def test_the_hosts_own_postmaster_is_that_of_the_domain_above(doors: Doors) -> None:
    """RFC 5321 §4.5.1: `RCPT TO:<Postmaster>`, which the edge completes with the host's name, is always taken."""
    server = msgspec.structs.replace(doors.live[0].server, hostname="mx.eu.example.org")
    doors.set(server=server)
    assert _targets(await _route(doors, "Postmaster@mx.eu.example.org")) == ["Postmaster@example.org"]
    for address in ("anna@mx.eu.example.org", "postmaster@eu.example.org", "postmaster@mx.elsewhere.example"):
        assert not (await _route(doors, address)).local
    doors.set(server=msgspec.structs.replace(server, hostname="mx.elsewhere.example"))
    assert not (await _route(doors, "postmaster@mx.elsewhere.example")).local


async def test_an_alias_expands_to_accounts_and_outside_addresses_once_each(doors: Doors) -> None:
    identity = doors.identity
    await identity.account("ben@example.org")
    new = NewAlias(address="team@example.org", targets=["anna@example.org", "ben@example.org", "eve@outside.example"])
    await identity.aliases.create(identity.root, new)
    everyone = NewAlias(address="all@example.org", targets=["team@example.org", "anna@example.org"])
    await identity.aliases.create(identity.root, everyone)
    assert _targets(await _route(doors, "team@example.org")) == [
        "anna@example.org",
        "ben@example.org",
        ">eve@outside.example",
    ]
    assert len(_targets(await _route(doors, "all@example.org"))) == 3


async def test_aliases_that_share_targets_are_expanded_once_each(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    """P5: 5 levels of 5 aliases, each with all of the next level, are 26 aliases and not 3,125 paths."""
    identity = doors.identity
    below = ["anna@example.org", "eve@outside.example"]
    for level in range(5):
        names = [f"l{level}n{number}@example.org" for number in range(5)]
        for name in names:
            await identity.aliases.create(identity.root, NewAlias(address=name, targets=below))
        below = names
    await identity.aliases.create(identity.root, NewAlias(address="top@example.org", targets=below))
    looked_up = 0
    lookup = identity.directory.lookup

    async def counted(address: Address) -> Entry:
        nonlocal looked_up
        looked_up += 1
        return await lookup(address)

    monkeypatch.setattr(identity.directory, "lookup", counted)
    assert _targets(await _route(doors, "top@example.org")) == ["anna@example.org", ">eve@outside.example"]
    assert looked_up < 200


async def test_an_internal_alias_is_closed_to_the_world(doors: Doors) -> None:
    identity = doors.identity
    new = NewAlias(address="staff@example.org", targets=["anna@example.org"], internal_only=True)
    await identity.aliases.create(identity.root, new)
    outside = await _route(doors, "staff@example.org")
    assert outside.refusal is not None
    assert outside.refusal.enhanced == "5.7.1"
    assert _targets(await _route(doors, "staff@example.org", authenticated=True)) == ["anna@example.org"]


async def test_a_domain_alias_maps_every_address(doors: Doors) -> None:
    identity = doors.identity
    await identity.domain_aliases.create(identity.root, NewDomainAlias(name="example.net", domain_id="example.org"))
    assert _targets(await _route(doors, "anna@example.net")) == ["anna@example.net"]
    assert _targets(await _route(doors, "anna+x@example.net")) == ["anna+x@example.net"]
    refusal = (await _route(doors, "nobody@example.net")).refusal
    assert refusal is not None
    assert refusal.enhanced == "5.1.1"


async def test_catch_all_takes_what_nobody_owns(doors: Doors) -> None:
    identity = doors.identity
    await identity.domains.change(identity.root, "example.org", DomainChange(catch_all="anna@example.org"))
    route = await _route(doors, "anything@example.org")
    assert _targets(route) == ["anything@example.org"]
    assert [target.account_id for target in route.accounts] == [
        target.account_id for target in (await _route(doors, "anna@example.org")).accounts
    ]


async def test_a_disabled_account_is_refused(doors: Doors) -> None:
    identity = doors.identity
    await identity.accounts.disable(identity.root, "anna@example.org")
    refusal = (await _route(doors, "anna@example.org")).refusal
    assert refusal is not None
    assert (refusal.code, refusal.enhanced) == (550, "5.2.1")


async def test_a_full_mailbox_is_refused_for_now(doors: Doors) -> None:
    await doors.reception.receive(await doors.inbound())
    identity = doors.identity
    await identity.accounts.change(identity.root, "anna@example.org", AccountChange(quota_bytes=100))
    refusal = (await _route(doors, "anna@example.org")).refusal
    assert refusal is not None
    assert (refusal.code, refusal.enhanced) == (452, "4.2.2")
    assert _targets(await _route(doors, "anna@example.org", check_quota=False)) == ["anna@example.org"]


async def test_subaddressing_can_be_off(doors: Doors) -> None:
    doors.set(smtp=msgspec.structs.replace(doors.live[0].smtp, subaddress_separator=""))
    assert (await _route(doors, "anna+x@example.org")).refusal is not None
    doors.set(smtp=msgspec.structs.replace(doors.live[0].smtp, subaddress_separator="-"))
    assert _targets(await _route(doors, "anna-x@example.org")) == ["anna-x@example.org"]
