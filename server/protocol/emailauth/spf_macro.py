"""Expansion of SPF macros (RFC 7208 §7)."""

from __future__ import annotations

import ipaddress
import re
import time
from dataclasses import dataclass
from urllib.parse import quote

from server.protocol.emailauth.spf_record import Macro, MacroString


@dataclass(frozen=True, slots=True, kw_only=True)
class MacroContext:
    """The identities of a check; `sender_domain` is the domain the check began with."""

    local: str
    sender_domain: str
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address
    helo: str
    receiver: str


def expand(spec: MacroString, context: MacroContext, domain: str, validated: tuple[str, ...]) -> str:
    """Expand a macro-string.

    Args:
        domain: The domain now evaluated, which include and redirect change (`d`).
        validated: The client's validated names; needed only when the spec uses `p`.
    """
    if len(spec) == 1 and isinstance(spec[0], str):
        return spec[0]
    return "".join(part if isinstance(part, str) else _value(part, context, domain, validated) for part in spec)


def _value(macro: Macro, context: MacroContext, domain: str, validated: tuple[str, ...]) -> str:
    value = _letter(macro.letter, context, domain, validated)
    if macro.digits or macro.reverse or macro.delimiters != ".":
        parts = re.split(f"[{re.escape(macro.delimiters)}]", value)
        if macro.reverse:
            parts.reverse()
        value = ".".join(parts[-macro.digits :] if macro.digits else parts)
    return quote(value, safe="-._~") if macro.escape else value


def _letter(letter: str, context: MacroContext, domain: str, validated: tuple[str, ...]) -> str:
    match letter:
        case "s":
            return f"{context.local}@{context.sender_domain}"
        case "l":
            return context.local
        case "o":
            return context.sender_domain
        case "d":
            return domain
        case "i":
            return _dotted(context.ip)
        case "p":
            return _best_name(validated, domain)
        case "v":
            return "in-addr" if context.ip.version == 4 else "ip6"
        case "h":
            return context.helo
        case "c":
            return str(context.ip)
        case "r":
            return context.receiver
        case _:
            return str(int(time.time()))


def _dotted(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """§7.3: dotted quads, or nibbles for IPv6."""
    if ip.version == 4:
        return str(ip)
    return ".".join(f"{int(ip):032X}")


def _best_name(validated: tuple[str, ...], domain: str) -> str:
    """§7.3 `p`: the domain itself, else a name below it, else any, else `unknown`."""
    if domain in validated:
        return domain
    below = [name for name in validated if name.endswith("." + domain)]
    return (below or list(validated) or ["unknown"])[0]
