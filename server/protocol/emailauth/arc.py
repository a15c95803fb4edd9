"""ARC chains verified (RFC 8617 §5.2); nothing is sealed.

- A chain is 1 to 50 sets of three fields, one of each instance; anything else is a fail, no set at all is none.
- PASS needs the newest ARC-Message-Signature and every ARC-Seal to verify, and the right cv= in each seal.
- Parsing and checking are sync, like DKIM's; the keys are fetched with `dkim.fetch_keys`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from server.protocol.emailauth.authres import parse_results
from server.protocol.emailauth.canonical import relaxed_field
from server.protocol.emailauth.dkim import Keys, check_signatures, signature_holds
from server.protocol.emailauth.dkim_signature import (
    Signature,
    decode_base64,
    find_signer_problem,
    outcome_from_tags,
    signature_from_tags,
    without_b,
)
from server.protocol.emailauth.result import Result
from server.protocol.emailauth.taglist import TagListError, parse_tags
from server.protocol.mime.headers import HeaderFields

MAX_INSTANCES = 50
"""RFC 8617 §4.2.1."""

_AAR, _AMS, _AS = b"arc-authentication-results", b"arc-message-signature", b"arc-seal"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArcResult:
    """What the chain is worth.

    Attributes:
        sealers: The d= of each seal, oldest first; empty unless the result is PASS.
        dmarc_passes: For each instance, oldest first, the From domains its sealer saw pass DMARC.
    """

    result: Result
    sealers: tuple[str, ...] = ()
    dmarc_passes: tuple[frozenset[str], ...] = ()
    problem: str = ""

    def vouches_for(self, domain: str, trusted: Sequence[str]) -> bool:
        """Whether trusted sealers, unbroken up to the newest, saw `domain` pass DMARC (RFC 8617 §7.2.1)."""
        for sealer, passes in zip(reversed(self.sealers), reversed(self.dmarc_passes), strict=True):
            if sealer not in trusted:
                return False
            if domain in passes:
                return True
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class ArcChain:
    """A chain after the checks that need no key. With a `problem` there is nothing to check.

    Attributes:
        message: The newest ARC-Message-Signature.
        seals: All ARC-Seals, oldest first, each with the octets it signs.
        results: The ARC-Authentication-Results values, oldest first.
    """

    problem: str = ""
    message: Signature | None = None
    seals: tuple[tuple[Signature, bytes], ...] = ()
    results: tuple[bytes, ...] = ()

    @property
    def signatures(self) -> tuple[Signature, ...]:
        """All whose keys are needed."""
        return (*((self.message,) if self.message else ()), *(seal for seal, _ in self.seals))


@dataclass(frozen=True, slots=True)
class _Set:
    """The raw fields of one instance and the tags of its seal and its signature."""

    aar: bytes
    ams: bytes
    seal: bytes
    ams_tags: dict[str, bytes]
    seal_tags: dict[str, bytes]


class _ChainBroken(Exception):
    """The chain fails for the reason given."""


def find_chain(fields: HeaderFields, *, now: datetime) -> ArcChain | None:
    """Collect the ARC sets and check their structure; None when the message has none (§5.2, steps 1 to 3)."""
    if not {_AAR, _AMS, _AS} & set(fields.names):
        return None
    try:
        sets = _collect(fields)
        newest = sets[-1]
        message = signature_from_tags(newest.ams, _as_dkim(newest.ams_tags), now=now)
        if not message.usable:
            raise _ChainBroken(f"newest message signature: {message.outcome.problem}")
        seals, signed = [], b""
        for number, found in enumerate(sets, 1):
            signed += relaxed_field(found.aar) + relaxed_field(found.ams)
            own = relaxed_field(without_b(found.seal))
            seals.append((_seal(found, number), signed + own.removesuffix(b"\r\n")))
            signed += relaxed_field(found.seal)
    except _ChainBroken as error:
        return ArcChain(problem=str(error))
    return ArcChain(message=message, seals=tuple(seals), results=tuple(found.aar for found in sets))


def check_chain(octets: bytes, fields: HeaderFields, chain: ArcChain, keys: Keys) -> ArcResult:
    """Verify the newest message signature and all seals (§5.2, steps 4 to 6). CPU only."""
    if chain.problem or chain.message is None:
        return ArcResult(result=Result.FAIL, problem=chain.problem)
    for name in dict.fromkeys(signature.key_name for signature in chain.signatures):
        key = keys[name]
        if isinstance(key, tuple):
            word = Result.TEMPERROR if key[0] is Result.TEMPERROR else Result.FAIL
            return ArcResult(result=word, problem=key[1])
    (message,) = check_signatures(octets, fields, [chain.message], keys)
    if message.result is not Result.PASS:
        return ArcResult(result=Result.FAIL, problem=f"newest message signature: {message.problem}")
    for number, (seal, signed) in enumerate(chain.seals, 1):
        key = keys[seal.key_name]
        if isinstance(key, tuple) or key.algorithm != seal.outcome.algorithm:
            return ArcResult(result=Result.FAIL, problem=f"key of seal {number} is for another algorithm")
        if not signature_holds(key, seal.signature, signed):
            return ArcResult(result=Result.FAIL, problem=f"seal {number} does not verify")
    return ArcResult(
        result=Result.PASS,
        sealers=tuple(seal.outcome.domain for seal, _ in chain.seals),
        dmarc_passes=tuple(_dmarc_passes(raw) for raw in chain.results),
    )


def _collect(fields: HeaderFields) -> list[_Set]:
    """The sets in the order of their instances, each whole and once (§4.2)."""
    found: dict[bytes, dict[int, tuple[bytes, dict[str, bytes]]]] = {_AAR: {}, _AMS: {}, _AS: {}}
    if fields.exceeded is not None:
        raise _ChainBroken("header section exceeds its limits")
    for field in fields:
        if field.name not in found:
            continue
        tags = _tags(field.name, field.value)
        text = tags.get("i", b"")
        instance = int(text) if text.isdigit() and len(text) <= 2 else 0
        if not 1 <= instance <= MAX_INSTANCES:
            raise _ChainBroken("instance is not 1 to 50")
        if instance in found[field.name]:
            raise _ChainBroken(f"instance {instance} twice")
        found[field.name][instance] = (field.raw, tags)
    count = len(found[_AS])
    wanted = set(range(1, count + 1))
    if not count or any(set(same) != wanted for same in found.values()):
        raise _ChainBroken("sets are not whole")
    return [
        _Set(found[_AAR][i][0], found[_AMS][i][0], found[_AS][i][0], found[_AMS][i][1], found[_AS][i][1])
        for i in range(1, count + 1)
    ]


def _tags(name: bytes, value: bytes) -> dict[str, bytes]:
    if name == _AAR:
        value = value.partition(b";")[0]  # Only its instance is a tag; the results follow (§4.1.1).
    try:
        return parse_tags(value)
    except TagListError as error:
        raise _ChainBroken(f"{name.decode('ascii')} malformed: {error}") from error


def _as_dkim(tags: Mapping[str, bytes]) -> dict[str, bytes]:
    """An ARC-Message-Signature has no v=, and i= is its instance (§4.1.2)."""
    return {"v": b"1", **{name: value for name, value in tags.items() if name not in ("i", "v")}}


def _seal(found: _Set, number: int) -> Signature:
    """Check the tags of one seal (§4.1.3); h= and bh= are forbidden there."""
    tags = found.seal_tags
    outcome = outcome_from_tags({name: value for name, value in tags.items() if name != "i"})
    problem = find_signer_problem(tags, outcome)
    if not problem and ("h" in tags or "bh" in tags):
        problem = "h= or bh= in it"
    if not problem and tags.get("cv", b"").lower() != (b"none" if number == 1 else b"pass"):
        problem = f"cv={'none' if number == 1 else 'pass'} expected"
    signature = decode_base64(tags.get("b", b""))
    if problem or signature is None:
        raise _ChainBroken(f"seal {number}: {problem or 'b= is not base64'}")
    return Signature(raw=found.seal, outcome=replace(outcome, problem=""), signature=signature)


def _dmarc_passes(raw: bytes) -> frozenset[str]:
    """The From domains with dmarc=pass in an ARC-Authentication-Results field."""
    value = raw.partition(b":")[2].partition(b";")[2]
    return frozenset(
        properties["header.from"].lower()
        for method, result, properties in parse_results(value)
        if (method, result) == ("dmarc", "pass") and "header.from" in properties
    )
