"""SPF beyond the openspf vectors: limits, identities, time (RFC 7208)."""

from __future__ import annotations

import pytest

from server.protocol.emailauth.result import Result
from server.protocol.emailauth.spf import SpfResult, check_spf
from server.protocol.emailauth.spf_record import MAX_RECORD_OCTETS, SpfSyntaxError, parse_record
from tests.support.fake_dns import FakeResolver

Zone = dict[str, dict[str, object]]


async def _check(zone: Zone, *, ip: str = "192.0.2.1", sender: str = "ann@example.com", **rest: str) -> SpfResult:
    return await check_spf(FakeResolver(zone), ip=ip, sender=sender, helo=rest.get("helo", "mx.example.com"))


RFC_7208_APPENDIX_A: Zone = {
    "example.com": {"MX": [[10, "mail-a.example.com"], [20, "mail-b.example.com"]], "A": ["192.0.2.10", "192.0.2.11"]},
    "amy.example.com": {"A": ["192.0.2.65"]},
    "bob.example.com": {"A": ["192.0.2.66"]},
    "mail-a.example.com": {"A": ["192.0.2.129"]},
    "mail-b.example.com": {"A": ["192.0.2.130"]},
    "example.org": {"MX": [[10, "mail-c.example.org"]]},
    "mail-c.example.org": {"A": ["192.0.2.140"]},
    "192.0.2.10": {"PTR": ["example.com"]},
    "192.0.2.11": {"PTR": ["example.com"]},
    "192.0.2.65": {"PTR": ["amy.example.com"]},
    "192.0.2.66": {"PTR": ["bob.example.com"]},
    "192.0.2.129": {"PTR": ["mail-a.example.com"]},
    "192.0.2.130": {"PTR": ["mail-b.example.com"]},
    "192.0.2.140": {"PTR": ["mail-c.example.org"]},
    "10.0.0.4": {"PTR": ["bob.example.com"]},
}


@pytest.mark.parametrize(
    ("record", "passing", "failing"),
    [
        ("v=spf1 +all", "198.51.100.7", None),
        ("v=spf1 a -all", "192.0.2.10", "192.0.2.65"),
        ("v=spf1 a:example.org -all", None, "192.0.2.140"),
        ("v=spf1 mx -all", "192.0.2.129", "192.0.2.10"),
        ("v=spf1 mx:example.org -all", "192.0.2.140", "192.0.2.129"),
        ("v=spf1 mx mx:example.org -all", "192.0.2.140", "192.0.2.10"),
        ("v=spf1 mx/30 mx:example.org/30 -all", "192.0.2.131", "192.0.2.132"),
        ("v=spf1 ptr -all", "192.0.2.65", "192.0.2.140"),
        ("v=spf1 ptr -all", None, "10.0.0.4"),
        ("v=spf1 ip4:192.0.2.128/28 -all", "192.0.2.140", "192.0.2.65"),
    ],
)
async def test_rfc_7208_appendix_a_1(record: str, passing: str | None, failing: str | None) -> None:
    zone = {**RFC_7208_APPENDIX_A, "example.com": {**RFC_7208_APPENDIX_A["example.com"], "TXT": [record]}}
    if passing:
        assert (await _check(zone, ip=passing)).result is Result.PASS
    if failing:
        assert (await _check(zone, ip=failing)).result is Result.FAIL


@pytest.mark.parametrize(("terms", "result"), [(10, Result.PASS), (11, Result.PERMERROR)])
async def test_ten_lookups_are_allowed_eleven_are_not(terms: int, result: Result) -> None:
    """§4.6.4."""
    names = [f"h{i}.example.com" for i in range(terms)]
    zone: Zone = {name: {"A": ["198.51.100.1"]} for name in names}
    zone[names[-1]] = {"A": ["192.0.2.1"]}
    zone["example.com"] = {"TXT": ["v=spf1 " + " ".join(f"a:{name}" for name in names) + " -all"]}
    found = await _check(zone)
    assert found.result is result
    assert found.lookups == terms


@pytest.mark.parametrize(("voids", "result"), [(2, Result.PASS), (3, Result.PERMERROR)])
async def test_two_void_lookups_are_allowed_three_are_not(voids: int, result: Result) -> None:
    """§4.6.4."""
    terms = " ".join(f"exists:void{i}.example.com" for i in range(voids))
    assert (await _check({"example.com": {"TXT": [f"v=spf1 {terms} +all"]}})).result is result


