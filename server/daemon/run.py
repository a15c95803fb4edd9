"""`mairustd run`: from settings to an exit code.

- Order: state folder and lock, sockets, services, READY; backwards at the end.
- The lock is held until everything is closed. Every failure is one line for the administrator.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import uvloop

from server.adapters.clock import SystemClock
from server.adapters.secrets import MasterKeyMissing
from server.adapters.tls import CertificateError
from server.config.load import SYSTEM_FILE
from server.config.schema import Settings
from server.daemon.daemon import Supervisor
from server.daemon.exits import ExitCode, StartFailure
from server.daemon.lock import StateLock, prepare_state_folder
from server.daemon.notify import SystemdNotifier
from server.daemon.reload import Reloader
from server.daemon.service import Appliance, Host
from server.daemon.sockets import Sockets
from server.domain.errors import MaiRustError
from server.telemetry import log as telemetry_log
from server.telemetry.log import get_logger

log = get_logger("daemon")

CLOSE_TIMEOUT_S = 20.0
CLOSE_TIMEOUT_FATAL_S = 0.3
STANDARD_OUTPUT = 1


class Build(Protocol):
    """`bootstrap.build`: constructs every service; opens the stores."""

    async def __call__(self, settings: Settings, host: Host) -> Appliance: ...


def run(settings: Settings, settings_path: Path | None, environ: Mapping[str, str], build: Build) -> ExitCode:
    """Run the daemon until it is told to stop. Raises StartFailure."""
    configure_log(settings)
    prepare_state_folder(settings.server.state_dir)
    with StateLock(settings.server.state_dir), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run(settings, settings_path, environ, build))


def configure_log(settings: Settings, *, descriptor: int | None = STANDARD_OUTPUT) -> None:
    """Log as the settings say; without a descriptor only levels and form change."""
    telemetry_log.configure(
        level=settings.log.level,
        levels=settings.log.levels,
        text=settings.log.format == "text",
        descriptor=descriptor,
    )


def start_failure(error: Exception) -> StartFailure:
    """The one line and exit code for whatever stopped a start."""
    if isinstance(error, StartFailure):
        return error
    if isinstance(error, MasterKeyMissing | CertificateError):
        return StartFailure(ExitCode.CONFIGURATION, str(error))
    if isinstance(error, MaiRustError):
        return StartFailure(ExitCode.DEPENDENCY_DOWN, error.public)
    if isinstance(error, PermissionError):
        return StartFailure(ExitCode.PERMISSIONS, f"{error.filename}: {error.strerror}")
    if isinstance(error, ConnectionError | TimeoutError):
        return StartFailure(ExitCode.DEPENDENCY_DOWN, str(error) or type(error).__name__)
    if isinstance(error, OSError):
        return StartFailure(ExitCode.STORAGE, f"{error.filename or 'storage'}: {error.strerror}")
    log.exception("daemon.start_failed", error)
    return StartFailure(ExitCode.INTERNAL, f"internal error at start: {type(error).__name__}; the log has more")


class _Late:
    """Stands for what exists only after the build: the supervisor and the appliance."""

    def __init__(self) -> None:
        self.fatal: Callable[[ExitCode, str], None] = self._too_early
        self.appliance: Appliance | None = None

    @staticmethod
    def _too_early(code: ExitCode, reason: str) -> None:
        log.error("daemon.fatal", code=int(code), reason=reason)

    async def apply(self, settings: Settings) -> None:
        configure_log(settings, descriptor=None)
        if self.appliance is not None:
            await self.appliance.reload(settings)


async def _run(settings: Settings, settings_path: Path | None, environ: Mapping[str, str], build: Build) -> ExitCode:
    notifier, late, left = SystemdNotifier(environ), _Late(), dict(environ)
    reloader = Reloader(settings=settings, path=settings_path, environ=environ, apply=late.apply)
    sockets = Sockets(left)
    host = Host(
        settings_path=settings_path,
        config_folder=(settings_path or SYSTEM_FILE).absolute().parent,
        environ=environ,
        sockets=sockets,
        notifier=notifier,
        extend_start=notifier.extend,
        reload=reloader.reload,
        fatal=lambda code, reason: late.fatal(code, reason),
    )
    code = ExitCode.INTERNAL
    try:
        appliance = late.appliance = await build(settings, host)
        try:
            supervisor = Supervisor(
                appliance.services,
                probes=appliance.probes,
                notifier=notifier,
                clock=SystemClock(),
                grace_s=lambda: reloader.settings.server.shutdown_grace,
                reload=reloader.reload,
            )
            late.fatal = supervisor.fatal
            code = await supervisor.run()
        finally:
            await _close(appliance, quick=code is not ExitCode.STOPPED)
    finally:
        sockets.close()
        reloader.close()
        notifier.close()
    return code


async def _close(appliance: Appliance, *, quick: bool) -> None:
    limit_s = CLOSE_TIMEOUT_FATAL_S if quick else CLOSE_TIMEOUT_S
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(limit_s):
            await appliance.close()
            return
    log.error("daemon.close_cut_off", after_s=limit_s)
