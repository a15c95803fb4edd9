"""Authentication of received mail: SPF, DKIM, DMARC, ARC and iprev under one deadline (product items 11 to 15).

- Only DNS is waited for, `TOTAL_TIMEOUT_S` at most; what is late or fails is temperror and refuses nothing (F08).
- SPF, DKIM, ARC and iprev run at once; DMARC after them, in the time that is left.
- Every domain in From is put to DMARC and the strictest answer counts: a second mailbox hides no forged one (T19).
- Only `dmarc_verdict` decides anything; SPF or DKIM alone refuse nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from server.domain.changes import EventValue
from server.domain.envelope import ConnectionInfo, Envelope
from server.domain.errors import Unavailable
from server.domain.ports import Clock, Resolver, Worker
from server.domain.reply import reply
from server.domain.verdict import Action, Verdict
from server.protocol.emailauth.arc import ArcResult, check_chain, find_chain
from server.protocol.emailauth.authres import MethodResult, format_authentication_results
from server.protocol.emailauth.dkim import INLINE_OCTETS, check_signatures, fetch_keys, find_signatures
from server.protocol.emailauth.dkim_signature import DkimResult
from server.protocol.emailauth.dmarc import DmarcResult, check_dmarc
from server.protocol.emailauth.dmarc_record import Policy
from server.protocol.emailauth.iprev import IprevResult, check_iprev
from server.protocol.emailauth.result import Result
from server.protocol.emailauth.spf import SpfResult, check_spf
from server.protocol.mime.addresses import parse_mailboxes
from server.protocol.mime.headers import HeaderFields, split_header

TOTAL_TIMEOUT_S = 20.0
"""DNS time of one message (reliability.md §8)."""
MAX_AUTHOR_DOMAINS = 4
"""Domains in From that are checked; mail with more is treated as having none."""
MAX_DOMAIN = 253
"""Characters of a domain name (RFC 1035 §2.3.4)."""
JUNK = "$Junk"

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthResults:
    """What is known about who sent a message.

    Attributes:
        dmarc: The strictest of the From domains' results.
        has_author: Whether From holds one to `MAX_AUTHOR_DOMAINS` addresses with a domain.
        vouched: Whether trusted sealers saw the author domain pass DMARC before they changed the message.
    """

    spf: SpfResult
    dkim: tuple[DkimResult, ...]
    dmarc: DmarcResult
    iprev: IprevResult
    arc: ArcResult = ArcResult(result=Result.NONE)  # noqa: RUF009  frozen
    has_author: bool = True
    vouched: bool = False

    @property
    def remote_name(self) -> str | None:
        """The client's confirmed host name."""
        return self.iprev.name or None

    @property
    def sender_is_genuine(self) -> bool:
        """Whether the reverse-path may be answered: its domain vouches for it (product.md R4)."""
        return Result.PASS in (self.spf.result, self.dmarc.result)

    @property
    def dmarc_word(self) -> str:
        return self.dmarc.result.value

    @property
    def dkim_word(self) -> str:
        """One word for all signatures: pass if one passed, else the first one's, none without any."""
        words = [result.result for result in self.dkim]
        return (Result.PASS if Result.PASS in words else (words or [Result.NONE])[0]).value

    @property
    def summary(self) -> str:
        """One line for the trace: `spf=pass dkim=pass (example.com) dmarc=pass iprev=pass`."""
        signers = ", ".join(dict.fromkeys(r.domain for r in self.dkim if r.result is Result.PASS))
        dkim = f"dkim={self.dkim_word}" + (f" ({signers})" if signers else "")
        arc = "" if self.arc.result is Result.NONE else f" arc={self.arc.result}"
        return f"spf={self.spf.result} {dkim} dmarc={self.dmarc.result} iprev={self.iprev.result}{arc}"

    def header(self, authserv_id: str) -> bytes:
        """The Authentication-Results field, CRLF at its end (RFC 8601)."""
        return format_authentication_results(
            authserv_id, [*(_dkim_method(r) for r in self.dkim), *self._other_methods()]
        )

    def facts(self) -> dict[str, EventValue]:
        """The same as event data."""
        return {
            "spf": self.spf.result.value,
            "spf_domain": self.spf.domain,
            "dkim": [f"{result.domain}={result.result}" for result in self.dkim],
            "dmarc": self.dmarc.result.value,
            "dmarc_domain": self.dmarc.domain,
            "dmarc_policy": self.dmarc.published.word,
            "iprev": self.iprev.result.value,
            "arc": self.arc.result.value,
            "arc_sealers": list(self.arc.sealers),
        }

    def _other_methods(self) -> list[MethodResult]:
        identity = "smtp.mailfrom" if self.spf.identity == "mailfrom" else "smtp.helo"
        dkim_none = [] if self.dkim else [MethodResult(method="dkim", result=Result.NONE)]
        comment = f"p={self.dmarc.published.word}" if self.dmarc.policy_domain else ""
        return [
            *dkim_none,
            MethodResult(
                method="spf",
                result=self.spf.result,
                reason=self.spf.problem,
                properties=((identity, self.spf.sender),),
            ),
            MethodResult(
                method="dmarc",
                result=self.dmarc.result,
                comment=comment,
                reason=self.dmarc.problem if self.dmarc.result is not Result.NONE else "",
                properties=(("header.from", self.dmarc.domain),),
            ),
            MethodResult(
                method="iprev",
                result=self.iprev.result,
                comment=self.iprev.name,
                properties=(("policy.iprev", self.iprev.ip),),
            ),
            *self._arc_method(),
        ]

    def _arc_method(self) -> list[MethodResult]:
        if self.arc.result is Result.NONE:
            return []
        newest = self.arc.sealers[-1] if self.arc.sealers else ""
        comment = f"i={len(self.arc.sealers)}, sealed by {newest}" if newest else ""
        return [MethodResult(method="arc", result=self.arc.result, comment=comment, reason=self.arc.problem)]


