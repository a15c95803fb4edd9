"""The doctor: what is wrong, what was wanted, who can mend it, and how (product.md 54).

- Every check has an id that never changes, its own deadline, and never raises: a check that fails says so.
- A record that DNS could not answer for is a warning named unchecked, never an error; when DNS answers nothing at all,
  that is one error in place of them all.
- Nothing is changed by looking.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

from server.config.schema import Settings
from server.domain.errors import InvalidInput, MaiRustError
from server.domain.identity import Scope
from server.domain.ports import BlobStore, Clock, DnsStatus, Resolver
from server.domain.scopes import require
from server.services.identity.dns_records import DnsRecord, RecordState, checked, wanted_records
from server.services.upkeep.status import Certificate, Listener
from server.store.database import Database
from server.store.repositories import domains, status, trace
from server.store.times import from_us, to_us
from server.store.transaction import Transaction
from server.telemetry.log import get_logger

log = get_logger("job")

CHECK_TIMEOUT_S = 20.0
CONNECT_TIMEOUT_S = 3.0
DOMAINS_MAX = 200
WAL_LARGE_OCTETS = 512 * 1024 * 1024
QUEUE_OLD = timedelta(hours=6)
CERTIFICATE_SOON = timedelta(days=14)
CLOCK_SKEW = timedelta(minutes=5)
ONLY_MAX = 50
UNCHECKED = "unchecked: DNS does not answer"
ASK_AGAIN = "mairust doctor --only dns"


class Severity(StrEnum):
    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One finding; `fix_by` says who can mend it, `fix` is a command or an instruction."""

    id: str
    severity: Severity
    subject: str
    found: str
    wanted: str = ""
    fix_by: str = ""
    fix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """A check that can be asked for: by its id's beginning, or by its group."""

    prefix: str
    group: str
    run: Callable[[], Awaitable[list[Check]]]


