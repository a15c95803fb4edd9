"""What the supervisor runs and what it offers: `Service`, `Probe`, `Host` and `Appliance`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from server.config.schema import Settings
from server.daemon.exits import ExitCode
from server.daemon.notify import SystemdNotifier
from server.daemon.reload import ReloadResult
from server.daemon.sockets import Sockets


async def _nothing() -> None: ...


async def _nothing_to_drain(_grace_s: float) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One named part of the daemon.

    Attributes:
        critical: A listener: its crash ends the process with 70. Otherwise a loop: it is restarted with backoff.
        start: Returns when the service answers (sockets listen); an error ends the start of the daemon.
        run: Works until cancelled; returning is a crash of a critical service and the end of another.
        drain: Takes no new work, returns when what runs is done; cut off after `grace_s` seconds (reliability.md §9).
    """

    name: str
    critical: bool = False
    start: Callable[[], Awaitable[None]] = _nothing
    run: Callable[[], Awaitable[None]] | None = None
    drain: Callable[[float], Awaitable[None]] = _nothing_to_drain


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A question that must be answered before each watchdog ping: None = well, else what is wrong.

    Only for what a restart mends: never for a database, DNS or storage that is elsewhere.
    """

    name: str
    check: Callable[[], Awaitable[str | None]]


class Appliance(Protocol):
    """All services, built from settings."""

    @property
    def services(self) -> Sequence[Service]:
        """In the order they start; drained all at once."""
        ...

    @property
    def probes(self) -> Sequence[Probe]: ...

    async def reload(self, settings: Settings) -> None:
        """Use these settings for new work. An error leaves the old ones in force."""
        ...

    async def close(self) -> None:
        """After the drain: empty the committer, close the stores."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What the process offers to the services.

    Attributes:
        settings_path: The configuration file, None in setup mode.
        environ: The environment at start, secrets included; never printed.
        config_folder: Where `master.key` lies when nothing else names it.
        extend_start: Called with seconds while a long start goes on (migrations).
        reload: What SIGHUP does; for `POST /settings/reload`. Raises ConfigError or ReloadFailed.
        fatal: Ends the process at once with this code and reason; may be called from any thread.
    """

    settings_path: Path | None
    config_folder: Path
    environ: Mapping[str, str]
    sockets: Sockets
    notifier: SystemdNotifier
    extend_start: Callable[[float], None]
    reload: Callable[[], Awaitable[ReloadResult]]
    fatal: Callable[[ExitCode, str], None]
