"""Answers about the server itself."""

from __future__ import annotations

import msgspec

from server.api.schemas.common import Output, time_text
from server.services.upkeep.status import Health, PartHealth, SystemStatus


class HealthOut(Output, frozen=True, kw_only=True):
    """healthy, degraded or unhealthy."""

    status: str


class ReadyOut(Output, frozen=True, kw_only=True, omit_defaults=True):
    status: str
    reason: str = ""


class PartOut(Output, frozen=True, kw_only=True, omit_defaults=True):
    status: str
    latency_ms: int
    error: str | None = None
    length: int | msgspec.UnsetType = msgspec.UNSET
    oldest_s: int | msgspec.UnsetType = msgspec.UNSET
    expires_s: int | msgspec.UnsetType = msgspec.UNSET

    @classmethod
    def of(cls, part: PartHealth) -> PartOut:
        return cls(status=part.status.value, latency_ms=part.latency_ms, error=part.error or None, **part.figures)


class DetailedHealthOut(Output, frozen=True, kw_only=True):
    status: str
    checks: dict[str, PartOut]


class CountsOut(Output, frozen=True, kw_only=True):
    tenants: int
    domains: int
    accounts: int


class TodayOut(Output, frozen=True, kw_only=True, rename={"received": "in", "sent": "out"}):
    """Since midnight UTC: `in` = messages stored, `out` = deliveries sent, `refused` = refusals."""

    received: int
    sent: int
    refused: int


class QueueFiguresOut(Output, frozen=True, kw_only=True):
    length: int
    oldest_s: int
    held: int


class ListenerOut(Output, frozen=True, kw_only=True):
    name: str
    port: int


class DiskOut(Output, frozen=True, kw_only=True):
    used_percent: int
    total_bytes: int
    free_bytes: int


class TlsOut(Output, frozen=True, kw_only=True):
    not_after: str | None
    self_signed: bool


class NoticeOut(Output, frozen=True, kw_only=True, rename={"command": "try"}):
    id: str
    text: str
    command: str


class StatusOut(Output, frozen=True, kw_only=True):
    health: Health
    """One screen of health."""

    hostname: str
    version: str
    started_at: str
    uptime_s: int
    database: str
    counts: CountsOut
    today: TodayOut
    queue: QueueFiguresOut
    listeners: list[ListenerOut]
    disk: DiskOut
    tls: TlsOut
    warnings: list[NoticeOut]

    @classmethod
    def of(cls, status: SystemStatus, oldest_s: int) -> StatusOut:
        totals, disk, certificate = status.totals, status.disk, status.certificate
        return cls(
            health=status.health,
            hostname=status.hostname,
            version=status.version,
            started_at=time_text(status.started_at),
            uptime_s=status.uptime_s,
            database=status.database,
            counts=CountsOut(tenants=totals.tenants, domains=totals.domains, accounts=totals.accounts),
            today=TodayOut(received=totals.received, sent=totals.sent, refused=totals.refused),
            queue=QueueFiguresOut(length=totals.waiting.length, oldest_s=oldest_s, held=totals.held),
            listeners=[ListenerOut(name=one.name, port=one.port) for one in status.listeners],
            disk=DiskOut(used_percent=disk.used_percent, total_bytes=disk.total_bytes, free_bytes=disk.free_bytes),
            tls=TlsOut(
                not_after=time_text(certificate.not_after) if certificate else None,
                self_signed=certificate.self_signed if certificate else False,
            ),
            warnings=[NoticeOut(id=one.id, text=one.text, command=one.command) for one in status.warnings],
        )


class VersionOut(Output, frozen=True, kw_only=True):
    version: str
    python: str