@pytest.mark.parametrize(("names", "result"), [(10, Result.PASS), (11, Result.PERMERROR)])
async def test_ten_mx_names_are_allowed_eleven_are_not(names: int, result: Result) -> None:
    """§4.6.4."""
    zone: Zone = {f"mx{i}.example.com": {"A": ["198.51.100.1"]} for i in range(names)}
    zone["mx9.example.com"] = {"A": ["192.0.2.1"]}
    zone["example.com"] = {"TXT": ["v=spf1 mx -all"], "MX": [[i, f"mx{i}.example.com"] for i in range(names)]}
    assert (await _check(zone)).result is result


async def test_include_loop_ends_at_the_lookup_limit() -> None:
    found = await _check({"example.com": {"TXT": ["v=spf1 include:example.com -all"]}})
    assert found.result is Result.PERMERROR
    assert "more than 10" in found.problem


async def test_redirect_loop_ends_at_the_lookup_limit() -> None:
    found = await _check({"example.com": {"TXT": ["v=spf1 redirect=example.com"]}})
    assert found.result is Result.PERMERROR


async def test_redirect_is_no_include() -> None:
    """§6.1: the target's fail is the result."""
    zone: Zone = {"example.com": {"TXT": ["v=spf1 redirect=other.example"]}, "other.example": {"TXT": ["v=spf1 -all"]}}
    assert (await _check(zone)).result is Result.FAIL


@pytest.mark.parametrize("word", ["TIMEOUT", "SERVFAIL"])
async def test_dns_failure_is_temperror(word: str) -> None:
    """§2.6.6; F08."""
    assert (await _check({"example.com": {"TXT": word}})).result is Result.TEMPERROR
    zone: Zone = {"example.com": {"TXT": ["v=spf1 a:x.example -all"]}, "x.example": {"A": word}}
    found = await _check(zone)
    assert found.result is Result.TEMPERROR
    assert "x.example" in found.problem


async def test_no_record_is_none() -> None:
    assert (await _check({})).result is Result.NONE
    assert (await _check({"example.com": {"TXT": ["v=spf10 -all", "other"]}})).result is Result.NONE


async def test_null_reverse_path_checks_helo() -> None:
    """§2.4."""
    found = await _check({"mx.example.com": {"TXT": ["v=spf1 ip4:192.0.2.1 -all"]}}, sender="")
    assert (found.result, found.identity, found.domain, found.sender) == (
        Result.PASS,
        "helo",
        "mx.example.com",
        "mx.example.com",
    )


async def test_mapped_ipv6_client_is_ipv4() -> None:
    """§5."""
    zone: Zone = {"example.com": {"TXT": ["v=spf1 ip4:192.0.2.1 -all"]}}
    assert (await _check(zone, ip="::ffff:192.0.2.1")).result is Result.PASS


async def test_late_dns_is_temperror() -> None:
    """§4.6.4: the time for the whole check."""
    resolver = FakeResolver({"example.com": {"TXT": ["v=spf1 -all"]}})
    resolver.hang.clear()
    found = await check_spf(resolver, ip="192.0.2.1", sender="a@example.com", helo="x", timeout_s=0.01)
    assert (found.result, found.problem) == (Result.TEMPERROR, "no result within 0.01 s")


async def test_matching_term_is_told() -> None:
    found = await _check({"example.com": {"TXT": ["v=spf1 ip4:198.51.100.1 ~all"]}})
    assert (found.result, found.mechanism) == (Result.SOFTFAIL, "~all")


def test_record_length_limit() -> None:
    """T20: 60 kB TXT."""
    head = b"v=spf1 x="
    parse_record(head + b"y" * (MAX_RECORD_OCTETS - len(head)))
    with pytest.raises(SpfSyntaxError, match="longer"):
        parse_record(head + b"y" * (MAX_RECORD_OCTETS - len(head) + 1))


async def test_a_strangers_term_is_shown_in_printable_ascii() -> None:
    found = await _check({"example.com": {"TXT": [b"v=spf1 evil\x1b[2J" + b"x" * 200]}})
    assert found.result is Result.PERMERROR
    assert found.problem.isprintable()
    assert len(found.problem) < 150
