"""What the SMTP edge asks of the services, and of whoever starts it."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from server.domain.access import Gate, OpenGate
from server.domain.address import Address
from server.domain.envelope import ConnectionInfo, ReversePath
from server.domain.identity import Principal
from server.domain.inbound import Inbound
from server.domain.ports import Clock, ContentWriter
from server.domain.reply import Reply
from server.protocol.sasl.scram import ScramCredential


class Listener(StrEnum):
    """The three ports: 25, 587 with STARTTLS, 465 with TLS from the first octet."""

    SMTP = "smtp"
    SUBMISSION = "submission"
    SUBMISSIONS = "submissions"


class Reception(Protocol):
    """Mail from the world."""

    async def begin(self, connection: ConnectionInfo) -> Reply | None:
        """Refuse a connection, or None."""
        ...

    async def recipient(self, connection: ConnectionInfo, reverse_path: ReversePath, address: Address) -> Reply | None:
        """Refuse a recipient, or None."""
        ...

    async def receive(self, inbound: Inbound) -> Reply:
        """Decide and store; owns `inbound.content`. A success only after the commit."""
        ...

    def refused(
        self,
        connection: ConnectionInfo,
        *,
        stage: str,
        reply: Reply,
        reverse_path: ReversePath = None,
        recipient: Address | None = None,
    ) -> None:
        """Trace a refusal that the edge decided."""
        ...


class Submissions(Protocol):
    """Mail from our users."""

    async def sender_allowed(self, principal: Principal, address: ReversePath) -> bool: ...

    async def recipient(
        self, connection: ConnectionInfo, principal: Principal, reverse_path: ReversePath, address: Address
    ) -> Reply | None:
        """Refuse a recipient, or None."""
        ...

    async def accept(self, inbound: Inbound, principal: Principal) -> Reply:
        """Complete, sign and queue; owns `inbound.content`. A success only after the commit."""
        ...


class Logins(Protocol):
    """Who is it? Raises Unauthenticated, RateLimited or Unavailable."""

    async def authenticate(
        self, *, login: str, password: bytes, connection: ConnectionInfo, mechanism: str
    ) -> Principal: ...

    async def bearer(self, *, token: str, login: str, connection: ConnectionInfo) -> Principal:
        """A login by token; an empty `login` leaves the identity to it."""
        ...

    async def scram(self, login: str, *, app_passwords: bool = False) -> ScramCredential:
        """The stored credential, or a stable invention for a login that has none."""
        ...

    async def scram_result(
        self, *, login: str, ok: bool, connection: ConnectionInfo, matched: str = ""
    ) -> Principal: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeServices:
    """Everything a session calls.

    Attributes:
        writer: Makes the place a message is read into; may raise DiskReserve.
        tls: The context for the next handshake, None while there is no certificate.
        gate: Who may connect, and who is in.
    """

    reception: Reception
    submissions: Submissions
    logins: Logins
    writer: Callable[[], ContentWriter]
    tls: Callable[[], ssl.SSLContext | None]
    clock: Clock
    gate: Gate = field(default_factory=OpenGate)
