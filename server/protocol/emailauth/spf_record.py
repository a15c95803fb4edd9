"""The grammar of SPF records (RFC 7208 §12): octets in, terms out.

- A record is parsed whole before any of it is evaluated: a fault anywhere is permerror (§4.6).
- Macro strings are split once into literals and `Macro` values; expansion is `spf_macro`'s.
- Records above `MAX_RECORD_OCTETS` are refused, so that a 60 kB TXT can't hold the loop.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from server.protocol.emailauth.result import Result

MAX_RECORD_OCTETS = 8192
"""Longest record we evaluate; the largest published ones are near 2,000 octets (threat T20)."""

CACHED_OCTETS = 1024
"""Longer records are parsed anew each time, so that strangers can't fill the memory."""

QUALIFIERS = {"+": Result.PASS, "-": Result.FAIL, "~": Result.SOFTFAIL, "?": Result.NEUTRAL}


class SpfSyntaxError(Exception):
    """The record is outside the grammar; the text names the term."""


class Mechanism(StrEnum):
    ALL = "all"
    INCLUDE = "include"
    A = "a"
    MX = "mx"
    PTR = "ptr"
    IP4 = "ip4"
    IP6 = "ip6"
    EXISTS = "exists"


@dataclass(frozen=True, slots=True)
class Macro:
    """One macro-expand (§7.1). `digits` 0 = all parts; `escape` is URL escaping (upper-case letter)."""

    letter: str
    digits: int
    reverse: bool
    delimiters: str
    escape: bool


MacroString = tuple[str | Macro, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Directive:
    """One mechanism with what it yields when it matches.

    Attributes:
        target: The domain-spec, None = the current domain.
        network: Of ip4 and ip6 only: network as integer and mask bits.
        cidr4, cidr6: Prefix lengths of a and mx.
        text: As written, for the trace.
    """

    mechanism: Mechanism
    result: Result
    target: MacroString | None = None
    network: int = 0
    cidr4: int = 32
    cidr6: int = 128
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpfRecord:
    """A parsed record: directives in order, and the two modifiers that mean something."""

    directives: tuple[Directive, ...]
    redirect: MacroString | None = None
    explanation: MacroString | None = None


_TERM = re.compile(r"([+\-~?]?)([A-Za-z][A-Za-z0-9_.\-]*)(?:([:=/])(.*))?", re.DOTALL)
_CIDR = re.compile(r"(?:/(0|[1-9][0-9]{0,1}))?(?://(0|[1-9][0-9]{0,2}))?")
_CIDR_TAIL = re.compile(r"(?:/[0-9]+)?(?://[0-9]+)?\Z")
_MACRO = re.compile(r"%\{([slodiphcrtvSLODIPHCRTV])([0-9]{0,3})([rR]?)([.\-+,/_=]*)\}")
_LITERAL = re.compile(r"[\x21-\x24\x26-\x7e]+")
_LITERAL_SPACED = re.compile(r"[\x20-\x24\x26-\x7e]+")
_TOPLABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9\-]*[A-Za-z0-9])?\Z")
_IP4 = re.compile(r"(?:(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])(?:\.(?!\Z)|\Z)){4}")
_ESCAPES = {"%%": "%", "%_": " ", "%-": "%20"}


def is_spf(record: bytes) -> bool:
    """Whether a TXT record is an SPF record at all (§4.5): the version, then a space or the end."""
    return record[:6].lower() == b"v=spf1" and record[6:7] in (b"", b" ")


def parse_record(record: bytes) -> SpfRecord:
    """Parse a record for which `is_spf` holds; usual ones are parsed once.

    Raises:
        SpfSyntaxError: Anything outside RFC 7208 §12, non-ASCII octets, or too long.
    """
    return _parse_cached(record) if len(record) <= CACHED_OCTETS else _parse(record)


def _parse(record: bytes) -> SpfRecord:
    if len(record) > MAX_RECORD_OCTETS:
        raise SpfSyntaxError(f"record longer than {MAX_RECORD_OCTETS} octets")
    try:
        text = record.decode("ascii")
    except UnicodeDecodeError as error:
        raise SpfSyntaxError("record is not ASCII") from error
    directives: list[Directive] = []
    modifiers: dict[str, MacroString] = {}
    for term in text[6:].split(" "):
        if not term:
            continue
        match = _TERM.fullmatch(term)
        if match is None:
            raise SpfSyntaxError(f"unknown term {_shown(term)}")
        qualifier, name, separator, value = match.groups()
        if separator == "=":
            if qualifier:
                raise SpfSyntaxError(f"qualifier before modifier {_shown(term)}")
            _add_modifier(modifiers, name.lower(), value)
        else:
            rest = (separator or "") + (value or "")
            directives.append(_parse_directive(name.lower(), QUALIFIERS[qualifier or "+"], rest, term))
    return SpfRecord(directives=tuple(directives), redirect=modifiers.get("redirect"), explanation=modifiers.get("exp"))


_parse_cached = lru_cache(maxsize=512)(_parse)


def parse_explanation(text: str) -> MacroString:
    """Parse an explain-string: macro-strings with spaces, where c, r and t are allowed too (§6.2)."""
    return _parse_macros(text, _LITERAL_SPACED, explaining=True)


def _add_modifier(modifiers: dict[str, MacroString], name: str, value: str) -> None:
    if name not in ("redirect", "exp"):
        _parse_macros(value, _LITERAL, explaining=True)  # Unknown modifiers are ignored, but not their syntax (§6).
        return
    if name in modifiers:
        raise SpfSyntaxError(f"{name} twice")
    modifiers[name] = _parse_domain(value)


