"""A scripted DNS: the `Resolver` port in process, and the same zone over UDP and TCP on loopback.

- What the zone doesn't name is NXDOMAIN; a name with other types, or above a named one, is NODATA.
- A type's records can be one word instead: SERVFAIL, REFUSED, TIMEOUT, NXDOMAIN or NODATA; `"*": word` is every type.
- `queries` keeps what was asked, in order, so that tests can count.

Zone data (also as JSON for `python -m tests.support.fake_dns --port P zone.json`):
    {"example.com": {"A": ["192.0.2.1"], "MX": [[10, "mx.example.com"]], "TXT": ["v=spf1 -all", ["split ", "text"]]},
     "www.example.com": {"CNAME": ["example.com"]}, "192.0.2.1": {"PTR": ["mx.example.com"]},
     "slow.example": {"*": "TIMEOUT"}, "signed.example": {"A": ["192.0.2.2"], "ad": true}}
"""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.reversename
import dns.rrset

from server.domain.ports import Answer, DnsStatus, Mx

MAX_CNAMES = 8
TTL_S = 60
WORDS = frozenset({"SERVFAIL", "REFUSED", "TIMEOUT", "NXDOMAIN", "NODATA"})


class Zone:
    """The shared data; `set` and `remove` may be called while a server runs."""

    def __init__(self, data: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self.names: dict[str, dict[str, Any]] = {}
        self.ttl_s = TTL_S
        self.truncate_udp = False
        """Answer every UDP query truncated, so that clients come back by TCP."""
        for name, types in (data or {}).items():
            self.set(name, **types)

    def set(self, name: str, **types: Any) -> None:
        """Add or replace types of a name: `zone.set("example.com", TXT=["v=spf1 -all"])`; an IP is its PTR name."""
        known = self.names.setdefault(_key(name), {})
        for rdtype, value in types.items():
            known[rdtype] = value

    def remove(self, name: str) -> None:
        self.names.pop(_key(name), None)

    def find(self, name: str, rdtype: str) -> tuple[str, list[Any]]:
        """Return (`OK` or a word, raw records) of one name without following CNAMEs."""
        types = self.names.get(_key(name))
        if types is None:
            below = "." + _key(name)
            return ("NODATA" if any(known.endswith(below) for known in self.names) else "NXDOMAIN"), []
        value = types.get(rdtype, types.get("*"))
        if isinstance(value, str) and value in WORDS:
            return value, []
        if value is None or (isinstance(value, list) and not value):
            return "NODATA", []
        return "OK", value if isinstance(value, list) else [value]

    def chase(self, name: str, rdtype: str) -> tuple[str, list[tuple[str, str]], str, list[Any]]:
        """Follow CNAMEs: (word, [(owner, target)...], final name, raw records)."""
        chain: list[tuple[str, str]] = []
        for _ in range(MAX_CNAMES + 4):
            word, records = self.find(name, rdtype)
            if word != "NODATA" or rdtype == "CNAME":
                return word, chain, name, records
            word, targets = self.find(name, "CNAME")
            if word != "OK":
                return ("NODATA" if word == "NODATA" else word), chain, name, []
            chain.append((name, str(targets[0])))
            name = str(targets[0])
        return "SERVFAIL", chain, name, []

    def authenticated(self, name: str) -> bool:
        return bool(self.names.get(_key(name), {}).get("ad", False))


def _key(name: str) -> str:
    try:
        return dns.reversename.from_address(str(ipaddress.ip_address(name))).to_text().rstrip(".").lower()
    except ValueError:
        return name.rstrip(".").lower()


class FakeResolver:
    """The `Resolver` port over a zone; TIMEOUT answers at once, as TEMPERROR."""

    def __init__(self, zone: Zone | Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self.zone = zone if isinstance(zone, Zone) else Zone(zone)
        self.queries: list[tuple[str, str]] = []
        self.hang = asyncio.Event()
        self.hang.set()
        """Cleared: every query waits until it is set again."""

    async def txt(self, name: str) -> Answer[bytes]:
        answer = await self._ask(name, "TXT")
        return Answer(answer.status, tuple(_joined(value) for value in answer.records), answer.authenticated)

    async def mx(self, name: str) -> Answer[Mx]:
        answer = await self._ask(name, "MX")
        records = tuple(Mx(int(p), str(host).rstrip(".").lower()) for p, host in answer.records)
        return Answer(answer.status, records, answer.authenticated)

    async def a(self, name: str) -> Answer[str]:
        return await self._ask(name, "A")

    async def aaaa(self, name: str) -> Answer[str]:
        answer = await self._ask(name, "AAAA")
        return Answer(
            answer.status, tuple(str(ipaddress.ip_address(ip)) for ip in answer.records), answer.authenticated
        )

    async def ptr(self, ip: str) -> Answer[str]:
        answer = await self._ask(ip, "PTR")
        return Answer(
            answer.status, tuple(str(host).rstrip(".").lower() for host in answer.records), answer.authenticated
        )

    async def _ask(self, name: str, rdtype: str) -> Answer[Any]:
        self.queries.append((name, rdtype))
        await self.hang.wait()
        word, _, _, records = self.zone.chase(name, rdtype)
        match word:
            case "OK":
                return Answer(DnsStatus.OK, tuple(records), self.zone.authenticated(name))
            case "NODATA":
                return Answer(DnsStatus.NODATA)
            case "NXDOMAIN":
                return Answer(DnsStatus.NXDOMAIN)
        return Answer(DnsStatus.TEMPERROR)


def _joined(value: Any) -> bytes:
    parts = value if isinstance(value, list | tuple) else [value]
    return b"".join(part if isinstance(part, bytes) else str(part).encode("utf-8") for part in parts)


class FakeDnsServer(asyncio.DatagramProtocol):
    """The zone on 127.0.0.1, UDP and TCP on one port; `async with` starts and stops it.

    Attributes:
        address: `127.0.0.1:port`, the form `dns.resolvers` takes.
        queries: (name, type, "udp" or "tcp") in order.
    """

    def __init__(self, zone: Zone | Mapping[str, Mapping[str, Any]] | None = None, *, port: int = 0) -> None:
        self.zone = zone if isinstance(zone, Zone) else Zone(zone)
        self.port = port
        self.queries: list[tuple[str, str, str]] = []
        self.forge_id = False
        """Send a reply with a wrong id, and one with a wrong question, before each right one."""

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def __aenter__(self) -> FakeDnsServer:
        self._tcp = await asyncio.start_server(self._serve_tcp, "127.0.0.1", self.port)
        self.port = self._tcp.sockets[0].getsockname()[1]
        loop = asyncio.get_running_loop()
        self._udp, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", self.port))
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._udp.close()
        self._tcp.close()
        await self._tcp.wait_closed()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        pass

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        wire = self.respond(data, "udp")
        if wire is None:
            return
        if self.forge_id:
            self._udp.sendto(struct.pack("!H", (wire[0] << 8 | wire[1]) ^ 1) + wire[2:], addr)
            other = dns.message.make_response(dns.message.make_query("forged.example.", "A"))
            other.id = wire[0] << 8 | wire[1]
            self._udp.sendto(other.to_wire(), addr)
        self._udp.sendto(wire, addr)

    async def _serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                (length,) = struct.unpack("!H", await reader.readexactly(2))
                wire = self.respond(await reader.readexactly(length), "tcp")
                if wire is None:
                    return
                writer.write(struct.pack("!H", len(wire)) + wire)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    def respond(self, data: bytes, transport: str) -> bytes | None:
        """Return the wire reply to a wire query; None when the script says to be silent."""
        query = dns.message.from_wire(data)
        question = query.question[0]
        rdtype = dns.rdatatype.to_text(question.rdtype)
        name = b".".join(question.name.labels[:-1]).decode("latin-1")
        self.queries.append((name, rdtype, transport))
        word, chain, final, records = self.zone.chase(name, rdtype)
        if word == "TIMEOUT":
            return None
        response = dns.message.make_response(query, recursion_available=True)
        if word in {"SERVFAIL", "REFUSED", "NXDOMAIN"}:
            response.set_rcode(dns.rcode.from_text(word))
        for owner, target in chain:
            response.answer.append(
                dns.rrset.from_text(_fqdn(owner), self.zone.ttl_s, "IN", "CNAME", _fqdn(target).to_text())
            )
        if records:
            texts = [_rdata_text(rdtype, record) for record in records]
            response.answer.append(dns.rrset.from_text(_fqdn(final), self.zone.ttl_s, "IN", rdtype, *texts))
        elif word in {"NXDOMAIN", "NODATA"}:
            soa = f"ns.invalid. root.invalid. 1 3600 600 86400 {self.zone.ttl_s}"
            response.authority.append(dns.rrset.from_text(dns.name.root, self.zone.ttl_s, "IN", "SOA", soa))
        if self.zone.authenticated(name):
            response.flags |= dns.flags.AD
        if transport == "udp" and self.zone.truncate_udp:
            response.answer.clear()
            response.flags |= dns.flags.TC
        if transport == "tcp":
            return response.to_wire(max_size=65535)
        return _udp_wire(response, query.payload or 512)


def _udp_wire(response: dns.message.Message, limit: int) -> bytes:
    wire = response.to_wire(max_size=65535)
    if len(wire) > limit:
        response.answer.clear()
        response.flags |= dns.flags.TC
        wire = response.to_wire()
    return wire


def _fqdn(name: str) -> dns.name.Name:
    return dns.name.Name([*(label.encode("latin-1") for label in _key(name).split(".") if label), b""])


def _rdata_text(rdtype: str, record: Any) -> str:
    if rdtype == "MX":
        return f"{record[0]} {_fqdn(str(record[1]))}"
    if rdtype in {"PTR", "CNAME"}:
        return _fqdn(str(record)).to_text()
    if rdtype == "TXT":
        parts = record if isinstance(record, list | tuple) else [record]
        strings: list[bytes] = []
        for part in parts:
            octets = part if isinstance(part, bytes) else str(part).encode("utf-8")
            strings.extend(octets[i : i + 255] for i in range(0, max(len(octets), 1), 255))
        return " ".join('"' + "".join(f"\\{octet:03d}" for octet in string) + '"' for string in strings)
    return str(record)


async def _run(port: int, zone: Zone) -> None:
    async with FakeDnsServer(zone, port=port) as server:
        print(f"serving on {server.address}", flush=True)
        await asyncio.Event().wait()


def main() -> None:
    """Serve a zone file until killed."""
    parser = argparse.ArgumentParser(description="Serve a JSON zone on loopback.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("zone", type=Path)
    arguments = parser.parse_args()
    asyncio.run(_run(arguments.port, Zone(json.loads(arguments.zone.read_text()))))


if __name__ == "__main__":
    main()
