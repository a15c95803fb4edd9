"""The DKIM-Signature field: syntax, and every check that needs no key (RFC 6376 §3.5, §6.1.1; RFC 8301, RFC 8463)."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, replace
from datetime import datetime

from server.protocol.emailauth.result import Result
from server.protocol.emailauth.taglist import TagListError, parse_tags, without_space

MAX_SIGNED_NAMES = 500
"""Names in one h=; real ones have at most 40."""
CLOCK_SKEW_S = 300
"""How far t= may lie ahead and x= behind."""

_B_VALUE = re.compile(rb"((?:\A|;)[ \t\r\n]*b[ \t\r\n]*=)[^;]*")
_DOMAIN = re.compile(
    rb"[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?)*\Z"
)
_NUMBER = re.compile(rb"[0-9]{1,20}\Z")
_CANONICALISATIONS = frozenset(
    {b"simple", b"relaxed", b"simple/simple", b"simple/relaxed", b"relaxed/simple", b"relaxed/relaxed"}
)


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


def parse_signature(raw: bytes, *, now: datetime) -> Signature:
    """Parse one DKIM-Signature field; what is wrong with it is its outcome's problem."""
    try:
        tags = parse_tags(raw.partition(b":")[2])
    except TagListError as error:
        return Signature(raw=raw, outcome=DkimResult(result=Result.PERMERROR, problem=f"signature malformed: {error}"))
    return signature_from_tags(raw, tags, now=now)


def signature_from_tags(raw: bytes, tags: dict[str, bytes], *, now: datetime) -> Signature:
    """Check the tags of a signature (RFC 6376 §3.5, §6.1.1)."""
    outcome = outcome_from_tags(tags)
    problem = _find_problem(tags, outcome, now)
    if problem:
        return Signature(raw=raw, outcome=replace(outcome, problem=problem))
    header, _, body = tags.get("c", b"simple/simple").lower().partition(b"/")
    return Signature(
        raw=raw,
        outcome=outcome,
        signature=decode_base64(tags["b"]) or b"",
        body_hash=decode_base64(tags["bh"]) or b"",
        names=tuple(name.lower() for name in without_space(tags["h"]).split(b":")),
        relaxed_header=header == b"relaxed",
        relaxed_body=body == b"relaxed",
        length=int(tags["l"]) if "l" in tags else None,
    )


def outcome_from_tags(tags: dict[str, bytes]) -> DkimResult:
    """What a signature says of itself, before anything is checked."""
    domain = _text(tags.get("d", b"")).lower()
    return DkimResult(
        result=Result.PERMERROR,
        domain=domain,
        selector=_text(tags.get("s", b"")).lower(),
        identity=_text(without_space(tags.get("i", b""))) or f"@{domain}",
        algorithm=_text(tags.get("a", b"")).lower(),
        b_start=_text(without_space(tags.get("b", b""))[:8]),
    )


def without_b(raw: bytes) -> bytes:
    """The field with the value of b= and the white space around it taken out (§3.7)."""
    name, colon, value = raw.partition(b":")
    return name + colon + _B_VALUE.sub(rb"\1", value, count=1)


def _find_problem(tags: dict[str, bytes], outcome: DkimResult, now: datetime) -> str:
    """The first reason why the signature can't be used; empty when there is none."""
    missing = [name for name in ("v", "a", "b", "bh", "d", "h", "s") if not tags.get(name)]
    if missing:
        return f"signature without {missing[0]}="
    if tags["v"] != b"1":
        return "signature of another version"
    problem = find_signer_problem(tags, outcome)
    if problem:
        return problem
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
    if decode_base64(tags["b"]) is None or decode_base64(tags["bh"]) is None:
        return "signature is not base64"
    return _find_time_problem(tags, now)


def find_signer_problem(tags: dict[str, bytes], outcome: DkimResult) -> str:
    """What is wrong with a=, d= or s=; empty when nothing is."""
    if outcome.algorithm == "rsa-sha1":
        return "SHA-1 is not accepted"
    if outcome.algorithm not in ("rsa-sha256", "ed25519-sha256"):
        return "unknown algorithm"
    if not _DOMAIN.match(tags.get("d", b"")) or not _DOMAIN.match(tags.get("s", b"")) or len(outcome.domain) > 253:
        return "bad domain or selector"
    return ""


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
    text = value[:320].decode("latin-1")
    if text.isascii() and text.isprintable() and " " not in text:
        return text
    return "".join(c if "!" <= c <= "~" else "?" for c in text)


def decode_base64(value: bytes) -> bytes | None:
    """Decode with folding white space inside; None for anything else and for nothing."""
    try:
        return base64.b64decode(without_space(value), validate=True) or None
    except (ValueError, binascii.Error):
        return None
