"""Networks as logins count them: an IPv4 address or an IPv6 /64 is one place, with wider ones around it.

- IPv4-mapped IPv6 addresses are IPv4. A form that is no address belongs to no network.
- A place is text that sorts as its network does, so that the places inside a network are one range.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_TIERS_V4 = ((32, 1), (26, 3), (21, 9))
_TIERS_V6 = ((64, 1), (48, 3), (32, 9))
_NEIGHBOURHOOD = {4: 24, 6: 48}


@dataclass(frozen=True, slots=True)
class Tier:
    """One of the networks an address counts for; `factor` times the allowance is its own."""

    network: str
    factor: int


def address_of(ip: str) -> _Address | None:
    """The address, an IPv4-mapped one as IPv4; None for anything else."""
    try:
        address = ipaddress.ip_address(ip.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        return address.ipv4_mapped or address
    return address


def tiers_of(ip: str) -> tuple[Tier, ...]:
    """The networks an address counts for, narrowest first; none for what is no address."""
    address = address_of(ip)
    if address is None:
        return ()
    if isinstance(address, ipaddress.IPv4Address):
        return tuple(Tier(str(ipaddress.IPv4Network((address, n), strict=False)), f) for n, f in _TIERS_V4)
    return tuple(Tier(str(ipaddress.IPv6Network((address, n), strict=False)), f) for n, f in _TIERS_V6)


def place_of(ip: str) -> str:
    """The narrowest network of an address as a place; empty for what is no address."""
    address = address_of(ip)
    if address is None:
        return ""
    if address.version == 4:
        return f"4{int(address):08x}"
    return f"6{int(address) >> 64 << 64:032x}"


def neighbourhood_of(place: str) -> str:
    """The beginning that a place shares with those around it: an IPv4 /24, an IPv6 /48."""
    return place[: 1 + _NEIGHBOURHOOD[4] // 4] if place.startswith("4") else place[: 1 + _NEIGHBOURHOOD[6] // 4]


def places_in(network: str) -> tuple[str, str]:
    """The first and the last place of a network in CIDR form; one smaller than a place stands for that place."""
    parsed = ipaddress.ip_network(network)
    return place_of(str(parsed[0])), place_of(str(parsed[-1]))


def is_within(ip: str, networks: Iterable[Network]) -> bool:
    """Whether one of the networks holds the address."""
    address = address_of(ip)
    return address is not None and any(address in network for network in networks)


def parse_network(text: str) -> Network:
    """A network in CIDR form, or an address as the network of its own. Raises ValueError."""
    network = ipaddress.ip_network(text.strip(), strict=False)
    mapped = network.network_address.ipv4_mapped if isinstance(network, ipaddress.IPv6Network) else None
    if mapped is not None and network.prefixlen >= 96:
        return ipaddress.IPv4Network((mapped, network.prefixlen - 96), strict=False)
    return network
