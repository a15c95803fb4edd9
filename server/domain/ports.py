"""The seams: what services need of the world. One real adapter and one test fake each; nothing else is faked."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from server.domain.changes import StateChange
from server.domain.envelope import TlsInfo
from server.domain.ids import AccountId
from server.domain.message import Blob, Content

T = TypeVar("T")


class DnsStatus(StrEnum):
    """OK has records; NODATA and NXDOMAIN are authoritative; TEMPERROR says nothing at all."""

    OK = "ok"
    NODATA = "nodata"
    NXDOMAIN = "nxdomain"
    TEMPERROR = "temperror"


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """A DNS answer; `authenticated` only when the resolver validated it (AD from loopback)."""

    status: DnsStatus
    records: tuple[T, ...] = ()
    authenticated: bool = False


@dataclass(frozen=True, slots=True)
class Mx:
    """One MX record: `host` lower case without the final dot; the null MX has the empty host (RFC 7505)."""

    preference: int
    host: str


class Resolver(Protocol):
    """DNS with a cache, a per-query timeout and a cap on the whole; never raises for what DNS says."""

    async def txt(self, name: str) -> Answer[bytes]:
        """TXT records, each with its character-strings joined."""
        ...

    async def mx(self, name: str) -> Answer[Mx]:
        """MX records in no particular order."""
        ...

    async def a(self, name: str) -> Answer[str]:
        """IPv4 addresses."""
        ...

    async def aaaa(self, name: str) -> Answer[str]:
        """IPv6 addresses in compressed form."""
        ...

    async def ptr(self, ip: str) -> Answer[str]:
        """Host names of an address, lower case, without the final dot."""
        ...


class Clock(Protocol):
    """Wall clock for records, monotonic clock for deadlines, and chance for jitter."""

    def now(self) -> datetime:
        """The present instant, aware, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back."""
        ...

    async def sleep(self, seconds: float) -> None: ...

    def random(self) -> float:
        """A number in [0, 1)."""
        ...


class Stream(Protocol):
    """One TCP connection as a client sees it."""

    async def read(self, max_octets: int) -> bytes:
        """Up to `max_octets`; empty at end of stream."""
        ...

    async def write(self, data: bytes) -> None:
        """Write and wait until the buffer is below its mark."""
        ...

    async def start_tls(self, context: ssl.SSLContext, server_hostname: str | None) -> TlsInfo:
        """Upgrade in place. Raises ssl.SSLError or OSError; the stream is then unusable."""
        ...

    def abort(self) -> None:
        """Drop the connection at once."""
        ...


class Dialer(Protocol):
    """Opens TCP connections to checked IP addresses; never resolves names."""

    async def connect(self, ip: str, port: int, *, timeout_s: float) -> Stream:
        """Raises OSError or TimeoutError."""
        ...


class ContentWriter(Protocol):
    """Takes a message while it arrives: memory first, a spool file beyond 256 KiB."""

    @property
    def size_octets(self) -> int: ...

    async def write(self, chunk: bytes) -> None:
        """Append octets. Raises DiskReserve or Unavailable when they can't be kept."""
        ...

    async def finish(self) -> Content: ...

    async def discard(self) -> None:
        """Forget everything; safe to call at any time, more than once."""
        ...


class BlobStore(Protocol):
    """Immutable octets under server-made keys (reliability.md §7)."""

    def writer(self) -> ContentWriter: ...

    async def content(self, data: bytes) -> Content:
        """Wrap octets we made ourselves."""
        ...

    async def place(self, content: Content) -> Blob:
        """Make the octets durable, unless they are small enough for the blob's row; the row is the caller's."""
        ...

    async def read(self, blob: Blob) -> bytes:
        """All octets, SHA-256 checked. Raises Unavailable when they are missing or damaged."""
        ...

    async def read_content(self, content: Content) -> bytes: ...

    async def discard(self, content: Content) -> None:
        """Remove the spool file of a content that will not be placed."""
        ...

    def check_space(self) -> None:
        """Raise DiskReserve when free space is below the reserve (F03)."""
        ...


class Notifier(Protocol):
    """Carries StateChange hints to whoever waits for an account; delivery is best effort."""

    def publish(self, change: StateChange) -> None: ...

    def subscribe(self, account_id: AccountId, wake: Callable[[StateChange], None]) -> Callable[[], None]:
        """Call `wake` in the event loop at each change; the result ends the subscription."""
        ...


class Worker(Protocol):
    """Runs CPU-heavy work off the event loop, bounded."""

    def run(self, work: Callable[[], T]) -> Awaitable[T]: ...
