"""Dialogues with reception on port 25 (RFC 5321, product.md items 1 to 4)."""

from __future__ import annotations

import asyncio

import pytest

from server.domain.address import Address
from server.domain.envelope import Notify, Ret
from server.domain.reply import reply
from server.smtp.contracts import Listener
from tests.support.smtp_edge import running_edge

MESSAGE = b"From: a@b.example\r\nSubject: x\r\n\r\nbody\r\n..dot\r\n"


async def test_a_message_is_received_with_its_envelope_and_octets() -> None:
    async with running_edge() as edge:
        client = await edge.connect()
        await client.envelope()
        assert await client.ask(MESSAGE + b".") == b"250 2.0.0 Ok: stored\r\n"
        assert await client.ask(b"QUIT") == b"221 2.0.0 Bye\r\n"
        assert await client.rest() == b""
    (inbound,) = edge.reception.received
    assert inbound.content.data == b"From: a@b.example\r\nSubject: x\r\n\r\nbody\r\n.dot\r\n"
    assert inbound.envelope.reverse_path == Address("a", "b.example")
    assert [recipient.address for recipient in inbound.envelope.recipients] == [Address("u1", "example.org")]
    assert inbound.connection.listener == "smtp"
    assert inbound.connection.helo == "c.example"
    assert inbound.connection.esmtp


async def test_ehlo_on_port_25_lists_what_the_product_offers_and_no_auth() -> None:
    async with running_edge() as edge:
        client = await edge.connect()
        lines = (await client.ask(b"EHLO c.example")).decode().splitlines()
    assert lines == [
        "250-mx.example.org greets c.example",
        "250-PIPELINING",
        "250-SIZE 52428800",
        "250-8BITMIME",
        "250-SMTPUTF8",
        "250-ENHANCEDSTATUSCODES",
        "250-DSN",
        "250-LIMITS RCPTMAX=1000",
        "250 STARTTLS",
    ]


async def test_starttls_is_not_listed_without_a_certificate() -> None:
    async with running_edge(with_tls=False) as edge:
        client = await edge.connect()
        assert b"STARTTLS" not in await client.ask(b"EHLO c.example")
        assert (await client.ask(b"STARTTLS"))[:9] == b"454 4.7.0"


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        (b"NOOP", b"250 2.0.0"),
        (b"NOOP anything", b"250 2.0.0"),
        (b"RSET", b"250 2.0.0"),
        (b"VRFY u1", b"252 2.5.0"),
        (b"EXPN list", b"502 5.5.1"),
        (b"HELP", b"214 2.0.0"),
        (b"AUTH PLAIN AGEAYg==", b"502 5.5.1"),
        (b"FROBNICATE", b"500 5.5.1"),
        (b"", b"500 5.5.2"),
        (b"   ", b"500 5.5.2"),
        (b"RCPT TO:<u1@example.org>", b"503 5.5.1"),
        (b"DATA", b"503 5.5.1"),
        (b"DATA now", b"501 5.5.4"),
        (b"EHLO", b"501 5.5.4"),
        (b"EHLO a b", b"501 5.5.4"),
        (b"MAIL FROM:a@b.example", b"501 5.5.4"),
        (b"MAIL FROM:<a@b.example> FOO=1", b"555 5.5.4"),
        (b"MAIL FROM:<a@b.example> SIZE=99999999", b"552 5.3.4"),
        (b"MAIL FROM:<a@b.example> AUTH=<>", b"555 5.5.4"),
        ("MAIL FROM:<ä@b.example>".encode(), b"553 5.6.7"),
    ],
)
async def test_a_single_command_after_ehlo(line: bytes, answer: bytes) -> None:
    async with running_edge() as edge:
        client = await edge.connect()
        await client.ask(b"EHLO c.example")
        assert (await client.ask(line))[:9] == answer


async def test_commands_before_ehlo_are_out_of_order() -> None:
    async with running_edge() as edge:
        client = await edge.connect()
        assert (await client.ask(b"MAIL FROM:<a@b.example>"))[:9] == b"503 5.5.1"
        assert (await client.ask(b"STARTTLS"))[:9] == b"503 5.5.1"


