"""Submission on 587 and 465, TLS and logins (RFC 6409, RFC 8314, RFC 3207, RFC 4954, product.md items 5 and 6)."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from server.domain.address import Address
from server.domain.errors import RateLimited, Unavailable
from server.protocol.smtp.limits import AUTH_LINE_MAX, COMMAND_LINE_MAX
from server.smtp.contracts import Listener
from tests.support.smtp_edge import Client, Edge, running_edge

MESSAGE = b"From: u1@example.org\r\n\r\nbody\r\n"
PLAIN = base64.b64encode(b"\0u1@example.org\0correct horse battery")
WRONG = base64.b64encode(b"\0u1@example.org\0wrong")
USER = base64.b64encode(b"u1@example.org")
PASSWORD = base64.b64encode(b"correct horse battery")


async def test_587_asks_for_tls_before_anything() -> None:
    async with running_edge() as edge:
        client = await edge.connect(Listener.SUBMISSION)
        listed = await client.ask(b"EHLO c.example")
        assert b"250 STARTTLS\r\n" in listed
        assert b"AUTH" not in listed
        assert (await client.ask(b"AUTH PLAIN " + PLAIN))[:10] == b"538 5.7.11"
        assert (await client.ask(b"MAIL FROM:<u1@example.org>"))[:9] == b"530 5.7.0"
    assert edge.logins.attempts == []


async def test_587_after_starttls_forgets_the_greeting_and_offers_auth() -> None:
    """RFC 3207 §4.2, security.md Y6."""
    async with running_edge() as edge:
        client = await edge.submission(login=False)
        assert (await client.ask(b"STARTTLS"))[:9] == b"503 5.5.1"
        listed = await client.ask(b"EHLO c.example")
        assert b"250 AUTH SCRAM-SHA-256 PLAIN LOGIN OAUTHBEARER\r\n" in listed
        assert b"STARTTLS" not in listed
        assert (await client.ask(b"MAIL FROM:<u1@example.org>"))[:9] == b"530 5.7.0"


async def test_ehlo_is_needed_again_after_starttls() -> None:
    async with running_edge() as edge:
        client = await edge.connect()
        await client.ask(b"EHLO c.example")
        await client.ask(b"STARTTLS")
        await client.start_tls()
        assert (await client.ask(b"MAIL FROM:<a@b.example>"))[:9] == b"503 5.5.1"
        await client.envelope()
        await client.ask(MESSAGE + b".")
    tls = edge.reception.received[0].connection.tls
    assert tls is not None
    assert tls.version == "TLSv1.3"
    assert tls.cipher.startswith("TLS_")


async def test_465_begins_with_tls_and_takes_a_submission() -> None:
    async with running_edge() as edge:
        client = await edge.connect(Listener.SUBMISSIONS)
        listed = await client.ask(b"EHLO c.example")
        assert b"AUTH" in listed
        assert b"STARTTLS" not in listed
        assert (await client.ask(b"STARTTLS"))[:9] == b"503 5.5.1"
        assert await client.ask(b"AUTH PLAIN " + PLAIN) == b"235 2.7.0 Authentication succeeded\r\n"
        assert b"AUTH" not in await client.ask(b"EHLO c.example")
        await client.ask(b"MAIL FROM:<u1@example.org>")
        await client.ask(b"RCPT TO:<x@anywhere.example>")
        await client.ask(b"DATA")
        assert (await client.ask(MESSAGE + b"."))[:3] == b"250"
    ((inbound, principal),) = edge.submissions.accepted
    assert inbound.connection.listener == "submissions"
    assert inbound.envelope.recipients[0].address == Address("x", "anywhere.example")
    assert principal.address == "u1@example.org"
    assert edge.reception.received == []


async def test_465_without_a_certificate_closes() -> None:
    async with running_edge(with_tls=False) as edge:
        with pytest.raises((ConnectionError, OSError)):
            await edge.connect(Listener.SUBMISSIONS)


async def test_a_foreign_sender_is_550() -> None:
    async with running_edge() as edge:
        client = await edge.submission()
        assert (await client.ask(b"MAIL FROM:<boss@example.org>"))[:9] == b"550 5.7.1"
        assert (await client.ask(b"MAIL FROM:<u1@example.org>"))[:3] == b"250"
        assert (await client.ask(b"RCPT TO:<nobody@example.org>"))[:9] == b"550 5.1.1"
    assert [stage for stage, _ in edge.reception.refusals] == ["MAIL"]


async def test_auth_is_refused_twice_and_inside_a_transaction() -> None:
    async with running_edge() as edge:
        client = await edge.submission()
        assert (await client.ask(b"AUTH PLAIN " + PLAIN))[:9] == b"503 5.5.1"
        client = await edge.submission(login=False)
        assert (await client.ask(b"AUTH CRAM-MD5"))[:9] == b"504 5.5.4"
        assert (await client.ask(b"AUTH"))[:9] == b"501 5.5.4"


async def test_plain_with_a_challenge() -> None:
    async with running_edge() as edge:
        client = await edge.submission(login=False)
        assert await client.ask(b"AUTH PLAIN") == b"334 \r\n"
        assert (await client.ask(PLAIN))[:3] == b"235"


@pytest.mark.parametrize("initial", [True, False])
async def test_login_with_and_without_initial_response(initial: bool) -> None:
    async with running_edge() as edge:
        client = await edge.submission(login=False)
        if initial:
            assert await client.ask(b"AUTH LOGIN " + USER) == b"334 UGFzc3dvcmQ6\r\n"
        else:
            assert await client.ask(b"auth login") == b"334 VXNlcm5hbWU6\r\n"
            assert await client.ask(USER) == b"334 UGFzc3dvcmQ6\r\n"
        assert (await client.ask(PASSWORD))[:3] == b"235"
    assert edge.logins.attempts == [("u1@example.org", "LOGIN", True)]


async def test_wrong_password_and_unknown_user_get_the_same_answer() -> None:
    """security.md T06."""
    async with running_edge() as edge:
        client = await edge.submission(login=False)
        unknown = base64.b64encode(b"\0zz@example.org\0wrong")
        answers = {await client.ask(b"AUTH PLAIN " + token) for token in (WRONG, unknown)}
        assert answers == {b"535 5.7.8 Authentication credentials invalid\r\n"}
        assert (await client.ask(b"MAIL FROM:<u1@example.org>"))[:9] == b"530 5.7.0"
        assert (await client.ask(b"AUTH PLAIN " + PLAIN))[:3] == b"235"


async def test_another_identity_is_not_available() -> None:
    """RFC 4616 §2: an authorization identity other than one's own."""
    async with running_edge() as edge:
        client = await edge.submission(login=False)
        token = base64.b64encode(b"boss@example.org\0u1@example.org\0correct horse battery")
        assert (await client.ask(b"AUTH PLAIN " + token))[:9] == b"535 5.7.8"
    assert edge.logins.attempts == []


