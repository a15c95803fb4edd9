"""SPF evaluation on the async `Resolver` port (RFC 7208).

- `check_spf` never raises for what DNS or the record says, and answers one of the seven words of §2.6.
- Ten terms that ask DNS, two void lookups, ten MX or PTR names each, 20 s in all (§4.6.4); beyond is permerror,
  for the time temperror.
- A DNS error is temperror wherever it could change the outcome; in `ptr` and in `exp` it is passed over (§5.5, §6.2).
"""

from __future__ import annotations

import asyncio
import ipaddress
from dataclasses import dataclass, field

from server.domain.ports import Answer, DnsStatus, Resolver
from server.protocol.emailauth.iprev import client_address
from server.protocol.emailauth.result import Result
from server.protocol.emailauth.spf_macro import MacroContext, expand
from server.protocol.emailauth.spf_record import (
    Directive,
    MacroString,
    Mechanism,
    SpfRecord,
    SpfSyntaxError,
    is_spf,
    parse_explanation,
    parse_record,
)

MAX_LOOKUPS = 10
"""Terms that ask DNS (§4.6.4)."""
MAX_VOID_LOOKUPS = 2
"""Lookups without an answer (§4.6.4)."""
MAX_NAMES = 10
"""MX and PTR names looked up per term (§4.6.4)."""
TOTAL_TIMEOUT_S = 20.0
"""§4.6.4: at least 20 seconds."""
MAX_EXPLANATION = 500
"""Characters kept of an explanation, which a stranger wrote."""

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True, kw_only=True)
class SpfResult:
    """What SPF says about one identity.

    Attributes:
        domain: The domain that was checked.
        identity: `mailfrom`, or `helo` when the reverse-path is null (§2.4).
        sender: The identity as Authentication-Results shows it.
        mechanism: The term that matched, as written; empty when none did.
        explanation: The publisher's text for a fail; empty without one.
        problem: One sentence for temperror and permerror.
        lookups: Terms that asked DNS.
    """

    result: Result
    domain: str
    identity: str = "mailfrom"
    sender: str = ""
    mechanism: str = ""
    explanation: str = ""
    problem: str = ""
    lookups: int = 0


class _Stop(Exception):
    """Ends the evaluation with a final word."""

    def __init__(self, result: Result, problem: str) -> None:
        super().__init__(problem)
        self.result = result
        self.problem = problem


@dataclass(slots=True, kw_only=True)
class _CheckSession:
    """The counters and identities of one check_host() call tree."""

    resolver: Resolver
    ip: IpAddress
    macros: MacroContext
    lookups: int = 0
    voids: int = 0
    mechanism: str = ""
    validated: tuple[str, ...] | None = field(default=None)


async def check_spf(
    resolver: Resolver,
    *,
    ip: str,
    sender: str,
    helo: str,
    receiver: str = "unknown",
    explain: bool = False,
    timeout_s: float = TOTAL_TIMEOUT_S,
) -> SpfResult:
    """Check the sender of one transaction: check_host() of RFC 7208 §4.

    Args:
        ip: The client's address; IPv4-mapped IPv6 counts as IPv4 (§5).
        sender: The reverse-path without brackets, empty when null: then `postmaster@helo` is checked (§2.4).
        helo: The client's HELO or EHLO name.
        receiver: Our name, for the `r` macro of explanations.
        explain: Whether to fetch the explanation of a fail, at the price of one more query.

    Returns:
        NONE for a sender or HELO that can't have a record (§4.3).
    """
    identity = "mailfrom" if sender else "helo"
    local, _, domain = sender.rpartition("@") if sender else ("postmaster", "@", helo)
    local, domain = local or "postmaster", domain.rstrip(".").lower()
    shown = sender or helo
    if not _is_checkable(domain):
        return SpfResult(result=Result.NONE, domain=domain, identity=identity, sender=shown)
    address = client_address(ip)
    macros = MacroContext(local=local, sender_domain=domain, ip=address, helo=helo, receiver=receiver)
    session = _CheckSession(resolver=resolver, ip=address, macros=macros)
    explanation = problem = ""
    try:
        async with asyncio.timeout(timeout_s):
            result, explanation = await _check_host(session, domain, explain=explain)
    except _Stop as stop:
        result, problem = stop.result, stop.problem
    except TimeoutError:
        result, problem = Result.TEMPERROR, f"no result within {timeout_s:g} s"
    return SpfResult(
        result=result,
        domain=domain,
        identity=identity,
        sender=shown,
        mechanism=session.mechanism if result in (Result.PASS, Result.FAIL, Result.SOFTFAIL, Result.NEUTRAL) else "",
        explanation=explanation,
        problem=problem,
        lookups=session.lookups,
    )