async def test_helo_answers_one_line_and_mail_works() -> None:
    async with running_edge() as edge:
        client = await edge.connect()
        assert await client.ask(b"HELO c.example") == b"250 mx.example.org\r\n"
        assert await client.ask(b"mail from:<a@b.example>") == b"250 2.1.0 Ok\r\n"
        assert await client.ask(b"rcpt to:<u1@example.org>") == b"250 2.1.5 Ok\r\n"
        await client.ask(b"data")
        await client.ask(MESSAGE + b".")
    assert not edge.reception.received[0].connection.esmtp


async def test_a_pipelined_group_is_answered_in_order_and_in_one_write() -> None:
    async with running_edge() as edge:
        client = await edge.connect()
        await client.ask(b"EHLO c.example")
        await client.send(
            b"MAIL FROM:<a@b.example>\r\nRCPT TO:<u1@example.org>\r\nRCPT TO:<zz@example.org>\r\nDATA\r\n"
        )
        assert [answer[:3] for answer in await client.replies(4)] == [b"250", b"250", b"550", b"354"]
        # RFC 2920 §3.1: the next group may follow the final dot in the same segment.
        await client.send(MESSAGE + b".\r\nMAIL FROM:<>\r\nRCPT TO:<u2@example.org>\r\nDATA\r\n")
        assert [answer[:3] for answer in await client.replies(4)] == [b"250", b"250", b"250", b"354"]
        assert (await client.ask(MESSAGE + b"."))[:3] == b"250"
    assert [inbound.envelope.reverse_path for inbound in edge.reception.received] == [Address("a", "b.example"), None]


async def test_an_unknown_recipient_is_refused_at_rcpt_and_data_without_one_is_554() -> None:
    async with running_edge() as edge:
        client = await edge.connect()
        await client.ask(b"EHLO c.example")
        await client.ask(b"MAIL FROM:<a@b.example>")
        assert await client.ask(b"RCPT TO:<zz@example.org>") == b"550 5.1.1 No such user\r\n"
        assert (await client.ask(b"DATA"))[:9] == b"554 5.5.1"


async def test_dsn_parameters_reach_the_envelope() -> None:
    async with running_edge() as edge:
        client = await edge.connect()
        await client.ask(b"EHLO c.example")
        await client.ask(b"MAIL FROM:<a@b.example> RET=HDRS ENVID=QQ+2B1 BODY=8BITMIME SIZE=100")
        await client.ask(b"RCPT TO:<u1@example.org> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;Bob+40example.org")
        await client.ask(b"DATA")
        await client.ask(MESSAGE + b".")
    envelope = edge.reception.received[0].envelope
    assert (envelope.ret, envelope.envid, envelope.body_8bit) == (Ret.HDRS, "QQ+1", True)
    assert envelope.recipients[0].notify == {Notify.SUCCESS, Notify.DELAY}
    assert envelope.recipients[0].orcpt == "rfc822;Bob@example.org"


async def test_rset_and_ehlo_drop_the_transaction() -> None:
    async with running_edge() as edge:
        client = await edge.connect()
        for line in (b"RSET", b"EHLO again.example"):
            await client.ask(b"EHLO c.example")
            await client.ask(b"MAIL FROM:<a@b.example>")
            await client.ask(b"RCPT TO:<u1@example.org>")
            assert (await client.ask(line))[:3] == b"250"
            assert (await client.ask(b"DATA"))[:3] == b"503"


async def test_postmaster_without_domain_is_a_recipient() -> None:
    """RFC 5321 §4.5.1."""
    async with running_edge() as edge:
        client = await edge.connect()
        await client.ask(b"EHLO c.example")
        await client.ask(b"MAIL FROM:<>")
        assert (await client.ask(b"RCPT TO:<Postmaster>"))[:3] == b"250"
    assert edge.reception.asked == [(None, Address("postmaster", "mx.example.org"))]


async def test_a_recipient_named_twice_is_one() -> None:
    async with running_edge() as edge:
        client = await edge.connect()
        await client.ask(b"EHLO c.example")
        await client.ask(b"MAIL FROM:<>")
        await client.ask(b"RCPT TO:<u1@example.org>")
        await client.ask(b"RCPT TO:<u1@EXAMPLE.org>")
        await client.ask(b"DATA")
        await client.ask(MESSAGE + b".")
    assert len(edge.reception.received[0].envelope.recipients) == 1