@pytest.mark.parametrize(("error", "answer"), [(RateLimited("slow down"), b"454 4.7.0"), (Unavailable(), b"454 4.7.0")])
async def test_limits_and_our_own_faults_are_temporary(error: Exception, answer: bytes) -> None:
    async with running_edge() as edge:
        edge.logins.fail = error
        client = await edge.submission(login=False)
        assert (await client.ask(b"AUTH PLAIN " + PLAIN))[:9] == answer


async def test_a_client_may_cancel() -> None:
    """RFC 4954 §4."""
    async with running_edge() as edge:
        client = await edge.submission(login=False)
        await client.ask(b"AUTH LOGIN")
        assert (await client.ask(b"*"))[:9] == b"501 5.7.0"
        assert (await client.ask(b"AUTH PLAIN " + PLAIN))[:3] == b"235"


async def test_text_that_is_not_base64_fails_this_attempt_alone() -> None:
    """O-H01, CVE-2025-59028: never taken as the password, no effect on others."""
    async with running_edge() as edge:
        client, other = await edge.submission(login=False), await edge.submission(login=False)
        await other.ask(b"AUTH LOGIN")
        await client.ask(b"AUTH LOGIN " + USER)
        assert (await client.ask(b"correct horse battery"))[:9] == b"501 5.5.2"
        assert (await client.ask(b"AUTH PLAIN !!!"))[:9] == b"501 5.5.2"
        await other.ask(USER)
        assert (await other.ask(PASSWORD))[:3] == b"235"
    assert edge.logins.attempts == [("u1@example.org", "LOGIN", True)]


def _client_final(password: bytes, first_bare: bytes, challenge: bytes) -> tuple[bytes, bytes]:
    """client-final-message and the server signature to expect (RFC 5802 §3)."""
    fields = dict(part.split(b"=", 1) for part in challenge.split(b","))
    salted = hashlib.pbkdf2_hmac("sha256", password, base64.b64decode(fields[b"s"]), int(fields[b"i"]))
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    without_proof = b"c=biws,r=" + fields[b"r"]
    message = b",".join((first_bare, challenge, without_proof))
    signature = hmac.digest(hashlib.sha256(client_key).digest(), message, "sha256")
    proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
    server = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), message, "sha256")
    return without_proof + b",p=" + base64.b64encode(proof), b"v=" + base64.b64encode(server)


