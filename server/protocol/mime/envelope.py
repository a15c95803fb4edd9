"""Addresses out of a stored ENVELOPE, so that a list of messages opens none of them.

- Reads what `render` wrote: a list of ten values, strings quoted or literal. Anything else gives no addresses.

RFC 3501 §7.4.2, RFC 9051 §7.5.2.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from server.protocol.mime.addresses import address_text
from server.protocol.mime.encoded_words import decode_text

_TOKEN = re.compile(rb'\(|\)|NIL|"((?:[^"\\]|\\.)*+)"|\{(\d{1,9})\}\r\n', re.DOTALL)
_ESCAPE = re.compile(rb"\\(.)", re.DOTALL)
_FROM, _REPLY_TO, _TO, _CC = 2, 4, 5, 6
ADDRESSES_SHOWN = 100
"""Addresses of one field in a list."""


@dataclass(frozen=True, slots=True)
class Person:
    """A mailbox of a header field: decoded name, `local@domain`."""

    name: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvelopeAddresses:
    """Who a message is from and to, at most ADDRESSES_SHOWN each; `reply_to` is From when the message has none."""

    sender: tuple[Person, ...] = ()
    reply_to: tuple[Person, ...] = ()
    to: tuple[Person, ...] = ()
    cc: tuple[Person, ...] = ()


Value = bytes | None | list["Value"]


def envelope_addresses(envelope: bytes) -> EnvelopeAddresses:
    """The addresses of a rendered ENVELOPE."""
    fields = _parse(envelope)
    if not isinstance(fields, list) or len(fields) != 10:
        return EnvelopeAddresses()
    return EnvelopeAddresses(
        sender=_people(fields[_FROM]),
        reply_to=_people(fields[_REPLY_TO]),
        to=_people(fields[_TO]),
        cc=_people(fields[_CC]),
    )


def _parse(octets: bytes) -> Value:
    """The first value; lists are kept on a stack, never recursed into."""
    stack: list[list[Value]] = [[]]
    at = 0
    while at < len(octets):
        if octets[at] == 0x20:
            at += 1
            continue
        token = _TOKEN.match(octets, at)
        if token is None:
            return None
        at = token.end()
        if octets[token.start()] == 0x28:
            stack.append([])
        elif octets[token.start()] == 0x29:
            if len(stack) < 2:
                return None
            done = stack.pop()
            stack[-1].append(done)
        elif token[1] is not None:
            stack[-1].append(_ESCAPE.sub(rb"\1", token[1]))
        elif token[2] is not None:
            end = at + int(token[2])
            stack[-1].append(octets[at:end])
            at = end
        else:
            stack[-1].append(None)
    return stack[0][0] if len(stack) == 1 and stack[0] else None


def _people(value: Value) -> tuple[Person, ...]:
    found: list[Person] = []
    for entry in value if isinstance(value, list) else []:
        if len(found) == ADDRESSES_SHOWN:
            break
        if not isinstance(entry, list) or len(entry) != 4:
            continue
        name, _, local, host = entry
        # A NIL host begins or ends a group (RFC 3501 §7.4.2).
        if isinstance(local, bytes) and isinstance(host, bytes):
            shown = decode_text(name) if isinstance(name, bytes) else ""
            address = address_text(local) + (f"@{address_text(host).lower()}" if host else "")
            found.append(Person(shown, address))
    return tuple(found)
