"""DKIM verification (RFC 6376, 8301, 8463) and signing, with dkimpy as the judge of both."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from server.protocol.emailauth.dkim import MAX_SIGNATURES, verify
from server.protocol.emailauth.dkim_key import (
    KeyKind,
    KeyRecordError,
    NewKey,
    key_record,
    load_private_key,
    make_key,
    parse_key_record,
    zone_text,
)
from server.protocol.emailauth.dkim_sign import SigningKey, sign_message
from server.protocol.emailauth.result import Result
from tests.support.fake_dns import FakeResolver
from tests.unit.protocol.emailauth.dkim_support import (
    MESSAGE,
    NOW,
    RFC6376_MESSAGE,
    RFC6376_ZONE,
    RFC8463_MESSAGE,
    RFC8463_ZONE,
    verdicts,
)

Zone = dict[str, dict[str, list[str]]]


@pytest.fixture(scope="module")
def rsa_key() -> NewKey:
    return make_key(KeyKind.RSA_2048)


@pytest.fixture(scope="module")
def ed_key() -> NewKey:
    return make_key(KeyKind.ED25519)


@pytest.fixture
def keys(rsa_key: NewKey, ed_key: NewKey) -> list[SigningKey]:
    return [
        SigningKey(
            domain="example.com",
            selector="r",
            algorithm="rsa-sha256",
            private_key=load_private_key(rsa_key.private),
        ),
        SigningKey(
            domain="example.com",
            selector="e",
            algorithm="ed25519-sha256",
            private_key=load_private_key(ed_key.private),
        ),
    ]


@pytest.fixture
def zone(rsa_key: NewKey, ed_key: NewKey) -> Zone:
    return {
        "r._domainkey.example.com": {"TXT": [rsa_key.record]},
        "e._domainkey.example.com": {"TXT": [ed_key.record]},
    }


def _lookup(zone: Zone) -> Callable[..., bytes]:
    def dnsfunc(name: bytes, timeout: int = 5) -> bytes:
        return zone[name.decode().rstrip(".")]["TXT"][0].encode()

    return dnsfunc


def _dkimpy_signs(message: bytes, key: NewKey, **options: object) -> bytes:
    """A message with dkimpy's signature; options go to `DKIM.sign`."""
    private = key.private
    if key.kind is KeyKind.ED25519:
        loaded = load_private_key(key.private)
        assert isinstance(loaded, ed25519.Ed25519PrivateKey)
        private = base64.b64encode(loaded.private_bytes_raw())
        options["signature_algorithm"] = b"ed25519-sha256"
    else:
        loaded = load_private_key(key.private)
        private = loaded.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    algorithm = options.pop("signature_algorithm", b"rsa-sha256")
    selector = b"e" if key.kind is KeyKind.ED25519 else b"r"
    signer = dkim.DKIM(message, signature_algorithm=algorithm)
    return bytes(signer.sign(selector, b"example.com", private, **options)) + message


async def test_rfc_8463_appendix_a_both_signatures_pass() -> None:
    results = await verdicts(RFC8463_MESSAGE, RFC8463_ZONE)
    assert [(r.result, r.algorithm, r.key_bits) for r in results] == [
        (Result.PASS, "ed25519-sha256", 256),
        (Result.PASS, "rsa-sha256", 1024),
    ]


async def test_rfc_6376_appendix_a_passes_with_simple_canonicalisation() -> None:
    (result,) = await verdicts(RFC6376_MESSAGE, RFC6376_ZONE)
    assert (result.result, result.domain, result.selector, result.identity, result.b_start) == (
        Result.PASS,
        "example.com",
        "brisbane",
        "joe@football.example.com",
        "AuUoFEfD",
    )


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (b"Joe.", b"Jon.", "body"),
        (b"Subject: Is", b"Subject: is", "header"),
        (b"Subject: Is", b"Subject:  Is", "header"),  # Simple: each space counts (RFC 6376 §3.4.1).
        (b"Received: from", b"received: from", "header"),
        (b"Joe.\r\n", b"Joe. \r\n", "body"),
        (b"b=AuUo", b"b=BuUo", "header"),
    ],
)
async def test_altered_simple_message_fails(old: bytes, new: bytes, problem: str) -> None:
    (result,) = await verdicts(RFC6376_MESSAGE.replace(old, new, 1), RFC6376_ZONE)
    assert result.result is Result.FAIL
    assert problem in result.problem


