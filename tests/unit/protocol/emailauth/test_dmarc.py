"""DMARC: records, tree walk, alignment, policy (RFC 9989)."""

from __future__ import annotations

import pytest

from server.protocol.emailauth.dmarc import DmarcResult, check_dmarc, walk_names
from server.protocol.emailauth.dmarc_record import DmarcRecord, Policy, Psd, is_dmarc, parse_record
from server.protocol.emailauth.result import Result
from tests.support.fake_dns import FakeResolver

Zone = dict[str, dict[str, object]]


def _zone(**records: str) -> Zone:
    """DMARC records by domain, `_` for the dot."""
    return {f"_dmarc.{name.replace('_', '.')}": {"TXT": [text]} for name, text in records.items()}


async def _check(
    zone: Zone, author: str = "example.com", *, spf: str | None = None, dkim: tuple[str, ...] = (), **rest: object
) -> DmarcResult:
    uncertain = rest.get("uncertain", ())
    assert isinstance(uncertain, tuple)
    return await check_dmarc(
        FakeResolver(zone), author_domain=author, spf_domain=spf, dkim_domains=dkim, uncertain_domains=uncertain
    )


def test_walk_of_thirteen_labels_asks_eight_names() -> None:
    """§4.10, the example."""
    assert walk_names("a.b.c.d.e.f.g.h.i.j.mail.example.com") == [
        "a.b.c.d.e.f.g.h.i.j.mail.example.com",
        "g.h.i.j.mail.example.com",
        "h.i.j.mail.example.com",
        "i.j.mail.example.com",
        "j.mail.example.com",
        "mail.example.com",
        "example.com",
        "com",
    ]


@pytest.mark.parametrize(("labels", "queries"), [(1, 1), (2, 2), (7, 7), (8, 8), (9, 8), (100, 8)])
def test_walk_asks_at_most_eight_names(labels: int, queries: int) -> None:
    """§4.10, step 4."""
    names = walk_names(".".join("x" * labels))
    assert len(names) == queries
    assert names[-1] == "x"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (b"v=DMARC1;p=reject", DmarcRecord(p=Policy.REJECT)),
        (
            b"v = DMARC1 ; p = Quarantine ; sp=none;np=reject;",
            DmarcRecord(p=Policy.QUARANTINE, sp=Policy.NONE, np=Policy.REJECT),
        ),
        (b"v=DMARC1", DmarcRecord(p=Policy.NONE)),
        (b"v=DMARC1; p=reject; pct=10; rf=afrf; ri=1", DmarcRecord(p=Policy.REJECT)),
        (
            b"v=DMARC1; p=reject; adkim=s; aspf=s; t=y; psd=y",
            DmarcRecord(p=Policy.REJECT, strict_dkim=True, strict_spf=True, testing=True, psd=Psd.YES),
        ),
        (b"v=DMARC1; p=reject; adkim=x; psd=maybe; garbage; t", DmarcRecord(p=Policy.REJECT)),
        (b"v=DMARC1; p=bogus", DmarcRecord(p=None)),
        (b"v=DMARC1; p=reject; sp=bogus", DmarcRecord(p=None)),
        (b"v=DMARC1; p=bogus; rua=mailto:a@example.com", DmarcRecord(p=Policy.NONE, rua=("mailto:a@example.com",))),
        (b"v=DMARC1; p=reject; p=none", DmarcRecord(p=Policy.REJECT)),
    ],
)
def test_record(text: bytes, wanted: DmarcRecord) -> None:
    """§4.7, §4.8, §4.10.1."""
    assert is_dmarc(text)
    assert parse_record(text) == wanted


@pytest.mark.parametrize(
    "text", [b"v=DMARC2; p=reject", b"p=reject; v=DMARC1", b"v=dmarc1; p=none", b"V=DMARC1", b"v=DMARC10", b""]
)
def test_other_text_is_no_record(text: bytes) -> None:
    """§4.7: v= first and exact."""
    assert not is_dmarc(text)


async def test_no_record_is_none() -> None:
    assert (await _check({}, spf="example.com")).result is Result.NONE