async def _scram(client: Client, password: bytes, *, initial: bool) -> tuple[bytes, bytes]:
    """The reply to the proof, and the signature that a server that knows the password sends."""
    bare = b"n=u1@example.org,r=fyko+d2lbbFgONRv9qkxdawL"
    first = base64.b64encode(b"n,," + bare)
    if initial:
        answer = await client.ask(b"AUTH SCRAM-SHA-256 " + first)
    else:
        assert await client.ask(b"AUTH SCRAM-SHA-256") == b"334 \r\n"
        answer = await client.ask(first)
    assert answer[:4] == b"334 "
    final, signature = _client_final(password, bare, base64.b64decode(answer[4:]))
    return await client.ask(base64.b64encode(final)), signature


@pytest.mark.parametrize("initial", [True, False])
async def test_scram_proves_both_sides(initial: bool) -> None:
    """RFC 7677; the server's signature comes in a last challenge (RFC 4954 §4)."""
    async with running_edge() as edge:
        client = await edge.submission(login=False)
        answer, signature = await _scram(client, b"correct horse battery", initial=initial)
        assert answer == b"334 " + base64.b64encode(signature) + b"\r\n"
        assert (await client.ask(b""))[:3] == b"235"
        assert (await client.ask(b"MAIL FROM:<u1@example.org>"))[:3] == b"250"
    assert edge.logins.attempts == [("u1@example.org", "SCRAM-SHA-256", True)]


async def test_scram_with_a_wrong_password_fails_like_any_other() -> None:
    async with running_edge() as edge:
        client = await edge.submission(login=False)
        answer, _ = await _scram(client, b"wrong", initial=True)
        assert answer == b"535 5.7.8 Authentication credentials invalid\r\n"
    assert edge.logins.attempts == [("u1@example.org", "SCRAM-SHA-256", False)]


async def _padded(edge: Edge, size: int) -> bytes:
    """The answer to a response of `size` octets with its CRLF, which is valid base64 but no login."""
    client = await edge.submission(login=False)
    await client.ask(b"AUTH PLAIN")
    await client.send(b"A" * (size - 2) + b"\r\n")
    return (await client.reply())[:9]


async def test_a_response_at_the_limit() -> None:
    """RFC 4954 §4: 12,288 octets with CRLF are read, one more ends the connection."""
    async with running_edge() as edge:
        assert await _padded(edge, AUTH_LINE_MAX - 1) == b"501 5.5.2"
        assert await _padded(edge, AUTH_LINE_MAX) == b"501 5.5.2"
        assert await _padded(edge, AUTH_LINE_MAX + 1) == b"500 5.5.2"


async def test_an_auth_command_may_be_longer_than_others() -> None:
    async with running_edge() as edge:
        for size, answer in ((AUTH_LINE_MAX, b"501 5.5.2"), (AUTH_LINE_MAX + 1, b"500 5.5.2")):
            client = await edge.submission(login=False)
            line = b"AUTH PLAIN "
            assert (await client.ask(line + b"A" * (size - 2 - len(line))))[:9] == answer
        client = await edge.submission()
        assert (await client.ask(b"NOOP " + b"x" * (COMMAND_LINE_MAX - 6)))[:9] == b"500 5.5.2"


async def test_bare_newlines_of_a_logged_in_device_are_mended_where_asked() -> None:
    """product.md item 2, config.md submission.bare_newline; never for strangers."""
    async with running_edge(normalise_newlines=True) as edge:
        client = await edge.submission()
        await client.ask(b"MAIL FROM:<u1@example.org>")
        await client.ask(b"RCPT TO:<x@anywhere.example>")
        await client.ask(b"DATA")
        assert (await client.ask(b"From: u1@example.org\n\nbody\n.\n\r\n."))[:3] == b"250"
        stranger = await edge.connect()
        await stranger.envelope()
        assert (await stranger.ask(b"From: a@b\n\nbody\r\n."))[:9] == b"550 5.5.2"
    assert edge.submissions.accepted[0][0].content.data == b"From: u1@example.org\r\n\r\nbody\r\n.\r\n\r\n"


async def test_port_25_can_require_tls() -> None:
    """config.md smtp.require_tls."""
    async with running_edge(require_tls=True) as edge:
        client = await edge.connect()
        await client.ask(b"EHLO c.example")
        assert (await client.ask(b"MAIL FROM:<a@b.example>"))[:9] == b"530 5.7.0"
        await client.ask(b"STARTTLS")
        await client.start_tls()
        await client.envelope()
