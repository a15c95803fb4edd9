"""Logging in: only inside TLS, the same answer for every wrong credential (RFC 9051 §6.2; security.md T05, T06)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import imaplib
from pathlib import Path

import pytest

from server.adapters.tls import TlsContexts
from server.config.schema import Tls
from server.imap.commands import auth
from server.protocol.sasl.scram import ScramServer
from tests.support.imap_edge import PASSWORD, ImapEdge, open_imap, settings_with
from tests.support.smtp_edge import client_context


def _plain(login: bytes, password: bytes) -> bytes:
    return base64.b64encode(b"\0" + login + b"\0" + password)


async def test_capabilities_by_state(edge: ImapEdge) -> None:
    """RFC 9051 §6.1.1: only what may be used now."""
    plain = await edge.connect(secure=False)
    (line,) = await plain.ok(b"CAPABILITY")
    assert b" STARTTLS " in line
    assert line.endswith(b" LOGINDISABLED")
    assert b"AUTH=" not in line
    secure = await edge.connect()
    (line,) = await secure.ok(b"CAPABILITY")
    assert b"AUTH=PLAIN" in line
    assert b"AUTH=SCRAM-SHA-256" in line
    assert b"STARTTLS" not in line
    answer = (await secure.ask(b'LOGIN a@example.org "' + PASSWORD + b'"'))[-1]
    assert b"OK [CAPABILITY IMAP4rev1 " in answer
    assert b" IDLE " in answer
    assert b"AUTH=" not in answer


@pytest.mark.parametrize("command", [b"LOGIN a b", b"AUTHENTICATE PLAIN AGEAYg==", b"AUTHENTICATE PLAIN"])
async def test_login_in_clear_is_refused(edge: ImapEdge, command: bytes) -> None:
    """T05."""
    client = await edge.connect(secure=False)
    assert b"NO [PRIVACYREQUIRED]" in (await client.ask(command))[-1]
    assert edge.logins.seen == []


async def test_starttls_then_login(edge: ImapEdge) -> None:
    client = await edge.connect(secure=False)
    assert b" OK " in (await client.ask(b"STARTTLS"))[-1]
    await client.writer.start_tls(client_context())
    assert b"BAD TLS is active" in (await client.ask(b"STARTTLS"))[-1]
    await client.ok(b'LOGIN a@example.org "' + PASSWORD + b'"')


async def test_plain_with_and_without_initial_response(edge: ImapEdge) -> None:
    """RFC 4616, RFC 4959."""
    first = await edge.connect()
    assert b" OK " in (await first.ask(b"AUTHENTICATE PLAIN " + _plain(b"a@example.org", PASSWORD)))[-1]
    second = await edge.connect()
    await second.send(b"x AUTHENTICATE PLAIN\r\n")
    assert await second.line() == b"+ \r\n"
    await second.send(_plain(b"a@example.org", PASSWORD) + b"\r\n")
    assert b"x OK" in (await second.until(b"x"))[-1]


async def test_login_mechanism(edge: ImapEdge) -> None:
    client = await edge.connect()
    await client.send(b"x AUTHENTICATE LOGIN\r\n")
    assert base64.b64decode((await client.line())[2:]) == b"Username:"
    await client.send(base64.b64encode(b"a@example.org") + b"\r\n")
    assert base64.b64decode((await client.line())[2:]) == b"Password:"
    await client.send(base64.b64encode(PASSWORD) + b"\r\n")
    assert b"x OK" in (await client.until(b"x"))[-1]


async def test_scram_refuses_a_wrong_proof(edge: ImapEdge, monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 7677; mbsync and mutt speak the whole of it in the end-to-end tests."""
    monkeypatch.setattr(auth, "FAILURE_DELAY_S", 0.0)
    monkeypatch.setattr(ScramServer, "client_final", lambda self, message: None)
    client = await edge.connect()
    await client.send(b"x AUTHENTICATE SCRAM-SHA-256 " + base64.b64encode(b"n,,n=a@example.org,r=abc") + b"\r\n")
    challenge = base64.b64decode((await client.line())[2:])
    assert challenge.startswith(b"r=abc")
    await client.send(base64.b64encode(b"c=biws,r=x,p=eA==") + b"\r\n")
    assert b"x NO [AUTHENTICATIONFAILED]" in (await client.until(b"x"))[-1]


