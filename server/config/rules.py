"""Rules that concern more than one key (config.md §2, end)."""

from __future__ import annotations

import ipaddress
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from server.config.schema import Settings

_MAIL_PORTS = ("smtp_port", "submission_port", "submissions_port", "imap_port", "imaps_port", "pop3_port", "pop3s_port")
PORT_KEYS = (*_MAIL_PORTS, "sieve_port", "api_port")
SCHEMES = {"sqlite": "sqlite", "postgres": "postgres", "postgresql": "postgres"}
EARLY_RETRIES = 4

Finding = tuple[tuple[str, ...], str]
"""The keys concerned, the one to name first, and what is wrong."""


def broken_rules(settings: Settings, *, setup_mode: bool) -> Iterator[Finding]:
    """All findings; `setup_mode` is a start without a file, which needs no proper host name yet."""
    if not setup_mode and not is_fqdn(settings.server.hostname):
        yield ("server.hostname",), f"must be a fully qualified name, not {settings.server.hostname!r}"
    yield from _ports(settings)
    yield from _database(settings)
    yield from _tls(settings)
    yield from _queue(settings)
    relay = settings.outbound.relay
    if relay is not None and (relay.username is None) != (relay.password is None):
        yield ("outbound.relay.username", "outbound.relay.password"), "username and password go together"
    if relay is not None and relay.password is not None and relay.tls == "none":
        yield ("outbound.relay.tls",), "a password is never sent without TLS: use starttls or implicit"


def is_fqdn(name: str) -> bool:
    """Whether a host name has at least two labels and isn't an address."""
    return "." in name and not name.rsplit(".", 1)[1].isdigit()


def has_password(url: str) -> bool:
    """Whether a database URL carries a password."""
    try:
        return bool(urlsplit(url).password)
    except ValueError:
        return True


def _ports(settings: Settings) -> Iterator[Finding]:
    server = settings.server
    owners: dict[int, str] = {}
    for name in PORT_KEYS:
        port = getattr(server, name)
        if port and port in owners:
            yield (f"server.{name}", f"server.{owners[port]}"), f"port {port} is already taken by server.{owners[port]}"
        owners.setdefault(port, name)
    beyond = [text for text in server.api_bind if not ipaddress.ip_address(text).is_loopback]
    if beyond and not settings.api.allow_plaintext:
        yield (
            ("server.api_bind", "api.allow_plaintext"),
            f"{beyond[0]} is not loopback: needs api.allow_plaintext: true",
        )


def _database(settings: Settings) -> Iterator[Finding]:
    kind, url = settings.database.type, settings.database.url.reveal()
    scheme = url.partition("://")[0].partition("+")[0]
    if scheme not in SCHEMES or "://" not in url:
        yield ("database.url",), "must begin with sqlite:///, postgres:// or postgresql://"
    elif SCHEMES[scheme] != kind:
        yield ("database.url", "database.type"), f"is a {SCHEMES[scheme]} URL but database.type is {kind}"
    elif kind == "sqlite" and not url.partition("://")[2].startswith("//"):
        yield ("database.url",), "must be sqlite:////, followed by the rest of an absolute path"


def _tls(settings: Settings) -> Iterator[Finding]:
    tls = settings.tls
    if (tls.cert_path is None) != (tls.key_path is None):
        yield ("tls.key_path", "tls.cert_path"), "cert_path and key_path go together: set both or none"
    for name, path in (("tls.cert_path", tls.cert_path), ("tls.key_path", tls.key_path)):
        if path is not None and not os.access(path, os.R_OK):
            yield (name,), f"can't read {path}"
    if tls.key_path is not None and _open_to_all(tls.key_path):
        yield ("tls.key_path",), f"{tls.key_path} is readable by others: chmod 0640 it"


def _open_to_all(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False


def _queue(settings: Settings) -> Iterator[Finding]:
    queue = settings.queue
    delays = [*queue.retry_delays, *[queue.retry_delays[-1]] * EARLY_RETRIES][:EARLY_RETRIES]
    if queue.expire_after <= sum(delays):
        yield (
            ("queue.expire_after", "queue.retry_delays"),
            f"must be more than the first {EARLY_RETRIES} delays together, {sum(delays):g}s",
        )
