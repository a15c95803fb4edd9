"""How the server is: readiness, health by part, and the figures of `mairust status`.

- Every check has its own deadline and never raises; what did not answer is unhealthy, with the reason.
- A dependency that is down makes the server not ready; it never ends the process (reliability.md §9).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from server.config.schema import Settings
from server.domain.errors import MaiRustError
from server.domain.ports import BlobStore, Clock
from server.store.database import Database
from server.store.repositories import search, status
from server.store.repositories.status import Totals
from server.store.times import to_us
from server.store.transaction import Transaction
from server.telemetry.log import get_logger

log = get_logger("api")

CHECK_TIMEOUT_S = 5.0
QUEUE_OLD_S = 6 * 3600.0
"""A delivery that waits longer than this makes the server degraded."""
INDEX_LATE_S = 3600.0
"""Mail that waits longer for the search index makes the server degraded: searches are right, but slow."""
CERTIFICATE_SOON = timedelta(days=14)


class Health(StrEnum):
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartHealth:
    """One part; `essential` parts decide readiness."""

    status: Health
    latency_ms: int
    error: str = ""
    figures: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """A port that is served; `hosts` are the addresses at which this host reaches it, all of them alike."""

    name: str
    port: int
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """The certificate that listeners serve."""

    not_after: datetime
    self_signed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something to look at, with the command that does."""

    id: str
    text: str
    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    used_percent: int
    total_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemStatus:
    """All that `mairust status` shows."""

    health: Health
    hostname: str
    version: str
    started_at: datetime
    uptime_s: int
    database: str
    totals: Totals
    listeners: tuple[Listener, ...]
    disk: Disk
    certificate: Certificate | None
    warnings: tuple[Notice, ...]


