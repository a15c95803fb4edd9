"""A small internet on loopback: a DNS, mail servers on port 25 of addresses of their own, hostile ones among them.

- Everything scripted runs in one background event loop; tests stay synchronous and use `Network` from their thread.
- Servers bind 127.0.0.x:25, which wants root or a lowered `ip_unprivileged_port_start`: `network()` skips otherwise.
- Whatever a server sends comes from 127.0.0.1, as the kernel chooses for loopback; that is the address SPF names.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import threading
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
import uvloop

from server.daemon.bootstrap import Appliance
from server.domain.identity import Scope
from tests.support.daemon_process import MAIL_ROLES, DaemonProcess
from tests.support.fake_dns import FakeDnsServer, Zone
from tests.support.fake_mx import FakeMx

T = TypeVar("T")

SMTP_PORT = 25
SENDING_IP = "127.0.0.1"
START_S = 10.0


class Network:
    """Made by `network()`."""

    def __init__(self) -> None:
        self.zone = Zone({SENDING_IP: {"PTR": ["loop.example"]}, "loop.example": {"A": [SENDING_IP]}})
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="network")
        self._thread.start()
        self._servers = contextlib.AsyncExitStack()
        self._hosts = itertools.count(20)
        self.dns = self.call(self._servers.enter_async_context(FakeDnsServer(self.zone)))

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run it in the background loop and wait."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(START_S)

    def exchanger(self, domain: str, preference: int = 10, **how: Any) -> FakeMx:
        """Start a scripted mail exchanger and add it to the MX records of `domain`; `how` goes to `FakeMx`."""
        host = f"127.0.0.{next(self._hosts)}"
        name = f"mx{host.rpartition('.')[2]}.{domain}"
        mx = FakeMx(host=host, **how)
        mx.port = SMTP_PORT
        self.call(self._servers.enter_async_context(mx))
        known = self.zone.names.get(domain, {}).get("MX", [])
        self.zone.set(domain, MX=[*known, [preference, name]])
        self.zone.set(name, A=[host])
        return mx

    @contextlib.contextmanager
    def site(self, folder: Path, domain: str, host: str, **sections: Mapping[str, object]) -> Iterator[DaemonProcess]:
        """A running server for `domain` on `host`: accounts u0 to u2, all records published; stopped at the end."""
        daemon = DaemonProcess(
            folder,
            settings=_settings(self.dns.address, sections),
            roles=(*MAIL_ROLES, "http"),
            host=host,
            domain=domain,
        )
        daemon.ports = replace(daemon.ports, smtp=SMTP_PORT)
        daemon.configure()
        daemon.seed(3)
        self.publish(daemon)
        daemon.start()
        try:
            yield daemon
        finally:
            daemon.close()

    def publish(self, daemon: DaemonProcess) -> None:
        """MX, A, SPF, DMARC p=reject, and the DKIM records of the daemon's own keys."""
        domain = daemon.domain
        self.zone.set(domain, MX=[[10, f"mail.{domain}"]], TXT=[f"v=spf1 ip4:{SENDING_IP} -all"])
        self.zone.set(f"mail.{domain}", A=[daemon.host], TXT=[f"v=spf1 ip4:{SENDING_IP} -all"])
        self.zone.set(f"_dmarc.{domain}", TXT=["v=DMARC1; p=reject"])

        async def keys(appliance: Appliance, root: Scope) -> list[tuple[str, str]]:
            records = await appliance.identity.domains.dns(root, domain, live=False)
            return [(record.name, record.value) for record in records if "._domainkey." in record.name]

        for name, value in daemon.administer(keys):
            self.zone.set(name, TXT=[value])

    def close(self) -> None:
        self.call(self._servers.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@contextlib.contextmanager
def network() -> Iterator[Network]:
    """A network for a while; skips the test where port 25 can't be had."""
    try:
        with socket.create_server(("127.0.0.250", SMTP_PORT)):
            pass
    except OSError as error:
        pytest.skip(f"port 25 of loopback addresses can't be bound: {error}")
    made = Network()
    try:
        yield made
    finally:
        made.close()


def _settings(resolver: str, sections: Mapping[str, Mapping[str, object]]) -> dict[str, dict[str, object]]:
    made: dict[str, dict[str, object]] = {
        "dns": {"resolvers": [resolver], "timeout": "2s", "dnssec": "off"},
        "mailauth": {"enabled": True},
        "outbound": {"capture_path": None, "allow_private": ["127.0.0.0/8"], "connect_timeout": "3s"},
        "queue": {"retry_delays": ["1s"]},
    }
    for name, values in sections.items():
        made[name] = made.get(name, {}) | dict(values)
    return made
