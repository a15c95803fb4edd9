"""DKIM verification over raw octets (RFC 6376 §6, RFC 8301, RFC 8463).

- Three steps: `find_signatures` (parse, sync), `fetch_keys` (DNS, the only await), `check_signatures` (hash and
  verify, sync, CPU). `verify` joins them and takes the last to a worker above `INLINE_OCTETS`.
- One result per signature, the first ten of a message from the top; no signature is an empty tuple.
- permerror: what can never verify (syntax, SHA-1, key under 1024 bits, expired); fail: what doesn't; temperror: DNS.
- A body longer than l= is a fail, so that text can't be appended under a good signature (threat T18).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from server.domain.ports import Answer, DnsStatus, Resolver, Worker
from server.protocol.emailauth.canonical import relaxed_body, relaxed_field, simple_body
from server.protocol.emailauth.dkim_key import KeyRecord, KeyRecordError, is_key_record, parse_key_record
from server.protocol.emailauth.result import Result
from server.protocol.emailauth.taglist import TagListError, parse_tags, without_space
from server.protocol.mime.headers import HeaderFields, split_header

MAX_SIGNATURES = 10
"""Signatures looked at, from the top (product item 12)."""
MAX_SIGNED_NAMES = 500
"""Names in one h=; real ones have at most 40."""
CLOCK_SKEW_S = 300
"""How far t= may lie ahead and x= behind."""
INLINE_OCTETS = 64 * 1024
"""Up to this size checking takes less than a millisecond a signature and stays on the loop."""

_B_VALUE = re.compile(rb"((?:\A|;)[ \t\r\n]*b[ \t\r\n]*=)[^;]*")
_DOMAIN = re.compile(
    rb"[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?)*\Z"
)
_NUMBER = re.compile(rb"[0-9]{1,20}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class DkimResult:
    """What one signature is worth.

    Attributes:
        domain, selector, identity: d=, s= and i= as text, empty where the field can't be read.
        algorithm: a= as written.
        b_start: The first eight characters of b=, which tell two signatures apart (RFC 6008).
        key_bits: 0 when no key was found.
        testing: Whether the key says t=y.
        problem: One sentence unless the result is PASS.
    """

    result: Result
    domain: str = ""
    selector: str = ""
    identity: str = ""
    algorithm: str = ""
    b_start: str = ""
    key_bits: int = 0
    testing: bool = False
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """A DKIM-Signature field after §6.1.1. `outcome` has a problem when it can't be used."""

    raw: bytes
    outcome: DkimResult
    signature: bytes = b""
    body_hash: bytes = b""
    names: tuple[bytes, ...] = ()
    relaxed_header: bool = False
    relaxed_body: bool = False
    length: int | None = None

    @property
    def usable(self) -> bool:
        return not self.outcome.problem

    @property
    def key_name(self) -> str:
        """Where the key is in DNS (§3.6.2.1)."""
        return f"{self.outcome.selector}._domainkey.{self.outcome.domain}"


Keys = Mapping[str, KeyRecord | tuple[Result, str]]
"""By `key_name`: the key, or the word and the sentence for its absence."""


async def verify(
    octets: bytes,
    *,
    resolver: Resolver,
    now: datetime,
    worker: Worker | None = None,
    fields: HeaderFields | None = None,
    timeout_s: float = 20.0,
) -> tuple[DkimResult, ...]:
    """Verify the signatures of a message.

    Args:
        octets: The message as received, CRLF line ends, dots unstuffed, our own fields not yet added.
        worker: Where large messages are hashed; None keeps all on the loop.
        fields: The message's header if the caller has split it already.
        timeout_s: For all keys together; a key that is late is a temperror.
    """
    header = split_header(octets) if fields is None else fields
    signatures = find_signatures(header, now=now)
    if not signatures:
        return ()
    keys = await fetch_keys(signatures, resolver, timeout_s=timeout_s)
    if worker is None or len(octets) <= INLINE_OCTETS:
        return check_signatures(octets, header, signatures, keys)
    return await worker.run(lambda: check_signatures(octets, header, signatures, keys))


def find_signatures(fields: HeaderFields, *, now: datetime) -> tuple[Signature, ...]:
    """Parse the first ten DKIM-Signature fields; unusable ones carry their problem."""
    if b"dkim-signature" not in fields.names:
        return ()
    found = [field.raw for field in fields if field.name == b"dkim-signature"][:MAX_SIGNATURES]
    signatures = [parse_signature(raw, now=now) for raw in found]
    if fields.exceeded is not None:
        signatures = [_refused(signature, "header section exceeds its limits") for signature in signatures]
    return tuple(signatures)