def _parse_directive(name: str, result: Result, rest: str, term: str) -> Directive:
    try:
        mechanism = Mechanism(name)
    except ValueError:
        raise SpfSyntaxError(f"unknown mechanism {_shown(term)}") from None
    text = _shown(term)
    match mechanism:
        case Mechanism.ALL:
            if rest:
                raise SpfSyntaxError(f"all takes no argument in {text}")
            return Directive(mechanism=mechanism, result=result, text=text)
        case Mechanism.IP4:
            network, bits = _parse_ip4(rest, text)
            return Directive(mechanism=mechanism, result=result, network=network, cidr4=bits, text=text)
        case Mechanism.IP6:
            network, bits = _parse_ip6(rest, text)
            return Directive(mechanism=mechanism, result=result, network=network, cidr6=bits, text=text)
        case Mechanism.INCLUDE | Mechanism.EXISTS | Mechanism.PTR:
            if not rest and mechanism is Mechanism.PTR:
                return Directive(mechanism=mechanism, result=result, text=text)
            if not rest.startswith(":"):
                raise SpfSyntaxError(f"no domain in {text}")
            return Directive(mechanism=mechanism, result=result, target=_parse_domain(rest[1:]), text=text)
        case Mechanism.A | Mechanism.MX:
            target, cidr4, cidr6 = _parse_dual_cidr(rest, text)
            return Directive(mechanism=mechanism, result=result, target=target, cidr4=cidr4, cidr6=cidr6, text=text)


def _parse_dual_cidr(rest: str, text: str) -> tuple[MacroString | None, int, int]:
    tail = _CIDR_TAIL.search(rest)
    start = tail.start() if tail else len(rest)
    domain, cidr = rest[:start], _CIDR.fullmatch(rest[start:])
    if cidr is None:
        raise SpfSyntaxError(f"bad prefix length in {text}")
    bits4, bits6 = int(cidr[1] or 32), int(cidr[2] or 128)
    if cidr[1] == "0":
        bits4 = 0
    if cidr[2] == "0":
        bits6 = 0
    if bits4 > 32 or bits6 > 128:
        raise SpfSyntaxError(f"bad prefix length in {text}")
    if not domain:
        return None, bits4, bits6
    if not domain.startswith(":"):
        raise SpfSyntaxError(f"bad argument in {text}")
    return _parse_domain(domain[1:]), bits4, bits6


def _parse_ip4(rest: str, text: str) -> tuple[int, int]:
    address, slash, bits = rest[1:].partition("/")
    length = _prefix_length(bits, 32) if slash else 32
    if not rest.startswith(":") or not _IP4.fullmatch(address) or length is None:
        raise SpfSyntaxError(f"bad network in {text}")
    return int(ipaddress.IPv4Address(address)), length


def _parse_ip6(rest: str, text: str) -> tuple[int, int]:
    address, slash, bits = rest[1:].partition("/")
    length = _prefix_length(bits, 128) if slash else 128
    if not rest.startswith(":") or "%" in address or length is None:
        raise SpfSyntaxError(f"bad network in {text}")
    try:
        return int(ipaddress.IPv6Address(address)), length
    except ValueError as error:
        raise SpfSyntaxError(f"bad network in {text}") from error


def _prefix_length(text: str, largest: int) -> int | None:
    if not text.isdigit() or len(text) > 3 or (len(text) > 1 and text[0] == "0") or int(text) > largest:
        return None
    return int(text)


def _parse_domain(text: str) -> MacroString:
    """Parse a domain-spec: a macro-string that ends in a macro or in a dot and a top label (§7.1)."""
    parts = _parse_macros(text, _LITERAL, explaining=False)
    if not parts:
        raise SpfSyntaxError("empty domain")
    last = parts[-1]
    if isinstance(last, Macro):
        return parts
    if text.endswith(("%%", "%_", "%-")):
        return parts
    head, dot, top = last.removesuffix(".").rpartition(".")
    if not dot or (not head and len(parts) == 1) or not _TOPLABEL.match(top) or top.isdigit():
        raise SpfSyntaxError(f"bad domain {_shown(text)}")
    return parts


def _parse_macros(text: str, literal: re.Pattern[str], *, explaining: bool) -> MacroString:
    parts: list[str | Macro] = []
    position = 0
    while position < len(text):
        if text[position] != "%":
            run = literal.match(text, position)
            if run is None:
                raise SpfSyntaxError(f"bad character in {_shown(text)}")
            _append_text(parts, run[0])
            position = run.end()
        elif text[position : position + 2] in _ESCAPES:
            _append_text(parts, _ESCAPES[text[position : position + 2]])
            position += 2
        else:
            match = _MACRO.match(text, position)
            if match is None:
                raise SpfSyntaxError(f"bad macro in {_shown(text)}")
            parts.append(_macro(match, text, explaining=explaining))
            position = match.end()
    return tuple(parts)


def _append_text(parts: list[str | Macro], text: str) -> None:
    if parts and isinstance(parts[-1], str):
        parts[-1] += text
    else:
        parts.append(text)


def _macro(match: re.Match[str], text: str, *, explaining: bool) -> Macro:
    letter, digits, reverse, delimiters = match.groups()
    if digits and int(digits) == 0:
        raise SpfSyntaxError(f"zero parts in {_shown(text)}")
    if letter in "crtCRT" and not explaining:
        raise SpfSyntaxError(f"macro {letter} outside an explanation")
    return Macro(letter.lower(), int(digits or 0), bool(reverse), delimiters or ".", letter.isupper())


def _shown(text: str) -> str:
    """The start of what a stranger wrote, fit for a trace line."""
    short = text if len(text) <= 80 else text[:77] + "..."
    return "".join(c if " " <= c <= "~" else "?" for c in short)
