"""A client that sends mail as fast as it is taken, and keeps the time of each message.

- One connection sends one message after the other, each command after the reply to the one before.
- A message's latency runs from MAIL to the reply to the final dot.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import cast

import uvloop

DISTINCT = 40
"""Different messages; they are sent in turn."""
WORDS = (
    "budget meeting invoice server report offer lunch project delivery contract question answer network monday agenda "
    "printer backup customer summary draft"
).split()
TIMEOUT_S = 180.0


@dataclass(slots=True)
class LoadResult:
    """What one load did.

    Attributes:
        began: `time.perf_counter` before the first connection.
        accepted_s: Seconds from there to the last 250.
        latencies_s: Of every accepted message.
        problems: Replies that were not expected, and broken connections.
    """

    began: float = 0.0
    accepted_s: float = 0.0
    latencies_s: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def make_messages(size_octets: int, sender: str) -> list[bytes]:
    """Messages of plain text of about this size, CRLF lines, no line begins with a dot."""
    return [_message(size_octets, sender, random.Random(number)) for number in range(DISTINCT)]


def _message(size_octets: int, sender: str, source: random.Random) -> bytes:
    head = (
        f"From: Sender <{sender}>\r\nTo: Reader <reader@example.test>\r\n"
        f"Subject: {' '.join(source.choices(WORDS, k=4))}\r\nDate: Sun, 22 Nov 2026 12:00:00 +0000\r\n"
        f"Message-ID: <{source.getrandbits(64):x}@{sender.partition('@')[2]}>\r\n"
        "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
    ).encode()
    lines, size = [head], len(head)
    while size < size_octets:
        line = " ".join(source.choices(WORDS, k=9)).encode() + b"\r\n"
        lines.append(line)
        size += len(line)
    return b"".join(lines)


def send(
    port: int,
    *,
    connections: int,
    count: int,
    messages: Sequence[bytes],
    sender: str,
    recipient: Callable[[int], str],
) -> LoadResult:
    """Send `count` messages; message number i goes to `recipient(i)`."""
    return uvloop.run(_Load(port, connections, count, messages, sender, recipient).run())


class _Load:
    """One load under way: numbers to give out, results to collect."""

    def __init__(
        self,
        port: int,
        connections: int,
        count: int,
        messages: Sequence[bytes],
        sender: str,
        recipient: Callable[[int], str],
    ) -> None:
        self.result = LoadResult()
        self.mail = f"MAIL FROM:<{sender}>\r\n".encode()
        self._messages = [message + b".\r\n" for message in messages]
        self._recipient = recipient
        self._port = port
        self._connections = connections
        self._numbers = iter(range(count))
        self._open = 0
        self._finished = asyncio.Event()

    async def run(self) -> LoadResult:
        loop = asyncio.get_running_loop()
        result, self._open = self.result, self._connections
        result.began = time.perf_counter()
        for _ in range(self._connections):
            await loop.create_connection(lambda: _Sender(self), "127.0.0.1", self._port)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await self._finished.wait()
        except TimeoutError:
            result.problems.append("the time was up")
        return result

    def take(self) -> tuple[bytes, bytes] | None:
        """The next message: RCPT command and text with its dot."""
        number = next(self._numbers, None)
        if number is None:
            return None
        rcpt = f"RCPT TO:<{self._recipient(number)}>\r\n".encode()
        return rcpt, self._messages[number % len(self._messages)]

    def accepted(self, sent_at: float) -> None:
        now = time.perf_counter()
        self.result.latencies_s.append(now - sent_at)
        self.result.accepted_s = now - self.result.began

    def closed(self) -> None:
        self._open -= 1
        if self._open == 0:
            self._finished.set()


class _Sender(asyncio.Protocol):
    """One connection; `_next` is what is written after the next good reply."""

    def __init__(self, load: _Load) -> None:
        self._load = load
        self._step = self._greeted
        self._expected = b"2"
        self._input = b""
        self._rcpt = self._text = b""
        self._sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._input += data
        while (end := self._input.find(b"\n") + 1) > 0:
            line, self._input = self._input[:end], self._input[end:]
            if line[3:4] != b"-":
                self._reply(line)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._step != self._ended:
            self._load.result.problems.append(f"connection lost: {exc}")
        self._load.closed()

    def _reply(self, line: bytes) -> None:
        if line[:1] != self._expected:
            self._load.result.problems.append(line.decode("utf-8", "replace").strip())
            self._quit()
            return
        self._step()

    def _greeted(self) -> None:
        self._transport.write(b"EHLO [127.0.0.1]\r\n")
        self._step = self._begin

    def _begin(self) -> None:
        self._expected = b"2"
        following = self._load.take()
        if following is None:
            self._quit()
            return
        self._rcpt, self._text = following
        self._sent_at = time.perf_counter()
        self._transport.write(self._load.mail)
        self._step = self._sender_taken

    def _sender_taken(self) -> None:
        self._transport.write(self._rcpt)
        self._step = self._recipient_taken

    def _recipient_taken(self) -> None:
        self._transport.write(b"DATA\r\n")
        self._expected = b"3"
        self._step = self._started

    def _started(self) -> None:
        self._transport.write(self._text)
        self._expected = b"2"
        self._step = self._accepted

    def _accepted(self) -> None:
        self._load.accepted(self._sent_at)
        self._begin()

    def _quit(self) -> None:
        self._transport.write(b"QUIT\r\n")
        self._expected = b"2"
        self._step = self._ended

    def _ended(self) -> None:
        self._transport.close()