def _refused(signature: Signature, problem: str) -> Signature:
    if not signature.usable:
        return signature
    return replace(signature, outcome=replace(signature.outcome, result=Result.PERMERROR, problem=problem))


def parse_signature(raw: bytes, *, now: datetime) -> Signature:
    """Parse one DKIM-Signature field and check all that needs no key (RFC 6376 §3.5, §6.1.1)."""
    try:
        tags = parse_tags(raw.partition(b":")[2])
    except TagListError as error:
        return Signature(raw=raw, outcome=DkimResult(result=Result.PERMERROR, problem=f"signature malformed: {error}"))
    domain = _text(tags.get("d", b"")).lower()
    outcome = DkimResult(
        result=Result.PERMERROR,
        domain=domain,
        selector=_text(tags.get("s", b"")).lower(),
        identity=_text(without_space(tags.get("i", b""))) or f"@{domain}",
        algorithm=_text(tags.get("a", b"")).lower(),
        b_start=_text(without_space(tags.get("b", b""))[:8]),
    )
    problem = _find_problem(tags, outcome, now)
    if problem:
        return Signature(raw=raw, outcome=replace(outcome, problem=problem))
    header, _, body = tags.get("c", b"simple/simple").lower().partition(b"/")
    return Signature(
        raw=raw,
        outcome=outcome,
        signature=_base64(tags["b"]) or b"",
        body_hash=_base64(tags["bh"]) or b"",
        names=tuple(name.lower() for name in without_space(tags["h"]).split(b":")),
        relaxed_header=header == b"relaxed",
        relaxed_body=body == b"relaxed",
        length=int(tags["l"]) if "l" in tags else None,
    )


def _find_problem(tags: dict[str, bytes], outcome: DkimResult, now: datetime) -> str:
    """The first reason why the signature can't be used; empty when there is none."""
    missing = [name for name in ("v", "a", "b", "bh", "d", "h", "s") if not tags.get(name)]
    if missing:
        return f"signature without {missing[0]}="
    if tags["v"] != b"1":
        return "signature of another version"
    if outcome.algorithm == "rsa-sha1":
        return "SHA-1 is not accepted"
    if outcome.algorithm not in ("rsa-sha256", "ed25519-sha256"):
        return "unknown algorithm"
    if not _DOMAIN.match(tags["d"]) or not _DOMAIN.match(tags["s"]) or len(outcome.domain) > 253:
        return "bad domain or selector"
    names = without_space(tags["h"]).lower().split(b":")
    if b"from" not in names:
        return "From is not signed"
    if len(names) > MAX_SIGNED_NAMES:
        return f"more than {MAX_SIGNED_NAMES} names in h="
    identity_domain = outcome.identity.rpartition("@")[2].lower()
    if identity_domain != outcome.domain and not identity_domain.endswith("." + outcome.domain):
        return "i= is not in d="
    if "q" in tags and b"dns/txt" not in without_space(tags["q"]).split(b":"):
        return "unknown query method"
    if tags.get("c", b"simple").lower() not in _CANONICALISATIONS:
        return "unknown canonicalisation"
    if _base64(tags["b"]) is None or _base64(tags["bh"]) is None:
        return "signature is not base64"
    return _find_time_problem(tags, now)


_CANONICALISATIONS = frozenset(
    {b"simple", b"relaxed", b"simple/simple", b"simple/relaxed", b"relaxed/simple", b"relaxed/relaxed"}
)


def _find_time_problem(tags: dict[str, bytes], now: datetime) -> str:
    if any(name in tags and not _NUMBER.match(tags[name]) for name in ("t", "x", "l")):
        return "t=, x= or l= is not a number"
    seconds = now.timestamp()
    if "t" in tags and int(tags["t"]) > seconds + CLOCK_SKEW_S:
        return "signed in the future"
    if "x" in tags:
        if "t" in tags and int(tags["x"]) < int(tags["t"]):
            return "expires before it was signed"
        if int(tags["x"]) < seconds - CLOCK_SKEW_S:
            return "signature expired"
    return ""


def _text(value: bytes) -> str:
    """A stranger's octets as printable ASCII of bounded length."""
    return "".join(chr(octet) if 0x21 <= octet <= 0x7E else "?" for octet in value[:320])


def _base64(value: bytes) -> bytes | None:
    try:
        return base64.b64decode(without_space(value), validate=True) or None
    except (ValueError, binascii.Error):
        return None


