"""The ballast: made while there is room, given back when the disk is full (reliability.md F03)."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from server.adapters import ballast
from server.adapters.ballast import BALLAST_OCTETS, Ballast
from server.adapters.clock import SystemClock
from server.adapters.worker import ThreadWorker

MIB = 1024 * 1024
Disk = Callable[[int, int], None]


@dataclass
class State:
    f_blocks: int
    f_bavail: int
    f_frsize: int = 4096


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """Sets the size and the free space of the disk, in MiB."""

    def be(size: int, free: int) -> None:
        state = State(f_blocks=size * 256, f_bavail=free * 256)
        monkeypatch.setattr(ballast.os, "statvfs", lambda _path: state)

    return be


@pytest.fixture
def made(tmp_path: Path) -> Ballast:
    return Ballast(tmp_path / "ballast", worker=ThreadWorker("t", threads=1), clock=SystemClock())


def test_made_with_64_mib_on_a_large_disk(tmp_path: Path, made: Ballast, disk: Disk) -> None:
    disk(100_000, 50_000)
    made.check()
    status = (tmp_path / "ballast").stat()
    assert (status.st_size, status.st_mode & 0o777) == (BALLAST_OCTETS, 0o600)
    assert status.st_blocks * 512 >= BALLAST_OCTETS


def test_a_sixteenth_of_a_small_disk(tmp_path: Path, made: Ballast, disk: Disk) -> None:
    disk(64, 60)
    made.check()
    assert os.path.getsize(tmp_path / "ballast") == 4 * MIB


def test_not_made_without_room_for_it_twice(tmp_path: Path, made: Ballast, disk: Disk) -> None:
    disk(64, 7)
    made.check()
    assert not (tmp_path / "ballast").exists()


def test_given_back_when_an_eighth_of_it_is_no_longer_free_and_made_again(
    tmp_path: Path, made: Ballast, disk: Disk
) -> None:
    disk(64, 60)
    made.check()
    disk(64, 1)
    made.check()
    assert (tmp_path / "ballast").exists()
    disk(64, 0)
    made.check()
    assert not (tmp_path / "ballast").exists()
    made.check()
    disk(64, 8)
    made.check()
    assert (tmp_path / "ballast").exists()


def test_failed_making_leaves_no_file(
    tmp_path: Path, made: Ballast, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk(64, 60)

    def full(_descriptor: int, _offset: int, _length: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ballast.os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space"):
        made.check()
    assert not (tmp_path / "ballast").exists()