async def test_wrong_credentials_have_one_answer(edge: ImapEdge, monkeypatch: pytest.MonkeyPatch) -> None:
    """T06."""
    monkeypatch.setattr(auth, "FAILURE_DELAY_S", 0.0)
    client = await edge.connect()
    answers = {
        (await client.ask(b"LOGIN a@example.org wrong"))[-1].partition(b" ")[2],
        (await client.ask(b"LOGIN nobody@example.org wrong"))[-1].partition(b" ")[2],
        (await client.ask(b"AUTHENTICATE PLAIN " + _plain(b"nobody@example.org", PASSWORD)))[-1].partition(b" ")[2],
        (await client.ask(b"AUTHENTICATE PLAIN " + base64.b64encode(b"b@example.org\0a@example.org\0" + PASSWORD)))[
            -1
        ].partition(b" ")[2],
    }
    assert answers == {b"NO [AUTHENTICATIONFAILED] Login or password is wrong"}


@pytest.mark.parametrize(
    ("lines", "answer"),
    [
        ([b"x AUTHENTICATE PLAIN", b"*"], b"x BAD Authentication cancelled"),
        ([b"x AUTHENTICATE PLAIN", b"not base64!"], b"x BAD Malformed"),
        ([b"x AUTHENTICATE PLAIN AGEAYg"], b"x BAD Malformed"),
        ([b"x AUTHENTICATE BOGUS"], b"x NO [CANNOT]"),
        ([b'x LOGIN "" ""'], b"x BAD Malformed"),
    ],
)
async def test_malformed_logins(edge: ImapEdge, lines: list[bytes], answer: bytes) -> None:
    client = await edge.connect()
    await client.send(b"\r\n".join(lines) + b"\r\n")
    assert (await client.until(b"x"))[-1].startswith(answer)
    await client.ok(b"NOOP")


@pytest.mark.parametrize("command", [b"SELECT INBOX", b'LIST "" *', b"IDLE", b"ENABLE X", b"FETCH 1 FLAGS"])
async def test_commands_before_login(edge: ImapEdge, command: bytes) -> None:
    client = await edge.connect()
    assert b"BAD " in (await client.ask(command))[-1]


async def test_commands_of_the_wrong_state(edge: ImapEdge) -> None:
    client = await edge.login()
    for command in (b"FETCH 1 FLAGS", b"CLOSE", b"EXPUNGE", b"LOGIN a b", b"STARTTLS", b"UID SEARCH ALL"):
        assert b"BAD " in (await client.ask(command))[-1]


async def test_sessions_of_an_account_are_limited(tmp_path: Path) -> None:
    """reliability.md §8: per account and address."""
    async with open_imap(tmp_path, settings=settings_with(per_account=2)) as edge:
        first = await edge.login()
        await edge.login()
        third = await edge.connect()
        assert b"NO [LIMIT]" in (await third.ask(b'LOGIN a@example.org "' + PASSWORD + b'"'))[-1]
        await edge.login("b@example.org")
        await first.ask(b"LOGOUT")
        assert await first.rest() == b""
        while edge.server.open_connections > 3:
            await asyncio.sleep(0.01)
        await third.ok(b'LOGIN a@example.org "' + PASSWORD + b'"')


async def test_id_namespace_enable_logout(edge: ImapEdge) -> None:
    """RFC 2971, RFC 2342 §5, RFC 5161 §3.1."""
    client = await edge.login()
    assert await client.ok(b'ID ("name" "x")') == [b'* ID ("name" "MaiRust")']
    assert await client.ok(b"NAMESPACE") == [b'* NAMESPACE (("" "/")) (("Other Users/" "/")) NIL']
    assert await client.ok(b"ENABLE X-UNKNOWN CONDSTORE") == [b"* ENABLED CONDSTORE"]
    assert await client.ask(b"LOGOUT") == [b"* BYE Logging out", b"t5 OK LOGOUT completed"]
    assert await client.rest() == b""


async def test_pythons_imaplib(edge: ImapEdge) -> None:
    """The standard library's client, start to end."""

    def talk() -> None:
        client = imaplib.IMAP4("127.0.0.1", edge.imap_port)
        client.starttls(client_context())
        client.authenticate("PLAIN", lambda _: b"\0a@example.org\0" + PASSWORD)
        assert (
            client.append("INBOX", "\\Flagged", imaplib.Time2Internaldate(1.0), b"Subject: x\r\n\r\ny\r\n")[0] == "OK"
        )
        assert client.select("INBOX") == ("OK", [b"1"])
        assert client.search(None, "FLAGGED") == ("OK", [b"1"])
        assert client.fetch("1", "(RFC822)")[1][0][1] == b"Subject: x\r\n\r\ny\r\n"  # type: ignore[index]
        assert client.copy("1", "Trash")[0] == "OK"
        assert client.uid("STORE", "1", "+FLAGS", "(\\Deleted)")[0] == "OK"
        assert client.expunge() == ("OK", [b"1"])
        assert client.close()[0] == "OK"
        assert client.logout()[0] == "BYE"

    await asyncio.to_thread(talk)