async def test_simple_body_ignores_empty_lines_at_the_end() -> None:
    """RFC 6376 §3.4.3."""
    (result,) = await verdicts(RFC6376_MESSAGE + b"\r\n\r\n", RFC6376_ZONE)
    assert result.result is Result.PASS


async def test_our_signatures_verify_here_and_in_dkimpy(keys: list[SigningKey], zone: Zone) -> None:
    signed = sign_message(MESSAGE, keys, now=NOW, lifetime_s=7 * 86400) + MESSAGE
    assert [r.result for r in await verdicts(signed, zone)] == [Result.PASS, Result.PASS]
    for index in range(2):
        assert dkim.DKIM(signed).verify(idx=index, dnsfunc=_lookup(zone))


@pytest.mark.parametrize(
    "body", [b"", b"\r\n", b" \t\r\n \r\n", b"no line end", b"a\r\n\r\n\r\n", b"\x80\xff bin \r\n"]
)
async def test_odd_bodies_verify_here_and_in_dkimpy(body: bytes, keys: list[SigningKey], zone: Zone) -> None:
    message = MESSAGE.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" + body
    signed = sign_message(message, keys, now=NOW) + message
    assert [r.result for r in await verdicts(signed, zone)] == [Result.PASS, Result.PASS]
    assert dkim.DKIM(signed).verify(idx=0, dnsfunc=_lookup(zone))


@pytest.mark.parametrize("canonicalize", [(b"relaxed", b"relaxed"), (b"simple", b"simple"), (b"relaxed", b"simple")])
@pytest.mark.parametrize("body", [b"", b"\r\n", b"x \t y\r\n\r\n", b"a\t\r\nb   c\r\n \r\n"])
async def test_what_dkimpy_signs_verifies(
    canonicalize: tuple[bytes, bytes], body: bytes, rsa_key: NewKey, zone: Zone
) -> None:
    message = MESSAGE.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" + body
    signed = _dkimpy_signs(message, rsa_key, canonicalize=canonicalize)
    (result,) = await verdicts(signed, zone, datetime.now(UTC))
    assert (result.result, result.problem) == (Result.PASS, "")


async def test_what_dkimpy_signs_with_ed25519_verifies(ed_key: NewKey, zone: Zone) -> None:
    (result,) = await verdicts(_dkimpy_signs(MESSAGE, ed_key), zone, datetime.now(UTC))
    assert result.result is Result.PASS


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Hello", b"Hallo"),
        (b"\r\nBye", b"\r\nBye\r\nand more"),
        (b"Subject:  A", b"Subject:  B"),
        (b"From: Ann", b"From: Eve <eve@example.org>\r\nFrom: Ann"),
        (b"To: bob", b"Cc: eve@example.org\r\nTo: bob"),
        (b"To: bob", b"Reply-To: eve@example.org\r\nTo: bob"),
        (b"MIME-Version: 1", b"Content-Transfer-Encoding: base64\r\nMIME-Version: 1"),
        (b"Date: Sun", b"Date: Mon"),
    ],
)
async def test_altered_or_added_field_fails(old: bytes, new: bytes, keys: list[SigningKey], zone: Zone) -> None:
    """Oversigning: a second From, or a first Cc, breaks our signature (RFC 6376 §8.15)."""
    signed = sign_message(MESSAGE, keys, now=NOW) + MESSAGE
    altered = signed.replace(old, new, 1)
    assert altered != signed
    assert {r.result for r in await verdicts(altered, zone)} == {Result.FAIL}


