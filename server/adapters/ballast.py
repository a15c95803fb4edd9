"""Space set aside on the database's disk, given back when the disk is full (reliability.md F03).

- Mail is refused long before, by the reserve; the ballast is for what must go on when something else took the rest:
  logging in, reading, deleting, which all write a little.
- It is a file of 64 MiB, at most a sixteenth of the disk; it is made again when there is room for it twice over.
"""

from __future__ import annotations

import os
from pathlib import Path

from server.domain.errors import Unavailable
from server.domain.ports import Clock, Worker
from server.telemetry.log import get_logger

log = get_logger("storage")

BALLAST_OCTETS = 64 * 1024 * 1024
DISK_SHARE = 16
LOW_SHARE = 8
"""The ballast goes when less than this part of its size is free."""
CHECK_S = 1.0


class Ballast:
    """Keeps and releases the file.

    Args:
        path: The file; its folder exists.
        worker: Runs what touches the disk.
    """

    def __init__(self, path: Path, *, worker: Worker, clock: Clock) -> None:
        self._path = path
        self._worker = worker
        self._clock = clock

    async def run(self) -> None:
        """Watch the disk until cancelled."""
        while True:
            try:
                await self._worker.run(self.check)
            except (OSError, Unavailable) as error:
                log.warning("disk.ballast_failed", reason=str(error))
            await self._clock.sleep(CHECK_S)

    def check(self) -> None:
        """Release the file or make it, as the disk asks for. Blocking; raises OSError."""
        state = os.statvfs(self._path.parent)
        free = state.f_bavail * state.f_frsize
        size = min(BALLAST_OCTETS, state.f_blocks * state.f_frsize // DISK_SHARE)
        if free < size // LOW_SHARE:
            if self._path.exists():
                self._path.unlink()
                log.error("disk.full", released=size, next_step="free space now; only reading and deleting go on")
        elif free >= 2 * size and not self._path.exists():
            self._make(size)

    def _make(self, size: int) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self._path, flags, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError:
            self._path.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