def _is_checkable(domain: str) -> bool:
    """§4.3: a domain of two or more labels, each of 1 to 63 octets."""
    labels = domain.split(".")
    return len(labels) > 1 and _is_queryable(domain) and domain.isascii()


def _is_queryable(name: str) -> bool:
    return len(name) <= 253 and all(0 < len(label) <= 63 for label in name.split("."))


async def _check_host(session: _CheckSession, domain: str, *, explain: bool) -> tuple[Result, str]:
    record = await _fetch_record(session.resolver, domain)
    if record is None:
        return Result.NONE, ""
    for directive in record.directives:
        if await _matches(session, directive, domain):
            session.mechanism = directive.text
            explanation = ""
            if directive.result is Result.FAIL and explain and record.explanation is not None:
                explanation = await _explain(session, record.explanation, domain)
            return directive.result, explanation
    if record.redirect is None:
        session.mechanism = ""
        return Result.NEUTRAL, ""
    _count_lookup(session)
    target = await _expand_domain(session, record.redirect, domain)
    result, explanation = (
        await _check_host(session, target, explain=explain) if _is_checkable(target) else (Result.NONE, "")
    )
    if result is Result.NONE:
        raise _Stop(Result.PERMERROR, f"redirect to {target} which has no SPF record")
    return result, explanation


async def _fetch_record(resolver: Resolver, domain: str) -> SpfRecord | None:
    """§4.4 and §4.5: the one SPF record of a domain, None without one."""
    answer = await resolver.txt(domain)
    if answer.status is DnsStatus.TEMPERROR:
        raise _Stop(Result.TEMPERROR, f"DNS error for TXT {domain}")
    records = [record for record in answer.records if is_spf(record)]
    if len(records) > 1:
        raise _Stop(Result.PERMERROR, f"{len(records)} SPF records at {domain}")
    if not records:
        return None
    try:
        return parse_record(records[0])
    except SpfSyntaxError as error:
        raise _Stop(Result.PERMERROR, f"{domain}: {error}") from error


async def _matches(session: _CheckSession, directive: Directive, domain: str) -> bool:
    match directive.mechanism:
        case Mechanism.ALL:
            return True
        case Mechanism.IP4:
            return session.ip.version == 4 and _same_network(session.ip, directive.network, directive.cidr4)
        case Mechanism.IP6:
            return session.ip.version == 6 and _same_network(session.ip, directive.network, directive.cidr6)
        case _:
            pass
    _count_lookup(session)
    target = domain if directive.target is None else await _expand_domain(session, directive.target, domain)
    match directive.mechanism:
        case Mechanism.INCLUDE:
            return await _include(session, target)
        case Mechanism.A:
            return await _has_address(session, target, directive)
        case Mechanism.MX:
            return await _mx(session, target, directive)
        case Mechanism.EXISTS:
            answer: Answer[str] = Answer(DnsStatus.NXDOMAIN)
            if _is_queryable(target):
                answer = await session.resolver.a(target)
            return bool(_records(session, answer, f"A {target}"))
        case Mechanism.PTR:
            return any(name == target or name.endswith("." + target) for name in await _validated_names(session))
    raise AssertionError(directive.mechanism)


def _count_lookup(session: _CheckSession) -> None:
    session.lookups += 1
    if session.lookups > MAX_LOOKUPS:
        raise _Stop(Result.PERMERROR, f"more than {MAX_LOOKUPS} terms that ask DNS")


