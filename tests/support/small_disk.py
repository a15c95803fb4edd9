"""A disk of a few MiB that a test can fill; needs the right to mount."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

FILLER = "filler"


@contextmanager
def small_disk(folder: Path, *, size_mib: int = 64) -> Iterator[Path]:
    """Mount a memory disk on a new folder below `folder`; skips the test where that isn't allowed."""
    point = folder / "disk"
    point.mkdir(mode=0o700)
    options = f"size={size_mib}m,mode=0700"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(point)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"no right to mount a small disk: {mounted.stderr.decode(errors='replace').strip()}")
    try:
        yield point
    finally:
        subprocess.run(["umount", "--lazy", str(point)], check=True)


def fill(disk: Path, *, leave: int = 0) -> None:
    """Take all space but `leave` octets, to the last one."""
    descriptor = os.open(disk / FILLER, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        while (free := _free(disk) - leave) > 0:
            try:
                os.write(descriptor, bytes(min(free, 1 << 20)))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                return
    finally:
        os.close(descriptor)


def empty(disk: Path) -> None:
    """Give the space back."""
    with contextlib.suppress(FileNotFoundError):
        (disk / FILLER).unlink()


def _free(disk: Path) -> int:
    state = os.statvfs(disk)
    return state.f_bavail * state.f_frsize
