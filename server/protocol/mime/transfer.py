"""Content-Transfer-Encoding: octets of a body part to the octets they stand for, and back.

- Decoding never fails: octets outside the alphabet are passed over, a torn end is dropped (RFC 2045 §6.8).
- Linear; the decoded octets are never more than the encoded ones.

RFC 2045 §6.
"""

from __future__ import annotations

import binascii
import re

LINE_MAX = 76
"""Octets of an encoded line (RFC 2045 §6.7, §6.8)."""

IDENTITY = frozenset((b"7bit", b"8bit", b"binary"))
"""Encodings that change nothing (RFC 2045 §6.2)."""

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_NOT_BASE64 = bytes(set(range(256)) - set(_ALPHABET))
_TRAILING_BLANK = re.compile(rb"(?<![ \t])[ \t]++(?=\r?\n|\Z)")


def decode_transfer(octets: bytes, encoding: bytes) -> bytes | None:
    """Undo a Content-Transfer-Encoding.

    Args:
        encoding: Lower case; empty means 7bit.

    Returns:
        The decoded octets, or None when the encoding is not known (RFC 3516 §4.3: UNKNOWN-CTE).
    """
    if not encoding or encoding in IDENTITY:
        return octets
    if encoding == b"base64":
        return decode_base64(octets)
    if encoding == b"quoted-printable":
        return decode_quoted_printable(octets)
    return None


def decode_base64(octets: bytes) -> bytes:
    """Decode base64 up to its first padding; what is not of the alphabet is passed over."""
    pad = octets.find(b"=")
    digits = (octets if pad < 0 else octets[:pad]).translate(None, _NOT_BASE64)
    spare = len(digits) % 4
    if spare == 1:
        digits = digits[:-1]
    elif spare:
        digits += b"=" * (4 - spare)
    return binascii.a2b_base64(digits)


def decode_quoted_printable(octets: bytes) -> bytes:
    """Decode quoted-printable; white space that a transport left at line ends is dropped (RFC 2045 §6.7 rule 3)."""
    return binascii.a2b_qp(_TRAILING_BLANK.sub(b"", octets))


def encode_base64(octets: bytes) -> bytes:
    """Encode as base64 in CRLF lines of 76 octets, the last one ended too; empty for no octets."""
    digits = binascii.b2a_base64(octets, newline=False)
    lines = [digits[at : at + LINE_MAX] for at in range(0, len(digits), LINE_MAX)]
    return b"".join(line + b"\r\n" for line in lines)


def encode_quoted_printable(octets: bytes) -> bytes:
    """Encode text whose lines end in CRLF as quoted-printable, lines at most 76 octets (RFC 2045 §6.7)."""
    return b"\r\n".join(binascii.b2a_qp(line, istext=False) for line in octets.split(b"\r\n")).replace(b"=\n", b"=\r\n")