def _records(session: _CheckSession, answer: Answer[str], question: str) -> tuple[str, ...]:
    """The records of an answer; counts the voids and stops at DNS errors (§5, §4.6.4)."""
    if answer.status is DnsStatus.TEMPERROR:
        raise _Stop(Result.TEMPERROR, f"DNS error for {question}")
    if not answer.records:
        session.voids += 1
        if session.voids > MAX_VOID_LOOKUPS:
            raise _Stop(Result.PERMERROR, f"more than {MAX_VOID_LOOKUPS} lookups without an answer")
    return answer.records


async def _expand_domain(session: _CheckSession, spec: MacroString, domain: str) -> str:
    """§7.3: expand, then drop labels from the left until 253 octets fit."""
    validated: tuple[str, ...] = ()
    if any(not isinstance(part, str) and part.letter == "p" for part in spec):
        validated = await _validated_names(session)
    name = expand(spec, session.macros, domain, validated).rstrip(".").lower()
    while len(name) > 253 and "." in name:
        name = name.partition(".")[2]
    return name


async def _include(session: _CheckSession, target: str) -> bool:
    """§5.2: only the included pass matches; its errors and its absence end the evaluation."""
    result = Result.NONE
    if _is_checkable(target):
        result, _ = await _check_host(session, target, explain=False)
    if result is Result.NONE:
        raise _Stop(Result.PERMERROR, f"include of {target} which has no SPF record")
    return result is Result.PASS


async def _addresses(session: _CheckSession, name: str) -> Answer[str]:
    if not _is_queryable(name):
        return Answer(DnsStatus.NXDOMAIN)
    return await (session.resolver.a(name) if session.ip.version == 4 else session.resolver.aaaa(name))


async def _has_address(session: _CheckSession, name: str, directive: Directive) -> bool:
    bits = directive.cidr4 if session.ip.version == 4 else directive.cidr6
    found = _records(session, await _addresses(session, name), f"addresses of {name}")
    return any(_same_network(session.ip, int(ipaddress.ip_address(ip)), bits) for ip in found)


async def _mx(session: _CheckSession, target: str, directive: Directive) -> bool:
    """§5.4; more than ten names is permerror (§4.6.4)."""
    answer = await session.resolver.mx(target) if _is_queryable(target) else None
    if answer is None or answer.status is not DnsStatus.OK:
        _records(session, Answer(answer.status if answer else DnsStatus.NXDOMAIN), f"MX {target}")
        return False
    if len(answer.records) > MAX_NAMES:
        raise _Stop(Result.PERMERROR, f"more than {MAX_NAMES} MX names at {target}")
    for mx in answer.records:
        if mx.host and await _has_address(session, mx.host, directive):
            return True
    return False


async def _validated_names(session: _CheckSession) -> tuple[str, ...]:
    """§5.5: names of the client's address that lead back to it; at most ten are looked at, errors are passed over."""
    if session.validated is None:
        answer = await session.resolver.ptr(str(session.ip))
        names: list[str] = []
        for name in answer.records[:MAX_NAMES]:
            found = await _addresses(session, name)
            if str(session.ip) in found.records:
                names.append(name)
        session.validated = tuple(names)
    return session.validated


async def _explain(session: _CheckSession, spec: MacroString, domain: str) -> str:
    """§6.2: the expanded explanation; empty when anything at all is wrong with it."""
    target = await _expand_domain(session, spec, domain)
    if not _is_queryable(target):
        return ""
    answer = await session.resolver.txt(target)
    if len(answer.records) != 1:
        return ""
    try:
        text = parse_explanation(answer.records[0].decode("ascii"))
    except (UnicodeDecodeError, SpfSyntaxError):
        return ""
    validated: tuple[str, ...] = ()
    if any(not isinstance(part, str) and part.letter == "p" for part in text):
        validated = await _validated_names(session)
    return expand(text, session.macros, domain, validated)[:MAX_EXPLANATION]


def _same_network(ip: IpAddress, network: int, bits: int) -> bool:
    shift = ip.max_prefixlen - bits
    return int(ip) >> shift == network >> shift
