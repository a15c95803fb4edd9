"""The SMTP envelope (RFC 5321 §2.3.1) with its DSN parameters (RFC 3461)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from server.domain.address import Address

ReversePath = Address | None
"""None is the null reverse-path `<>` (RFC 5321 §4.5.5)."""


class Ret(StrEnum):
    """How much of the message a failure DSN returns (RFC 3461 §4.3)."""

    FULL = "FULL"
    HDRS = "HDRS"


class Notify(StrEnum):
    """When the sender wants a DSN (RFC 3461 §4.1)."""

    NEVER = "NEVER"
    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    DELAY = "DELAY"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """One forward-path as given in RCPT.

    Attributes:
        notify: Empty when the sender gave no NOTIFY, which means FAILURE and DELAY.
        orcpt: The decoded original recipient, `addr-type;address`, or None.
    """

    address: Address
    notify: frozenset[Notify] = frozenset()
    orcpt: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """One mail transaction. `recipients` keeps the order of RCPT and is never empty.

    Attributes:
        envid: The decoded ENVID, or None.
        body_8bit: Whether the client declared BODY=8BITMIME (RFC 6152).
        smtputf8: Whether the client asked for SMTPUTF8 (RFC 6531).
    """

    reverse_path: ReversePath
    recipients: tuple[Recipient, ...]
    smtputf8: bool = False
    body_8bit: bool = False
    ret: Ret | None = None
    envid: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsInfo:
    """What was negotiated: `version` as in 'TLSv1.3', `cipher` in OpenSSL's name.

    Attributes:
        end_point: Our certificate's digest as channel binding data (RFC 5929 §4.1); empty where it can't be used.
    """

    version: str
    cipher: str
    end_point: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionInfo:
    """Who speaks to us, on which port, how.

    Attributes:
        listener: smtp, submission, submissions, imap, imaps, pop3, pop3s, managesieve or api.
    """

    listener: str
    remote_ip: str
    remote_port: int
    local_port: int
    connection_id: str
    tls: TlsInfo | None = None
    helo: str = ""
    esmtp: bool = True