class StatusService:
    """Looks at the running server.

    Args:
        listeners: What is served now.
        certificate: What TLS listeners serve now; None without any.
        draining: Whether the server is about to stop.
    """

    def __init__(
        self,
        *,
        database: Database,
        blobs: BlobStore,
        clock: Clock,
        settings: Callable[[], Settings],
        version: str,
        listeners: Callable[[], Sequence[Listener]],
        certificate: Callable[[], Certificate | None],
        draining: Callable[[], bool],
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._clock = clock
        self._settings = settings
        self._version = version
        self._listeners = listeners
        self._certificate = certificate
        self._draining = draining
        self._started_at = clock.now()
        self._started = clock.monotonic()

    @property
    def version(self) -> str:
        return self._version

    async def ready(self) -> tuple[bool, str]:
        """Whether mail can be taken now, and if not, why."""
        if self._draining():
            return False, "the server is stopping"
        for name, part in (await self._essential()).items():
            if part.status is Health.UNHEALTHY:
                return False, f"{name}: {part.error}"
        return True, ""

    async def overall(self) -> Health:
        """One word for `/health`."""
        return _worst(await self.parts())

    async def parts(self) -> dict[str, PartHealth]:
        """Health of every part."""
        return {
            **await self._essential(),
            "queue": await self._timed(self._queue),
            "search": await self._timed(self._search),
            "tls": await self._timed(self._tls),
        }

    async def status(self) -> SystemStatus:
        """The figures of one screen."""
        now = self._clock.now()
        midnight_us = to_us(now.replace(hour=0, minute=0, second=0, microsecond=0))

        async def unit(tx: Transaction) -> Totals:
            return await status.totals(tx, since_us=midnight_us)

        totals = await self._database.read("status.totals", unit)
        disk = await asyncio.to_thread(_disk, self._settings())
        settings = self._settings()
        certificate = self._certificate()
        parts = await self.parts()
        unwell = [
            Notice(id=name.upper(), text=part.error, command="mairust doctor")
            for name, part in parts.items()
            if part.status is not Health.HEALTHY
        ]
        return SystemStatus(
            health=_worst(parts),
            hostname=settings.server.hostname,
            version=self._version,
            started_at=self._started_at,
            uptime_s=int(self._clock.monotonic() - self._started),
            database=settings.database.type,
            totals=totals,
            listeners=tuple(self._listeners()),
            disk=disk,
            certificate=certificate,
            warnings=(*unwell, *_warnings(settings, totals, certificate, now)),
        )

    async def _essential(self) -> dict[str, PartHealth]:
        database, storage = await asyncio.gather(self._timed(self._reads), self._timed(self._space))
        return {"database": database, "storage": storage}

    async def _timed(self, check: Callable[[], Awaitable[PartHealth]]) -> PartHealth:
        started = time.perf_counter()
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                part = await check()
        except TimeoutError:
            return PartHealth(
                status=Health.UNHEALTHY, latency_ms=int(CHECK_TIMEOUT_S * 1000), error="no answer in time"
            )
        except MaiRustError as error:
            part = PartHealth(status=Health.UNHEALTHY, latency_ms=0, error=error.public)
        latency_ms = round((time.perf_counter() - started) * 1000)
        return PartHealth(status=part.status, latency_ms=latency_ms, error=part.error, figures=part.figures)

    async def _reads(self) -> PartHealth:
        if not self._database.alive:
            return PartHealth(status=Health.UNHEALTHY, latency_ms=0, error="nothing can be written")
        await self._database.read("health", status.alive)
        return PartHealth(status=Health.HEALTHY, latency_ms=0)

    async def _space(self) -> PartHealth:
        self._blobs.check_space()
        return PartHealth(status=Health.HEALTHY, latency_ms=0)

    async def _queue(self) -> PartHealth:
        now_us = to_us(self._clock.now())
        waiting = await self._database.read("health.queue", status.waiting)
        oldest_s = max(0, (now_us - waiting.oldest_us) // 1_000_000) if waiting.oldest_us is not None else 0
        old = oldest_s > QUEUE_OLD_S
        return PartHealth(
            status=Health.DEGRADED if old else Health.HEALTHY,
            latency_ms=0,
            error="a delivery waits for more than six hours" if old else "",
            figures={"length": waiting.length, "oldest_s": oldest_s},
        )

    async def _search(self) -> PartHealth:
        idle_us = await self._database.read("health.search", search.idle_us)
        late = idle_us / 1_000_000 > INDEX_LATE_S
        return PartHealth(
            status=Health.DEGRADED if late else Health.HEALTHY,
            latency_ms=0,
            error="mail has waited for the search index for more than an hour: mairust mailbox index" if late else "",
        )

    async def _tls(self) -> PartHealth:
        certificate = self._certificate()
        if certificate is None:
            return PartHealth(status=Health.DEGRADED, latency_ms=0, error="no certificate")
        left_s = int((certificate.not_after - self._clock.now()).total_seconds())
        if left_s <= 0:
            return PartHealth(status=Health.DEGRADED, latency_ms=0, error="the certificate has expired")
        return PartHealth(status=Health.HEALTHY, latency_ms=0, figures={"expires_s": left_s})


_RANK = {Health.HEALTHY: 0, Health.DEGRADED: 1, Health.UNHEALTHY: 2}


def _worst(parts: dict[str, PartHealth]) -> Health:
    return max((part.status for part in parts.values()), key=_RANK.__getitem__)


def _disk(settings: Settings) -> Disk:
    try:
        found = os.statvfs(settings.storage.path)
    except OSError as error:
        log.warning("status.disk_unknown", error=str(error))
        return Disk(used_percent=0, total_bytes=0, free_bytes=0)
    total, free = found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize
    return Disk(used_percent=round(100 * (1 - free / total)) if total else 0, total_bytes=total, free_bytes=free)


def _warnings(settings: Settings, totals: Totals, certificate: Certificate | None, now: datetime) -> list[Notice]:
    found = []
    if settings.outbound.capture_path is not None:
        text = f"outbound mail is written to {settings.outbound.capture_path}, nothing is sent"
        found.append(Notice(id="CAPTURE", text=text, command="mairust config get outbound.capture_path"))
    if certificate is not None and certificate.self_signed:
        text = "the certificate is self-signed: mail programs will warn"
        found.append(Notice(id="TLS-SELF-SIGNED", text=text, command="mairust doctor"))
    elif certificate is not None and certificate.not_after - now < CERTIFICATE_SOON:
        text = f"the certificate ends on {certificate.not_after:%Y-%m-%d}"
        found.append(Notice(id="TLS-EXPIRY", text=text, command="mairust doctor"))
    if totals.held:
        text = f"{totals.held} deliveries are held"
        found.append(Notice(id="QUEUE-HELD", text=text, command="mairust queue list --status held"))
    return found
