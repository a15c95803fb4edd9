"""The resolver against a real server on loopback (RFC 1034, 1035, 2308, 6840)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.adapters import dns as dns_adapter
from server.adapters.dns import DnsResolver, system_servers
from server.adapters.dns_exchange import Server, parse_server
from server.domain.ports import DnsStatus, Mx
from tests.support.fake_dns import FakeDnsServer

ZONE = {
    "example.com": {
        "A": ["192.0.2.1", "192.0.2.2"],
        "AAAA": ["2001:DB8:0::1"],
        "MX": [[20, "MX2.example.com."], [10, "mx1.example.com"]],
        "TXT": ["v=spf1 -all", ["two ", "parts"], b'\xff\x00;"'],
    },
    "nullmx.example.com": {"MX": [[0, "."]]},
    "192.0.2.1": {"PTR": ["Mail.Example.COM"]},
    "2001:db8::1": {"PTR": ["six.example.com"]},
    "www.example.com": {"CNAME": ["example.com"]},
    "dangling.example.com": {"CNAME": ["gone.example.com"]},
    "aa.bb.example.com": {"A": ["192.0.2.3"]},
    "servfail.example": {"*": "SERVFAIL"},
    "refused.example": {"*": "REFUSED"},
    "slow.example": {"*": "TIMEOUT"},
    "loop1.example": {"CNAME": ["loop2.example"]},
    "loop2.example": {"CNAME": ["loop1.example"]},
    "signed.example": {"A": ["192.0.2.4"], "ad": True},
    "big.example": {"TXT": ["x" * 3000]},
    "huge.example": {"TXT": ["x" * 17_000]},
    "fits.example": {"A": [f"10.0.0.{i}" for i in range(149)]},
    "many.example": {"A": [f"10.0.0.{i}" for i in range(150)]},
    **{f"c{i}.example": {"CNAME": [f"c{i + 1}.example"]} for i in range(9)},
    "c9.example": {"A": ["192.0.2.9"]},
}


class _Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def server() -> AsyncIterator[FakeDnsServer]:
    async with FakeDnsServer(ZONE) as running:
        yield running


@pytest.fixture
def clock() -> _Time:
    return _Time()


@pytest.fixture
def resolver(server: FakeDnsServer, clock: _Time) -> DnsResolver:
    return DnsResolver([server.address], timeout_s=2, monotonic=clock)


async def test_each_type_is_read(resolver: DnsResolver) -> None:
    assert set((await resolver.a("Example.com.")).records) == {"192.0.2.1", "192.0.2.2"}
    assert (await resolver.aaaa("example.com")).records == ("2001:db8::1",)
    assert set((await resolver.mx("example.com")).records) == {Mx(20, "mx2.example.com"), Mx(10, "mx1.example.com")}
    assert set((await resolver.txt("example.com")).records) == {b"v=spf1 -all", b"two parts", b'\xff\x00;"'}
    assert (await resolver.ptr("192.0.2.1")).records == ("mail.example.com",)
    assert (await resolver.ptr("2001:db8::1")).records == ("six.example.com",)


async def test_null_mx_has_an_empty_host(resolver: DnsResolver) -> None:
    """RFC 7505 §3."""
    assert (await resolver.mx("nullmx.example.com")).records == (Mx(0, ""),)


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("nothing.example.net", DnsStatus.NXDOMAIN),
        ("nullmx.example.com", DnsStatus.NODATA),
        ("bb.example.com", DnsStatus.NODATA),
        ("dangling.example.com", DnsStatus.NXDOMAIN),
        ("servfail.example", DnsStatus.TEMPERROR),
        ("refused.example", DnsStatus.TEMPERROR),
        ("loop1.example", DnsStatus.TEMPERROR),
        ("a..b.example", DnsStatus.NXDOMAIN),
        ("x" * 64 + ".example", DnsStatus.NXDOMAIN),
        (".".join(["x" * 60] * 5), DnsStatus.NXDOMAIN),
        ("bücher.example", DnsStatus.NXDOMAIN),
        ("", DnsStatus.NXDOMAIN),
        ("back\\slash.example", DnsStatus.NXDOMAIN),
    ],
)
async def test_what_is_not_there_is_an_answer(resolver: DnsResolver, name: str, status: DnsStatus) -> None:
    answer = await resolver.a(name)
    assert (answer.status, answer.records) == (status, ())


async def test_ptr_of_no_address_is_nxdomain(resolver: DnsResolver) -> None:
    assert (await resolver.ptr("not an ip")).status is DnsStatus.NXDOMAIN


async def test_silence_is_temperror_after_two_tries(server: FakeDnsServer) -> None:
    resolver = DnsResolver([server.address], timeout_s=0.05)
    assert (await resolver.a("slow.example")).status is DnsStatus.TEMPERROR
    assert len(server.queries) == 2


async def test_nobody_listening_is_temperror() -> None:
    resolver = DnsResolver(["127.0.0.1:1"], timeout_s=2)
    assert (await resolver.a("example.com")).status is DnsStatus.TEMPERROR


async def test_the_second_server_answers_and_is_then_asked_first(server: FakeDnsServer) -> None:
    async with FakeDnsServer({"example.com": {"*": "SERVFAIL"}}) as broken:
        resolver = DnsResolver([broken.address, server.address], timeout_s=2)
        assert (await resolver.a("example.com")).status is DnsStatus.OK
        assert (await resolver.aaaa("example.com")).status is DnsStatus.OK
        assert len(broken.queries) == 1


async def test_cname_is_followed(resolver: DnsResolver) -> None:
    """RFC 1034 §3.6.2."""
    assert set((await resolver.a("www.example.com")).records) == {"192.0.2.1", "192.0.2.2"}


@pytest.mark.parametrize(("start", "status"), [(1, DnsStatus.OK), (0, DnsStatus.TEMPERROR)])
async def test_eight_cnames_are_followed_nine_are_not(resolver: DnsResolver, start: int, status: DnsStatus) -> None:
    assert (await resolver.a(f"c{start}.example")).status is status


async def test_truncated_answer_comes_by_tcp(resolver: DnsResolver, server: FakeDnsServer) -> None:
    """RFC 7766 §5."""
    assert (await resolver.txt("big.example")).records == (b"x" * 3000,)
    assert [transport for *_, transport in server.queries] == ["udp", "tcp"]


async def test_answer_above_the_limit_is_temperror(resolver: DnsResolver) -> None:
    assert (await resolver.txt("huge.example")).status is DnsStatus.TEMPERROR


async def test_records_of_an_answer_are_limited(resolver: DnsResolver) -> None:
    """T21; the EDNS record of the answer counts too: 149 and it are 150."""
    assert len((await resolver.a("fits.example")).records) == 149
    assert (await resolver.a("many.example")).status is DnsStatus.TEMPERROR


async def test_forged_answers_are_passed_over(resolver: DnsResolver, server: FakeDnsServer) -> None:
    """Wrong id, wrong question (RFC 5452 §4)."""
    server.forge_id = True
    assert set((await resolver.a("example.com")).records) == {"192.0.2.1", "192.0.2.2"}


async def test_answer_is_kept_for_its_ttl(resolver: DnsResolver, server: FakeDnsServer, clock: _Time) -> None:
    server.zone.ttl_s = 60
    await resolver.a("example.com")
    server.zone.set("example.com", A=["192.0.2.99"])
    clock.now += 59.9
    assert "192.0.2.1" in (await resolver.a("EXAMPLE.com")).records
    clock.now += 0.2
    assert (await resolver.a("example.com")).records == ("192.0.2.99",)


@pytest.mark.parametrize(("ttl_s", "kept_s"), [(0, 1), (10_000_000, 86_400)])
async def test_ttl_is_bounded(
    resolver: DnsResolver, server: FakeDnsServer, clock: _Time, ttl_s: int, kept_s: int
) -> None:
    server.zone.ttl_s = ttl_s
    await resolver.a("example.com")
    clock.now += kept_s - 0.1
    await resolver.a("example.com")
    assert len(server.queries) == 1
    clock.now += 0.2
    await resolver.a("example.com")
    assert len(server.queries) == 2


@pytest.mark.parametrize("name", ["nothing.example.net", "nullmx.example.com"])
async def test_denial_is_kept_for_an_hour_at_most(
    resolver: DnsResolver, server: FakeDnsServer, clock: _Time, name: str
) -> None:
    """RFC 2308 §5."""
    server.zone.ttl_s = 90_000
    await resolver.a(name)
    clock.now += 3_599
    await resolver.a(name)
    assert len(server.queries) == 1
    clock.now += 2
    await resolver.a(name)
    assert len(server.queries) == 2


async def test_failure_is_not_kept(resolver: DnsResolver, server: FakeDnsServer) -> None:
    assert (await resolver.a("servfail.example")).status is DnsStatus.TEMPERROR
    server.zone.set("servfail.example", A=["192.0.2.5"])
    assert (await resolver.a("servfail.example")).records == ("192.0.2.5",)


async def test_cache_is_bounded_in_entries_and_octets(
    resolver: DnsResolver, server: FakeDnsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dns_adapter, "CACHE_MAX", 2)
    for name in ("example.com", "aa.bb.example.com", "signed.example"):
        await resolver.a(name)
    await resolver.a("aa.bb.example.com")
    assert len(server.queries) == 3
    await resolver.a("example.com")
    assert len(server.queries) == 4
    monkeypatch.setattr(dns_adapter, "CACHE_OCTETS_MAX", 5_000)
    await resolver.txt("big.example")
    await resolver.txt("example.com")
    server.queries.clear()
    await resolver.txt("example.com")
    assert server.queries == []


async def test_the_same_question_goes_out_once(resolver: DnsResolver, server: FakeDnsServer) -> None:
    answers = await asyncio.gather(*(resolver.a("example.com") for _ in range(50)))
    assert len(server.queries) == 1
    assert {answer.status for answer in answers} == {DnsStatus.OK}


async def test_a_cancelled_asker_does_not_cancel_the_others(server: FakeDnsServer) -> None:
    resolver = DnsResolver([server.address], timeout_s=0.3)
    first = asyncio.create_task(resolver.a("slow.example"))
    await asyncio.sleep(0.05)
    second = asyncio.create_task(resolver.a("slow.example"))
    await asyncio.sleep(0.05)
    server.zone.set("slow.example", **{"*": "NODATA"}, A=["192.0.2.6"])
    first.cancel()
    assert (await second).records == ("192.0.2.6",)
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_ad_bit_of_a_loopback_resolver_counts(server: FakeDnsServer) -> None:
    """RFC 6840 §5.8; `dns.dnssec`."""
    assert (await DnsResolver([server.address]).a("signed.example")).authenticated
    assert not (await DnsResolver([server.address]).a("example.com")).authenticated
    assert not (await DnsResolver([server.address], believe_ad=False).a("signed.example")).authenticated


@pytest.mark.parametrize(
    ("text", "wanted", "loopback"),
    [
        ("192.0.2.53", Server("192.0.2.53", 53), False),
        ("127.0.0.1:5353", Server("127.0.0.1", 5353), True),
        ("2001:db8::53", Server("2001:db8::53", 53), False),
        ("[::1]:5353", Server("::1", 5353), True),
        ("fe80::1%eth0", Server("fe80::1%eth0", 53), False),
    ],
)
def test_server_forms(text: str, wanted: Server, loopback: bool) -> None:
    assert parse_server(text) == wanted
    assert wanted.loopback is loopback


def test_bad_server_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="resolver"):
        parse_server("resolver.example")


def test_resolv_conf(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text("# comment\nnameserver 192.0.2.1\nnameserver nonsense\nsearch x\nnameserver ::1\n")
    assert system_servers(path) == [Server("192.0.2.1", 53), Server("::1", 53)]
    assert system_servers(tmp_path / "missing") == [Server("127.0.0.1", 53)]
