"""What the IMAP edge is given: services, and the logins' contract."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

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

    async def scram(self, login: str) -> ScramCredential:
        """What SCRAM needs of an account; a stable fake for one that does not exist."""
        ...

    async def scram_result(self, *, login: str, ok: bool, connection: ConnectionInfo) -> Principal:
        """End a SCRAM exchange. Raises as `authenticate`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ImapServices:
    mailstore: MailStore
    logins: LoginService
    clock: Clock
