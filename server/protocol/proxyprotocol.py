"""The PROXY protocol, versions 1 and 2, as receivers read it (haproxy.org proxy-protocol.txt).

- Only the header is taken; what follows it belongs to the protocol behind.
- A header is complete, or more octets are needed, or it is refused: nothing is guessed (§2).
"""

from __future__ import annotations

import ipaddress
import re
import struct
from dataclasses import dataclass

V1_MAX = 107
"""Octets of a version 1 line with its CRLF (§2.1)."""

V2_PAYLOAD_MAX = 2048
"""Octets after the fixed part of a version 2 header that are still read: addresses and TLVs."""

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_V1 = re.compile(rb"PROXY (TCP4|TCP6) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) ([0-9]{1,5}) ([0-9]{1,5})\r\n")
_V1_UNKNOWN = re.compile(rb"PROXY UNKNOWN(?: [ -~]*)?\r\n")
_FIXED = struct.Struct("!12sBBH")


class ProxySyntaxError(Exception):
    """No PROXY header, or one that is not valid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyHeader:
    """Whom the proxy speaks for; `remote_ip` is empty when it speaks for itself (LOCAL, UNKNOWN)."""

    remote_ip: str = ""
    remote_port: int = 0


def parse_proxy_header(data: bytes) -> tuple[ProxyHeader, int] | None:
    """Parse a header at the beginning of a connection.

    Returns:
        The header and how many octets it took, or None when more are needed.

    Raises:
        ProxySyntaxError: The octets can't become a header.
    """
    if _SIGNATURE.startswith(data[:12]):
        return _version_2(data) if len(data) >= _FIXED.size else None
    if not (data.startswith(b"PROXY ") or b"PROXY ".startswith(data)):
        raise ProxySyntaxError("no PROXY header")
    end = data.find(b"\r\n", 0, V1_MAX)
    if end < 0:
        if len(data) >= V1_MAX:
            raise ProxySyntaxError("header too long")
        return None
    return _version_1(data[: end + 2]), end + 2


def _version_1(line: bytes) -> ProxyHeader:
    match = _V1.fullmatch(line)
    if match is None:
        if _V1_UNKNOWN.fullmatch(line) is None:
            raise ProxySyntaxError("malformed line")
        return ProxyHeader()
    family, source, destination, source_port, destination_port = (group.decode("ascii") for group in match.groups())
    kind = ipaddress.IPv4Address if family == "TCP4" else ipaddress.IPv6Address
    try:
        kind(destination)
        remote_ip = str(kind(source))
    except ValueError:
        raise ProxySyntaxError("malformed address") from None
    if int(source_port) > 65_535 or int(destination_port) > 65_535:
        raise ProxySyntaxError("port out of range")
    return ProxyHeader(remote_ip=remote_ip, remote_port=int(source_port))


def _version_2(data: bytes) -> tuple[ProxyHeader, int] | None:
    _, version_command, family, length = _FIXED.unpack_from(data)
    if version_command not in (0x20, 0x21) or length > V2_PAYLOAD_MAX:
        raise ProxySyntaxError("unknown version, command or length")
    total = _FIXED.size + length
    if len(data) < total:
        return None
    payload = data[_FIXED.size : total]
    if version_command == 0x20:
        return ProxyHeader(), total
    if family == 0x11 and length >= 12:
        return _addressed(ipaddress.IPv4Address(payload[:4]), payload[8:10]), total
    if family == 0x21 and length >= 36:
        return _addressed(ipaddress.IPv6Address(payload[:16]), payload[32:34]), total
    raise ProxySyntaxError("family is not TCP over IPv4 or IPv6")


def _addressed(ip: ipaddress.IPv4Address | ipaddress.IPv6Address, port: bytes) -> ProxyHeader:
    return ProxyHeader(remote_ip=str(ip), remote_port=int.from_bytes(port, "big"))