async def test_relaxed_changes_pass(keys: list[SigningKey], zone: Zone) -> None:
    """RFC 6376 §3.4.2, §3.4.4: folding, case of names and white space at line ends may change."""
    signed = sign_message(MESSAGE, keys, now=NOW) + MESSAGE
    changed = signed.replace(b"Subject:  A   folded\r\n\tsubject", b"SUBJECT : A folded  subject ")
    changed = changed.replace(b"Hello  Bob, \t\r\n", b"Hello Bob,\r\n") + b"\r\n\r\n"
    assert {r.result for r in await verdicts(changed, zone)} == {Result.PASS}


async def test_wrong_key_fails(keys: list[SigningKey], zone: Zone) -> None:
    zone["r._domainkey.example.com"]["TXT"] = [make_key(KeyKind.RSA_2048).record]
    zone["e._domainkey.example.com"]["TXT"] = [make_key(KeyKind.ED25519).record]
    signed = sign_message(MESSAGE, keys, now=NOW) + MESSAGE
    assert {r.result for r in await verdicts(signed, zone)} == {Result.FAIL}


async def test_body_longer_than_l_fails_and_equal_passes(rsa_key: NewKey, zone: Zone) -> None:
    """RFC 6376 §8.2; product item 12."""
    signed = _dkimpy_signs(MESSAGE, rsa_key, length=True)
    assert b" l=" in signed
    assert [r.result for r in await verdicts(signed, zone, datetime.now(UTC))] == [Result.PASS]
    (longer,) = await verdicts(signed + b"<b>appended</b>\r\n", zone, datetime.now(UTC))
    assert (longer.result, longer.problem) == (Result.FAIL, "body goes on after l=")
    head, _, _ = signed.partition(b"\r\n\r\n")
    (shorter,) = await verdicts(head + b"\r\n\r\nHello\r\n", zone, datetime.now(UTC))
    assert (shorter.result, shorter.problem) == (Result.PERMERROR, "l= is larger than the body")


async def test_expiry_counts_from_five_minutes_after_x(keys: list[SigningKey], zone: Zone) -> None:
    """RFC 6376 §3.5 x=; our clock may be 300 s off."""
    signed = sign_message(MESSAGE, keys[:1], now=NOW, lifetime_s=60) + MESSAGE
    assert [r.result for r in await verdicts(signed, zone, NOW + timedelta(seconds=360))] == [Result.PASS]
    (late,) = await verdicts(signed, zone, NOW + timedelta(seconds=361))
    assert (late.result, late.problem) == (Result.PERMERROR, "signature expired")
    (early,) = await verdicts(signed, zone, NOW - timedelta(seconds=301))
    assert (early.result, early.problem) == (Result.PERMERROR, "signed in the future")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (b"v=1;", b"v=2;", "another version"),
        (b"v=1; ", b"", "without v="),
        (b"a=rsa-sha256", b"a=rsa-sha1", "SHA-1"),
        (b"a=rsa-sha256", b"a=dsa-sha256", "unknown algorithm"),
        (b"c=relaxed/relaxed", b"c=nowsp", "canonicalisation"),
        (b"d=example.com", b"d=exa mple.com", "bad domain"),
        (b"d=example.com", b"d=example.com; i=@example.net", "i= is not in d="),
        (b"d=example.com", b"d=example.com; i=@xexample.com", "i= is not in d="),
        (b"d=example.com", b"d=example.com; d=example.com", "twice"),
        (b"d=example.com", b"d=example.com; q=http", "query method"),
        (b"d=example.com", b"d=example.com; l=ten", "not a number"),
        (b"d=example.com", b"d=example.com; =", "tag=value"),
        (b"h=From:From:", b"h=", "From is not signed"),
        (b"h=From:From:", b"h=" + b"x:" * 500 + b"From:", "more than 500 names"),
        (b"bh=", b"bh=#", "not base64"),
        (b"s=r;", b"s=;", "without s="),
    ],
)
async def test_unusable_signature_is_permerror_without_a_query(
    old: bytes, new: bytes, problem: str, keys: list[SigningKey], zone: Zone
) -> None:
    """RFC 6376 §6.1.1."""
    signed = (sign_message(MESSAGE, keys[:1], now=NOW) + MESSAGE).replace(old, new, 1)
    resolver = FakeResolver(zone)
    (result,) = await verify(signed, resolver=resolver, now=NOW)
    assert result.result is Result.PERMERROR
    assert problem in result.problem
    assert resolver.queries == []