async def test_the_refusal_of_reception_replaces_the_greeting() -> None:
    async with running_edge() as edge:
        edge.reception.banner = reply(421, "4.3.2", "Come back later")
        client = await edge.connect(banner=False)
        assert await client.rest() == b"421 4.3.2 Come back later\r\n"


async def test_a_crash_in_reception_is_451_with_neutral_text() -> None:
    """reliability.md P4, security.md Y2."""
    async with running_edge() as edge:
        edge.reception.crash = OSError(28, "No space left on device: '/var/lib/x'")
        client = await edge.connect()
        await client.envelope()
        assert await client.ask(MESSAGE + b".") == b"451 4.3.0 Temporary server error\r\n"
        edge.reception.crash = None
        await client.envelope()
        assert (await client.ask(MESSAGE + b"."))[:3] == b"250"


async def test_no_space_is_452_before_354() -> None:
    async with running_edge() as edge:
        edge.writers.refuse = True
        client = await edge.connect()
        await client.ask(b"EHLO c.example")
        await client.ask(b"MAIL FROM:<>")
        await client.ask(b"RCPT TO:<u1@example.org>")
        assert (await client.ask(b"DATA"))[:9] == b"452 4.3.1"


async def test_no_space_in_the_middle_is_452_after_the_dot() -> None:
    async with running_edge() as edge:
        edge.writers.fail_after = 100
        client = await edge.connect()
        await client.envelope()
        assert (await client.ask(b"x" * 60 + b"\r\n" + b"y" * 60 + b"\r\n."))[:9] == b"452 4.3.1"
        assert edge.writers.made[0].discarded
        assert (await client.ask(b"NOOP"))[:3] == b"250"
    assert edge.reception.received == []


async def test_a_client_that_vanishes_before_the_dot_leaves_nothing() -> None:
    async with running_edge() as edge:
        client = await edge.connect()
        await client.envelope()
        await client.send(MESSAGE)
        client.close()
        while edge.server.open_connections:
            await asyncio.sleep(0.01)
        assert edge.writers.made[0].discarded
    assert edge.reception.received == []


async def test_half_close_after_the_dot_still_stores_and_answers() -> None:
    """reliability.md F15, aiosmtpd #110."""
    async with running_edge() as edge:
        go = asyncio.Event()
        edge.reception.before_answer = go.wait  # type: ignore[assignment]
        client = await edge.connect()
        await client.envelope()
        await client.send(MESSAGE + b".\r\n")
        client.writer.write_eof()
        await asyncio.sleep(0.05)
        go.set()
        assert await client.rest() == b"250 2.0.0 Ok: stored\r\n"
    assert len(edge.reception.received) == 1


async def test_a_client_that_resets_after_the_dot_does_not_stop_the_commit() -> None:
    """reliability.md F15."""
    async with running_edge() as edge:
        go = asyncio.Event()
        edge.reception.before_answer = go.wait  # type: ignore[assignment]
        client = await edge.connect()
        await client.envelope()
        await client.send(MESSAGE + b".\r\n")
        await asyncio.sleep(0.05)
        client.close()
        await asyncio.sleep(0.05)
        go.set()
        while edge.server.open_connections:
            await asyncio.sleep(0.01)
    assert len(edge.reception.received) == 1


async def test_drain_sends_idle_peers_away_and_lets_a_message_finish() -> None:
    """reliability.md §9."""
    async with running_edge() as edge:
        idle, busy = await edge.connect(), await edge.connect()
        await busy.envelope()
        drain = asyncio.create_task(edge.server.drain(5.0))
        assert await idle.rest() == b"421 4.3.2 Service is shutting down\r\n"
        await busy.send(MESSAGE + b".\r\n")
        assert await busy.rest() == b"250 2.0.0 Ok: stored\r\n421 4.3.2 Service is shutting down\r\n"
        await drain
        with pytest.raises(ConnectionError):
            await edge.connect(Listener.SMTP)
    assert len(edge.reception.received) == 1