async def test_no_author_domain_is_none_without_a_query() -> None:
    resolver = FakeResolver({})
    found = await check_dmarc(resolver, author_domain=None, spf_domain=None, dkim_domains=())
    assert found.result is Result.NONE
    assert resolver.queries == []


async def test_two_records_are_none() -> None:
    """§4.10, step 2."""
    zone: Zone = {"_dmarc.example.com": {"TXT": ["v=DMARC1; p=reject", "v=DMARC1; p=none"]}}
    assert (await _check(zone)).result is Result.NONE


async def test_other_txt_records_do_not_count() -> None:
    zone: Zone = {"_dmarc.example.com": {"TXT": ["hello", "v=DMARC1; p=reject"]}}
    assert (await _check(zone)).policy is Policy.REJECT


async def test_invalid_policy_is_permerror_and_asks_for_nothing() -> None:
    found = await _check(_zone(example_com="v=DMARC1; p=bogus"))
    assert (found.result, found.policy) == (Result.PERMERROR, Policy.NONE)


@pytest.mark.parametrize(
    ("mode", "spf", "dkim", "result"),
    [
        ("", "example.com", (), Result.PASS),
        ("", "mail.example.com", (), Result.PASS),
        ("", None, ("mail.example.com",), Result.PASS),
        ("", None, ("other.example", "example.com"), Result.PASS),
        ("", "example.net", ("example.org",), Result.FAIL),
        ("", "badexample.com", (), Result.FAIL),
        ("", "com", (), Result.FAIL),
        ("; aspf=s", "mail.example.com", (), Result.FAIL),
        ("; aspf=s", "EXAMPLE.com", (), Result.PASS),
        ("; aspf=s", None, ("mail.example.com",), Result.PASS),
        ("; adkim=s", None, ("mail.example.com",), Result.FAIL),
        ("; adkim=s", "mail.example.com", (), Result.PASS),
        ("", None, (), Result.FAIL),
    ],
)
async def test_alignment(mode: str, spf: str | None, dkim: tuple[str, ...], result: Result) -> None:
    """§4.4."""
    found = await _check(_zone(example_com=f"v=DMARC1; p=reject{mode}"), spf=spf, dkim=dkim)
    assert found.result is result
    assert found.policy is (Policy.REJECT if result is Result.FAIL else Policy.NONE)


async def test_siblings_align_through_the_organizational_domain() -> None:
    """§4.10.2."""
    zone = _zone(example_com="v=DMARC1; p=reject")
    assert (await _check(zone, "a.example.com", dkim=("b.example.com",))).result is Result.PASS


async def test_siblings_below_a_public_suffix_do_not_align() -> None:
    """§4.10.2, rule 2; product item 14: no last-two-labels guess."""
    zone = _zone(co_example="v=DMARC1; p=reject; psd=y")
    assert (await _check(zone, "bank.co.example", dkim=("evil.co.example",))).result is Result.FAIL
    assert (await _check(zone, "www.bank.co.example", dkim=("bank.co.example",))).result is Result.PASS


async def test_without_records_parents_do_not_align() -> None:
    """§4.10.2: without a record the start itself is the Organizational Domain."""
    zone = _zone(a_example_com="v=DMARC1; p=reject")
    assert (await _check(zone, "a.example.com", dkim=("example.com",))).result is Result.FAIL


async def test_psd_n_makes_an_organizational_domain_of_its_own() -> None:
    """§4.10.2, rule 1 and its example."""
    zone = _zone(example_com="v=DMARC1; p=none", mail_example_com="v=DMARC1; p=reject; psd=n")
    found = await _check(zone, "a.mail.example.com", dkim=("example.com",))
    assert (found.result, found.policy_domain, found.policy) == (Result.FAIL, "mail.example.com", Policy.REJECT)
    assert (await _check(zone, "a.mail.example.com", dkim=("b.mail.example.com",))).result is Result.PASS


async def test_record_nearest_the_top_applies_when_the_author_has_none() -> None:
    """§4.10.2, rule 3 and its example: records at mail.example.com and example.com."""
    zone = _zone(mail_example_com="v=DMARC1; p=none", example_com="v=DMARC1; p=reject")
    found = await _check(zone, "a.mail.example.com")
    assert (found.policy_domain, found.policy) == ("example.com", Policy.REJECT)


