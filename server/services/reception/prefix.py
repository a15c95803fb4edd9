"""The trace fields written before a message: Return-Path, Delivered-To, Received (RFC 5321 §4.4).

- Every field ends in CRLF; what a peer chose (HELO) is cut and reduced to printable ASCII before it gets here.
- Local mail gets Return-Path and Delivered-To; a submission's Received names no client address (product.md 5).
"""

from __future__ import annotations

from datetime import datetime

from server.domain.address import Address
from server.domain.envelope import ConnectionInfo, ReversePath
from server.protocol.mime.dates import format_date

HELO_MAX = 255


def return_path(reverse_path: ReversePath) -> bytes:
    """The Return-Path field of final delivery (RFC 5321 §4.4)."""
    return f"Return-Path: <{reverse_path or ''}>\r\n".encode()


def delivered_to(address: str) -> bytes:
    """The Delivered-To field (RFC 9228): the address the mail was delivered for, by which loops are seen."""
    return f"Delivered-To: {address}\r\n".encode()


def received(
    connection: ConnectionInfo,
    *,
    hostname: str,
    trace_id: str,
    instant: datetime,
    recipient: Address | None,
    remote_name: str | None = None,
    authenticated: bool = False,
    smtputf8: bool = False,
) -> bytes:
    """The Received field of one hop (RFC 5321 §4.4, RFC 3848 for the protocol word).

    Args:
        remote_name: The verified name of the client (iprev), None when there is none.
        recipient: Shown in the `for` clause; give it only when the mail has a single recipient.
    """
    if authenticated:
        source = "from [authenticated]"
    else:
        source = f"from {_helo(connection.helo)} ({remote_name or 'unknown'} [{_literal(connection.remote_ip)}])"
    tls = f"\r\n\t(using {connection.tls.version} with cipher {connection.tls.cipher})" if connection.tls else ""
    target = f"\r\n\tfor <{recipient}>" if recipient is not None else ""
    word = _protocol(connection, authenticated=authenticated, smtputf8=smtputf8)
    field = (
        f"Received: {source}{tls}\r\n\tby {hostname} (MaiRust) with {word} id {trace_id}{target};"
        f"\r\n\t{format_date(instant).decode()}\r\n"
    )
    return field.encode()


def _protocol(connection: ConnectionInfo, *, authenticated: bool, smtputf8: bool) -> str:
    if connection.listener == "api":
        return "HTTP"
    if not connection.esmtp:
        return "SMTP"
    base = "UTF8SMTP" if smtputf8 else "ESMTP"
    return base + ("S" if connection.tls else "") + ("A" if authenticated else "")


def _literal(ip: str) -> str:
    return f"IPv6:{ip}" if ":" in ip else ip


def _helo(name: str) -> str:
    shown = "".join(c for c in name[:HELO_MAX] if "!" <= c <= "~" and c not in '()<>;\\"')
    return shown or "unknown"
