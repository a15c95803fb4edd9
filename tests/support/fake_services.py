"""Services as the SMTP edge sees them, in memory, with everything they were asked written down."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from server.domain.address import Address
from server.domain.envelope import ConnectionInfo, ReversePath
from server.domain.errors import DiskReserve, Unauthenticated
from server.domain.identity import Principal
from server.domain.ids import AccountId, TenantId
from server.domain.inbound import Inbound
from server.domain.message import Content
from server.domain.reply import Reply, reply
from server.protocol.sasl.scram import ScramCredential, derive_credential

QUEUED = reply(250, "2.0.0", "Ok: stored")
UNKNOWN_USER = reply(550, "5.1.1", "No such user")


class FakeClock:
    """The real time; tests that need another set `at`."""

    at: datetime | None = None

    def now(self) -> datetime:
        return self.at or datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def random(self) -> float:
        return 0.5


class FakeWriter:
    """A ContentWriter in memory."""

    def __init__(self, owner: FakeWriters) -> None:
        self._owner = owner
        self._octets = bytearray()
        self.discarded = False

    @property
    def size_octets(self) -> int:
        return len(self._octets)

    async def write(self, chunk: bytes) -> None:
        if self._owner.fail_after is not None and len(self._octets) + len(chunk) > self._owner.fail_after:
            raise DiskReserve("disk full")
        self._octets += chunk

    async def finish(self) -> Content:
        data = bytes(self._octets)
        head = data[: data.find(b"\r\n\r\n") + 4] if b"\r\n\r\n" in data else data
        return Content(size_octets=len(data), sha256=hashlib.sha256(data).hexdigest(), head=head, data=data)

    async def discard(self) -> None:
        self._octets.clear()
        self.discarded = True


@dataclass
class FakeWriters:
    """Makes writers and remembers them."""

    fail_after: int | None = None
    refuse: bool = False
    made: list[FakeWriter] = field(default_factory=list)

    def __call__(self) -> FakeWriter:
        if self.refuse:
            raise DiskReserve("disk full")
        self.made.append(FakeWriter(self))
        return self.made[-1]


async def _nothing() -> None:
    return None


@dataclass
class FakeReception:
    """Knows the local parts in `known`, keeps what it receives."""

    known: set[str] = field(default_factory=lambda: {"u1", "u2", "postmaster"})
    banner: Reply | None = None
    answer: Reply = QUEUED
    before_answer: Callable[[], Awaitable[None]] = _nothing
    crash: Exception | None = None
    received: list[Inbound] = field(default_factory=list)
    asked: list[tuple[ReversePath, Address]] = field(default_factory=list)
    refusals: list[tuple[str, Reply]] = field(default_factory=list)
    refused_senders: list[ReversePath] = field(default_factory=list)
    refused_recipients: list[Address | None] = field(default_factory=list)
    connections: list[ConnectionInfo] = field(default_factory=list)

    async def begin(self, connection: ConnectionInfo) -> Reply | None:
        self.connections.append(connection)
        return self.banner

    async def recipient(self, connection: ConnectionInfo, reverse_path: ReversePath, address: Address) -> Reply | None:
        self.asked.append((reverse_path, address))
        return None if address.local.lower() in self.known or address.local.startswith("many") else UNKNOWN_USER

    async def receive(self, inbound: Inbound) -> Reply:
        await self.before_answer()
        if self.crash is not None:
            raise self.crash
        self.received.append(inbound)
        return self.answer

    def refused(
        self,
        connection: ConnectionInfo,
        *,
        stage: str,
        reply: Reply,
        reverse_path: ReversePath = None,
        recipient: Address | None = None,
    ) -> None:
        self.refusals.append((stage, reply))
        self.refused_senders.append(reverse_path)
        self.refused_recipients.append(recipient)

    @property
    def octets(self) -> list[bytes]:
        """The received messages' octets, in order."""
        return [inbound.content.data or b"" for inbound in self.received]


@dataclass
class FakeSubmissions:
    """Lets a principal send as itself and to anyone."""

    accepted: list[tuple[Inbound, Principal]] = field(default_factory=list)
    answer: Reply = QUEUED

    async def sender_allowed(self, principal: Principal, address: ReversePath) -> bool:
        return address is None or address.key == principal.address

    async def recipient(
        self, connection: ConnectionInfo, principal: Principal, reverse_path: ReversePath, address: Address
    ) -> Reply | None:
        return UNKNOWN_USER if address.local == "nobody" else None

    async def accept(self, inbound: Inbound, principal: Principal) -> Reply:
        self.accepted.append((inbound, principal))
        return self.answer


@dataclass
class FakeLogins:
    """Accounts by login; `fail` is raised instead of any answer."""

    accounts: dict[str, bytes] = field(default_factory=lambda: {"u1@example.org": b"correct horse battery"})
    fail: Exception | None = None
    attempts: list[tuple[str, str, bool]] = field(default_factory=list)

    async def authenticate(
        self, *, login: str, password: bytes, connection: ConnectionInfo, mechanism: str
    ) -> Principal:
        return self._outcome(login, mechanism, ok=self.accounts.get(login) == password)

    async def bearer(self, *, token: str, login: str, connection: ConnectionInfo) -> Principal:
        return self._outcome(login, "OAUTHBEARER", ok=self.accounts.get(login) == token.encode())

    async def scram(self, login: str, *, app_passwords: bool = False) -> ScramCredential:
        return derive_credential(self.accounts.get(login, b"invented"), salt=b"0123456789abcdef")

    async def scram_result(self, *, login: str, ok: bool, connection: ConnectionInfo, matched: str = "") -> Principal:
        return self._outcome(login, "SCRAM-SHA-256", ok=ok)

    def _outcome(self, login: str, mechanism: str, *, ok: bool) -> Principal:
        self.attempts.append((login, mechanism, ok))
        if self.fail is not None:
            raise self.fail
        if not ok:
            raise Unauthenticated("wrong login or password")
        return Principal(
            account_id=AccountId("a1"), tenant_id=TenantId("t1"), address=login.casefold(), credential_version=1
        )
