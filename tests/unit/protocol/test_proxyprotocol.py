"""PROXY protocol headers, versions 1 and 2."""

from __future__ import annotations

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.protocol.proxyprotocol import V1_MAX, V2_PAYLOAD_MAX, ProxyHeader, ProxySyntaxError, parse_proxy_header

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def version_2(command: int, family: int, payload: bytes) -> bytes:
    return SIGNATURE + struct.pack("!BBH", 0x20 | command, family, len(payload)) + payload


IPV4 = bytes([192, 0, 2, 7, 192, 0, 2, 1]) + struct.pack("!HH", 4711, 25)
IPV6 = (
    ipaddress.ip_address("2001:db8::7").packed + ipaddress.ip_address("2001:db8::1").packed + struct.pack("!HH", 1, 25)
)

HEADERS = [
    (b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 25\r\n", ProxyHeader(remote_ip="192.0.2.7", remote_port=4711)),
    (b"PROXY TCP6 2001:DB8::7 2001:db8::1 4711 25\r\n", ProxyHeader(remote_ip="2001:db8::7", remote_port=4711)),
    (b"PROXY UNKNOWN\r\n", ProxyHeader()),
    (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", ProxyHeader()),
    (version_2(1, 0x11, IPV4), ProxyHeader(remote_ip="192.0.2.7", remote_port=4711)),
    (version_2(1, 0x11, IPV4 + b"\x04\x00\x01x"), ProxyHeader(remote_ip="192.0.2.7", remote_port=4711)),
    (version_2(1, 0x21, IPV6), ProxyHeader(remote_ip="2001:db8::7", remote_port=1)),
    (version_2(0, 0x00, b""), ProxyHeader()),
    (version_2(0, 0x11, b"x" * V2_PAYLOAD_MAX), ProxyHeader()),
]


@pytest.mark.parametrize(("octets", "header"), HEADERS)
def test_headers_are_taken_whole_and_nothing_behind_them(octets: bytes, header: ProxyHeader) -> None:
    assert parse_proxy_header(octets + b"EHLO x\r\n") == (header, len(octets))
    for cut in range(len(octets)):
        assert parse_proxy_header(octets[:cut]) is None


@pytest.mark.parametrize(
    "octets",
    [
        b"EHLO x\r\n", b"G", b"PROXY TCP4 192.0.2.7 192.0.2.1 4711\r\n", b"PROXY TCP4 192.0.2.256 192.0.2.1 1 25\r\n",
        b"PROXY TCP4 2001:db8::7 2001:db8::1 1 25\r\n", b"PROXY TCP4 192.0.2.7 192.0.2.1 65536 25\r\n",
        b"PROXY  TCP4 192.0.2.7 192.0.2.1 1 25\r\n", b"PROXY UDP4 192.0.2.7 192.0.2.1 1 25\r\n",
        b"PROXY UNKNOWN" + b" " * V1_MAX, version_2(2, 0x11, IPV4), version_2(1, 0x12, IPV4),
        version_2(1, 0x31, b"x" * 216),
        version_2(1, 0x11, IPV4[:11]), version_2(1, 0x21, IPV6[:35]), version_2(1, 0x11, b"x" * (V2_PAYLOAD_MAX + 1)),
    ],
)  # fmt: skip
def test_everything_else_is_refused(octets: bytes) -> None:
    with pytest.raises(ProxySyntaxError):
        parse_proxy_header(octets)


@given(st.sampled_from([b"", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11"]), st.binary(max_size=100))
def test_any_octets_give_a_header_or_a_syntax_error(start: bytes, octets: bytes) -> None:
    try:
        found = parse_proxy_header(start + octets)
    except ProxySyntaxError:
        return
    assert found is None or 0 < found[1] <= len(start + octets)
