"""The state folder belongs to one daemon: its checks and its lock (F17, T32).

- The folder is a real one of our uid, mode 0700; everything below trusts that.
- `flock` on `lock`, descriptor held for life; the file stays behind, the kernel drops the lock with the process.
"""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path
from types import TracebackType

from server.daemon.exits import ExitCode, StartFailure

LOCK_NAME = "lock"
STATE_MODE = 0o700


def prepare_state_folder(path: Path) -> None:
    """Make the folder when it is missing; refuse a link, a foreign owner, or a mode open to others.

    Raises:
        StartFailure: PERMISSIONS, with what to do.
    """
    try:
        path.mkdir(mode=STATE_MODE, parents=True, exist_ok=True)
        status = path.lstat()
    except OSError as error:
        raise StartFailure(ExitCode.PERMISSIONS, f"state folder {path}: {error.strerror}") from error
    if stat.S_ISLNK(status.st_mode):
        raise StartFailure(ExitCode.PERMISSIONS, f"state folder {path} is a symbolic link: name the folder itself")
    if status.st_uid != os.geteuid():
        text = f"state folder {path} belongs to uid {status.st_uid}, but the daemon runs as uid {os.geteuid()}"
        raise StartFailure(ExitCode.PERMISSIONS, text)
    if status.st_mode & 0o077:
        mode = stat.S_IMODE(status.st_mode)
        text = f"state folder {path} is open to others (mode {mode:04o}): chmod 0700 {path}"
        raise StartFailure(ExitCode.PERMISSIONS, text)


class StateLock:
    """Holds the lock of a state folder from construction to `close`.

    Raises:
        StartFailure: LOCKED naming the holder's pid, or PERMISSIONS.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / LOCK_NAME
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StartFailure(ExitCode.PERMISSIONS, f"lock {path}: {error.strerror}") from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._descriptor, 20, 0).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            who = f"process {holder}" if holder.isdigit() else "another process"
            raise StartFailure(ExitCode.LOCKED, f"{folder} is in use by {who}") from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        os.close(self._descriptor)

    def __enter__(self) -> StateLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
