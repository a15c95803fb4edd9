"""Which addresses mail may be sent to: none that is special, private or ours, unless configuration names it.

- The table is our own (RFC 6890 and its registry), not the standard library's, whose answer differs by version.
- IPv6 forms that carry an IPv4 address are judged by the address inside.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from enum import StrEnum

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_SPECIAL_V4 = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
_SPECIAL_V6 = tuple(
    ipaddress.IPv6Network(text)
    for text in (
        "::/96",
        "::ffff:0:0/96",
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "100::/64",
        "2001::/23",
        "2001:db8::/32",
        "2002::/16",
        "3fff::/20",
        "5f00::/16",
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
    )
)


class Refusal(StrEnum):
    """Why an address is not connected to."""

    OWN = "own"
    SPECIAL = "special"


class AddressGuard:
    """Judges addresses before they are connected to.

    Args:
        own: Addresses of this host's interfaces.
        allowed: Networks that configuration names (`outbound.allow_private`).
    """

    def __init__(self, *, own: Sequence[str] = (), allowed: Callable[[], Sequence[Network]] = tuple) -> None:
        self._own = frozenset(_unmapped(ipaddress.ip_address(text)) for text in own)
        self._allowed = allowed

    def refusal(self, ip: str) -> Refusal | None:
        """Why `ip` is not connected to; None = it may be. What is no address is special."""
        try:
            address = _unmapped(ipaddress.ip_address(ip))
        except ValueError:
            return Refusal.SPECIAL
        if any(address in network for network in self._allowed()):
            return None
        if address in self._own or address.is_loopback or address.is_unspecified:
            return Refusal.OWN
        return Refusal.SPECIAL if is_special(address) else None


def is_special(address: IpAddress) -> bool:
    """Whether an address is outside the global unicast Internet (RFC 6890 §2.2)."""
    if isinstance(address, ipaddress.IPv4Address):
        return any(address in network for network in _SPECIAL_V4)
    return any(address in network for network in _SPECIAL_V6)


def _unmapped(address: IpAddress) -> IpAddress:
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