async def fetch_keys(signatures: Sequence[Signature], resolver: Resolver, *, timeout_s: float) -> Keys:
    """Fetch the key of every usable signature, all at once, each name once (§6.1.2)."""
    names = dict.fromkeys(signature.key_name for signature in signatures if signature.usable)
    deadline = asyncio.get_running_loop().time() + timeout_s
    if len(names) == 1:
        return {name: await _fetch_key(name, resolver, deadline) for name in names}
    async with asyncio.TaskGroup() as group:
        tasks = {name: group.create_task(_fetch_key(name, resolver, deadline)) for name in names}
    return {name: task.result() for name, task in tasks.items()}


async def _fetch_key(name: str, resolver: Resolver, deadline: float) -> KeyRecord | tuple[Result, str]:
    answer: Answer[bytes] = Answer(DnsStatus.TEMPERROR)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout_at(deadline):
            answer = await resolver.txt(name)
    if answer.status is DnsStatus.TEMPERROR:
        return Result.TEMPERROR, f"DNS error for {name}"
    records = [record for record in answer.records if is_key_record(record)]
    if not records:
        return Result.PERMERROR, f"no key at {name}"
    if len(records) > 1:
        return Result.PERMERROR, f"{len(records)} keys at {name}"
    try:
        return parse_key_record(records[0])
    except KeyRecordError as error:
        return Result.PERMERROR, str(error)


def check_signatures(
    octets: bytes, fields: HeaderFields, signatures: Sequence[Signature], keys: Keys
) -> tuple[DkimResult, ...]:
    """Hash and verify, in the order of the signatures. CPU only; each distinct body hash is computed once."""
    body = memoryview(octets)[fields.size_octets :]
    raws: dict[bytes, list[bytes]] = {}
    for field in fields:
        raws.setdefault(field.name, []).append(field.raw)
    canonical: dict[bool, memoryview] = {}
    return tuple(_check(signature, keys, raws, body, canonical) for signature in signatures)


def _check(
    signature: Signature,
    keys: Keys,
    raws: dict[bytes, list[bytes]],
    body: memoryview,
    canonical: dict[bool, memoryview],
) -> DkimResult:
    outcome = signature.outcome
    if not signature.usable:
        return outcome
    key = keys[signature.key_name]
    if isinstance(key, tuple):
        return replace(outcome, result=key[0], problem=key[1])
    outcome = replace(outcome, key_bits=key.bits, testing=key.testing)
    if key.algorithm != outcome.algorithm:
        return replace(outcome, problem="key is for another algorithm")
    if key.strict_identity and outcome.identity.rpartition("@")[2].lower() != outcome.domain:
        return replace(outcome, problem="key allows no subdomain in i=")
    if signature.relaxed_body not in canonical:
        canonical[signature.relaxed_body] = (relaxed_body if signature.relaxed_body else simple_body)(body)
    text = canonical[signature.relaxed_body]
    if signature.length is not None and signature.length > len(text):
        return replace(outcome, problem="l= is larger than the body")
    if signature.length is not None and signature.length < len(text):
        return replace(outcome, result=Result.FAIL, problem="body goes on after l=")
    if not hmac.compare_digest(hashlib.sha256(text).digest(), signature.body_hash):
        return replace(outcome, result=Result.FAIL, problem="body was altered")
    if not _signature_holds(key, signature.signature, signed_header(signature, raws)):
        return replace(outcome, result=Result.FAIL, problem="header was altered or key is wrong")
    return replace(outcome, result=Result.PASS)


def _signature_holds(key: KeyRecord, signature: bytes, data: bytes) -> bool:
    try:
        if isinstance(key.public, rsa.RSAPublicKey):
            key.public.verify(signature, data, padding.PKCS1v15(), hashes.SHA256())
        else:
            key.public.verify(signature, hashlib.sha256(data).digest())  # RFC 8463 §3: the hash itself is signed.
    except InvalidSignature:
        return False
    return True


def signed_header(signature: Signature, raws: Mapping[bytes, Sequence[bytes]]) -> bytes:
    """The octets the signature covers: the named fields from the bottom up, then its own field with empty b= (§3.7)."""
    used: dict[bytes, int] = {}
    parts: list[bytes] = []
    for name in signature.names:
        same = raws.get(name, ())
        count = used[name] = used.get(name, 0) + 1
        if count <= len(same):
            raw = same[-count]
            parts.append(relaxed_field(raw) if signature.relaxed_header else raw)
    name, colon, value = signature.raw.partition(b":")
    own = name + colon + _B_VALUE.sub(rb"\1", value, count=1)
    own = relaxed_field(own) if signature.relaxed_header else own
    parts.append(own.removesuffix(b"\r\n"))
    return b"".join(parts)