def _dkim_method(result: DkimResult) -> MethodResult:
    notes = [f"{result.key_bits}-bit key"] if result.key_bits else []
    return MethodResult(
        method="dkim",
        result=result.result,
        comment=", ".join(notes + (["test mode"] if result.testing else [])),
        reason=result.problem,
        properties=(
            ("header.d", result.domain),
            ("header.s", result.selector),
            ("header.a", result.algorithm),
            ("header.b", result.b_start),
        ),
    )


class Authenticator:
    """Asks DNS about a message.

    Args:
        worker: Where messages above 64 KiB are hashed.
        trusted_sealers: Domains whose ARC seals are believed (`mailauth.trusted_sealers`), asked for each message.
    """

    def __init__(
        self,
        *,
        resolver: Resolver,
        worker: Worker,
        clock: Clock,
        timeout_s: float = TOTAL_TIMEOUT_S,
        trusted_sealers: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        self._resolver = resolver
        self._worker = worker
        self._clock = clock
        self._timeout_s = timeout_s
        self._trusted_sealers = trusted_sealers

    async def authenticate(
        self, *, connection: ConnectionInfo, envelope: Envelope, octets: bytes, fields: HeaderFields | None = None
    ) -> AuthResults:
        """Check one message as it was received, before any field of ours.

        Args:
            octets: The message with CRLF line ends.
            fields: Its header if it has been split already.

        Raises:
            Unavailable: Too many large messages wait for the worker.
        """
        header = split_header(octets) if fields is None else fields
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        try:
            async with asyncio.TaskGroup() as group:
                spf_task = group.create_task(self._spf(connection, envelope))
                iprev_task = group.create_task(self._iprev(connection, deadline))
                dkim_task = group.create_task(self._dkim(octets, header))
                arc = await self._arc(octets, header)
        except ExceptionGroup as errors:
            if errors.split(Unavailable)[1] is None:
                raise Unavailable(code="busy") from errors
            raise
        spf, dkim = spf_task.result(), dkim_task.result()
        domains = author_domains(header)
        dmarc = await self._dmarc(domains, spf, dkim, deadline)
        return AuthResults(
            spf=spf,
            dkim=dkim,
            dmarc=dmarc,
            iprev=iprev_task.result(),
            arc=arc,
            has_author=bool(domains),
            vouched=arc.result is Result.PASS and arc.vouches_for(dmarc.domain, self._trusted_sealers()),
        )

    async def _spf(self, connection: ConnectionInfo, envelope: Envelope) -> SpfResult:
        sender = envelope.reverse_path
        return await check_spf(
            self._resolver,
            ip=connection.remote_ip,
            sender="" if sender is None else f"{sender.local}@{sender.domain}",
            helo=connection.helo,
            timeout_s=self._timeout_s,
        )

    async def _iprev(self, connection: ConnectionInfo, deadline: float) -> IprevResult:
        late = IprevResult(result=Result.TEMPERROR, ip=connection.remote_ip)
        return await _before(deadline, check_iprev(self._resolver, ip=connection.remote_ip), late)

    async def _dkim(self, octets: bytes, header: HeaderFields) -> tuple[DkimResult, ...]:
        signatures = find_signatures(header, now=self._clock.now())
        if not signatures:
            return ()
        keys = await fetch_keys(signatures, self._resolver, timeout_s=self._timeout_s)
        return await self._compute(octets, lambda: check_signatures(octets, header, signatures, keys))

    async def _arc(self, octets: bytes, header: HeaderFields) -> ArcResult:
        if b"arc-seal" not in header.names:
            return ArcResult(result=Result.NONE)
        now = self._clock.now()
        chain = await self._compute(octets, lambda: find_chain(header, now=now))
        if chain is None:
            return ArcResult(result=Result.NONE)
        keys = await fetch_keys(chain.signatures, self._resolver, timeout_s=self._timeout_s)
        return await self._compute(octets, lambda: check_chain(octets, header, chain, keys))

    async def _compute(self, octets: bytes, work: Callable[[], T]) -> T:
        """Run CPU work at once for a small message, in the worker for a large one."""
        return work() if len(octets) <= INLINE_OCTETS else await self._worker.run(work)

    async def _dmarc(
        self, domains: tuple[str, ...], spf: SpfResult, dkim: tuple[DkimResult, ...], deadline: float
    ) -> DmarcResult:
        uncertain = [result.domain for result in dkim if result.result is Result.TEMPERROR]
        if spf.result is Result.TEMPERROR:
            uncertain.append(spf.domain)
        strictest: DmarcResult | None = None
        for domain in domains or (None,):
            check = check_dmarc(
                self._resolver,
                author_domain=domain,
                spf_domain=spf.domain if spf.result is Result.PASS else None,
                dkim_domains=[result.domain for result in dkim if result.result is Result.PASS],
                uncertain_domains=uncertain,
            )
            late = DmarcResult(result=Result.TEMPERROR, domain=domain or "", problem="no DNS answer in time")
            result = await _before(deadline, check, late)
            if strictest is None or _severity(result) > _severity(strictest):
                strictest = result
        return strictest or DmarcResult(result=Result.NONE)


async def _before(deadline: float, work: Awaitable[T], late: T) -> T:
    try:
        async with asyncio.timeout_at(deadline):
            return await work
    except TimeoutError:
        return late


_ORDER = (Result.PASS, Result.NONE, Result.PERMERROR, Result.TEMPERROR, Result.FAIL)


def _severity(result: DmarcResult) -> tuple[Policy, int]:
    return result.policy, _ORDER.index(result.result)


def author_domains(fields: HeaderFields) -> tuple[str, ...]:
    """The domains of the addresses in From, A-labels, each once; empty when there is none or more than four.

    RFC 9989 §5.3.1; groups count with their members, and an address that isn't readable counts with its domain.
    """
    domains: dict[str, None] = {}
    for value in fields.every(b"from"):
        for mailbox in parse_mailboxes(value):
            domain = _a_labels(mailbox.domain)
            if domain:
                domains[domain] = None
    return tuple(domains) if len(domains) <= MAX_AUTHOR_DOMAINS else ()


def _a_labels(domain: str) -> str:
    """The lower-case A-label form of a domain, empty for what can't be one."""
    name = domain.strip().rstrip(".").lower()
    if "." not in name or name.startswith("[") or len(name) > MAX_DOMAIN:
        return ""
    if name.isascii():
        return name
    try:
        return name.encode("idna").decode("ascii")
    except UnicodeError:
        return ""


def dmarc_verdict(results: AuthResults, mode: str) -> Verdict:
    """Decide by DMARC alone.

    Args:
        mode: `mailauth.dmarc`: `honour` does what the publisher asks for, `junk` at most sets `$Junk`,
            `score` only notes it.

    A From without any usable address can't be checked and goes to Junk, unless the mode is `score` (T19).
    """
    dmarc = results.dmarc
    if not results.has_author:
        return Verdict(
            action=Action.ACCEPT if mode == "score" else Action.TAG,
            source="dmarc",
            reason="From holds no address that DMARC could check",
            keywords=() if mode == "score" else (JUNK,),
        )
    if dmarc.result is not Result.FAIL or dmarc.policy is Policy.NONE or mode == "score":
        return Verdict(action=Action.ACCEPT, source="dmarc", reason=dmarc.problem)
    if results.vouched:
        reason = f"DMARC fails, but the trusted sealer {results.arc.sealers[-1]} saw it pass (ARC)"
        return Verdict(action=Action.ACCEPT, source="arc", reason=reason)
    reason = f"DMARC of {dmarc.policy_domain} asks for {dmarc.policy.word}: {dmarc.problem}"
    if mode == "honour" and dmarc.policy is Policy.REJECT:
        text = f"rejected by the DMARC policy of {dmarc.policy_domain}"
        return Verdict(action=Action.REJECT, source="dmarc", reason=reason, reply=reply(550, "5.7.1", text))
    return Verdict(action=Action.TAG, source="dmarc", reason=reason, keywords=(JUNK,))
