"""Who may connect and stay: banned networks, and sessions whose login has ended (security.md §4)."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.support.gate import FakeGate
from tests.support.imap_edge import WAIT_S, open_imap

BYE = b"* BYE Your login has ended, log in again\r\n"


async def test_a_banned_network_gets_bye_and_no_session(state_dir: Path) -> None:
    gate = FakeGate()
    async with open_imap(state_dir, gate=gate) as edge:
        gate.banned.add("127.0.0.1")
        reader, writer = await asyncio.open_connection("127.0.0.1", edge.imap_port)
        said = await asyncio.wait_for(reader.read(), WAIT_S)
        assert said.startswith(b"* BYE [UNAVAILABLE]")
        assert said.count(b"\r\n") == 1
        writer.close()
        await writer.wait_closed()
        gate.banned.clear()
        await edge.login()


async def test_a_session_is_registered_with_its_last_command_and_taken_out_at_the_end(state_dir: Path) -> None:
    gate = FakeGate()
    async with open_imap(state_dir, gate=gate) as edge:
        client = await edge.selected()
        guest = gate.guest
        assert (guest.principal.address, guest.info.listener, guest.command) == ("a@example.org", "imaps", "SELECT")
        await client.ask(b"LOGOUT")
        await client.rest()
        async with asyncio.timeout(WAIT_S):
            while gate.guests:
                await asyncio.sleep(0.01)


async def test_a_waiting_client_whose_login_ends_gets_bye(state_dir: Path) -> None:
    gate = FakeGate()
    async with open_imap(state_dir, gate=gate) as edge:
        client = await edge.selected()
        gate.guest.close()
        assert await client.rest() == BYE


async def test_an_idling_client_whose_login_ends_gets_bye(state_dir: Path) -> None:
    gate = FakeGate()
    async with open_imap(state_dir, gate=gate) as edge:
        client = await edge.selected()
        await client.send(b"i IDLE\r\n")
        assert (await client.line()).startswith(b"+ ")
        gate.guest.close()
        assert await client.rest() == b"i OK IDLE terminated\r\n" + BYE
