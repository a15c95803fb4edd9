"""Authentication of received mail as a whole: words, field, deadline, verdict (items 11 to 14, F08, T18, T19)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.domain.address import Address
from server.domain.envelope import ConnectionInfo, Envelope, Recipient
from server.domain.errors import Unavailable
from server.domain.verdict import Action
from server.protocol.emailauth.dkim_key import KeyKind, load_private_key, make_key
from server.protocol.emailauth.dkim_sign import SigningKey, sign_message
from server.protocol.emailauth.result import Result
from server.protocol.mime.headers import split_header
from server.services.reception.authenticate import Authenticator, AuthResults, author_domains, dmarc_verdict
from tests.support.arc_sealer import seal
from tests.support.fake_dns import FakeResolver

T = TypeVar("T")

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
KEY = make_key(KeyKind.ED25519)
SEALER = make_key(KeyKind.RSA_2048)
BODY = b"To: bob@example.net\r\nSubject: hi\r\n\r\nHello\r\n"


class _Clock:
    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def random(self) -> float:
        return 0.5


class _Worker:
    def __init__(self) -> None:
        self.runs = 0

    def run(self, work: Callable[[], T]) -> Awaitable[T]:
        self.runs += 1
        return asyncio.to_thread(work)


def _zone(dmarc: str = "v=DMARC1; p=reject") -> dict[str, dict[str, object]]:
    return {
        "example.com": {"TXT": ["v=spf1 ip4:192.0.2.1 -all"]},
        "s._domainkey.example.com": {"TXT": [KEY.record]},
        "_dmarc.example.com": {"TXT": [dmarc]},
        "192.0.2.1": {"PTR": ["mx.example.com"]},
        "mx.example.com": {"A": ["192.0.2.1"]},
    }


def _message(sender: str = "Ann <ann@example.com>", *, signed: bool = False, body: bytes = BODY) -> bytes:
    octets = f"From: {sender}\r\n".encode() + body
    if not signed:
        return octets
    key = SigningKey(
        domain="example.com", selector="s", algorithm="ed25519-sha256", private_key=load_private_key(KEY.private)
    )
    return sign_message(octets, [key], now=NOW) + octets


async def _authenticate(
    octets: bytes,
    resolver: FakeResolver,
    *,
    ip: str = "192.0.2.1",
    sender: Address | None = Address("ann", "example.com"),  # noqa: B008
    timeout_s: float = 20.0,
    worker: _Worker | None = None,
) -> AuthResults:
    authenticator = Authenticator(resolver=resolver, worker=worker or _Worker(), clock=_Clock(), timeout_s=timeout_s)
    connection = ConnectionInfo(
        listener="smtp", remote_ip=ip, remote_port=1025, local_port=25, connection_id="c", helo="mx.example.com"
    )
    envelope = Envelope(reverse_path=sender, recipients=(Recipient(address=Address("bob", "example.net")),))
    return await authenticator.authenticate(connection=connection, envelope=envelope, octets=octets)


async def test_genuine_mail_passes_everything() -> None:
    results = await _authenticate(_message(signed=True), FakeResolver(_zone()))
    assert results.summary == "spf=pass dkim=pass (example.com) dmarc=pass iprev=pass"
    assert (results.remote_name, results.dmarc_word, results.dkim_word) == ("mx.example.com", "pass", "pass")
    assert dmarc_verdict(results, "honour").action is Action.ACCEPT
    assert results.facts()["dkim"] == ["example.com=pass"]
    b_start = results.dkim[0].b_start
    dkim_line = f"\tdkim=pass (256-bit key) header.d=example.com header.s=s header.a=ed25519-sha256 header.b={b_start}"
    header = results.header("mx.example.net").decode()
    assert header.splitlines() == [
        "Authentication-Results: mx.example.net;",
        dkim_line.replace(f"header.b={b_start}", "header.b=" + _value(b_start)) + ";",
        "\tspf=pass smtp.mailfrom=ann@example.com;",
        "\tdmarc=pass (p=reject) header.from=example.com;",
        "\tiprev=pass (mx.example.com) policy.iprev=192.0.2.1",
    ]


def _value(b_start: str) -> str:
    """`/` is no token character, so such a start is quoted (RFC 2045 §5.1)."""
    return f'"{b_start}"' if "/" in b_start else b_start


async def test_forged_mail_is_rejected_by_policy() -> None:
    results = await _authenticate(_message(), FakeResolver(_zone()), ip="203.0.113.9")
    assert (results.spf.result, results.dmarc.result) == (Result.FAIL, Result.FAIL)
    verdict = dmarc_verdict(results, "honour")
    assert verdict.action is Action.REJECT
    assert verdict.reply is not None
    assert verdict.reply.text == "550 5.7.1 rejected by the DMARC policy of example.com"


@pytest.mark.parametrize(
    ("policy", "mode", "action", "keywords"),
    [
        ("reject", "honour", Action.REJECT, ()),
        ("reject", "junk", Action.TAG, ("$Junk",)),
        ("reject", "score", Action.ACCEPT, ()),
        ("quarantine", "honour", Action.TAG, ("$Junk",)),
        ("quarantine", "junk", Action.TAG, ("$Junk",)),
        ("quarantine", "score", Action.ACCEPT, ()),
        ("none", "honour", Action.ACCEPT, ()),
        ("reject; t=y", "honour", Action.TAG, ("$Junk",)),
    ],
)
async def test_verdict_by_policy_and_mode(policy: str, mode: str, action: Action, keywords: tuple[str, ...]) -> None:
    """Product item 14; `mailauth.dmarc`."""
    resolver = FakeResolver(_zone(f"v=DMARC1; p={policy}"))
    results = await _authenticate(_message(), resolver, ip="203.0.113.9")
    verdict = dmarc_verdict(results, mode)
    assert (verdict.action, verdict.keywords) == (action, keywords)


async def test_spf_fail_alone_refuses_nothing() -> None:
    """Product item 11."""
    zone = _zone()
    del zone["_dmarc.example.com"]
    results = await _authenticate(_message(), FakeResolver(zone), ip="203.0.113.9")
    assert (results.spf.result, results.dmarc.result) == (Result.FAIL, Result.NONE)
    assert dmarc_verdict(results, "honour").action is Action.ACCEPT


async def test_dkim_alone_makes_dmarc_pass() -> None:
    results = await _authenticate(_message(signed=True), FakeResolver(_zone()), ip="203.0.113.9")
    assert (results.spf.result, results.dmarc.result) == (Result.FAIL, Result.PASS)


@pytest.mark.parametrize("failing", [["example.com"], ["s._domainkey.example.com"], ["_dmarc.example.com"]])
async def test_no_dns_answer_is_never_a_refusal(failing: list[str]) -> None:
    """F08; product item 14: temperror never fails."""
    zone = _zone()
    for name in failing:
        zone[name] = {"*": "SERVFAIL"}
    results = await _authenticate(_message(signed="s." in failing[0]), FakeResolver(zone), ip="203.0.113.9")
    assert results.dmarc.result is Result.TEMPERROR
    assert dmarc_verdict(results, "honour").action is Action.ACCEPT


async def test_dns_down_is_temperror_within_the_deadline() -> None:
    """F08: 20 s of DNS in all."""
    resolver = FakeResolver(_zone())
    resolver.hang.clear()
    started = time.monotonic()
    results = await _authenticate(_message(signed=True), resolver, timeout_s=0.05)
    assert time.monotonic() - started < 2
    words = [results.spf.result, results.dkim[0].result, results.dmarc.result, results.iprev.result]
    assert words == [Result.TEMPERROR] * 4
    assert dmarc_verdict(results, "honour").action is Action.ACCEPT


async def test_null_reverse_path_uses_helo() -> None:
    zone = _zone()
    zone["mx.example.com"]["TXT"] = ["v=spf1 a -all"]
    results = await _authenticate(_message("MAILER-DAEMON@example.com"), FakeResolver(zone), sender=None)
    assert (results.spf.result, results.spf.identity, results.dmarc.result) == (Result.PASS, "helo", Result.PASS)
    assert b"smtp.helo=mx.example.com" in results.header("mx.example.net")


@pytest.mark.parametrize(
    "sender",
    [
        "ann@evil.example, ceo@example.com",
        "ceo@example.com, ann@evil.example",
        '"ceo@bank.example" <x@EXAMPLE.com>',
        "friends: ceo@example.com, ann@evil.example;",
        "ceo@example.com.",
        "ceo@ex\u00e4mple.com, ceo@example.com",
        "ceo@example.com (a comment)",
    ],
)
async def test_every_author_domain_is_checked(sender: str) -> None:
    """T19: neither a second mailbox nor odd writing hides the domain that is displayed."""
    zone = _zone()
    zone["evil.example"] = {"TXT": ["v=spf1 +all"]}
    zone["_dmarc.evil.example"] = {"TXT": ["v=DMARC1; p=none"]}
    results = await _authenticate(
        _message(sender), FakeResolver(zone), ip="203.0.113.9", sender=Address("x", "evil.example")
    )
    assert (results.dmarc.result, results.dmarc.domain) == (Result.FAIL, "example.com")
    assert dmarc_verdict(results, "honour").action is Action.REJECT


@pytest.mark.parametrize("sender", ["", "MAILER-DAEMON", "nobody:;", "=?utf-8?q?ceo=40example.com?=", "a@[192.0.2.1]"])
async def test_from_without_a_usable_address_goes_to_junk(sender: str) -> None:
    """T19."""
    results = await _authenticate(_message(sender), FakeResolver(_zone()))
    assert results.dmarc.result is Result.NONE
    assert dmarc_verdict(results, "honour").keywords == ("$Junk",)
    assert dmarc_verdict(results, "score").action is Action.ACCEPT


def test_author_domains_have_a_limit() -> None:
    def domains(count: int) -> tuple[str, ...]:
        senders = ", ".join(f"a@d{i}.example" for i in range(count))
        return author_domains(split_header(f"From: {senders}\r\n\r\n".encode()))

    assert len(domains(4)) == 4
    assert domains(5) == ()
    assert domains(1000) == ()


def test_idn_author_domain_is_in_a_labels() -> None:
    """RFC 9989 §5.3.1."""
    assert author_domains(split_header("From: a@B\u00fccher.example\r\n\r\n".encode())) == ("xn--bcher-kva.example",)


async def test_large_mail_is_hashed_by_the_worker() -> None:
    worker = _Worker()
    octets = _message(signed=True, body=BODY + b"0123456789abcdef\r\n" * 5_000)
    results = await _authenticate(octets, FakeResolver(_zone()), worker=worker)
    assert (results.dkim_word, worker.runs) == ("pass", 1)


async def test_helo_cannot_forge_a_result() -> None:
    zone = _zone()
    results = await _authenticate(_message(), FakeResolver(zone), sender=Address('x" dkim=pass\r\nA: b', "example.com"))
    header = results.header("mx.example.net")
    assert header.count(b"\r\n") == 5
    assert all(line.startswith((b"\t", b"Authentication-Results: ")) for line in header.splitlines())


@pytest.mark.parametrize(("trusted", "action"), [((), Action.REJECT), (("list.example",), Action.ACCEPT)])
async def test_trusted_sealer_outweighs_a_dmarc_fail(trusted: tuple[str, ...], action: Action) -> None:
    """Product item 15: a list changed the body after its own check had passed."""
    zone = _zone()
    zone["s._domainkey.list.example"] = {"TXT": [SEALER.record]}
    authenticator = Authenticator(
        resolver=FakeResolver(zone), worker=_Worker(), clock=_Clock(), trusted_sealers=lambda: trusted
    )
    connection = ConnectionInfo(
        listener="smtp", remote_ip="203.0.113.9", remote_port=1, local_port=25, connection_id="c", helo="list.example"
    )
    envelope = Envelope(reverse_path=None, recipients=(Recipient(address=Address("bob", "example.net")),))
    octets = seal(_message(), "list.example", key=SEALER, now=NOW)
    results = await authenticator.authenticate(connection=connection, envelope=envelope, octets=octets)
    assert (results.dmarc.result, results.arc.result, results.arc.problem) == (Result.FAIL, Result.PASS, "")
    assert b"arc=pass (i=1, sealed by list.example)" in results.header("mx.example.net")
    assert dmarc_verdict(results, "honour").action is action


async def test_a_full_worker_is_a_temporary_error() -> None:
    class _Full(_Worker):
        def run(self, work: Callable[[], T]) -> Awaitable[T]:
            raise Unavailable(code="busy")

    octets = _message(signed=True, body=BODY + b"0123456789abcdef\r\n" * 5_000)
    with pytest.raises(Unavailable):
        await _authenticate(octets, FakeResolver(_zone()), worker=_Full())


GENUINE = seal(_message(signed=True), "list.example", key=SEALER, now=NOW)
PIECES = [
    b"DKIM-Signature: v=1; a=rsa-sha256; d=example.com; s=s; h=from:from; b=AA==; bh=AA==; l=",
    b"ARC-Seal: i=1; cv=none; a=rsa-sha256; d=example.com; s=s; b=AA==",
    b"ARC-Message-Signature: i=1;",
    b"ARC-Authentication-Results: i=1; x",
    b"From: ",
    b"From:" + b"a@b.example," * 9,
    b"\r\n",
    b"\r\n ",
    b"\n",
    b"\x00\xff",
    b"; ",
    b"=",
    b'"',
    b"(",
]
NOISE = st.lists(st.sampled_from(PIECES) | st.binary(max_size=8), max_size=25).map(b"".join)


@settings(max_examples=150, deadline=None)
@given(noise=NOISE, cut=st.integers(0, len(GENUINE)), keep=st.integers(0, len(GENUINE)))
def test_no_message_makes_it_fail(noise: bytes, cut: int, keep: int) -> None:
    """ST8: whatever the octets are, there are words and a field of whole lines."""
    octets = GENUINE[:cut] + noise + GENUINE[keep:]
    results = asyncio.run(_authenticate(octets, FakeResolver(_zone())))
    header = results.header("mx.example.net")
    assert header.isascii()
    assert all(line.startswith((b"\t", b"Authentication-Results: ")) for line in header.split(b"\r\n")[:-1])
    assert dmarc_verdict(results, "honour").action in (Action.ACCEPT, Action.TAG, Action.REJECT)