@pytest.mark.parametrize(
    ("records", "result", "problem"),
    [
        ("TIMEOUT", Result.TEMPERROR, "DNS error"),
        ("SERVFAIL", Result.TEMPERROR, "DNS error"),
        ("NXDOMAIN", Result.PERMERROR, "no key at"),
        (["some other text"], Result.PERMERROR, "no key at"),
        (["v=DKIM1; p="], Result.PERMERROR, "revoked"),
        (["v=DKIM2; p=AAAA"], Result.PERMERROR, "no key at"),
        (["v=DKIM1; k=rsa; p=AAAA"], Result.PERMERROR, "not readable"),
        (["v=DKIM1; k=gost; p=AAAA"], Result.PERMERROR, "unknown key type"),
        (["v=DKIM1; k=ed25519; p=AAAA"], Result.PERMERROR, "not readable"),
        (["p=AAAA", "p=BBBB"], Result.PERMERROR, "2 keys"),
        (["p=" + "A" * 4096], Result.PERMERROR, "too long"),
        (["k=rsa; v=DKIM1; p=AAAA"], Result.PERMERROR, "another version"),
        (["p=AAAA; p=AAAA"], Result.PERMERROR, "twice"),
    ],
)
async def test_key_record_problems(
    records: list[str] | str, result: Result, problem: str, keys: list[SigningKey]
) -> None:
    """RFC 6376 §6.1.2."""
    signed = sign_message(MESSAGE, keys[:1], now=NOW) + MESSAGE
    resolver = FakeResolver({"r._domainkey.example.com": {"TXT": records}})
    (found,) = await verify(signed, resolver=resolver, now=NOW)
    assert found.result is result
    assert problem in found.problem


@pytest.mark.parametrize(
    ("flag", "result"),
    [
        ("h=sha1", Result.PERMERROR),
        ("h=sha1:sha256", Result.PASS),
        ("s=tlsrpt", Result.PERMERROR),
        ("s=email", Result.PASS),
        ("t=y", Result.PASS),
        ("t=s", Result.PASS),
        ("n=a note; unknown=1", Result.PASS),
    ],
)
async def test_key_flags(flag: str, result: Result, keys: list[SigningKey], rsa_key: NewKey) -> None:
    """RFC 6376 §3.6.1."""
    signed = sign_message(MESSAGE, keys[:1], now=NOW) + MESSAGE
    resolver = FakeResolver({"r._domainkey.example.com": {"TXT": [f"{rsa_key.record}; {flag}"]}})
    (found,) = await verify(signed, resolver=resolver, now=NOW)
    assert found.result is result
    assert found.testing is (flag == "t=y")


async def test_strict_identity_flag_refuses_a_subdomain() -> None:
    """RFC 6376 §3.6.1 t=s."""
    record = RFC6376_ZONE["brisbane._domainkey.example.com"]["TXT"][0]
    (found,) = await verdicts(RFC6376_MESSAGE, {"brisbane._domainkey.example.com": {"TXT": [record + "; t=s"]}})
    assert (found.result, found.problem) == (Result.PERMERROR, "key allows no subdomain in i=")


