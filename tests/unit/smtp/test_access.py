"""Who may connect and stay: banned networks, ended logins, logins by token (security.md §4, RFC 7628)."""

from __future__ import annotations

import asyncio
import base64

from server.smtp import server as smtp_server
from server.smtp.contracts import Listener
from tests.support.gate import FakeGate
from tests.support.smtp_edge import WAIT_S, running_edge

PASSWORD = b"correct horse battery"
TOKEN_LOGIN = b"u1@example.org"


def bearer(token: bytes, login: bytes = TOKEN_LOGIN) -> bytes:
    return base64.b64encode(
        b"n,a=" + login + b",\x01host=mx.example.org\x01port=465\x01auth=Bearer " + token + b"\x01\x01"
    )


async def test_a_banned_network_gets_421_and_no_session() -> None:
    gate = FakeGate(banned={"127.0.0.1"})
    async with running_edge(gate=gate) as edge:
        for listener in (Listener.SMTP, Listener.SUBMISSION):
            client = await edge.connect(listener, banner=False)
            assert (await client.reply())[:9] == b"421 4.7.0"
            assert await client.rest() == b""
        gate.banned.clear()
        client = await edge.connect()
        assert (await client.ask(b"EHLO c.example"))[:3] == b"250"
    assert edge.reception.received == []


async def test_a_login_is_registered_with_its_last_command_and_taken_out_at_the_end() -> None:
    gate = FakeGate()
    async with running_edge(gate=gate) as edge:
        client = await edge.submission()
        await client.ask(b"MAIL FROM:<u1@example.org>")
        guest = gate.guest
        assert (guest.principal.address, guest.info.listener, guest.command) == ("u1@example.org", "submission", "MAIL")
        assert guest.info.tls is not None
        assert (await client.ask(b"QUIT"))[:3] == b"221"
        assert await client.rest() == b""
        async with asyncio.timeout(WAIT_S):
            while gate.guests:
                await asyncio.sleep(0.01)


async def test_an_idle_client_whose_login_ends_gets_421() -> None:
    gate = FakeGate()
    async with running_edge(gate=gate) as edge:
        client = await edge.submission()
        gate.guest.close()
        assert (await client.reply())[:9] == b"421 4.7.0"
        assert await client.rest() == b""


async def test_a_client_whose_login_ends_in_the_middle_of_data_has_sent_nothing() -> None:
    gate = FakeGate()
    async with running_edge(gate=gate) as edge:
        client = await edge.submission()
        await client.ask(b"MAIL FROM:<u1@example.org>")
        await client.ask(b"RCPT TO:<x@anywhere.example>")
        assert (await client.ask(b"DATA"))[:3] == b"354"
        await client.send(b"Subject: half\r\n\r\nhal")
        gate.guest.close()
        assert (await client.reply())[:3] == b"421"
    assert edge.submissions.accepted == []


async def test_oauthbearer_takes_a_token() -> None:
    async with running_edge() as edge:
        client = await edge.submission(login=False)
        assert (await client.ask(b"AUTH OAUTHBEARER " + bearer(b"correct")))[:3] == b"334"
        assert (await client.ask(b"AQ=="))[:9] == b"535 5.7.8"
        edge.logins.accounts["u1@example.org"] = b"good-token"
        assert (await client.ask(b"AUTH OAUTHBEARER " + bearer(b"good-token")))[:9] == b"235 2.7.0"
    assert [attempt[1:] for attempt in edge.logins.attempts] == [("OAUTHBEARER", False), ("OAUTHBEARER", True)]


async def test_a_refused_token_is_told_why_before_the_535() -> None:
    """RFC 7628 §3.2.2, §3.2.3."""
    async with running_edge() as edge:
        client = await edge.submission(login=False)
        answer = await client.ask(b"AUTH OAUTHBEARER " + bearer(b"wrong"))
        assert base64.b64decode(answer[4:]) == b'{"status":"invalid_token","schemes":"bearer"}'
        assert (await client.ask(b"*"))[:3] == b"535"
        assert (await client.ask(b"AUTH OAUTHBEARER bm9uc2Vuc2U="))[:9] == b"501 5.5.2"
        assert (await client.ask(b"NOOP"))[:3] == b"250"


def test_the_time_to_end_is_within_the_promise() -> None:
    assert smtp_server.END_LOGIN_S < 5
