"""Smuggling through other ends of data (security.md T01; CVE-2023-51764, -51765, -51766, CVE-2024-27305)."""

from __future__ import annotations

import asyncio

import pytest

from server.smtp.contracts import Listener
from tests.support.smtp_edge import running_edge

FAKES = [
    b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\r.\r\n", b"\n.\r", b"\r\n.\0\r\n", b"\r\n\0.\r\n",
]  # fmt: skip
SECOND = b"MAIL FROM:<evil@x.example>\r\nRCPT TO:<u2@example.org>\r\nDATA\r\nFrom: evil@x.example\r\n\r\nsmuggled"


@pytest.mark.parametrize("fake", FAKES)
async def test_a_second_message_is_never_smuggled_in(fake: bytes) -> None:
    """In one segment, and split behind each octet of the fake end."""
    async with running_edge() as edge:
        wire = b"From: a@b.example\r\n\r\nbody" + fake + SECOND + b"\r\n.\r\n"
        start = wire.index(fake)
        for cut in (None, *range(start, start + len(fake) + 2)):
            client = await edge.connect()
            await client.envelope()
            if cut is not None:
                await client.send(wire[:cut])
                await asyncio.sleep(0.002)
            await client.send(wire[cut:])
            assert (await client.reply())[:9] == b"550 5.5.2"
            assert await client.ask(b"QUIT") == b"221 2.0.0 Bye\r\n"
            assert await client.rest() == b""
    assert edge.reception.received == []
    assert all(address.local == "u1" for _, address in edge.reception.asked)


@pytest.mark.parametrize("fake", FAKES)
async def test_on_submission_neither(fake: bytes) -> None:
    for normalise in (False, True):
        async with running_edge(normalise_newlines=normalise) as edge:
            client = await edge.submission()
            await client.send(b"MAIL FROM:<u1@example.org>\r\nRCPT TO:<x@y.example>\r\nDATA\r\n")
            await client.replies(3)
            await client.send(b"From: u1@example.org\r\n\r\nbody" + fake + SECOND + b"\r\n.\r\n")
            answer = await client.reply()
            assert await client.ask(b"QUIT") == b"221 2.0.0 Bye\r\n"
        if b"\0" in fake or not normalise:
            assert answer[:9] == b"550 5.5.2"
            assert edge.submissions.accepted == []
        else:
            ((inbound, _),) = edge.submissions.accepted
            octets = inbound.content.data or b""
            assert b"smuggled" in octets
            assert octets.count(b"\n") == octets.count(b"\r") == octets.count(b"\r\n")


async def test_tls_that_ends_in_the_middle_of_a_message_stores_nothing() -> None:
    """CVE-2026-45185: close_notify in DATA, then octets in clear."""
    async with running_edge() as edge:
        client = await edge.connect()
        await client.ask(b"EHLO c.example")
        await client.ask(b"STARTTLS")
        await client.start_tls()
        await client.envelope()
        await client.send(b"From: a@b.example\r\n\r\nhalf")
        layer = client.writer.get_extra_info("ssl_object")
        assert layer is not None
        client.writer.close()
        while edge.server.open_connections:
            await asyncio.sleep(0.01)
        assert edge.writers.made[0].discarded
    assert edge.reception.received == []


async def test_bdat_is_refused_and_its_octets_are_never_commands() -> None:
    """security.md T22."""
    async with running_edge() as edge:
        client = await edge.connect()
        await client.ask(b"EHLO c.example")
        await client.ask(b"MAIL FROM:<a@b.example>")
        await client.ask(b"RCPT TO:<u1@example.org>")
        await client.send(b"BDAT 27 LAST\r\nMAIL FROM:<evil@x.example>\r\n")
        assert await client.rest() == b"500 5.5.1 Command not recognised\r\n"
    assert Listener.SMTP in edge.ports
