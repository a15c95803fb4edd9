"""The edge's settings, taken from the configuration once and replaced as a whole at a reload."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from server.config.schema import Settings

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpSettings:
    """What an administrator may choose; the rest stands in `protocol.smtp.limits`.

    Attributes:
        exempt_networks: Peers without per-address limits and without the two pauses.
        trusted_proxies: Peers that begin every connection with a PROXY header.
        greeting_pause_s: Wait before 220, in which an honest client says nothing (RFC 5321 §3.1).
        unknown_pause_s: Wait before the answer that ends a transaction in which no recipient was known.
    """

    hostname: str
    max_message_size: int = 52_428_800
    max_recipients: int = 1000
    max_connections: int = 2000
    max_connections_per_ip: int = 30
    connections_per_minute: int = 300
    command_timeout_s: float = 300.0
    data_timeout_s: float = 180.0
    require_tls: bool = False
    normalise_newlines: bool = False
    exempt_networks: tuple[Network, ...] = ()
    trusted_proxies: tuple[Network, ...] = ()
    greeting_pause_s: float = 0.2
    unknown_pause_s: float = 5.0
    tick_s: float = 1.0


def smtp_settings(settings: Settings) -> SmtpSettings:
    """Take the edge's part of the configuration."""
    smtp = settings.smtp
    return SmtpSettings(
        hostname=settings.server.hostname,
        max_message_size=smtp.max_message_size,
        max_recipients=smtp.max_recipients,
        max_connections=smtp.max_connections,
        max_connections_per_ip=smtp.max_connections_per_ip,
        connections_per_minute=smtp.connections_per_minute,
        command_timeout_s=smtp.command_timeout,
        data_timeout_s=smtp.data_timeout,
        require_tls=smtp.require_tls,
        normalise_newlines=settings.submission.bare_newline == "normalise",
        exempt_networks=tuple(settings.login.trusted_networks),
        trusted_proxies=tuple(settings.server.trusted_proxies),
    )
