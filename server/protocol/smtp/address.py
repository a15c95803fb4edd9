"""Paths and mailboxes from their octets (RFC 5321 §4.1.2, RFC 6531 §3.3, RFC 5890).

- Only what the grammar allows passes: no source route, comment, encoded word, control, DEL or surrogate.
- Domains come out in lower case and A-label form, literals in their shortest spelling, local parts unquoted.
- Time is linear in the input; a cache of common paths is bounded in entries and entry size.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from functools import lru_cache

import idna

from server.domain.address import Address
from server.domain.errors import InvalidInput
from server.protocol.smtp.limits import ADDRESS_MAX, DOMAIN_MAX, LABEL_MAX, LOCAL_PART_MAX

_ATEXT = rb"A-Za-z0-9!#$%&'*+\-/=?^_`{|}~"
_LABEL = rb"[A-Za-z0-9]+(?:-+[A-Za-z0-9]+)*"
_PLAIN_PATH = re.compile(
    rb"<([" + _ATEXT + rb"]+(?:\.[" + _ATEXT + rb"]+)*)@(" + _LABEL + rb"(?:\." + _LABEL + rb")*)>"
)
_ASCII_DOMAIN = re.compile(_LABEL.decode() + r"(?:\." + _LABEL.decode() + r")*")
_DOT_STRING = re.compile(rb"[" + _ATEXT + rb"\x80-\xff]+(?:\.[" + _ATEXT + rb"\x80-\xff]+)*")
_QUOTED = re.compile(rb'"(?:[ !#-\[\]-~\x80-\xff]|\\[ -~])*"')
_QUOTED_PAIR = re.compile(rb"\\(.)", re.DOTALL)
_DOMAIN = re.compile(rb"[A-Za-z0-9.\-\x80-\xff]+")
_LITERAL = re.compile(rb"\[([!-Z^-~]+)\]")
_ENCODED_WORD = re.compile(rb"=\?[^?]*\?[^?]*\?[^?]*\?=")
_REFUSED_CATEGORIES = frozenset({"Cc", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"})
_BIDI_CONTROLS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_PATH_MAX = ADDRESS_MAX + 2
CACHED_PATHS = 4096
"""Paths remembered in parsed form, at most 256 octets each."""


class AddressSyntaxError(InvalidInput):
    """The octets are no mailbox; the public text names the fault in plain words."""


def parse_path(data: bytes, *, smtputf8: bool) -> tuple[Address | None, bytes]:
    """Parse a reverse-path or forward-path at the beginning of `data`.

    Args:
        data: Octets from the opening angle bracket on.
        smtputf8: Whether octets above 127 are allowed; they must be UTF-8 (RFC 6531 §3.3).

    Returns:
        The mailbox, None for the null path `<>`, and the octets after the closing bracket.

    Raises:
        AddressSyntaxError: No path, or one of a form that is not accepted any more.

    RFC 5321 §4.1.2 "Reverse-path", "Forward-path"; source routes (appendix C) are refused.
    """
    end = data.find(b">") + 1
    if 0 < end <= _PATH_MAX:
        path = data[:end]
        plain = _plain_path(path)
        if plain is not None:
            return plain, data[end:]
        if path == b"<>":
            return None, data[end:]
    if data[:1] != b"<":
        raise AddressSyntaxError("the address must stand in angle brackets")
    if data[1:2] == b"@":
        raise AddressSyntaxError("source routes are not accepted")
    address, at = _mailbox(data, 1, utf8=smtputf8)
    if data[at : at + 1] != b">":
        raise AddressSyntaxError("unexpected character in the address")
    return address, data[at + 1 :]


def parse_address(text: str) -> Address:
    """Parse a mailbox that stands alone, as in an API field or on a command line.

    Raises:
        AddressSyntaxError: Outside the grammar of RFC 5321 §4.1.2 with RFC 6531.
    """
    try:
        data = text.encode()
    except UnicodeEncodeError:
        raise AddressSyntaxError("the address is not valid Unicode") from None
    address, at = _mailbox(data, 0, utf8=True)
    if at != len(data):
        raise AddressSyntaxError("unexpected character in the address")
    return address


def parse_domain(text: str) -> str:
    """Bring a domain name to lower case and A-label form (RFC 5890 §2.3.2.1, RFC 5321 §4.1.2 "Domain").

    Raises:
        AddressSyntaxError: Not a domain name; address literals are none.
    """
    if text.isascii():
        domain = text.lower()
    else:
        if len(text) > DOMAIN_MAX:
            raise AddressSyntaxError("the domain is too long")
        try:
            domain = idna.encode(unicodedata.normalize("NFC", text.lower()), strict=True).decode("ascii")
        except UnicodeError:
            raise AddressSyntaxError("the domain is not a valid internationalised name") from None
    if len(domain) > DOMAIN_MAX:
        raise AddressSyntaxError("the domain is too long")
    if _ASCII_DOMAIN.fullmatch(domain) is None:
        raise AddressSyntaxError("the domain is not valid")
    if len(domain) > LABEL_MAX and any(len(label) > LABEL_MAX for label in domain.split(".")):
        raise AddressSyntaxError("a label of the domain is too long")
    return domain


@lru_cache(CACHED_PATHS)
def _plain_path(path: bytes) -> Address | None:
    """The mailbox of a path made of Dot-string and ASCII domain; None = look closer."""
    match = _PLAIN_PATH.fullmatch(path)
    if match is None:
        return None
    local, domain = match.groups()
    if len(local) > LOCAL_PART_MAX or _ENCODED_WORD.search(local) is not None:
        return None
    if len(domain) > LABEL_MAX and any(len(label) > LABEL_MAX for label in domain.split(b".")):
        return None
    return Address(local.decode("ascii"), domain.decode("ascii").lower())


def _mailbox(data: bytes, at: int, *, utf8: bool) -> tuple[Address, int]:
    """Mailbox = Local-part "@" ( Domain / address-literal )"""
    local_end, local = _local_part(data, at)
    if data[local_end : local_end + 1] != b"@":
        raise AddressSyntaxError("the address has no @" if local_end == len(data) else "the local part is not valid")
    domain_end, domain = _domain(data, local_end + 1)
    if not utf8 and not data[at:domain_end].isascii():
        raise AddressSyntaxError("an internationalised address needs SMTPUTF8")
    if local_end - at + 1 + max(len(domain), domain_end - local_end - 1) > ADDRESS_MAX:
        raise AddressSyntaxError("the address is too long")
    return Address(local, domain), domain_end


def _local_part(data: bytes, at: int) -> tuple[int, str]:
    """Local-part = Dot-string / Quoted-string"""
    match = _DOT_STRING.match(data, at)
    if match is not None:
        octets = match.group()
    else:
        match = _QUOTED.match(data, at)
        if match is None:
            raise AddressSyntaxError("the local part is not valid")
        octets = _QUOTED_PAIR.sub(rb"\1", match.group()[1:-1])
    if match.end() - at > LOCAL_PART_MAX:
        raise AddressSyntaxError("the local part is too long")
    if _ENCODED_WORD.search(octets) is not None:
        raise AddressSyntaxError("encoded words are not allowed in an address")
    return match.end(), _local_text(octets)


def _local_text(octets: bytes) -> str:
    """UTF-8 to text in NFC (RFC 6532 §3.1), without characters that no reader could see or that end a line."""
    if octets.isascii():
        return octets.decode("ascii")
    try:
        text = unicodedata.normalize("NFC", octets.decode("utf-8"))
    except UnicodeDecodeError:
        raise AddressSyntaxError("the address is not valid UTF-8") from None
    for character in text:
        if character > "\x7f" and (
            character in _BIDI_CONTROLS or unicodedata.category(character) in _REFUSED_CATEGORIES
        ):
            raise AddressSyntaxError("the local part holds a character that is not allowed")
    return text


def _domain(data: bytes, at: int) -> tuple[int, str]:
    """Domain / address-literal, normalised."""
    match = _LITERAL.match(data, at)
    if match is not None:
        return match.end(), _literal(match.group(1).decode("ascii"))
    match = _DOMAIN.match(data, at)
    if match is None:
        raise AddressSyntaxError("the domain is not valid")
    try:
        return match.end(), parse_domain(match.group().decode("utf-8"))
    except UnicodeDecodeError:
        raise AddressSyntaxError("the address is not valid UTF-8") from None


def _literal(text: str) -> str:
    """address-literal = "[" ( IPv4 / IPv6 ) "]" (RFC 5321 §4.1.3); a General-address-literal has no meaning yet."""
    try:
        if text[:5].lower() == "ipv6:" and "%" not in text:
            return f"[IPv6:{ipaddress.IPv6Address(text[5:])}]"
        return f"[{ipaddress.IPv4Address(text)}]"
    except ValueError:
        raise AddressSyntaxError("the address literal is not valid") from None
