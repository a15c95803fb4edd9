"""One DNS question to one server: UDP, then TCP when the answer was cut (RFC 1035 §4.2, RFC 7766).

- The UDP socket is connected and its port is fresh, so the kernel drops other senders; id, question and opcode are
  checked before an answer counts, and a wrong one is passed over while the time lasts (threat T21).
- Answers above `MAX_RESPONSE_OCTETS` or `MAX_RESPONSE_RECORDS` are refused before they are parsed.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import struct
from dataclasses import dataclass

import dns.exception
import dns.flags
import dns.message

MAX_RESPONSE_OCTETS = 16 * 1024
"""Largest answer parsed; a domain's TXT records of all services together stay below."""
MAX_RESPONSE_RECORDS = 150
"""Records in an answer that is parsed: 4 ms of the loop (threat T21: 10^4 records)."""
MAX_WRONG_ANSWERS = 100
"""Forged or stale datagrams passed over for one question."""
UDP_PAYLOAD = 1232
"""EDNS buffer size that is never fragmented (DNS flag day 2020)."""


class ExchangeFailed(Exception):
    """The server can't be reached, is silent or talks nonsense."""


@dataclass(frozen=True, slots=True)
class Server:
    """A resolver's address. `loopback` ones are believed about DNSSEC (RFC 6698 §A.3: only a secure path is)."""

    ip: str
    port: int

    @property
    def loopback(self) -> bool:
        return ipaddress.ip_address(self.ip.partition("%")[0]).is_loopback


def parse_server(text: str) -> Server:
    """Read `ip`, `ip:port` or `[ip6]:port`. Raises ValueError."""
    if text.startswith("["):
        host, _, port = text[1:].partition("]:")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    else:
        host, port = text, "53"
    ipaddress.ip_address(host.partition("%")[0])
    return Server(host, int(port))


async def exchange(query: dns.message.Message, server: Server, *, timeout_s: float) -> dns.message.Message:
    """Ask and return the checked answer.

    Raises:
        ExchangeFailed: No usable answer within `timeout_s` in all.
    """
    try:
        async with asyncio.timeout(timeout_s):
            response = await _ask_udp(query, server)
            if response is None:
                response = await _ask_tcp(query, server)
            return response
    except (TimeoutError, OSError, EOFError) as error:
        raise ExchangeFailed(f"{server.ip}: {error or 'timeout'}") from error


def _parse(query: dns.message.Message, wire: bytes) -> dns.message.Message | None:
    """The answer to `query`, or None for anything else."""
    if len(wire) < 12 or struct.unpack_from("!H", wire)[0] != query.id:
        return None
    if sum(struct.unpack_from("!HHH", wire, 6)) > MAX_RESPONSE_RECORDS:
        raise OSError("answer has too many records")
    try:
        response = dns.message.from_wire(wire, ignore_trailing=True)
    except (dns.exception.DNSException, ValueError):
        return None
    return response if query.is_response(response) else None


class _Question(asyncio.DatagramProtocol):
    """Waits for the one datagram that answers; None when it says it was cut."""

    def __init__(self, query: dns.message.Message) -> None:
        self._query = query
        self._wrong = 0
        self.answer: asyncio.Future[dns.message.Message | None] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:
        if self.answer.done():
            return
        if _is_truncated(self._query, data):
            self.answer.set_result(None)
            return
        with contextlib.suppress(OSError):
            response = _parse(self._query, data)
            if response is not None:
                self.answer.set_result(response)
                return
        self._wrong += 1
        if self._wrong > MAX_WRONG_ANSWERS:
            self.answer.set_exception(OSError("too many wrong answers"))

    def error_received(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc or OSError("socket closed"))


def _is_truncated(query: dns.message.Message, wire: bytes) -> bool:
    """Whether a datagram with the right id has QR and TC set: a forged one costs no more than a TCP query."""
    if len(wire) < 12:
        return False
    identity, flags = struct.unpack_from("!HH", wire)
    return identity == query.id and bool(flags & dns.flags.TC) and bool(flags & dns.flags.QR)


async def _ask_udp(query: dns.message.Message, server: Server) -> dns.message.Message | None:
    loop = asyncio.get_running_loop()
    transport, question = await loop.create_datagram_endpoint(
        lambda: _Question(query), remote_addr=(server.ip, server.port)
    )
    try:
        transport.sendto(query.to_wire())
        return await question.answer
    finally:
        question.answer.cancel()
        transport.close()


async def _ask_tcp(query: dns.message.Message, server: Server) -> dns.message.Message:
    reader, writer = await asyncio.open_connection(server.ip, server.port)
    try:
        wire = query.to_wire()
        writer.write(struct.pack("!H", len(wire)) + wire)
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        if length > MAX_RESPONSE_OCTETS:
            raise OSError("answer too large")
        response = _parse(query, await reader.readexactly(length))
        if response is None:
            raise OSError("wrong answer")
        return response
    finally:
        writer.transport.abort()
