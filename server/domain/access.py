"""What decides about logins besides the account's password: passwords of devices, bans, places, live connections."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from server.domain.envelope import ConnectionInfo
from server.domain.identity import Principal
from server.domain.ids import AccountId, TenantId


class MailProtocol(StrEnum):
    """What an app password can be good for."""

    SMTP = "smtp"
    IMAP = "imap"
    POP3 = "pop3"
    SIEVE = "sieve"


_LISTENERS = {
    "smtp": MailProtocol.SMTP,
    "submission": MailProtocol.SMTP,
    "submissions": MailProtocol.SMTP,
    "imap": MailProtocol.IMAP,
    "imaps": MailProtocol.IMAP,
    "pop3": MailProtocol.POP3,
    "pop3s": MailProtocol.POP3,
    "sieve": MailProtocol.SIEVE,
    "managesieve": MailProtocol.SIEVE,
}


def protocol_of(listener: str) -> MailProtocol | None:
    """The protocol a listener speaks; None for one that no app password opens."""
    return _LISTENERS.get(listener)


@dataclass(frozen=True, slots=True, kw_only=True)
class AppPassword:
    """A password of one device, as stored: digests only.

    Attributes:
        secret_sha256: Lower-case hex SHA-256 of the password's 28 characters, without its hyphens.
        scram_salt, scram_iterations: Those of the account's other passwords where it had any (see `login.py`).
        last_used_at: To the minute.
    """

    id: str
    tenant_id: TenantId
    account_id: AccountId
    name: str
    secret_sha256: str = field(repr=False)
    scram_salt: bytes
    scram_iterations: int
    scram_stored_key: bytes = field(repr=False)
    scram_server_key: bytes = field(repr=False)
    protocols: tuple[MailProtocol, ...]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    last_used_ip: str | None
    last_used_protocol: str | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ban:
    """A network that is refused, or only for one account.

    Attributes:
        network: In CIDR form, `192.0.2.7/32`.
        account_id: None = every account, and every connection from the network.
        made_by: `server`, or who made it.
        spares_known: Accounts that have logged in well from there go on; connections are not refused.
        strikes: Bans of the same kind before it, within a day of each other.
        expires_at: None = until it is removed.
    """

    id: str
    network: str
    account_id: AccountId | None
    reason: str
    made_by: str
    spares_known: bool
    strikes: int
    created_at: datetime
    expires_at: datetime | None


class Presence(Protocol):
    """A logged-in connection as the registry of connections holds it; the edge writes the last command's name."""

    command: str


class Gate(Protocol):
    """What every mail edge asks and tells about its connections."""

    def refuses(self, ip: str) -> bool:
        """Whether a connection from there is turned away at once: its network is banned."""
        ...

    def entered(self, principal: Principal, info: ConnectionInfo, close: Callable[[], None]) -> Presence:
        """Note that somebody logged in.

        Args:
            close: Ends the connection in the protocol's own words; returns at once, called at most once.
        """
        ...

    def left(self, connection_id: str) -> None:
        """Note the end of a connection, whether it had logged in or not."""
        ...


@dataclass(slots=True)
class _Stranger:
    command: str = ""


class OpenGate:
    """Refuses nobody and remembers nobody: an edge on its own."""

    def refuses(self, _ip: str) -> bool:
        return False

    def entered(self, _principal: Principal, _info: ConnectionInfo, _close: Callable[[], None]) -> Presence:
        return _Stranger()

    def left(self, _connection_id: str) -> None:
        return None
