"""Reverse DNS of the client, confirmed forwards (RFC 8601 §3)."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from functools import lru_cache

from server.domain.ports import DnsStatus, Resolver
from server.protocol.emailauth.result import Result

MAX_NAMES = 10
"""PTR names that are looked up again (RFC 8601 §3: "a reasonable limit")."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IprevResult:
    """PASS with the confirmed `name`; PERMERROR without any PTR record; FAIL when no name leads back."""

    result: Result
    ip: str
    name: str = ""


@lru_cache(maxsize=4096)
def client_address(ip: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """A client's address; an IPv4-mapped IPv6 address is the IPv4 one (RFC 7208 §5). Raises ValueError."""
    address = ipaddress.ip_address(ip)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


async def check_iprev(resolver: Resolver, *, ip: str) -> IprevResult:
    """Look up the names of an address and their addresses."""
    address = client_address(ip)
    text = str(address)
    answer = await resolver.ptr(text)
    if answer.status is DnsStatus.TEMPERROR:
        return IprevResult(result=Result.TEMPERROR, ip=ip)
    if not answer.records:
        return IprevResult(result=Result.PERMERROR, ip=ip)
    failed = False
    for name in answer.records[:MAX_NAMES]:
        found = await (resolver.a(name) if address.version == 4 else resolver.aaaa(name))
        if text in found.records:
            return IprevResult(result=Result.PASS, ip=ip, name=name)
        failed = failed or found.status is DnsStatus.TEMPERROR
    return IprevResult(result=Result.TEMPERROR if failed else Result.FAIL, ip=ip)
