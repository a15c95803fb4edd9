"""Where a domain's mail goes: mail exchangers in order, and their addresses (RFC 5321 §5.1, RFC 7505).

- Only an authoritative answer is final. Whatever DNS could not say is temporary.
- Exchangers of equal preference are shuffled. A list that names us is cut at our own preference: the rest would loop.
- A null MX refuses mail for good; no MX at all means the domain's own addresses.
- No address outside the guard's word is ever returned.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from server.domain.ports import Answer, Clock, DnsStatus, Resolver
from server.domain.reply import Reply, reply
from server.services.queue.networks import AddressGuard, Refusal

T = TypeVar("T")

HOSTS_MAX = 10
"""Exchangers of one domain that are tried in one attempt."""

ADDRESSES_MAX = 6
"""Addresses of one exchanger that are tried in one attempt."""

DNS_S = 20.0
"""Time for all lookups of one step (reliability.md F08)."""

_TEMPORARY = reply(451, "4.4.3", "the name servers gave no answer")
_NO_DOMAIN = reply(550, "5.1.2", "the domain does not exist")
_NULL_MX = reply(556, "5.1.10", "the domain accepts no mail")
_NO_ADDRESS = reply(550, "5.4.4", "no mail server of the domain has an address")
_SPECIAL = reply(550, "5.4.4", "the domain's mail servers have no public address")
_LOOP = reply(554, "5.4.6", "the domain's mail leads back to this server, which does not host it")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Names or addresses to try in order; when empty, `refusal` says why.

    Attributes:
        guarded: There were addresses, and the guard let none of them pass.
    """

    items: tuple[str, ...] = ()
    refusal: Reply = _NO_ADDRESS
    guarded: bool = False


class MxRouter:
    """Looks up exchangers and addresses.

    Args:
        own_names: Names this server is known by, lower case.
    """

    def __init__(self, resolver: Resolver, clock: Clock, guard: AddressGuard, *, own_names: Sequence[str] = ()) -> None:
        self._resolver = resolver
        self._clock = clock
        self._guard = guard
        self._own_names = frozenset(own_names)

    async def hosts(self, domain: str) -> Found:
        """Exchangers of a domain, best first; an address literal is its own (RFC 5321 §4.1.3)."""
        if domain.startswith("["):
            return Found(items=(domain,))
        answer = await self._bounded(self._resolver.mx(domain))
        match answer.status:
            case DnsStatus.TEMPERROR:
                return Found(refusal=_TEMPORARY)
            case DnsStatus.NXDOMAIN:
                return Found(refusal=_NO_DOMAIN)
            case DnsStatus.NODATA:
                return Found(items=(domain,))
        records = [mx for mx in answer.records if mx.host]
        if not records:
            return Found(refusal=_NULL_MX)
        ours = [mx.preference for mx in records if mx.host in self._own_names]
        if ours:
            records = [mx for mx in records if mx.preference < min(ours)]
            if not records:
                return Found(refusal=_LOOP)
        ordered = sorted(records, key=lambda mx: (mx.preference, self._clock.random()))
        return Found(items=tuple(dict.fromkeys(mx.host for mx in ordered))[:HOSTS_MAX])

    async def addresses(self, host: str) -> Found:
        """Addresses of an exchanger that may be connected to, IPv4 first: few remotes judge it more harshly."""
        literal = _literal(host)
        if literal is not None:
            return self._guarded([literal])
        v4, v6 = await asyncio.gather(
            self._bounded(self._resolver.a(host)),
            self._bounded(self._resolver.aaaa(host)),
        )
        ips = [*v4.records, *v6.records]
        if not ips:
            failed = DnsStatus.TEMPERROR in (v4.status, v6.status)
            return Found(refusal=_TEMPORARY if failed else _NO_ADDRESS)
        return self._guarded(ips)

    def _guarded(self, ips: Sequence[str]) -> Found:
        refusals = {ip: self._guard.refusal(ip) for ip in ips}
        allowed = tuple(ip for ip, refusal in refusals.items() if refusal is None)
        if allowed:
            return Found(items=allowed[:ADDRESSES_MAX])
        return Found(refusal=_LOOP if Refusal.OWN in refusals.values() else _SPECIAL, guarded=True)

    async def _bounded(self, query: Awaitable[Answer[T]]) -> Answer[T]:
        try:
            async with asyncio.timeout(DNS_S):
                return await query
        except TimeoutError:
            return Answer(DnsStatus.TEMPERROR)


def _literal(host: str) -> str | None:
    """The address that a host in the form of one is, brackets or not; None for a name."""
    text = host.removeprefix("[").removesuffix("]").removeprefix("IPv6:")
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None