def _bearer(token: bytes, login: bytes = b"a@example.org") -> bytes:
    return base64.b64encode(b"n,a=" + login + b",\1auth=Bearer " + token + b"\1\1")


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_token_logs_in(edge: ImapEdge, monkeypatch: pytest.MonkeyPatch, *, at_once: bool) -> None:
    """OAUTHBEARER (RFC 7628 §3.1), with and without an initial response (RFC 4959)."""
    monkeypatch.setattr("tests.support.imap_edge.PASSWORD", b"token-1")
    client = await edge.connect()
    if at_once:
        await client.send(b"x AUTHENTICATE OAUTHBEARER " + _bearer(b"token-1") + b"\r\n")
    else:
        await client.send(b"x AUTHENTICATE OAUTHBEARER\r\n")
        assert await client.line() == b"+ \r\n"
        await client.send(_bearer(b"token-1") + b"\r\n")
    assert b"x OK [CAPABILITY" in (await client.until(b"x"))[-1]


async def test_a_refused_token_is_told_why_before_it_fails(edge: ImapEdge, monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 7628 §3.2.3."""
    monkeypatch.setattr(auth, "FAILURE_DELAY_S", 0.0)
    client = await edge.connect()
    for answer, result in (
        (b"AQ==", b"x NO [AUTHENTICATIONFAILED]"),
        (b"*", b"x BAD Authentication cancelled"),
        (b"AAAA", b"x BAD Malformed"),
    ):
        await client.send(b"x AUTHENTICATE OAUTHBEARER " + _bearer(b"wrong") + b"\r\n")
        assert b"invalid_token" in base64.b64decode((await client.line())[2:])
        await client.send(answer + b"\r\n")
        assert (await client.until(b"x"))[-1].startswith(result)


def _proof(password: bytes, first_bare: bytes, server_first: bytes, final: bytes) -> bytes:
    """A client's side of RFC 5802 §3."""
    fields = dict(part.split(b"=", 1) for part in server_first.split(b","))
    salted = hashlib.pbkdf2_hmac("sha256", password, base64.b64decode(fields[b"s"]), int(fields[b"i"]))
    key = hmac.digest(salted, b"Client Key", "sha256")
    message = b",".join((first_bare, server_first, final))
    signature = hmac.digest(hashlib.sha256(key).digest(), message, "sha256")
    return base64.b64encode(bytes(a ^ b for a, b in zip(key, signature, strict=True)))


async def _scram(edge: ImapEdge, mechanism: bytes, gs2: bytes, binding: bytes) -> bytes:
    """One exchange with the right password; the tagged line."""
    client = await edge.connect()
    bare = b"n=a@example.org,r=fyko"
    await client.send(b"x AUTHENTICATE " + mechanism + b" " + base64.b64encode(gs2 + bare) + b"\r\n")
    challenge = await client.line()
    if not challenge.startswith(b"+ "):
        return challenge
    server_first = base64.b64decode(challenge[2:])
    nonce = server_first.partition(b",")[0]
    final = b"c=" + base64.b64encode(gs2 + binding) + b"," + nonce
    proof = _proof(PASSWORD, bare, server_first, final)
    await client.send(base64.b64encode(final + b",p=" + proof) + b"\r\n")
    answer = await client.line()
    if answer.startswith(b"+ "):
        await client.send(b"\r\n")
        answer = await client.line()
    return answer


async def test_scram_bound_to_the_channel(tmp_path: Path) -> None:
    """SCRAM-SHA-256-PLUS with tls-server-end-point (RFC 5802 §6, RFC 7677, RFC 5929 §4)."""
    contexts = TlsContexts(Tls(), folder=tmp_path, hostname="mx.example.org")
    async with open_imap(tmp_path, tls=contexts.server_context) as edge:
        client = await edge.connect()
        certificate = client.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        end_point = hashlib.sha256(certificate).digest()
        assert b" AUTH=SCRAM-SHA-256-PLUS" in (await client.ok(b"CAPABILITY"))[0]
        plus, gs2 = b"SCRAM-SHA-256-PLUS", b"p=tls-server-end-point,,"
        assert (await _scram(edge, plus, gs2, end_point)).startswith(b"x OK")
        assert (await _scram(edge, b"SCRAM-SHA-256", b"n,,", b"")).startswith(b"x OK")
        for mechanism, header, binding in (
            (plus, gs2, b"\x18" * 32),
            (plus, gs2, b""),
            (plus, b"n,,", b""),
            (plus, b"p=tls-unique,,", end_point),
            (b"SCRAM-SHA-256", gs2, end_point),
            (b"SCRAM-SHA-256", b"y,,", b""),
        ):
            assert (await _scram(edge, mechanism, header, binding)).startswith(b"x BAD"), (mechanism, header)