async def test_author_record_comes_first() -> None:
    """§4.10.1."""
    zone = _zone(a_example_com="v=DMARC1; p=none", example_com="v=DMARC1; p=reject")
    found = await _check(zone, "a.example.com")
    assert (found.result, found.policy_domain, found.policy) == (Result.FAIL, "a.example.com", Policy.NONE)


async def test_public_suffix_record_applies_last() -> None:
    """§4.10.1: com with psd=y, nothing at example.com."""
    zone = _zone(com="v=DMARC1; p=reject; sp=quarantine; psd=y")
    zone["a.mail.example.com"] = {"A": ["192.0.2.1"]}
    found = await _check(zone, "a.mail.example.com")
    assert (found.policy_domain, found.policy) == ("com", Policy.QUARANTINE)


@pytest.mark.parametrize(
    ("record", "exists", "policy"),
    [
        ("p=none; sp=quarantine; np=reject", True, Policy.QUARANTINE),
        ("p=none; sp=quarantine; np=reject", False, Policy.REJECT),
        ("p=none; sp=quarantine", False, Policy.QUARANTINE),
        ("p=reject; np=none", True, Policy.REJECT),
        ("p=reject; np=none", False, Policy.NONE),
        ("p=reject", False, Policy.REJECT),
    ],
)
async def test_subdomain_policies(record: str, exists: bool, policy: Policy) -> None:
    """§4.7 sp, np; a name with only MX exists too (NODATA for A)."""
    zone = _zone(example_com=f"v=DMARC1; {record}")
    if exists:
        zone["sub.example.com"] = {"MX": [[10, "mx.example.com"]]}
    assert (await _check(zone, "sub.example.com")).policy is policy


@pytest.mark.parametrize(
    ("published", "applied"),
    [("reject", Policy.QUARANTINE), ("quarantine", Policy.NONE), ("none", Policy.NONE)],
)
async def test_testing_asks_for_one_level_less(published: str, applied: Policy) -> None:
    """§4.7 t."""
    found = await _check(_zone(example_com=f"v=DMARC1; p={published}; t=y"))
    assert (found.result, found.policy, found.published.word) == (Result.FAIL, applied, published)


@pytest.mark.parametrize("name", ["_dmarc.example.com", "_dmarc.com", "a.example.com"])
async def test_dns_failure_is_temperror_and_asks_for_nothing(name: str) -> None:
    """F08: temperror never fails."""
    zone = _zone(example_com="v=DMARC1; p=reject; np=none")
    zone[name] = {"*": "SERVFAIL"}
    found = await _check(zone, "a.example.com", dkim=("b.example.com",))
    assert (found.result, found.policy) == (Result.TEMPERROR, Policy.NONE)


async def test_dns_failure_of_one_identifier_does_not_hide_the_pass_of_another() -> None:
    zone = _zone(example_com="v=DMARC1; p=reject")
    zone["_dmarc.broken.example.com"] = {"*": "SERVFAIL"}
    found = await _check(zone, dkim=("broken.example.com", "example.com"))
    assert (found.result, found.aligned) == (Result.PASS, ("dkim:example.com",))
    assert (await _check(zone, dkim=("broken.example.com",))).result is Result.TEMPERROR


async def test_temperror_of_an_aligned_identifier_is_no_fail() -> None:
    """F08: nothing is refused because a key or an SPF record could not be fetched."""
    zone = _zone(example_com="v=DMARC1; p=reject")
    assert (await _check(zone, uncertain=("mail.example.com",))).result is Result.TEMPERROR
    assert (await _check(zone, uncertain=("other.example",))).result is Result.FAIL


async def test_equal_domains_need_one_query() -> None:
    resolver = FakeResolver(_zone(example_com="v=DMARC1; p=reject"))
    await check_dmarc(
        resolver, author_domain="example.com", spf_domain="example.com", dkim_domains=("example.com",) * 10
    )
    assert resolver.queries == [("_dmarc.example.com", "TXT")]
