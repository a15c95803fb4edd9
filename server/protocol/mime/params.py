"""Content-Type and Content-Disposition: a value and its parameters.

- Never fails; linear; at most `PARAMETERS_MAX` parameters, the first of two with one name wins.
- Continued and charset-marked parameters (RFC 2231) are joined; encoded words in quotes, which many senders write
  instead, are decoded too (never allowed by RFC 2047 §5, and seen every day).

RFC 2045 §5.1, RFC 2183, RFC 2231 §3, §4.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from server.protocol.mime.charset import decode_charset, decode_unlabelled
from server.protocol.mime.encoded_words import clean_text, decode_words
from server.protocol.mime.headers import FIELD_MAX, unfold

PARAMETERS_MAX = 256
"""Parameters of one field (reliability.md §8)."""

_PARAMETER = re.compile(
    rb";[ \t]*+([^\s=;\"()\x00-\x20\x7f]++)[ \t]*+=[ \t]*+(?:\"((?:[^\"\\]++|\\[\s\S])*+)\"?[^;]*+|([^;]*+))"
    rb"|\"(?:[^\"\\]++|\\[\s\S])*+\"?|;|[^;\"]++"
)
_VALUE = re.compile(rb"[^;\"(]*+")
_ESCAPE = re.compile(rb"\\([\s\S])")
_PERCENT = re.compile(rb"%([0-9A-Fa-f]{2})")
_TYPE = re.compile(rb"([!#-'*+.0-9A-Z^-~-]++)[ \t]*+/[ \t]*+([!#-'*+.0-9A-Z^-~-]++)\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Parameterised:
    """A field's value and its parameters.

    Attributes:
        value: Lower case: `text/plain`, `attachment`.
        parameters: (lower-case name, octets) after joining continuations; a name that ends in `*` has octets of the
            form charset'language'percent-encoded (RFC 2231 §4).
    """

    value: bytes
    parameters: tuple[tuple[bytes, bytes], ...]

    def octets(self, name: bytes) -> bytes | None:
        """A parameter's octets without RFC 2231 marks, decoded percent signs included."""
        for key, value in self.parameters:
            if key == name:
                return value
            if key == name + b"*":
                return _percent_decoded(value.split(b"'", 2)[-1])
        return None

    def text(self, name: bytes) -> str | None:
        """A parameter as text for people: RFC 2231 charset applied, encoded words decoded, no control characters."""
        for key, value in self.parameters:
            if key == name + b"*" and value.count(b"'") >= 2:
                charset, _, encoded = value.split(b"'", 2)
                return clean_text(decode_charset(_percent_decoded(encoded), charset.decode("latin-1")))
        found = self.octets(name)
        if found is None:
            return None
        return clean_text(decode_words(found) if b"=?" in found else decode_unlabelled(found))


def parse_parameterised(field: bytes) -> Parameterised:
    """Parse a raw Content-Type or Content-Disposition value; at most `FIELD_MAX` octets are looked at."""
    field = unfold(field[:FIELD_MAX])
    head = _VALUE.match(field)
    value = head[0].strip(b" \t").lower() if head else b""
    start = head.end() if head else 0
    if start == len(field):
        return Parameterised(value, ())
    found: dict[bytes, bytes] = {}
    for match in _PARAMETER.finditer(field, start):
        name = match[1]
        if name is None:
            continue
        if match[2] is not None:
            octets = _ESCAPE.sub(rb"\1", match[2]) if b"\\" in match[2] else match[2]
        else:
            # A token ends at a comment; spaces inside are kept for unquoted file names.
            octets = match[3].partition(b" (")[0].strip(b" \t")
        found.setdefault(name.lower(), octets)
        if len(found) >= PARAMETERS_MAX:
            break
    if any(b"*" in name for name in found):
        found = _joined(found)
    return Parameterised(value, tuple(found.items()))


def media_type(value: bytes) -> tuple[bytes, bytes] | None:
    """Split `type/subtype`, lower case; None when it is not of that form (then RFC 2045 §5.2 says text/plain)."""
    match = _TYPE.match(value)
    return (match[1], match[2]) if match else None


def _percent_decoded(octets: bytes) -> bytes:
    return _PERCENT.sub(lambda match: bytes((int(match[1], 16),)), octets)


def _joined(found: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """Join `name*0`, `name*1*`... in the order of their numbers, up to the first gap (RFC 2231 §3)."""
    joined: dict[bytes, bytes] = {}
    for name, value in found.items():
        base, star, section = name.partition(b"*")
        if not star or not section:
            joined.setdefault(name, value)
        elif section in (b"0", b"0*"):
            pieces = []
            for number in range(len(found)):
                plain = found.get(b"%s*%d" % (base, number))
                encoded = found.get(b"%s*%d*" % (base, number))
                if plain is None and encoded is None:
                    break
                pieces.append((plain, encoded))
            if any(encoded is not None for _, encoded in pieces):
                marked = b"".join(e if e is not None else (p or b"").replace(b"%", b"%25") for p, e in pieces)
                joined.setdefault(base + b"*", marked)
            else:
                joined.setdefault(base, b"".join(plain or b"" for plain, _ in pieces))
    return joined
