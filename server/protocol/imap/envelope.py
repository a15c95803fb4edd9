"""Addresses out of a rendered ENVELOPE (RFC 9051 §7.5.2), for sorting by them.

- One pass over the octets, up to the field that is wanted; what is not an ENVELOPE ends the reading.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum

_TOKEN = re.compile(rb'([()])|NIL|"((?:[^"\\]++|\\.)*+)"|\{([0-9]{1,10})\}\r\n|[ ]++', re.DOTALL)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)


class EnvelopeField(IntEnum):
    """Places of address lists in an ENVELOPE."""

    FROM = 2
    TO = 5
    CC = 6


@dataclass(frozen=True, slots=True)
class EnvelopeAddress:
    """Octets as they stand in the header: encoded words are not decoded."""

    name: bytes
    mailbox: bytes
    host: bytes


def first_address(envelope: bytes, wanted: EnvelopeField) -> EnvelopeAddress | None:
    """The first address of a list, a group's name included; None when there is none."""
    place, depth, at = -1, 0, 0
    values: list[bytes] = []
    while place <= wanted and (found := _TOKEN.match(envelope, at)) is not None:
        at = found.end()
        bracket, quoted, literal = found.groups()
        if bracket == b"(":
            depth += 1
            place += depth == 2
        elif bracket == b")":
            depth -= 1
        elif found[0][:1] != b" ":
            value = b"" if quoted is None else _ESCAPED.sub(rb"\1", quoted)
            if literal is not None:
                value = envelope[at : at + int(literal)]
                at += int(literal)
            place += depth == 1
            if depth == 3 and place == wanted:
                values.append(value)
                if len(values) == 4:
                    return EnvelopeAddress(values[0], values[2], values[3])
    return None
