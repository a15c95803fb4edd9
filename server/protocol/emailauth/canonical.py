"""DKIM canonicalisation over raw octets (RFC 6376 §3.4), shared by signing and verification.

- Linear in the octets, whatever they are: runs of white space and of empty lines cost no more than text.
- Lines end in CRLF; a bare CR or LF is an ordinary octet of the body.
"""

from __future__ import annotations

import re

_ODD_SPACE = re.compile(rb"[\x0b\x0c\r\n]")
_WSP_RUN = re.compile(rb"[ \t]+")
_SPACES = re.compile(rb" {2,}")
_CRLFS_REVERSED = re.compile(rb"(?:\n\r)*")
_TAB_TO_SPACE = bytes.maketrans(b"\t", b" ")


def relaxed_field(raw: bytes) -> bytes:
    """Canonicalise one field, CRLF at its end included (§3.4.2).

    Args:
        raw: Name, colon, value and line end, folded as received.
    """
    name, _, value = raw.partition(b":")
    value = value.replace(b"\r\n", b"")
    if _ODD_SPACE.search(value):
        value = _WSP_RUN.sub(b" ", value).strip(b" ")
    else:
        value = b" ".join(value.split())
    return name.rstrip(b" \t").lower() + b":" + value + b"\r\n"


def simple_body(body: memoryview) -> memoryview:
    """Reduce the empty lines at the end to one CRLF; an empty body is one CRLF (§3.4.3)."""
    octets = bytes(body[-2:])
    if octets == b"\r\n" and bytes(body[-4:]) != b"\r\n\r\n" and len(body) > 2:
        return body
    whole = bytes(body)
    if whole and octets != b"\r\n":
        return memoryview(whole + b"\r\n")
    end = _end_without_empty_lines(whole)
    return memoryview(whole[:end] + b"\r\n")


def relaxed_body(body: memoryview) -> memoryview:
    """Reduce white space in and at the end of lines, and drop empty lines at the end (§3.4.4)."""
    octets = bytes(body)
    if octets and not octets.endswith(b"\r\n"):
        octets += b"\r\n"
    if b"\t" in octets:
        octets = octets.translate(_TAB_TO_SPACE)
    for _ in range(3):  # Plain replacing is fastest for the short runs of real mail; the pattern takes what is left.
        if b"  " not in octets:
            break
        octets = octets.replace(b"  ", b" ")
    else:
        octets = _SPACES.sub(b" ", octets)
    octets = octets.replace(b" \r\n", b"\r\n")
    if not octets.endswith(b"\r\n\r\n") and octets != b"\r\n":
        return memoryview(octets)
    end = _end_without_empty_lines(octets)
    return memoryview(octets[:end] + b"\r\n" if end else b"")


def _end_without_empty_lines(octets: bytes) -> int:
    """Where the last non-empty line's text ends; 0 when all lines are empty."""
    tail = octets[len(octets.rstrip(b"\r\n")) :]
    match = _CRLFS_REVERSED.match(tail[::-1])
    return len(octets) - (match.end() if match else 0)
