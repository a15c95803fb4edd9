"""DKIM verification over raw octets (RFC 6376 §6, RFC 8301, RFC 8463).

- Three steps: `find_signatures` (parse, sync), `fetch_keys` (DNS, the only await), `check_signatures` (hash and
  verify, sync, CPU). `verify` joins them and takes the last to a worker above `INLINE_OCTETS`.
- One result per signature, the first ten of a message from the top; no signature is an empty tuple.
- permerror: what can never verify (syntax, SHA-1, key under 1024 bits, expired); fail: what doesn't; temperror: DNS.
- A body longer than l= is a fail, so that text can't be appended under a good signature (threat T18).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from server.domain.ports import Answer, DnsStatus, Resolver, Worker
from server.protocol.emailauth.canonical import relaxed_body, relaxed_field, simple_body
from server.protocol.emailauth.dkim_key import KeyRecord, KeyRecordError, is_key_record, parse_key_record
from server.protocol.emailauth.dkim_signature import DkimResult, Signature, parse_signature, without_b
from server.protocol.emailauth.result import Result
from server.protocol.mime.headers import HeaderFields, split_header

MAX_SIGNATURES = 10
"""Signatures looked at, from the top (product item 12)."""
INLINE_OCTETS = 64 * 1024
"""Up to this size checking takes less than a millisecond a signature and stays on the loop."""

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
    if not signature_holds(key, signature.signature, signed_header(signature, raws)):
        return replace(outcome, result=Result.FAIL, problem="header was altered or key is wrong")
    return replace(outcome, result=Result.PASS)


def signature_holds(key: KeyRecord, signature: bytes, data: bytes) -> bool:
    """Verify one signature over its data with the key's own algorithm."""
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
    own = without_b(signature.raw)
    own = relaxed_field(own) if signature.relaxed_header else own
    parts.append(own.removesuffix(b"\r\n"))
    return b"".join(parts)
