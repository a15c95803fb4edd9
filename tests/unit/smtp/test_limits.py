"""Limits and timeouts of the edge (reliability.md §8), each at its border."""

from __future__ import annotations

import asyncio
import ipaddress
import struct
import time

import pytest

from server.protocol.smtp.limits import COMMAND_LINE_MAX, ERRORS_MAX, IDLE_COMMANDS_MAX
from server.smtp import admission, commands, listener, receiving
from server.smtp.admission import Admission, normal_ip, peer_of
from server.smtp.contracts import Listener
from server.smtp.settings import SmtpSettings
from tests.support.smtp_edge import Client, running_edge

MESSAGE = b"From: a@b.example\r\n\r\nbody\r\n"
SETTINGS = SmtpSettings(hostname="mx.example.org", max_connections_per_ip=3, connections_per_minute=5)


@pytest.mark.parametrize(("size", "answer"), [(-1, b"250"), (0, b"250"), (1, b"500")])
async def test_command_line_limit(size: int, answer: bytes) -> None:
    async with running_edge() as edge:
        client = await edge.connect()
        assert (await client.ask(b"NOOP " + b"x" * (COMMAND_LINE_MAX + size - 7)))[:3] == answer


async def test_a_line_without_end_is_cut_and_closed() -> None:
    """Endless line (chasquid 1.2): memory holds no more than the limit and one read."""
    async with running_edge() as edge:
        client = await edge.connect()
        await client.send(b"x" * (COMMAND_LINE_MAX + 1))
        assert await client.rest() == b"500 5.5.2 Line too long\r\n"


async def test_a_slow_line_is_taken_whole_across_segments() -> None:
    async with running_edge() as edge:
        client = await edge.connect()
        for octet in b"EHLO c.example\r\n":
            await client.send(bytes([octet]))
            await asyncio.sleep(0)
        assert (await client.reply())[:3] == b"250"


async def test_errors_beyond_the_limit_end_the_connection() -> None:
    async with running_edge() as edge:
        client = await edge.connect()
        for _ in range(ERRORS_MAX):
            assert (await client.ask(b"NONSENSE"))[:3] == b"500"
        await client.send(b"NONSENSE\r\n")
        assert (await client.reply())[:3] == b"500"
        assert (await client.rest())[:9] == b"421 4.7.0"


async def test_commands_without_mail_beyond_the_limit_end_the_connection() -> None:
    async with running_edge() as edge:
        client = await edge.connect()
        for _ in range(IDLE_COMMANDS_MAX):
            assert (await client.ask(b"NOOP"))[:3] == b"250"
        await client.send(b"NOOP\r\n")
        assert (await client.rest())[:9] == b"421 4.7.0"


async def test_a_delivered_message_starts_the_count_again() -> None:
    async with running_edge() as edge:
        client = await edge.connect()
        for _ in range(3):
            for _ in range(IDLE_COMMANDS_MAX - 10):
                await client.ask(b"NOOP")
            await client.envelope()
            assert (await client.ask(MESSAGE + b"."))[:3] == b"250"


@pytest.mark.parametrize(("count", "answer"), [(99, b"250"), (100, b"250"), (101, b"452")])
async def test_recipient_limit(count: int, answer: bytes) -> None:
    """RFC 9422 RCPTMAX; recipients don't count as commands without mail."""
    async with running_edge(max_recipients=100) as edge:
        client = await edge.connect()
        await client.ask(b"EHLO c.example")
        await client.send(
            b"MAIL FROM:<>\r\n" + b"".join(b"RCPT TO:<many%d@example.org>\r\n" % number for number in range(count))
        )
        answers = await client.replies(count + 1)
        assert answers[-1][:3] == answer
        assert (await client.ask(b"DATA"))[:3] == b"354"
        await client.ask(MESSAGE + b".")
    assert len(edge.reception.received[0].envelope.recipients) == min(count, 100)


@pytest.mark.parametrize(("extra", "answer"), [(-1, b"250"), (0, b"250"), (1, b"552")])
async def test_message_size_limit(extra: int, answer: bytes) -> None:
    async with running_edge(max_message_size=100_000) as edge:
        client = await edge.connect()
        await client.envelope()
        body = (b"x" * 998 + b"\r\n") * 99
        await client.send(MESSAGE + body + b"y" * (1000 - len(MESSAGE) - 2 + extra) + b"\r\n.\r\n")
        assert (await client.reply())[:3] == answer
        assert (await client.ask(b"NOOP"))[:3] == b"250"


async def test_a_refused_message_is_traced_for_its_recipients() -> None:
    async with running_edge(max_message_size=100) as edge:
        client = await edge.connect()
        await client.envelope()
        await client.ask(b"x" * 200 + b"\r\n.")
    assert [(stage, reply.code) for stage, reply in edge.reception.refusals] == [("DATA", 552)]
    assert [address.local for address in edge.reception.refused_recipients if address] == ["u1"]