@pytest.mark.parametrize(("bits", "usable"), [(1023, False), (1024, True), (4096, True), (4104, False)])
def test_rsa_key_length_limits(bits: int, usable: bool) -> None:
    """RFC 8301 §3.2: below 1024 bits never; above 4096 costs too much."""
    modulus = (1 << bits) - 1
    public = rsa.RSAPublicNumbers(65537, modulus).public_key()
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    record = b"v=DKIM1; p=" + base64.b64encode(der)
    if usable:
        assert parse_key_record(record).bits == bits
    else:
        with pytest.raises(KeyRecordError, match=f"{bits} bits"):
            parse_key_record(record)


def test_bare_rsa_public_key_is_read(rsa_key: NewKey) -> None:
    """RFC 6376 erratum 3017: PKCS #1 without the algorithm."""
    public = load_private_key(rsa_key.private).public_key()
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.PKCS1)
    assert parse_key_record(b"p=" + base64.b64encode(der)).bits == 2048


async def test_key_of_another_algorithm_is_permerror(keys: list[SigningKey], ed_key: NewKey) -> None:
    signed = sign_message(MESSAGE, keys[:1], now=NOW) + MESSAGE
    (found,) = await verdicts(signed, {"r._domainkey.example.com": {"TXT": [ed_key.record]}})
    assert (found.result, found.problem) == (Result.PERMERROR, "key is for another algorithm")


async def test_only_the_first_ten_signatures_count(keys: list[SigningKey], zone: Zone) -> None:
    """Product item 12; threat T18: 1,000 signatures."""
    field = sign_message(MESSAGE, keys[:1], now=NOW)
    resolver = FakeResolver(zone)
    results = await verify(field * 1000 + MESSAGE, resolver=resolver, now=NOW)
    assert [r.result for r in results] == [Result.PASS] * MAX_SIGNATURES
    assert len(resolver.queries) == 1


async def test_no_signature_is_no_result() -> None:
    assert await verdicts(MESSAGE, {}) == ()


async def test_too_many_fields_is_permerror(keys: list[SigningKey], zone: Zone) -> None:
    signed = sign_message(MESSAGE, keys[:1], now=NOW) + b"X: y\r\n" * 2000 + MESSAGE
    (found,) = await verdicts(signed, zone)
    assert (found.result, found.problem) == (Result.PERMERROR, "header section exceeds its limits")


async def test_a_large_message_is_checked_in_the_worker(keys: list[SigningKey], zone: Zone) -> None:
    runs = []

    class Inline:
        async def run(self, work: Callable[[], object]) -> object:
            runs.append(work)
            return work()

    message = MESSAGE + b"x" * 70 + b"\r\n" * 70_000 + b"end\r\n"
    signed = sign_message(message, keys, now=NOW) + message
    results = await verify(signed, resolver=FakeResolver(zone), now=NOW, worker=Inline())  # type: ignore[arg-type]
    assert [r.result for r in results] == [Result.PASS, Result.PASS]
    assert len(runs) == 1


async def test_a_late_key_is_temperror(keys: list[SigningKey], zone: Zone) -> None:
    resolver = FakeResolver(zone)
    resolver.hang.clear()
    signed = sign_message(MESSAGE, keys, now=NOW) + MESSAGE
    results = await verify(signed, resolver=resolver, now=NOW, timeout_s=0.01)
    assert [r.result for r in results] == [Result.TEMPERROR, Result.TEMPERROR]


def test_key_record_of_our_own_keys(rsa_key: NewKey, ed_key: NewKey) -> None:
    """RFC 6376 §3.6.1, RFC 8463 §4.2."""
    assert rsa_key.record.startswith("v=DKIM1; k=rsa; p=MIIBIjANBg")
    assert len(ed_key.record) == len("v=DKIM1; k=ed25519; p=") + 44
    assert key_record(load_private_key(rsa_key.private)) == rsa_key.record
    strings = zone_text(rsa_key.record).split('" "')
    assert [len(s.strip('"')) for s in strings] == [255, len(rsa_key.record) - 255]


def test_foreign_private_key_is_refused() -> None:
    with pytest.raises(KeyRecordError):
        load_private_key(b"-----BEGIN NOTHING-----\n")
