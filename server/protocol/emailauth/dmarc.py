"""DMARC evaluation with the DNS tree walk (RFC 9989).

- Takes exactly one author domain; which message has one is the caller's rule (threat T19).
- Passes when SPF or a DKIM signature passed for a domain aligned with the author domain.
- At most eight queries a walk (§4.10); no list of public suffixes and no guess by label count.
- A DNS error is temperror, and asks for nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from server.domain.ports import DnsStatus, Resolver
from server.protocol.emailauth.dmarc_record import DmarcRecord, Policy, Psd, is_dmarc, parse_record
from server.protocol.emailauth.result import Result

MAX_QUERIES = 8
"""§4.10: a name of more labels is shortened to seven after the first query."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DmarcResult:
    """What DMARC says about a message.

    Attributes:
        result: NONE without an author domain or a record; PERMERROR when the record can't be used.
        domain: The author domain.
        policy_domain: Where the record was found, empty without one.
        published: The policy that applies to the author domain, before t=y.
        policy: What is asked for this message: NONE unless the result is FAIL; one level milder with t=y.
        aligned: `spf`, `dkim:d` per passing and aligned identifier.
        problem: One sentence unless PASS.
    """

    result: Result
    domain: str = ""
    policy_domain: str = ""
    published: Policy = Policy.NONE
    policy: Policy = Policy.NONE
    testing: bool = False
    aligned: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class _Walk:
    """Valid records from the longest name to the shortest; `start` is where the walk began."""

    start: str
    found: tuple[tuple[str, DmarcRecord], ...]

    @property
    def organizational_domain(self) -> str:
        """§4.10.2, its three rules in their order; without any record the start itself."""
        for name, record in self.found:
            if record.psd is Psd.NO:
                return name
            if record.psd is Psd.YES and name != self.start:
                return _one_below(name, self.start)
        return self.found[-1][0] if self.found else self.start


class _DnsFailed(Exception):
    """A query of the walk got no answer."""


async def check_dmarc(
    resolver: Resolver,
    *,
    author_domain: str | None,
    spf_domain: str | None,
    dkim_domains: Sequence[str],
    uncertain_domains: Sequence[str] = (),
) -> DmarcResult:
    """Evaluate DMARC for one message.

    Args:
        author_domain: Domain of the one From address, lower case A-labels; None when there isn't exactly one.
        spf_domain: The reverse-path's domain if SPF passed for it, else None; the HELO name when that was checked.
        dkim_domains: The d= of every signature that passed.
        uncertain_domains: Domains whose SPF or DKIM ended in temperror; an aligned one turns a fail into TEMPERROR,
            so that a failing DNS refuses nothing (F08).
    """
    if not author_domain:
        return DmarcResult(result=Result.NONE, problem="no single author domain")
    try:
        found = await _discover(resolver, author_domain)
        if isinstance(found, DmarcResult):
            return found
        outcome, record = found
        alignment = _Alignment(resolver, author_domain)
        identifiers = [
            (f"dkim:{name.lower()}", name.lower(), record.strict_dkim) for name in dict.fromkeys(dkim_domains)
        ]
        if spf_domain:
            identifiers.insert(0, ("spf", spf_domain.lower(), record.strict_spf))
        aligned = [label for label, name, strict in identifiers if await alignment.holds(name, strict=strict)]
        if aligned:
            return replace(outcome, result=Result.PASS, aligned=tuple(aligned))
        for name in dict.fromkeys(uncertain_domains):
            if await alignment.holds(name.lower(), strict=record.strict_dkim and record.strict_spf):
                return replace(outcome, result=Result.TEMPERROR, problem=f"SPF or DKIM of {name} ended in a DNS error")
    except _DnsFailed as error:
        return DmarcResult(result=Result.TEMPERROR, domain=author_domain, problem=f"DNS error for {error}")
    if alignment.failed:
        return replace(outcome, result=Result.TEMPERROR, problem=f"DNS error for {alignment.failed}")
    policy = outcome.published.below if record.testing else outcome.published
    problem = "neither SPF nor DKIM passed for an aligned domain"
    return replace(outcome, result=Result.FAIL, policy=policy, problem=problem)


