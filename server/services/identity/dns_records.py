"""The DNS records a mail domain needs, and whether the world sees them (product.md 54).

- Wanted records are made from what is stored; looking at the world goes through the Resolver port.
- An answer that DNS could not give makes a record `unchecked`, never `missing`.
- RFC 7208 (SPF), RFC 6376 §3.6.1 (DKIM), RFC 9989 (DMARC), RFC 5321 §5 (MX).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from server.domain.identity import DkimKey
from server.domain.ports import Answer, DnsStatus, Resolver

TTL_S = 3600
_STRING_MAX = 255


class RecordState(StrEnum):
    OK = "ok"
    MISSING = "missing"
    WRONG = "wrong"
    UNCHECKED = "unchecked"


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsRecord:
    """One record to publish.

    Attributes:
        name: Owner name without a final dot; `value` in the form a provider's panel takes.
        purpose: receiving, SPF, DKIM, DMARC or host.
        found: What the world has under the name in place of it, or as well.
    """

    type: str
    name: str
    value: str
    purpose: str
    required: bool
    ttl: int = TTL_S
    state: RecordState = RecordState.UNCHECKED
    found: tuple[str, ...] = ()


def wanted_records(domain: str, hostname: str, keys: Sequence[DkimKey]) -> list[DnsRecord]:
    """The records of a domain served by `hostname`; keys that are revoked have none."""
    records = [
        DnsRecord(type="MX", name=domain, value=f"10 {hostname}.", purpose="receiving", required=True),
        DnsRecord(type="TXT", name=domain, value="v=spf1 mx ~all", purpose="SPF", required=True),
    ]
    records += [
        DnsRecord(
            type="TXT",
            name=f"{key.selector}._domainkey.{domain}",
            value=key.public_record,
            purpose="DKIM",
            required=True,
        )
        for key in keys
        if key.state != "revoked"
    ]
    dmarc = f"v=DMARC1; p=none; rua=mailto:postmaster@{domain}"
    records.append(DnsRecord(type="TXT", name=f"_dmarc.{domain}", value=dmarc, purpose="DMARC", required=True))
    records.append(
        DnsRecord(
            type="A", name=hostname, value="<the public IPv4 address of this server>", purpose="host", required=True
        )
    )
    return records


async def checked(records: Sequence[DnsRecord], hostname: str, resolver: Resolver) -> list[DnsRecord]:
    """The same records, each with what DNS says now; asks at once, in parallel."""
    return list(await asyncio.gather(*(_checked(record, hostname, resolver) for record in records)))


async def _checked(record: DnsRecord, hostname: str, resolver: Resolver) -> DnsRecord:
    if record.type == "MX":
        mx = await resolver.mx(record.name)
        found = tuple(f"{one.preference} {one.host}." for one in sorted(mx.records, key=lambda m: m.preference))
        return _judged(record, mx.status, found, any(one.host == hostname for one in mx.records))
    if record.type == "A":
        v4, v6 = await asyncio.gather(resolver.a(record.name), resolver.aaaa(record.name))
        status = v4.status if v4.status is not DnsStatus.OK and v6.status is not DnsStatus.OK else DnsStatus.OK
        found = (*v4.records, *v6.records)
        return _judged(record, status, found, bool(found))
    answer: Answer[bytes] = await resolver.txt(record.name)
    texts = tuple(one.decode("utf-8", "replace") for one in answer.records)
    mine = tuple(one for one in texts if _KIND[record.purpose].match(one))
    return _judged(record, answer.status, mine, len(mine) == 1 and _fits(record, mine[0], hostname))


_KIND = {
    "SPF": re.compile(r"v=spf1(?: |$)", re.IGNORECASE),
    "DKIM": re.compile(r".*\bp\s*=", re.IGNORECASE | re.DOTALL),
    "DMARC": re.compile(r"v\s*=\s*DMARC1\b", re.IGNORECASE),
}


def _judged(record: DnsRecord, status: DnsStatus, found: tuple[str, ...], fits: bool) -> DnsRecord:
    if status is DnsStatus.TEMPERROR:
        return replace(record, state=RecordState.UNCHECKED)
    if not found:
        return replace(record, state=RecordState.MISSING)
    return replace(record, state=RecordState.OK if fits else RecordState.WRONG, found=found)


def _fits(record: DnsRecord, text: str, hostname: str) -> bool:
    """Whether a published text does what the wanted one would; others may say more than ours."""
    if record.purpose == "DKIM":
        return tags(text).get("p") == tags(record.value).get("p")
    if record.purpose == "SPF":
        words = text.lower().split()
        allows = {"mx", "+mx", f"a:{hostname}", f"+a:{hostname}"} & set(words)
        return bool(allows) or any(word.startswith(("include:", "redirect=", "ip4:", "ip6:")) for word in words)
    return tags(text).get("p", "").lower() in {"none", "quarantine", "reject"}


def tags(text: str) -> dict[str, str]:
    """A tag=value list (RFC 6376 §3.2) with white space removed from the values."""
    pairs = (part.partition("=") for part in text.split(";"))
    return {name.strip().lower(): re.sub(r"\s+", "", value) for name, sign, value in pairs if sign}


def zone_text(records: Sequence[DnsRecord]) -> str:
    """The records as lines of a zone file (RFC 1035 §5.1); long texts in strings of 255 octets."""
    lines = []
    for record in records:
        value = record.value
        if record.type == "TXT":
            chunks = [value[i : i + _STRING_MAX] for i in range(0, len(value), _STRING_MAX)]
            value = " ".join('"' + chunk.replace("\\", "\\\\").replace('"', '\\"') + '"' for chunk in chunks)
        comment = "; " if record.type == "A" else ""
        lines.append(f"{comment}{record.name}.\t{record.ttl}\tIN\t{record.type}\t{value}")
    return "\n".join(lines) + "\n"
