"""How many connections a peer may have and open (reliability.md §8).

- One IPv4 address or one IPv6 /64 is one peer.
- New connections are counted in windows of a minute, and at most PEERS_MAX peers are remembered.
"""

from __future__ import annotations

import ipaddress
from collections import Counter

from server.smtp.settings import Network, SmtpSettings

WINDOW_S = 60.0
PEERS_MAX = 50_000
"""Peers counted at once; more in one minute begin a new window early."""


class Admission:
    """Counts connections by peer."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()
        self._new: Counter[str] = Counter()
        self._window_from = 0.0

    def admit(self, ip: str, *, now: float, settings: SmtpSettings) -> bool:
        """Take one more connection of `ip` into the count, or say no.

        Args:
            ip: As `normal_ip` writes it.
            now: Monotonic seconds.
        """
        peer = peer_of(ip)
        if now - self._window_from >= WINDOW_S or len(self._new) >= PEERS_MAX:
            self._window_from = now
            self._new.clear()
        self._new[peer] += 1
        if not is_within(ip, settings.exempt_networks) and (
            self._open[peer] >= settings.max_connections_per_ip or self._new[peer] > settings.connections_per_minute
        ):
            return False
        self._open[peer] += 1
        return True

    def release(self, ip: str) -> None:
        """Forget one connection that was admitted."""
        peer = peer_of(ip)
        self._open[peer] -= 1
        if self._open[peer] <= 0:
            del self._open[peer]


def normal_ip(ip: str) -> str:
    """An address without zone, IPv4-mapped ones as IPv4 (RFC 4291 §2.5.5.2)."""
    address = ipaddress.ip_address(ip.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)


def peer_of(ip: str) -> str:
    """The unit that limits count: an IPv4 address, or an IPv6 /64."""
    if ":" not in ip:
        return ip
    return str(ipaddress.IPv6Network((ip, 64), strict=False))


def is_within(ip: str, networks: tuple[Network, ...]) -> bool:
    """Whether one of the networks holds the address."""
    if not networks:
        return False
    address = ipaddress.ip_address(ip)
    return any(address in network for network in networks)