async def _discover(resolver: Resolver, author: str) -> DmarcResult | tuple[DmarcResult, DmarcRecord]:
    """§4.10.1: the record that applies and its policy, or the result when there is none to apply."""
    policy_domain, record = author, await _fetch_record(resolver, author)
    if record is None:
        policy_domain, record = _applicable(await _tree_walk(resolver, author))
    if record is None:
        return DmarcResult(result=Result.NONE, domain=author, problem="no DMARC record")
    exists = True
    if policy_domain != author and record.np is not None:
        exists = await _exists(resolver, author)
    published = record.policy_for(subdomain=policy_domain != author, exists=exists)
    outcome = DmarcResult(result=Result.PERMERROR, domain=author, policy_domain=policy_domain, testing=record.testing)
    if published is None:
        return replace(outcome, problem="DMARC record has an invalid policy")
    return replace(outcome, published=published), record


class _Alignment:
    """Compares identifiers with the author domain; walks only when the names alone don't decide (§4.10.2).

    Attributes:
        failed: The first DNS name without an answer, empty while all went well.
    """

    def __init__(self, resolver: Resolver, author: str) -> None:
        self._resolver = resolver
        self._author = author
        self._organization: str | None = None
        self.failed = ""

    async def holds(self, domain: str, *, strict: bool) -> bool:
        """§4.4: equal domains, or in relaxed mode equal Organizational Domains."""
        if domain == self._author:
            return True
        if strict or domain.rpartition(".")[2] != self._author.rpartition(".")[2]:
            return False
        try:
            if self._organization is None:
                self._organization = (await _tree_walk(self._resolver, self._author)).organizational_domain
            return (await _tree_walk(self._resolver, domain)).organizational_domain == self._organization
        except _DnsFailed as error:
            self.failed = self.failed or str(error)
            return False


def _applicable(walk: _Walk) -> tuple[str, DmarcRecord | None]:
    """§4.10.1: the record of the author domain, else of its Organizational Domain, else of the public suffix."""
    records = dict(walk.found)
    if walk.start in records:
        return walk.start, records[walk.start]
    organizational = walk.organizational_domain
    if organizational in records:
        return organizational, records[organizational]
    suffixes = [(name, record) for name, record in walk.found if record.psd is Psd.YES]
    return suffixes[0] if suffixes else ("", None)


async def _tree_walk(resolver: Resolver, domain: str) -> _Walk:
    """§4.10: query upwards from `domain`; stops at psd=y, psd=n or the top."""
    found: list[tuple[str, DmarcRecord]] = []
    for name in walk_names(domain):
        record = await _fetch_record(resolver, name)
        if record is not None:
            found.append((name, record))
            if record.psd is not Psd.UNKNOWN:
                break
    return _Walk(domain, tuple(found))


def walk_names(domain: str) -> list[str]:
    """The names of a tree walk in their order: the domain, then at most seven labels, one less each time (§4.10)."""
    labels = domain.split(".")
    shorter = labels[1:] if len(labels) < MAX_QUERIES else labels[-(MAX_QUERIES - 1) :]
    return [domain, *(".".join(shorter[i:]) for i in range(len(shorter)))]


async def _fetch_record(resolver: Resolver, domain: str) -> DmarcRecord | None:
    """The one DMARC record of a name; several are none (§4.10, steps 2 and 6)."""
    answer = await resolver.txt(f"_dmarc.{domain}")
    if answer.status is DnsStatus.TEMPERROR:
        raise _DnsFailed(f"_dmarc.{domain}")
    records = [record for record in answer.records if is_dmarc(record)]
    return parse_record(records[0]) if len(records) == 1 else None


async def _exists(resolver: Resolver, domain: str) -> bool:
    """Whether the name exists in DNS: only NXDOMAIN says no (§3.2, RFC 8020)."""
    answer = await resolver.a(domain)
    if answer.status is DnsStatus.TEMPERROR:
        raise _DnsFailed(domain)
    return answer.status is not DnsStatus.NXDOMAIN


def _one_below(suffix: str, domain: str) -> str:
    """The ancestor of `domain` that has one label more than `suffix`."""
    return ".".join(domain.split(".")[-(suffix.count(".") + 2) :])
