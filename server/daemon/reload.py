"""Reading the configuration again while the daemon runs: all or nothing (config.md §1).

- A faulty file, or a part that can't take its new settings, leaves everything as it was.
- One reload at a time; the file is read in a thread.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from server.config.compare import merge
from server.config.load import Loaded, find, load
from server.config.schema import Settings
from server.telemetry.log import get_logger

log = get_logger("daemon")

Apply = Callable[[Settings], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReloadResult:
    """Dotted keys that took effect, and those that wait for a restart."""

    applied: tuple[str, ...]
    restart_required: tuple[str, ...]


class ReloadFailed(Exception):
    """A part refused its new settings; the old ones are in force again. The text is for the administrator."""


class Reloader:
    """Holds the settings in force.

    Args:
        path: The file that was loaded, None when there was none: one that appears later is found.
        environ: The environment at start.
        apply: Gives settings to the running parts; called with the old ones again when it fails.
    """

    def __init__(self, *, settings: Settings, path: Path | None, environ: Mapping[str, str], apply: Apply) -> None:
        self.settings = settings
        self._path = path
        self._environ = environ
        self._apply = apply
        self._lock = asyncio.Lock()
        self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="reload")

    async def reload(self) -> ReloadResult:
        """Read the file and apply what may change now. Raises ConfigError or ReloadFailed."""
        async with self._lock:
            work = functools.partial(_load, self._path, self._environ)
            loaded = await asyncio.get_running_loop().run_in_executor(self._thread, work)
            merged = merge(self.settings, loaded.settings)
            if merged.applied:
                await self._switch(merged.settings)
            log.info("settings.reloaded", applied=merged.applied, restart_required=merged.restart_required)
            return ReloadResult(applied=merged.applied, restart_required=merged.restart_required)

    def close(self) -> None:
        self._thread.shutdown(wait=False)

    async def _switch(self, settings: Settings) -> None:
        try:
            await self._apply(settings)
        except Exception as error:
            await self._apply(self.settings)
            raise ReloadFailed(str(error)) from error
        self.settings = settings


def _load(path: Path | None, environ: Mapping[str, str]) -> Loaded:
    return load(path or find(None, environ), environ)
