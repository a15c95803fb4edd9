"""ARC chains (RFC 8617), with dkimpy as the judge."""

from __future__ import annotations

from datetime import UTC, datetime

import dkim
import pytest

from server.protocol.emailauth.arc import ArcResult, check_chain, find_chain
from server.protocol.emailauth.authres import parse_results
from server.protocol.emailauth.dkim import fetch_keys
from server.protocol.emailauth.dkim_key import KeyKind, make_key
from server.protocol.emailauth.result import Result
from server.protocol.mime.headers import split_header
from tests.support.arc_sealer import seal
from tests.support.fake_dns import FakeResolver
from tests.unit.protocol.emailauth.dkim_support import MESSAGE

KEY = make_key(KeyKind.RSA_2048)
ZONE = {f"s._domainkey.{name}": {"TXT": [KEY.record]} for name in ("list.example", "hop.example", "third.example")}


def _seal(message: bytes, domain: str, results: str = "spf=pass; dmarc=pass header.from=example.com") -> bytes:
    return seal(message, domain, results, key=KEY, now=datetime.now(UTC))


async def _verify(message: bytes, zone: dict[str, dict[str, object]] | None = None) -> ArcResult:
    fields = split_header(message)
    chain = find_chain(fields, now=datetime.now(UTC))
    if chain is None:
        return ArcResult(result=Result.NONE)
    keys = await fetch_keys(chain.signatures, FakeResolver(zone or ZONE), timeout_s=5)
    return check_chain(message, fields, chain, keys)


@pytest.fixture(scope="module")
def once() -> bytes:
    return _seal(MESSAGE, "list.example")


@pytest.fixture(scope="module")
def thrice(once: bytes) -> bytes:
    passed = "arc=pass; dmarc=fail header.from=example.com"
    return _seal(_seal(once, "hop.example", passed), "third.example", passed)


def _dkimpy_passes(message: bytes) -> bool:
    verdict, _, _ = dkim.arc_verify(message, dnsfunc=lambda name, timeout=5: KEY.record.encode())
    return bool(verdict == b"pass")


async def test_no_set_is_none() -> None:
    assert (await _verify(MESSAGE)).result is Result.NONE


async def test_one_set_passes(once: bytes) -> None:
    found = await _verify(once)
    assert (found.result, found.problem, found.sealers) == (Result.PASS, "", ("list.example",))
    assert found.dmarc_passes == (frozenset({"example.com"}),)


async def test_three_sets_pass_oldest_first(thrice: bytes) -> None:
    found = await _verify(thrice)
    assert (found.result, found.problem) == (Result.PASS, "")
    assert found.sealers == ("list.example", "hop.example", "third.example")
    assert _dkimpy_passes(thrice)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (b"Hello", b"Hallo", "body was altered"),
        (b"Subject:  A", b"Subject:  B", "header was altered"),
        (b"cv=none", b"cv=pass", "cv=none expected"),
        (b"cv=pass", b"cv=fail", "cv=pass expected"),
        (b"cv=pass", b"cv=none", "cv=pass expected"),
        (b"cv=none", b"h=from; cv=none", "h= or bh="),
        (b"list.example; spf=pass", b"list.example; spf=fail", "does not verify"),
        (b"ARC-Authentication-Results: i=1", b"X-Gone: i=1", "not whole"),
        (b"ARC-Authentication-Results: i=1", b"ARC-Authentication-Results: i=2", "twice"),
        (b"ARC-Authentication-Results: i=3", b"ARC-Authentication-Results: i=4", "not whole"),
        (b"ARC-Authentication-Results: i=3", b"ARC-Authentication-Results: i=51", "not 1 to 50"),
        (b"ARC-Authentication-Results: i=3", b"ARC-Authentication-Results: i=0", "not 1 to 50"),
        (b"ARC-Authentication-Results: i=3", b"ARC-Authentication-Results: x", "malformed"),
    ],
)
async def test_broken_chain_fails(thrice: bytes, old: bytes, new: bytes, problem: str) -> None:
    """§5.2."""
    altered = thrice.replace(old, new, 1)
    assert altered != thrice
    found = await _verify(altered)
    assert found.result is Result.FAIL
    assert problem in found.problem
    assert found.sealers == ()
    assert not _dkimpy_passes(altered)


async def test_missing_key_fails_and_dns_error_is_temperror(thrice: bytes) -> None:
    zone: dict[str, dict[str, object]] = {**ZONE, "s._domainkey.hop.example": {"TXT": "NXDOMAIN"}}
    assert (await _verify(thrice, zone)).result is Result.FAIL
    zone["s._domainkey.hop.example"] = {"TXT": "SERVFAIL"}
    assert (await _verify(thrice, zone)).result is Result.TEMPERROR


async def test_wrong_key_fails(once: bytes) -> None:
    other = make_key(KeyKind.RSA_2048).record
    assert (await _verify(once, {"s._domainkey.list.example": {"TXT": [other]}})).result is Result.FAIL


@pytest.mark.parametrize(
    ("trusted", "vouched"),
    [
        (("list.example", "hop.example", "third.example"), True),
        (("third.example",), False),
        (("list.example",), False),
        (("list.example", "third.example"), False),
        ((), False),
    ],
)
async def test_trust_must_reach_back_to_the_hop_that_saw_a_pass(
    thrice: bytes, trusted: tuple[str, ...], vouched: bool
) -> None:
    """§7.2.1, product item 15: an untrusted hop in between could have changed anything."""
    found = await _verify(thrice)
    assert found.vouches_for("example.com", trusted) is vouched
    assert not found.vouches_for("example.net", trusted)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (b" id; spf=pass smtp.mailfrom=a@b.c; none", [("spf", "pass", {"smtp.mailfrom": "a@b.c"})]),
        (
            b' id 1; dkim=FAIL (x; dmarc=pass) reason="a; dmarc=pass" header.d=b.c',
            [("dkim", "fail", {"reason": "a; dmarc=pass", "header.d": "b.c"})],
        ),
        (b' "i;d"; dmarc/1 = pass header.from = "b.c"', [("dmarc", "pass", {"header.from": "b.c"})]),
        (b' "open; dmarc=pass header.from=b.c', []),
        (b" (open; dmarc=pass header.from=b.c", []),
        (b"", []),
    ],
)
def test_results_are_read(value: bytes, wanted: list[tuple[str, str, dict[str, str]]]) -> None:
    """RFC 8601 §2.2: what stands in comments and quotes is no result."""
    assert parse_results(value) == wanted


@pytest.mark.parametrize(
    "value",
    [
        b'"' * 100_000,
        b"(" * 100_000,
        b";" * 100_000,
        b"a=" * 50_000,
        b'"\\' * 50_000,
        b"a" * 100_000,
        b"a " * 50_000,
        b'""' * 50_000,
    ],
)
def test_reading_junk_is_linear(value: bytes) -> None:
    parse_results(value)
