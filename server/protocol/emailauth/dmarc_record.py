"""DMARC policy records (RFC 9989 §4.7, §4.8)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from functools import lru_cache

MAX_RECORD_OCTETS = 4096
"""Longest record looked at; real ones have at most 500 octets."""
MAX_PARTS = 64

_VERSION = re.compile(rb"v[ \t]*=[ \t]*DMARC1[ \t]*(?:;|\Z)")
_TAG = re.compile(r"([A-Za-z]+)[ \t]*=[ \t]*([\x20-\x3a\x3c-\x7e]+)\Z")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:[^\s,!]+(?:![0-9]+[kmgt]?)?\Z")


class Policy(IntEnum):
    """What the domain owner asks for, mildest first."""

    NONE = 0
    QUARANTINE = 1
    REJECT = 2

    @property
    def word(self) -> str:
        return self.name.lower()

    @property
    def below(self) -> Policy:
        """One level milder: what t=y asks for (RFC 9989 §4.7, "t")."""
        return Policy(max(self - 1, 0))


class Psd(StrEnum):
    """Whether a record stands at a public suffix (RFC 9989 §4.7, "psd")."""

    YES = "y"
    NO = "n"
    UNKNOWN = "u"


@dataclass(frozen=True, slots=True, kw_only=True)
class DmarcRecord:
    """A record after its defaults were filled in.

    Attributes:
        p: The policy for the domain itself; None when p, sp or np is invalid and no valid rua saves the record:
            DMARC is then not applied (RFC 9989 §4.10.1).
        sp, np: For existing and non-existent subdomains; None = fall back.
        strict_dkim, strict_spf: adkim=s, aspf=s.
        testing: t=y.
    """

    p: Policy | None
    sp: Policy | None = None
    np: Policy | None = None
    psd: Psd = Psd.UNKNOWN
    strict_dkim: bool = False
    strict_spf: bool = False
    testing: bool = False
    rua: tuple[str, ...] = ()

    def policy_for(self, *, subdomain: bool, exists: bool) -> Policy | None:
        """The policy for the author domain (RFC 9989 §4.10.1): p for the record's own domain, else np or sp, else p."""
        if self.p is None or not subdomain:
            return self.p
        if not exists and self.np is not None:
            return self.np
        return self.p if self.sp is None else self.sp


def is_dmarc(record: bytes) -> bool:
    """Whether a TXT record is a DMARC record at all: `v=DMARC1` exactly, as the first tag."""
    return _VERSION.match(record) is not None


@lru_cache(maxsize=2048)
def parse_record(record: bytes) -> DmarcRecord:
    """Parse a record for which `is_dmarc` holds; never fails.

    Syntax errors after the version are ignored in favour of the defaults, as are unknown tags and the removed
    `pct`, `rf` and `ri` (RFC 9989 §4.7). Of a tag given twice the first counts.
    """
    tags: dict[str, str] = {}
    for part in record[:MAX_RECORD_OCTETS].decode("latin-1").split(";", MAX_PARTS)[1:]:
        match = _TAG.match(part.strip(" \t"))
        if match:
            tags.setdefault(match[1].lower(), match[2].rstrip(" \t"))
    rua = tuple(uri for uri in (part.strip() for part in tags.get("rua", "").split(",")) if _URI.match(uri))
    invalid = any(name in tags and _policy(tags[name]) is None for name in ("p", "sp", "np"))
    psd = tags.get("psd", "u").lower()
    if invalid:
        p, sp, np = (Policy.NONE if rua else None), None, None
    else:
        p, sp, np = _policy(tags.get("p", "none")), _policy(tags.get("sp", "")), _policy(tags.get("np", ""))
    return DmarcRecord(
        p=p,
        sp=sp,
        np=np,
        psd=Psd(psd) if psd in ("y", "n", "u") else Psd.UNKNOWN,
        strict_dkim=tags.get("adkim", "r").lower() == "s",
        strict_spf=tags.get("aspf", "r").lower() == "s",
        testing=tags.get("t", "n").lower() == "y",
        rua=rua,
    )


def _policy(word: str) -> Policy | None:
    match word.lower():
        case "none":
            return Policy.NONE
        case "quarantine":
            return Policy.QUARANTINE
        case "reject":
            return Policy.REJECT
    return None
