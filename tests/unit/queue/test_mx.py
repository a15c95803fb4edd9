"""Where a domain's mail goes (RFC 5321 §5.1, RFC 7505; security.md §8, T21)."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from server.services.queue import mx
from server.services.queue.mx import ADDRESSES_MAX, HOSTS_MAX, MxRouter
from server.services.queue.networks import AddressGuard, Refusal, is_special
from tests.support.clock import FakeClock
from tests.support.fake_dns import FakeResolver


def router(zone: dict[str, dict[str, Any]], **guard: Any) -> MxRouter:
    return MxRouter(FakeResolver(zone), FakeClock(), AddressGuard(**guard), own_names=("mx.ours.test",))


async def test_exchangers_come_in_order_of_preference() -> None:
    found = await router({"d.test": {"MX": [[20, "b.test"], [5, "a.test"], [30, "c.test"]]}}).hosts("d.test")
    assert found.items == ("a.test", "b.test", "c.test")


async def test_exchangers_of_equal_preference_are_shuffled() -> None:
    """RFC 5321 §5.1: the load is spread."""
    resolver = FakeResolver({"d.test": {"MX": [[10, "a.test"], [10, "b.test"]]}})
    clock = FakeClock()
    chances = iter((0.9, 0.1, 0.1, 0.9))
    clock.random = lambda: next(chances)  # type: ignore[method-assign]
    shuffled = MxRouter(resolver, clock, AddressGuard())
    assert [(await shuffled.hosts("d.test")).items[0] for _ in range(2)] == ["b.test", "a.test"]


async def test_a_null_mx_refuses_for_good() -> None:
    """RFC 7505 §3."""
    found = await router({"d.test": {"MX": [[0, "."]]}}).hosts("d.test")
    assert (found.items, found.refusal.code, found.refusal.enhanced) == ((), 556, "5.1.10")


async def test_without_mx_the_domain_is_its_own_exchanger() -> None:
    assert (await router({"d.test": {"A": ["198.41.0.4"]}}).hosts("d.test")).items == ("d.test",)


@pytest.mark.parametrize(
    ("word", "enhanced"), [("SERVFAIL", "4.4.3"), ("TIMEOUT", "4.4.3"), ("REFUSED", "4.4.3"), ("NXDOMAIN", "5.1.2")]
)
async def test_only_an_authoritative_no_is_final(word: str, enhanced: str) -> None:
    """F08, T21."""
    found = await router({"d.test": {"*": word}}).hosts("d.test")
    assert (found.items, found.refusal.enhanced) == ((), enhanced)


async def test_dns_that_hangs_is_temporary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mx, "DNS_S", 0.02)
    resolver = FakeResolver({"d.test": {"MX": [[1, "a.test"]]}})
    resolver.hang.clear()
    slow = MxRouter(resolver, FakeClock(), AddressGuard())
    assert (await slow.hosts("d.test")).refusal.enhanced == "4.4.3"
    assert (await slow.addresses("a.test")).refusal.enhanced == "4.4.3"


async def test_exchangers_not_better_than_ourselves_are_dropped() -> None:
    """RFC 5321 §5.1: a relay that finds itself in the list."""
    records = [[10, "a.test"], [20, "mx.ours.test"], [20, "b.test"], [30, "c.test"]]
    assert (await router({"d.test": {"MX": records}}).hosts("d.test")).items == ("a.test",)
    alone = await router({"d.test": {"MX": [[10, "mx.ours.test"], [20, "b.test"]]}}).hosts("d.test")
    assert (alone.items, alone.refusal.code, alone.refusal.enhanced) == ((), 554, "5.4.6")


async def test_numbers_of_hosts_and_addresses_are_limited() -> None:
    many = {"d.test": {"MX": [[n, f"m{n}.test"] for n in range(50)], "A": [f"198.41.0.{n}" for n in range(1, 50)]}}
    routed = router(many)
    assert len((await routed.hosts("d.test")).items) == HOSTS_MAX
    assert len((await routed.addresses("d.test")).items) == ADDRESSES_MAX


async def test_addresses_of_both_families_ipv4_first() -> None:
    found = await router({"a.test": {"A": ["198.41.0.4"], "AAAA": ["2a00:1450::1"]}}).addresses("a.test")
    assert found.items == ("198.41.0.4", "2a00:1450::1")


@pytest.mark.parametrize(
    ("zone", "enhanced"),
    [
        ({"A": "SERVFAIL"}, "4.4.3"),
        ({"A": "NODATA", "AAAA": "TIMEOUT"}, "4.4.3"),
        ({"TXT": ["x"]}, "5.4.4"),
        ({"A": ["10.0.0.1"]}, "5.4.4"),
        ({"A": ["127.0.0.1"]}, "5.4.6"),
        ({"AAAA": ["::1"]}, "5.4.6"),
        ({"AAAA": ["::ffff:127.0.0.1"]}, "5.4.6"),
        ({"A": ["9.9.9.9"]}, "5.4.6"),
    ],
)
async def test_hosts_without_a_usable_address_say_why(zone: dict[str, Any], enhanced: str) -> None:
    found = await router({"a.test": zone}, own=("9.9.9.9",)).addresses("a.test")
    assert (found.items, found.refusal.enhanced) == ((), enhanced)


@pytest.mark.parametrize("host", ["[198.41.0.4]", "198.41.0.4"])
async def test_address_literals_need_no_dns(host: str) -> None:
    """RFC 5321 §4.1.3."""
    assert (await router({}).addresses(host)).items == ("198.41.0.4",)
    assert (await router({}).hosts("[IPv6:2a00:1450::1]")).items == ("[IPv6:2a00:1450::1]",)
    assert (await router({}).addresses("[IPv6:2a00:1450::1]")).items == ("2a00:1450::1",)
    assert (await router({}).addresses("[127.0.0.1]")).items == ()


@pytest.mark.parametrize(
    "ip",
    [
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "169.254.1.1",
        "172.31.0.1",
        "192.0.2.1",
        "192.168.0.1",
        "198.18.0.1",
        "203.0.113.9",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "64:ff9b::7f00:1",
        "2001:db8::1",
        "2002:7f00:1::",
        "2001::1",
        "fc00::1",
        "fe80::1",
        "ff02::1",
        "::7f00:1",
        "100::1",
    ],
)
def test_special_addresses_are_refused(ip: str) -> None:
    """RFC 6890; CVE-2024-4032: the table is our own."""
    assert AddressGuard().refusal(ip) is not None


@pytest.mark.parametrize("ip", ["1.1.1.1", "100.63.255.255", "100.128.0.0", "172.32.0.0", "2606:4700::1111"])
def test_public_addresses_are_not(ip: str) -> None:
    assert AddressGuard().refusal(ip) is None
    assert not is_special(ipaddress.ip_address(ip))


def test_configuration_may_name_private_networks() -> None:
    guard = AddressGuard(allowed=lambda: (ipaddress.ip_network("10.0.0.0/8"),))
    assert guard.refusal("10.1.1.1") is None
    assert guard.refusal("::ffff:10.1.1.1") is None
    assert guard.refusal("192.168.0.1") is Refusal.SPECIAL
    assert guard.refusal("not an address") is Refusal.SPECIAL