async def test_an_announced_size_over_the_limit_is_traced_with_its_sender() -> None:
    """RFC 1870 §6.1: said at MAIL, and found again by who wanted to send."""
    async with running_edge(max_message_size=1000) as edge:
        client = await edge.connect()
        await client.ask(b"EHLO c.example")
        assert (await client.ask(b"MAIL FROM:<a@b.example> SIZE=1001")).startswith(b"552 5.3.4 ")
        assert (await client.ask(b"MAIL FROM:<a@b.example> SIZE=1000")).startswith(b"250")
    assert [(stage, reply.code) for stage, reply in edge.reception.refusals] == [("MAIL", 552)]
    assert [str(sender) for sender in edge.reception.refused_senders] == ["a@b.example"]


async def test_command_timeout() -> None:
    async with running_edge(command_timeout_s=0.1) as edge:
        client = await edge.connect()
        assert await client.rest() == b"421 4.4.2 Timeout, closing\r\n"


async def test_half_a_command_does_not_stop_the_clock() -> None:
    async with running_edge(command_timeout_s=0.1) as edge:
        client = await edge.connect()
        await client.send(b"EHLO c.exam")
        assert await client.rest() == b"421 4.4.2 Timeout, closing\r\n"


async def test_data_timeout() -> None:
    async with running_edge(data_timeout_s=0.1) as edge:
        client = await edge.connect()
        await client.envelope()
        await client.send(MESSAGE)
        assert await client.rest() == b"421 4.4.2 Timeout, closing\r\n"
        assert edge.writers.made[0].discarded
    assert edge.reception.received == []


async def test_data_that_trickles_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """security.md T15: each block is in time, the average isn't."""
    monkeypatch.setattr(receiving, "DATA_RATE_WINDOW_S", 0.1)
    async with running_edge() as edge:
        client = await edge.connect()
        await client.envelope()
        for _ in range(20):
            await client.send(b"x\r\n")
            await asyncio.sleep(0.02)
        assert await client.rest() == b"421 4.4.2 Data arrives too slowly, closing\r\n"


async def test_submission_must_log_in_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "BEFORE_AUTH_S", 0.2)
    async with running_edge() as edge:
        client = await edge.connect(Listener.SUBMISSION)
        for _ in range(3):
            await client.ask(b"NOOP")
            await asyncio.sleep(0.05)
        assert await client.rest() == b"421 4.4.2 Timeout, closing\r\n"


async def test_a_busy_server_waits_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "BUSY_COMMAND_S", 0.1)
    async with running_edge(max_connections=2) as edge:
        first = await edge.connect()
        await asyncio.sleep(0.15)
        assert (await first.ask(b"NOOP"))[:3] == b"250"
        second = await edge.connect()
        assert await first.rest() == b"421 4.4.2 Timeout, closing\r\n"
        assert await second.rest() in (b"", b"421 4.4.2 Timeout, closing\r\n")


async def test_a_connection_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "CONNECTION_S", 0.2)
    async with running_edge() as edge:
        client = await edge.connect()
        started = time.monotonic()
        while (await client.ask(b"RSET"))[:3] == b"250":
            await asyncio.sleep(0.01)
            assert time.monotonic() - started < 2


async def test_connections_in_all() -> None:
    async with running_edge(max_connections=2) as edge:
        clients = [await edge.connect(), await edge.connect()]
        third = await edge.connect(banner=False)
        assert await third.rest() == b"421 4.7.0 Too many connections, try again later\r\n"
        await clients[0].ask(b"QUIT")
        assert await clients[0].rest() == b""
        while edge.server.open_connections > 1:
            await asyncio.sleep(0.01)
        await edge.connect()


async def test_connections_per_address() -> None:
    async with running_edge(exempt_networks=(), greeting_pause_s=0.0, max_connections_per_ip=2) as edge:
        await edge.connect()
        await edge.connect()
        third = await edge.connect(banner=False)
        assert (await third.rest())[:9] == b"421 4.7.0"


async def test_new_connections_per_minute() -> None:
    async with running_edge(exempt_networks=(), greeting_pause_s=0.0, connections_per_minute=3) as edge:
        for _ in range(3):
            await (await edge.connect()).ask(b"QUIT")
        fourth = await edge.connect(banner=False)
        assert (await fourth.rest())[:9] == b"421 4.7.0"


def test_admission_counts_a_64_as_one_peer() -> None:
    admission = Admission()
    for number in range(3):
        assert admission.admit(f"2001:db8:0:1::{number}", now=0.0, settings=SETTINGS)
    assert not admission.admit("2001:db8:0:1:ffff::9", now=0.0, settings=SETTINGS)
    assert admission.admit("2001:db8:0:2::1", now=0.0, settings=SETTINGS)
    admission.release("2001:db8:0:1::1")
    assert admission.admit("2001:db8:0:1::7", now=0.0, settings=SETTINGS)


def test_admission_forgets_after_a_minute() -> None:
    admission = Admission()
    for _ in range(5):
        assert admission.admit("192.0.2.1", now=1.0, settings=SETTINGS)
        admission.release("192.0.2.1")
    assert not admission.admit("192.0.2.1", now=59.0, settings=SETTINGS)
    assert admission.admit("192.0.2.1", now=61.0, settings=SETTINGS)


