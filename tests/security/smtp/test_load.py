"""Messages and peers made to cost memory or time (security.md Y3, P5, T14, T15)."""

from __future__ import annotations

import asyncio
import resource
import time

import pytest

from server.protocol.smtp.data import DataReader
from server.protocol.smtp.limits import TEXT_LINE_MAX
from server.smtp.listener import BUFFER_MAX, READ_MAX, ListenerProtocol
from tests.support.smtp_edge import running_edge

MIB = 1024 * 1024


class Lag:
    """The longest step of the event loop while it runs."""

    def __init__(self) -> None:
        self.longest_s = 0.0
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Lag:
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()

    async def _watch(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.005)
            self.longest_s = max(self.longest_s, time.monotonic() - before - 0.005)


@pytest.mark.parametrize("unit", [b"\r\n", b"\r\n..", b".\r\n\r\n", b"a\r\n", b"x" * 998 + b"\r\n"])
async def test_39_mib_of_line_ends_cost_neither_memory_nor_the_loop(unit: bytes) -> None:
    """Y3: aiosmtpd took 335 MiB and held the loop for half a second."""
    async with running_edge() as edge:
        client = await edge.connect()
        await client.envelope()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        wire = b"From: a@b.example\r\n\r\n" + unit * (39 * MIB // 10 // len(unit))
        async with Lag() as lag:
            await client.send(wire.replace(b"\r\n.\r\n", b"\r\n..\r\n") + b"\r\n.\r\n")
            assert (await client.reply())[:3] == b"250"
        grown_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        assert lag.longest_s < 0.25
        assert grown_mib < 64


async def test_a_line_that_never_ends_is_read_and_not_kept() -> None:
    async with running_edge() as edge:
        client = await edge.connect()
        await client.envelope()
        for _ in range(64):
            await client.send(b"x" * MIB)
        await client.send(b"\r\n.\r\n")
        assert (await client.reply())[:9] == b"554 5.6.0"
        assert edge.writers.made[0].size_octets == 0
    assert edge.reception.received == []


async def test_a_message_over_the_limit_is_read_and_not_kept() -> None:
    async with running_edge(max_message_size=MIB) as edge:
        client = await edge.connect()
        await client.envelope()
        for _ in range(20):
            await client.send((b"x" * 998 + b"\r\n") * 1000)
        await client.send(b".\r\n")
        assert (await client.reply())[:9] == b"552 5.3.4"
        assert edge.writers.made[0].discarded
        assert (await client.ask(b"NOOP"))[:3] == b"250"


def test_work_grows_with_the_input_and_not_faster() -> None:
    """Growth exponent at most 1.2 (T13), on the shapes that look for trouble."""
    for unit in (b"\r\n", b"\r\n.", b".", b"\r\n.\r", b"x" * TEXT_LINE_MAX):

        def seconds(octets: int, unit: bytes = unit) -> float:
            wire = (unit * (octets // len(unit) + 1))[:octets]
            best = 9.0
            for _ in range(3):
                reader = DataReader(size_max=10**9)
                started = time.perf_counter()
                for at in range(0, octets, READ_MAX):
                    reader.feed(wire[at : at + READ_MAX])
                best = min(best, time.perf_counter() - started)
            return best

        assert seconds(4 * MIB) < 8 * seconds(MIB) + 0.02


async def test_a_client_that_never_reads_stops_being_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """T14: replies nobody takes don't pile up; the connection's memory stays bounded."""
    monkeypatch.setattr("server.smtp.session.IDLE_COMMANDS_MAX", 10**9)
    async with running_edge() as edge:
        client = await edge.connect()
        client.reader._transport.pause_reading()  # type: ignore[attr-defined]
        client.writer.transport.set_write_buffer_limits(high=0)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.send(b"NOOP\r\n" * (5 * MIB)), 1.0)
        unsent = client.writer.transport.get_write_buffer_size()
        assert unsent > 10 * MIB


async def test_a_buffer_full_of_commands_leaves_the_loop_to_others() -> None:
    """P5: thousands of recipients in one segment are worked off a hundred at a time."""
    async with running_edge() as edge:
        client = await edge.connect()
        await client.ask(b"EHLO b.example")
        await client.ask(b"MAIL FROM:<a@b.example>")
        connection = next(iter(edge.server._connections))
        assert isinstance(connection, ListenerProtocol)
        commands = BUFFER_MAX // 40
        # As the loop would hand it over at once.
        connection.data_received(b"RCPT TO:<u1@example.org>\r\n" * commands)
        turns = 0
        while connection.has_input:
            await asyncio.sleep(0)
            turns += 1
        for _ in range(commands):
            assert (await client.reply())[:3] == b"250"
    assert turns > commands // 200


async def test_a_client_that_goes_on_sending_after_the_end_is_cut() -> None:
    async with running_edge() as edge:
        client = await edge.connect()
        with pytest.raises(ConnectionError):
            await client.send(b"NOOP\r\n" * (5 * MIB))
        while edge.server.open_connections:
            await asyncio.sleep(0.01)


async def test_what_waits_unread_stays_below_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """reliability.md §4.12: at most 256 KiB per connection, while the session is busy."""
    longest = 0
    plain = ListenerProtocol.data_received

    def measured(self: ListenerProtocol, data: bytes) -> None:
        nonlocal longest
        plain(self, data)
        longest = max(longest, len(self._buffer))

    monkeypatch.setattr(ListenerProtocol, "data_received", measured)
    async with running_edge() as edge:
        go = asyncio.Event()
        edge.reception.before_answer = go.wait  # type: ignore[assignment]
        client = await edge.connect()
        await client.envelope()
        await client.send(b"From: a@b.example\r\n\r\n.\r\n")
        client.writer.write(b"RSET\r\n" * MIB)
        await asyncio.sleep(0.2)
        go.set()
        assert (await client.reply())[:3] == b"250"
    assert 0 < longest <= BUFFER_MAX


async def test_idle_peers_do_not_slow_others() -> None:
    """T15, small: 100 idle and 20 half-sent messages beside a working client."""
    async with running_edge() as edge:
        for _ in range(100):
            await edge.connect()
        for _ in range(20):
            slow = await edge.connect()
            await slow.envelope()
            await slow.send(b"From: a@b.example\r\n\r\nhalf")
        client = await edge.connect()
        async with Lag() as lag:
            for _ in range(50):
                await client.envelope()
                assert (await client.ask(b"From: a@b.example\r\n\r\nbody\r\n."))[:3] == b"250"
        assert lag.longest_s < 0.25
    assert len(edge.reception.received) == 50
