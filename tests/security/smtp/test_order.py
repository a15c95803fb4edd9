"""Input that comes too early, and input that isn't SMTP (security.md T03, T04, Y6, Y8)."""

from __future__ import annotations

import asyncio
import ssl

import pytest

from server.smtp.contracts import Listener
from tests.support.smtp_edge import client_context, running_edge

TLS_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"


async def test_a_client_that_speaks_first_is_sent_away() -> None:
    """RFC 5321 §3.1; the pause before the greeting is where it shows."""
    async with running_edge(exempt_networks=(), greeting_pause_s=0.1) as edge:
        client = await edge.connect(banner=False)
        await client.send(b"EHLO c.example\r\nMAIL FROM:<a@b.example>\r\n")
        assert await client.rest() == b"554 5.5.1 Input before the greeting, closing\r\n"
    assert edge.reception.asked == []


@pytest.mark.parametrize("delayed", [False, True])
async def test_a_tls_handshake_on_a_clear_port_is_closed_without_an_answer(delayed: bool) -> None:
    async with running_edge(exempt_networks=(), greeting_pause_s=0.0 if delayed else 0.1) as edge:
        client = await edge.connect(banner=delayed)
        await client.send(TLS_HELLO)
        assert await client.rest() == b""


@pytest.mark.parametrize("verb", [b"GET", b"POST", b"HEAD", b"PUT", b"OPTIONS", b"CONNECT", b"PRI"])
@pytest.mark.parametrize("listener", [Listener.SMTP, Listener.SUBMISSION])
async def test_http_is_closed_without_an_answer(verb: bytes, listener: Listener) -> None:
    async with running_edge() as edge:
        client = await edge.connect(listener)
        await client.send(verb + b" / HTTP/1.1\r\nHost: x\r\n\r\nEHLO c.example\r\nMAIL FROM:<a@b.example>\r\n")
        assert await client.rest() == b""


@pytest.mark.parametrize("accepted", [True, False])
async def test_a_body_sent_before_354_is_not_read_as_commands(accepted: bool) -> None:
    async with running_edge() as edge:
        client = await edge.connect()
        await client.ask(b"EHLO c.example")
        await client.ask(b"MAIL FROM:<a@b.example>")
        await client.ask(b"RCPT TO:<u1@example.org>" if accepted else b"RCPT TO:<zz@example.org>")
        await client.send(b"DATA\r\nMAIL FROM:<evil@x.example>\r\nRCPT TO:<u2@example.org>\r\n.\r\n")
        assert await client.rest() == b"503 5.5.1 Input before the reply, closing\r\n"
    assert edge.reception.received == []
    assert len(edge.reception.asked) == 1


async def test_input_after_quit_is_ignored() -> None:
    async with running_edge() as edge:
        client = await edge.connect()
        await client.ask(b"EHLO c.example")
        await client.send(b"QUIT\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<u1@example.org>\r\n")
        assert await client.rest() == b"221 2.0.0 Bye\r\n"
    assert edge.reception.asked == []


INJECTED = [b"NOOP\r\n", b"NO", b"EHLO evil.example\r\nMAIL FROM:<evil@x.example>\r\n", b"\r\n", b"\x16", b"x" * 20_000]


@pytest.mark.parametrize("injected", INJECTED)
@pytest.mark.parametrize("listener", [Listener.SMTP, Listener.SUBMISSION])
async def test_octets_behind_starttls_close_the_connection_unanswered(injected: bytes, listener: Listener) -> None:
    """CVE-2011-0411, CVE-2024-34083."""
    async with running_edge() as edge:
        client = await edge.connect(listener)
        await client.ask(b"EHLO c.example")
        await client.send(b"STARTTLS\r\n" + injected)
        assert await client.rest() == b""
    assert edge.reception.asked == []


async def test_octets_in_clear_after_the_220_break_the_handshake_and_nothing_else() -> None:
    async with running_edge() as edge:
        client = await edge.connect()
        await client.ask(b"EHLO c.example")
        assert (await client.ask(b"STARTTLS"))[:3] == b"220"
        await client.send(b"MAIL FROM:<evil@x.example>\r\n")
        assert b"250" not in await client.rest()
    assert edge.reception.asked == []


async def test_octets_in_clear_just_before_the_handshake_never_reach_the_session() -> None:
    """gh-142352: the same segment as the ClientHello, at the moment of the upgrade."""
    async with running_edge() as edge:
        for _ in range(10):
            client = await edge.connect()
            await client.ask(b"EHLO c.example")
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            layer = client_context().wrap_bio(incoming, outgoing, server_hostname="mx.example.org")
            with pytest.raises(ssl.SSLWantReadError):
                layer.do_handshake()
            await client.send(b"STARTTLS\r\n")
            await client.send(b"RSET\r\nMAIL FROM:<evil@x.example>\r\n" + outgoing.read())
            assert b"250" not in await client.rest()
    assert edge.reception.asked == []
    assert all(connection.tls is None for connection in edge.reception.connections)


async def test_starttls_with_an_argument_is_refused_and_the_session_goes_on() -> None:
    """RFC 3207 §4."""
    async with running_edge() as edge:
        client = await edge.connect()
        await client.ask(b"EHLO c.example")
        assert (await client.ask(b"STARTTLS now"))[:9] == b"501 5.5.4"
        assert (await client.ask(b"NOOP"))[:3] == b"250"


async def test_a_login_does_not_survive_where_tls_begins() -> None:
    """security.md Y6: what was said in clear is forgotten."""
    async with running_edge() as edge:
        client = await edge.connect(Listener.SUBMISSION)
        await client.ask(b"EHLO evil.example")
        await client.ask(b"STARTTLS")
        await client.start_tls()
        assert (await client.ask(b"AUTH PLAIN AGEAYg=="))[:3] == b"503"


async def test_a_stalled_handshake_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """security.md T15."""
    monkeypatch.setattr("server.smtp.listener.TLS_HANDSHAKE_S", 0.1)
    async with running_edge() as edge:
        reader, writer = await asyncio.open_connection("127.0.0.1", edge.ports[Listener.SUBMISSIONS])
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
