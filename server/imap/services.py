"""What the IMAP edge is given: services, and the logins' contract."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from server.domain.access import Gate, OpenGate
from server.domain.envelope import ConnectionInfo
from server.domain.identity import Principal
from server.domain.ports import Clock
from server.protocol.sasl.scram import ScramCredential
from server.services.mailstore.store import MailStore


class LoginService(Protocol):
    """Checks credentials; the same text and time whatever was wrong with them."""

    async def authenticate(
        self, *, login: str, password: bytes, connection: ConnectionInfo, mechanism: str
    ) -> Principal:
        """Raises Unauthenticated, RateLimited or Unavailable."""
        ...

    async def bearer(self, *, token: str, login: str, connection: ConnectionInfo) -> Principal:
        """A login by token; an empty `login` leaves the identity to it. Raises as `authenticate`."""
        ...

    async def scram(self, login: str, *, app_passwords: bool = False) -> ScramCredential:
        """What SCRAM needs of an account; a stable fake for one that does not exist."""
        ...

    async def scram_result(self, *, login: str, ok: bool, connection: ConnectionInfo, matched: str = "") -> Principal:
        """End a SCRAM exchange. Raises as `authenticate`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ImapServices:
    mailstore: MailStore
    logins: LoginService
    clock: Clock
    gate: Gate = field(default_factory=OpenGate)