def test_admission_remembers_a_bounded_number_of_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "PEERS_MAX", 10)
    counts = Admission()
    for number in range(100):
        assert counts.admit(f"192.0.2.{number}", now=1.0, settings=SETTINGS)
        counts.release(f"192.0.2.{number}")
    assert len(counts._new) <= 10
    assert len(counts._open) == 0


async def test_an_auth_dialogue_does_not_extend_the_time_before_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "BEFORE_AUTH_S", 0.3)
    async with running_edge() as edge:
        client = await edge.submission(login=False)
        assert await client.ask(b"AUTH LOGIN") == b"334 VXNlcm5hbWU6\r\n"
        assert await client.rest() == b"421 4.4.2 Timeout, closing\r\n"


def test_addresses_have_one_spelling() -> None:
    assert normal_ip("::ffff:192.0.2.1") == "192.0.2.1"
    assert normal_ip("fe80::1%eth0") == "fe80::1"
    assert peer_of("192.0.2.1") == "192.0.2.1"


async def test_a_sweep_of_unknown_recipients_waits() -> None:
    """security.md T06."""
    async with running_edge(exempt_networks=(), greeting_pause_s=0.0, unknown_pause_s=0.1) as edge:
        client = await edge.connect()
        await client.ask(b"EHLO c.example")
        await client.ask(b"MAIL FROM:<>")
        await client.ask(b"RCPT TO:<zz@example.org>")
        started = time.monotonic()
        await client.ask(b"RSET")
        assert time.monotonic() - started > 0.09


async def test_a_trusted_peer_does_not_wait() -> None:
    async with running_edge(greeting_pause_s=60.0, unknown_pause_s=60.0) as edge:
        client = await edge.connect()
        await client.ask(b"EHLO c.example")
        await client.ask(b"MAIL FROM:<>")
        await client.ask(b"RCPT TO:<zz@example.org>")
        assert (await client.ask(b"RSET"))[:3] == b"250"


async def test_a_late_decision_is_451_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """reliability.md §4.3."""
    monkeypatch.setattr("server.smtp.commands.FINAL_DOT_S", 0.05)
    async with running_edge() as edge:
        go = asyncio.Event()
        edge.reception.before_answer = go.wait  # type: ignore[assignment]
        client = await edge.connect()
        await client.envelope()
        assert (await client.ask(MESSAGE + b"."))[:9] == b"451 4.3.0"
        go.set()
        assert (await client.ask(b"NOOP"))[:3] == b"250"
    assert len(edge.reception.received) == 1


PROXY = {"trusted_proxies": (ipaddress.ip_network("127.0.0.0/8"),), "exempt_networks": (), "greeting_pause_s": 0.0}


async def test_a_trusted_proxy_names_the_client() -> None:
    async with running_edge(**PROXY) as edge:
        client = await edge.connect(banner=False)
        await client.send(b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 25\r\n")
        assert (await client.reply())[:3] == b"220"
    assert (edge.reception.connections[0].remote_ip, edge.reception.connections[0].remote_port) == ("192.0.2.7", 4711)


async def test_a_proxied_client_is_limited_by_its_own_address() -> None:
    async with running_edge(**PROXY, max_connections_per_ip=1) as edge:
        for ip, greeted in ((b"192.0.2.7", True), (b"192.0.2.8", True), (b"192.0.2.7", False)):
            client = await edge.connect(banner=False)
            await client.send(b"PROXY TCP4 " + ip + b" 192.0.2.1 4711 25\r\n")
            if greeted:
                assert (await client.reply())[:3] == b"220"
            else:
                assert await client.rest() == b""


async def test_a_trusted_proxy_without_header_is_closed() -> None:
    async with running_edge(**PROXY) as edge:
        client = await edge.connect(banner=False)
        await client.send(b"EHLO c.example\r\n")
        assert await client.rest() == b""
    assert edge.reception.connections == []


async def test_a_proxy_header_comes_before_tls_on_465() -> None:
    """The header and the ClientHello may share a segment; both are read by whom they are for."""
    async with running_edge(**PROXY) as edge:
        reader, writer = await asyncio.open_connection("127.0.0.1", edge.ports[Listener.SUBMISSIONS])
        client = Client(reader, writer)
        edge.clients.append(client)
        payload = bytes([192, 0, 2, 7, 192, 0, 2, 1]) + struct.pack("!HH", 4711, 465)
        writer.write(b"\r\n\r\n\0\r\nQUIT\n\x21\x11" + struct.pack("!H", len(payload)) + payload)
        await client.start_tls()
        assert (await client.reply())[:3] == b"220"
    assert edge.reception.connections[0].remote_ip == "192.0.2.7"


async def test_an_untrusted_peer_cannot_forge_its_address() -> None:
    """security.md T08."""
    async with running_edge() as edge:
        client = await edge.connect()
        assert (await client.ask(b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 25"))[:3] == b"500"
        assert (await client.ask(b"XCLIENT ADDR=192.0.2.7"))[:3] == b"500"
    assert edge.reception.connections[0].remote_ip == "127.0.0.1"