class Doctor:
    """Runs the checks.

    Args:
        config_path: The configuration file, None when there is none.
        config_faults: What is wrong with the file as it is now, in words; empty = the next start takes it.
    """

    def __init__(
        self,
        *,
        database: Database,
        blobs: BlobStore,
        resolver: Resolver,
        clock: Clock,
        settings: Callable[[], Settings],
        listeners: Callable[[], Sequence[Listener]],
        certificate: Callable[[], Certificate | None],
        config_path: Path | None,
        config_faults: Callable[[], Awaitable[Sequence[str]]],
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._resolver = resolver
        self._clock = clock
        self._settings = settings
        self._listeners = listeners
        self._certificate = certificate
        self._config_path = config_path
        self._config_faults = config_faults
        self.latest: tuple[datetime, tuple[Check, ...]] | None = None

    async def examine(self, scope: Scope, only: Sequence[str] = ()) -> tuple[Check, ...]:
        """Run all checks, or those named: an id, local, dns, tls, or domain=NAME."""
        require(scope, "system:read")
        if len(only) > ONLY_MAX:
            raise InvalidInput(f"at most {ONLY_MAX} names", pointer="/only")
        names = [word.partition("=")[2] for word in only if word.startswith("domain=")]
        words = {word for word in only if not word.startswith("domain=")}
        parts = [part for part in self._parts(names) if _asked(part, words, names)]
        found = await asyncio.gather(*(self._guarded(part) for part in parts))
        told = folded([check for group in found for check in group], self._settings().dns.resolvers)
        checks = tuple(check for check in told if _wanted(check, words, {p.group for p in parts}))
        if not only:
            self.latest = (self._clock.now(), checks)
        return checks

    def _parts(self, names: Sequence[str]) -> list[_Part]:
        return [
            _Part(prefix="DATABASE", group="local", run=self._store),
            _Part(prefix="STORAGE", group="local", run=self._storage),
            _Part(prefix="TLS", group="tls", run=self._tls),
            _Part(prefix="LISTENER", group="local", run=self._ports),
            _Part(prefix="CLOCK", group="local", run=self._time),
            _Part(prefix="QUEUE", group="local", run=self._queue),
            _Part(prefix="CONFIG", group="local", run=self._config),
            _Part(prefix="CAPTURE", group="local", run=self._capture),
            _Part(prefix="DNS-PTR", group="dns", run=self._ptr),
            _Part(prefix="DNS", group="dns", run=lambda: self._domains(names)),
        ]

    async def _guarded(self, part: _Part) -> list[Check]:
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                return await part.run()
        except TimeoutError:
            reason = f"no answer in {CHECK_TIMEOUT_S:g} s"
        except MaiRustError as error:
            reason = error.public
        except OSError as error:
            reason = error.strerror or type(error).__name__
        log.warning("doctor.check_failed", check=part.prefix, reason=reason)
        return [
            Check(
                id=part.prefix,
                severity=Severity.ERROR,
                subject=part.prefix.lower(),
                found=reason,
                wanted="an answer",
                fix_by="you",
                fix="journalctl -u mairustd -n 50",
            )
        ]

    async def _store(self) -> list[Check]:
        async def unit(_tx: Transaction) -> None:
            return None

        await self._database.write("doctor.write", unit)
        settings = self._settings()
        if settings.database.type != "sqlite":
            return [_ok("DATABASE", "PostgreSQL", "takes writes")]
        version = await self._database.read("doctor.version", status.sqlite_version)
        checks = [_ok("DATABASE", "SQLite", f"takes writes, version {version}")]
        wal = Path(settings.database.url.reveal().removeprefix("sqlite://") + "-wal")
        size = await asyncio.to_thread(_size, wal)
        if size > WAL_LARGE_OCTETS:
            checks.append(
                Check(
                    id="DATABASE-WAL",
                    severity=Severity.WARNING,
                    subject=str(wal),
                    found=f"{size >> 20} MiB",
                    wanted=f"below {WAL_LARGE_OCTETS >> 20} MiB",
                    fix_by="you",
                    fix="sudo systemctl restart mairustd",
                )
            )
        else:
            checks.append(_ok("DATABASE-WAL", "write-ahead log", f"{size >> 10} KiB"))
        return checks

    async def _storage(self) -> list[Check]:
        path = self._settings().storage.path
        found = await asyncio.to_thread(os.statvfs, path)
        free = found.f_bavail * found.f_frsize
        words = f"{free >> 20} MiB free"
        try:
            self._blobs.check_space()
        except MaiRustError:
            return [
                Check(
                    id="STORAGE-SPACE",
                    severity=Severity.ERROR,
                    subject=str(path),
                    found=words,
                    wanted="more than the reserve: new mail is refused for now (452)",
                    fix_by="you",
                    fix="free disk space, or lower storage.reserve",
                )
            ]
        return [_ok("STORAGE-SPACE", str(path), words)]

    async def _tls(self) -> list[Check]:
        certificate = self._certificate()
        if certificate is None:
            return [_tls_fault(Severity.ERROR, "TLS", "no certificate", "a certificate")]
        left = certificate.not_after - self._clock.now()
        until = f"valid until {certificate.not_after:%Y-%m-%d}"
        checks = []
        if left <= timedelta(0):
            checks.append(_tls_fault(Severity.ERROR, "TLS-EXPIRY", "expired", "a valid certificate"))
        elif left < CERTIFICATE_SOON:
            checks.append(_tls_fault(Severity.WARNING, "TLS-EXPIRY", until, "more than 14 days"))
        else:
            checks.append(_ok("TLS-EXPIRY", "certificate", until))
        if certificate.self_signed:
            checks.append(_tls_fault(Severity.WARNING, "TLS-SELF-SIGNED", "self-signed", "one that programs trust"))
        return checks

    async def _ports(self) -> list[Check]:
        found = await asyncio.gather(*(answers(listener) for listener in self._listeners()))
        return list(found)

    async def _time(self) -> list[Check]:
        async def unit(tx: Transaction) -> datetime | None:
            newest = (await trace.bounds(tx))[1]
            events = await trace.by_seqs(tx, None, [newest])
            return events[0].time if events else None

        newest = await self._database.read("doctor.clock", unit)
        now = self._clock.now()
        if newest is not None and newest > now + CLOCK_SKEW:
            return [
                Check(
                    id="CLOCK",
                    severity=Severity.ERROR,
                    subject="system clock",
                    found=f"{now:%Y-%m-%d %H:%M} UTC, before the newest event ({newest:%Y-%m-%d %H:%M})",
                    wanted="the right time",
                    fix_by="you",
                    fix="timedatectl",
                )
            ]
        return [_ok("CLOCK", "system clock", f"{now:%Y-%m-%d %H:%M} UTC")]

    async def _queue(self) -> list[Check]:
        waiting = await self._database.read("doctor.queue", status.waiting)
        if waiting.oldest_us is None:
            return [_ok("QUEUE-AGE", "queue", "empty")]
        age = timedelta(microseconds=to_us(self._clock.now()) - waiting.oldest_us)
        words = f"{waiting.length} waiting, oldest since {from_us(waiting.oldest_us):%Y-%m-%d %H:%M} UTC"
        if age > QUEUE_OLD:
            return [
                Check(
                    id="QUEUE-AGE",
                    severity=Severity.WARNING,
                    subject="queue",
                    found=words,
                    wanted="nothing older than 6 h",
                    fix_by="you",
                    fix="mairust queue list --older 6h",
                )
            ]
        return [_ok("QUEUE-AGE", "queue", words)]

    async def _config(self) -> list[Check]:
        checks = []
        state = self._settings().server.state_dir
        paths = [(state, 0o077)] if self._config_path is None else [(state, 0o077), (self._config_path, 0o022)]
        for path, forbidden in paths:
            mode = stat.S_IMODE((await asyncio.to_thread(path.stat)).st_mode)
            if mode & forbidden:
                checks.append(
                    Check(
                        id="CONFIG-MODE",
                        severity=Severity.ERROR,
                        subject=str(path),
                        found=f"mode {mode:04o}",
                        wanted=f"mode {mode & ~forbidden:04o}",
                        fix_by="you",
                        fix=f"sudo chmod {mode & ~forbidden:04o} {path}",
                    )
                )
            else:
                checks.append(_ok("CONFIG-MODE", str(path), f"mode {mode:04o}"))
        return [*checks, *await self._config_loads()]

    async def _config_loads(self) -> list[Check]:
        """Whether the next start or reload would take the file: it may have been edited since."""
        if self._config_path is None:
            return []
        subject = str(self._config_path)
        faults = await self._config_faults()
        if not faults:
            return [_ok("CONFIG-FILE", subject, "loads")]
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        return [
            Check(
                id="CONFIG-FILE",
                severity=Severity.ERROR,
                subject=subject,
                found=faults[0] + more,
                wanted="a file that the next start takes",
                fix_by="you",
                fix="mairust config validate",
            )
        ]

    async def _capture(self) -> list[Check]:
        folder = self._settings().outbound.capture_path
        if folder is None:
            return []
        return [
            Check(
                id="CAPTURE",
                severity=Severity.WARNING,
                subject="outbound.capture_path",
                found=f"NOTHING IS SENT: outbound mail is written to {folder}",
                wanted="null on a server that is to send",
                fix_by="you",
                fix="mairust config unset outbound.capture_path",
            )
        ]

    async def _ptr(self) -> list[Check]:
        hostname = self._settings().server.hostname
        v4, v6 = await asyncio.gather(self._resolver.a(hostname), self._resolver.aaaa(hostname))
        addresses = (*v4.records, *v6.records)
        if not addresses:
            unsure = DnsStatus.TEMPERROR in (v4.status, v6.status)
            return [
                Check(
                    id="DNS-HOST",
                    severity=Severity.WARNING if unsure else Severity.ERROR,
                    subject=hostname,
                    found=UNCHECKED if unsure else "no A or AAAA record",
                    wanted="this server's public address",
                    fix_by="you" if unsure else "you, at your DNS provider",
                    fix=ASK_AGAIN if unsure else f"publish A {hostname}",
                )
            ]
        return [_ok("DNS-HOST", hostname, ", ".join(addresses)), *[await self._reverse(ip) for ip in addresses]]

    async def _reverse(self, ip: str) -> Check:
        hostname = self._settings().server.hostname
        answer = await self._resolver.ptr(ip)
        if hostname in answer.records:
            return _ok("DNS-PTR", ip, hostname)
        unsure = answer.status is DnsStatus.TEMPERROR
        return Check(
            id="DNS-PTR",
            severity=Severity.WARNING if unsure else Severity.ERROR,
            subject=ip,
            found=UNCHECKED if unsure else ", ".join(answer.records) or "no reverse name",
            wanted=hostname,
            fix_by="you" if unsure else "your provider",
            fix=ASK_AGAIN if unsure else "set the reverse name in the provider's panel",
        )

    async def _domains(self, names: Sequence[str]) -> list[Check]:
        active = await self._database.read("doctor.domains", lambda tx: domains.all_active(tx, limit=DOMAINS_MAX))
        checks: list[Check] = []
        for domain in active:
            if names and domain.name not in names:
                continue
            keys = await self._database.read("doctor.keys", lambda tx, d=domain: domains.keys(tx, d.tenant_id, d.id))  # type: ignore[misc]
            hostname = self._settings().server.hostname
            wanted = [record for record in wanted_records(domain.name, hostname, keys) if record.purpose != "host"]
            checks += [record_check(record) for record in await checked(wanted, hostname, self._resolver)]
        return checks


_SEVERITY = {RecordState.OK: Severity.OK, RecordState.UNCHECKED: Severity.WARNING}


def record_check(record: DnsRecord) -> Check:
    """A DNS record's state as a finding."""
    kind = record.type if record.purpose in ("receiving", "host") else record.purpose.upper()
    good = record.state is RecordState.OK
    unsure = record.state is RecordState.UNCHECKED
    state = UNCHECKED if unsure else record.state.value
    return Check(
        id=f"DNS-{kind}",
        severity=_SEVERITY.get(record.state, Severity.ERROR),
        subject=record.name,
        found=(", ".join(record.found) or state)[:512],
        wanted=record.value,
        fix_by="" if good else "you" if unsure else "you, at your DNS provider",
        fix="" if good else ASK_AGAIN if unsure else f"publish {record.type} {record.name}",
    )


def folded(checks: Sequence[Check], resolvers: Sequence[str]) -> list[Check]:
    """The findings, with one on the name servers in place of every record's when none of them could be asked for."""
    unchecked = [check for check in checks if check.found == UNCHECKED]
    if len(unchecked) < 2 or any(check.id.startswith("DNS") and check not in unchecked for check in checks):
        return list(checks)
    silent = Check(
        id="DNS-RESOLVER",
        severity=Severity.ERROR,
        subject=", ".join(resolvers) or "name servers of /etc/resolv.conf",
        found=f"no answer; {len(unchecked)} records unchecked, and mail to other servers waits",
        wanted="an answer",
        fix_by="you",
        fix="mairust config get dns.resolvers" if resolvers else "cat /etc/resolv.conf",
    )
    return [silent, *(check for check in checks if check not in unchecked)]


def _asked(part: _Part, words: set[str], names: Sequence[str]) -> bool:
    if not words and not names:
        return True
    if names and part.prefix == "DNS":
        return True
    return part.group in words or any(word == part.prefix or word.startswith(part.prefix) for word in words)


def _wanted(check: Check, words: set[str], groups: set[str]) -> bool:
    """Whether a finding is among the ids asked for; groups take all of theirs."""
    ids = {word for word in words if word not in {"local", "dns", "tls"}}
    return not ids or bool(words & groups) or any(check.id.startswith(word) for word in ids)


async def answers(listener: Listener) -> Check:
    """Whether a listener takes connections at one of its addresses, or at loopback when it was handed its socket."""
    subject = f"{listener.name}, port {listener.port}"
    for host in dict.fromkeys((*listener.hosts, "127.0.0.1", "::1")):
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                _, writer = await asyncio.open_connection(host, listener.port)
        except (OSError, TimeoutError):
            continue
        writer.close()
        return _ok("LISTENER", subject, "answers")
    return Check(
        id="LISTENER",
        severity=Severity.ERROR,
        subject=subject,
        found="does not answer on this host",
        wanted="an answer",
        fix_by="you",
        fix="sudo systemctl status mairustd",
    )


def _tls_fault(severity: Severity, ident: str, found: str, wanted: str) -> Check:
    return Check(
        id=ident,
        severity=severity,
        subject="certificate",
        found=found,
        wanted=wanted,
        fix_by="you",
        fix="set tls.cert_path and tls.key_path",
    )


def _ok(ident: str, subject: str, found: str) -> Check:
    return Check(id=ident, severity=Severity.OK, subject=subject, found=found)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
