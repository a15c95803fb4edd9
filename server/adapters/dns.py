"""The real `Resolver`: dnspython messages, our own cache and transport (reliability.md §8).

- Never raises for what DNS says or fails to say: that is TEMPERROR, which is never cached.
- A server's answer is cached for its TTL, 1 s to 1 day; a negative one for at most an hour (RFC 2308), only with SOA.
- The same question asked twice at once goes out once; a cancelled asker never cancels it for the others.
- The AD bit counts only from a loopback resolver (RFC 6840 §5.8).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.reversename
import dns.rrset

from server.adapters.dns_exchange import UDP_PAYLOAD, ExchangeFailed, Server, exchange, parse_server
from server.domain.ports import Answer, DnsStatus, Mx
from server.telemetry.log import get_logger

log = get_logger("dns")

CACHE_MAX = 50_000
"""Answers kept; the oldest goes first."""
CACHE_OCTETS_MAX = 32 * 1024 * 1024
"""What the answers kept may weigh in memory, roughly: strangers choose how long they are."""
TTL_MIN_S = 1.0
TTL_MAX_S = 86_400.0
NEGATIVE_TTL_MAX_S = 3_600.0
TRIES = 2
CNAMES_MAX = 8
SERVERS_MAX = 10
RESOLV_CONF = Path("/etc/resolv.conf")

_READERS: dict[str, Callable[[Any], Any]] = {
    "TXT": lambda rdata: b"".join(rdata.strings),
    "MX": lambda rdata: Mx(rdata.preference, _host(rdata.exchange)),
    "A": lambda rdata: str(rdata.address),
    "AAAA": lambda rdata: str(rdata.address),
    "PTR": lambda rdata: _host(rdata.target),
}


def _host(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower().rstrip(".")


@lru_cache(maxsize=4096)
def _reverse_name(ip: str) -> str | None:
    """RFC 1035 §3.5, RFC 3596 §2.5; None for what is no address."""
    try:
        return dns.reversename.from_address(ip).to_text(omit_final_dot=True)
    except (dns.exception.DNSException, ValueError):
        return None


def system_servers(path: Path = RESOLV_CONF) -> list[Server]:
    """The nameservers of resolv.conf, or the loopback resolver when it names none (resolv.conf(5))."""
    servers: list[Server] = []
    try:
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver":
            try:
                servers.append(parse_server(words[1]))
            except ValueError:
                log.warning("dns.bad_nameserver", path=str(path))
    return servers[:3] or [Server("127.0.0.1", 53)]


@dataclass(frozen=True, slots=True)
class _Fact:
    """An answer with the time it may be kept; 0 = not at all."""

    answer: Answer[Any]
    ttl_s: float


@dataclass(frozen=True, slots=True)
class _Step:
    """What one exchange says: the final answer, or where a CNAME chain leads on."""

    fact: _Fact | None
    target: dns.name.Name | None = None
    cnames: int = 0
    ttl_s: float = TTL_MAX_S


class DnsResolver:
    """Implements `domain.ports.Resolver`.

    Args:
        resolvers: `ip`, `ip:port` or `[ip6]:port`; empty = those of /etc/resolv.conf.
        timeout_s: Per query and try.
        believe_ad: Whether loopback resolvers are believed about DNSSEC (`dns.dnssec` is not `off`).
        monotonic: The clock of the cache.
    """

    def __init__(
        self,
        resolvers: Sequence[str] = (),
        *,
        timeout_s: float = 5.0,
        believe_ad: bool = True,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monotonic = monotonic
        self._cache: dict[tuple[str, str], tuple[float, Answer[Any]]] = {}
        self._cache_octets = 0
        self._flights: dict[tuple[str, str], asyncio.Future[Answer[Any] | None]] = {}
        self.configure(resolvers, timeout_s=timeout_s, believe_ad=believe_ad)

    def configure(self, resolvers: Sequence[str], *, timeout_s: float, believe_ad: bool) -> None:
        """Take new settings; what is cached stays. Raises ValueError for a bad address."""
        self._servers = [parse_server(text) for text in resolvers[:SERVERS_MAX]] or system_servers()
        self._timeout_s = timeout_s
        self._believe_ad = believe_ad

    async def txt(self, name: str) -> Answer[bytes]:
        return await self._resolve(name, "TXT")

    async def mx(self, name: str) -> Answer[Mx]:
        return await self._resolve(name, "MX")

    async def a(self, name: str) -> Answer[str]:
        return await self._resolve(name, "A")

    async def aaaa(self, name: str) -> Answer[str]:
        return await self._resolve(name, "AAAA")

    async def ptr(self, ip: str) -> Answer[str]:
        name = _reverse_name(ip)
        return Answer(DnsStatus.NXDOMAIN) if name is None else await self._resolve(name, "PTR")

    async def _resolve(self, name: str, rdtype: str) -> Answer[Any]:
        key = (name.lower().rstrip("."), rdtype)
        while True:
            kept = self._cache.get(key)
            if kept is not None and kept[0] > self._monotonic():
                return kept[1]
            flight = self._flights.get(key)
            if flight is None:
                return await self._fly(key)
            answer = await asyncio.shield(flight)
            if answer is not None:
                return answer
            # Whoever asked was cancelled: the next of those who wait asks again.

    async def _fly(self, key: tuple[str, str]) -> Answer[Any]:
        """Ask, keep the answer and tell all who wait for it."""
        flight = self._flights[key] = asyncio.get_running_loop().create_future()
        answer: Answer[Any] | None = None
        try:
            fact = await self._lookup(*key)
            answer = fact.answer
            if fact.ttl_s > 0:
                self._keep(key, fact)
            return answer
        finally:
            del self._flights[key]
            flight.set_result(answer)

    def _keep(self, key: tuple[str, str], fact: _Fact) -> None:
        self._forget(key)
        self._cache[key] = (self._monotonic() + fact.ttl_s, fact.answer)
        self._cache_octets += _weight(fact.answer)
        while len(self._cache) > CACHE_MAX or self._cache_octets > CACHE_OCTETS_MAX:
            self._forget(next(iter(self._cache)))

    def _forget(self, key: tuple[str, str]) -> None:
        kept = self._cache.pop(key, None)
        if kept is not None:
            self._cache_octets -= _weight(kept[1])

    async def _lookup(self, name: str, rdtype: str) -> _Fact:
        """Resolve by asking, following CNAMEs that the server left open, at most eight in all."""
        try:
            target = dns.name.Name([*(label.encode("ascii") for label in name.split(".")), b""])
        except (dns.exception.DNSException, UnicodeEncodeError):
            return _Fact(Answer(DnsStatus.NXDOMAIN), 0)  # No name at all: nothing to keep.
        followed, ttl_s, authenticated = 0, TTL_MAX_S, True
        while True:
            response, trusted = await self._ask(target, rdtype)
            if response is None:
                return _Fact(Answer(DnsStatus.TEMPERROR), 0)
            authenticated = authenticated and trusted
            step = _read(response, target, rdtype, authenticated=authenticated)
            followed += step.cnames
            ttl_s = min(ttl_s, step.ttl_s)
            if followed > CNAMES_MAX:
                return _Fact(Answer(DnsStatus.TEMPERROR), 0)
            if step.fact is not None:
                return _Fact(step.fact.answer, min(step.fact.ttl_s, ttl_s))
            assert step.target is not None  # noqa: S101  a step has a fact or a target
            target = step.target

    async def _ask(self, name: dns.name.Name, rdtype: str) -> tuple[dns.message.Message | None, bool]:
        """Try the servers in turn; (None, False) when none gave an answer. The first that does is asked first next."""
        servers = self._servers
        for number in range(max(TRIES, min(len(servers), 3))):
            server = servers[number % len(servers)]
            query = dns.message.make_query(name, rdtype, use_edns=0, payload=UDP_PAYLOAD)
            query.flags |= dns.flags.AD  # RFC 6840 §5.7: we understand the AD bit of the answer.
            try:
                response = await exchange(query, server, timeout_s=self._timeout_s)
            except ExchangeFailed as failure:
                log.info("dns.no_answer", server=server.ip, type=rdtype, reason=str(failure))
                continue
            if response.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
                if number and servers is self._servers:
                    self._servers = [server, *(other for other in servers if other != server)]
                trusted = self._believe_ad and server.loopback and bool(response.flags & dns.flags.AD)
                return response, trusted
            log.info("dns.refused", server=server.ip, type=rdtype, rcode=dns.rcode.to_text(response.rcode()))
        return None, False


def _weight(answer: Answer[Any]) -> int:
    """Octets of memory an entry takes, to the order of magnitude."""
    return 400 + sum(len(record) + 60 if isinstance(record, str | bytes) else 200 for record in answer.records)


def _read(response: dns.message.Message, name: dns.name.Name, rdtype: str, *, authenticated: bool) -> _Step:
    """Follow the CNAMEs inside one answer to its records, its denial, or the name to ask next (RFC 1034 §3.6.2)."""
    wanted = dns.rdatatype.from_text(rdtype)
    sets = {(rrset.name, rrset.rdtype): rrset for rrset in response.answer if rrset.rdclass == dns.rdataclass.IN}
    ttl_s, cnames = TTL_MAX_S, 0
    while True:
        found = sets.get((name, wanted))
        if found is not None:
            records = tuple(_READERS[rdtype](rdata) for rdata in found)
            answer: Answer[Any] = Answer(DnsStatus.OK, records, authenticated)
            return _Step(_Fact(answer, max(TTL_MIN_S, min(found.ttl, ttl_s))), cnames=cnames)
        alias = sets.get((name, dns.rdatatype.CNAME))
        if alias is None:
            break
        cnames += 1
        if cnames > CNAMES_MAX:
            return _Step(None, name, cnames)
        ttl_s = max(TTL_MIN_S, min(ttl_s, alias.ttl))
        name = alias[0].target
    negative_ttl_s = _negative_ttl(response)
    if response.rcode() == dns.rcode.NXDOMAIN:
        return _Step(_Fact(Answer(DnsStatus.NXDOMAIN, (), authenticated), min(negative_ttl_s, ttl_s)), cnames=cnames)
    if cnames and negative_ttl_s == 0:
        return _Step(None, name, cnames, ttl_s)
    return _Step(_Fact(Answer(DnsStatus.NODATA, (), authenticated), min(negative_ttl_s, ttl_s)), cnames=cnames)


def _negative_ttl(response: dns.message.Message) -> float:
    """RFC 2308 §5: the SOA's TTL or minimum, whichever is less; 0 without an SOA."""
    for rrset in response.authority:
        if rrset.rdtype == dns.rdatatype.SOA:
            return max(TTL_MIN_S, min(float(rrset.ttl), float(rrset[0].minimum), NEGATIVE_TTL_MAX_S))
    return 0.0
