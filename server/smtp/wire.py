"""The octet stream as a session sees it; `listener` implements it over a transport."""

from __future__ import annotations

import asyncio
import ssl
from enum import Enum, auto
from typing import Protocol

from server.domain.envelope import TlsInfo
from server.domain.reply import Reply
from server.smtp.contracts import Listener


class PeerGone(Exception):
    """The peer ended its side, or the connection broke; nothing more will come."""


class HangUp(Exception):
    """The session ends without a word: whatever the peer speaks, it isn't SMTP, or it must not be answered."""


class LineTooLong(Exception):
    """No line end within the limit."""


class Expired(Exception):
    """The wait was ended by us: too long, or the server stops. `reply` is the last word."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.text)
        self.reply = reply


class Phase(Enum):
    """What a connection waits for: nothing (it works), a decision, a command, message data, or the end."""

    WORKING = auto()
    DECIDING = auto()
    COMMAND = auto()
    DATA = auto()
    CLOSING = auto()


class Wire(Protocol):
    """One connection's octets, both ways."""

    @property
    def has_input(self) -> bool:
        """Whether octets wait that were not taken."""
        ...

    @property
    def is_lost(self) -> bool:
        """Whether writing has become pointless."""
        ...

    def next_line(self, limit: int) -> bytes | None:
        """Take one line with its LF, None when there is no whole one. Raises LineTooLong."""
        ...

    def starts_with(self, octets: bytes) -> bool:
        """Whether the octets that wait begin so, ASCII letters in either case."""
        ...

    def take(self) -> bytes:
        """Take all octets that wait."""
        ...

    def give_back(self, octets: bytes) -> None:
        """Put octets back before all others."""
        ...

    async def more(self, timeout_s: float, phase: Phase) -> None:
        """Wait until octets arrive. Raises PeerGone or Expired."""
        ...

    async def settled(self, task: asyncio.Task[Reply], timeout_s: float) -> bool:
        """Wait for a task that outlives the connection; False when it took too long. Never cancels it."""
        ...

    def send(self, octets: bytes) -> None: ...

    async def drained(self) -> None:
        """Wait until the peer has taken enough of what was sent. Raises PeerGone."""
        ...

    def pause_reading(self) -> None: ...

    async def start_tls(self, context: ssl.SSLContext) -> TlsInfo:
        """Become the TLS server; octets that wait are the client's first TLS record. Raises PeerGone."""
        ...

    def expect_ack(self, ack: Reply) -> None:
        """Note that the octets sent next acknowledge a message, so that their loss is logged."""
        ...


class Connection(Wire, Protocol):
    """A wire with its end in hand, as the server holds it."""

    listener: Listener
    remote_ip: str
    remote_port: int
    local_port: int
    phase: Phase

    def check(self, now: float, *, busy: bool) -> None:
        """End a wait that took too long; `now` is the loop's time."""
        ...

    def expire(self, last_word: Reply) -> None:
        """End the present or next wait for input."""
        ...

    def close(self) -> None:
        """Close once what was sent has left."""
        ...

    async def finish(self, *, lingers: bool) -> None:
        """Close in good order, with patience for a peer that is still sending; returns when nothing is left open."""
        ...

    def abort(self) -> None:
        """Drop the connection at once."""
        ...


class Acceptor(Protocol):
    """Who takes accepted connections."""

    def accepted(self, connection: Connection) -> None: ...
