"""Blobs on files: durable before they are named, checked when they are read (reliability.md §7)."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.adapters.blobs_fs import FileBlobStore
from server.adapters.worker import ThreadWorker
from server.domain.errors import DiskReserve, Unavailable
from server.domain.message import CONTENT_RAM_MAX, BlobPlace

LARGE = b"Subject: large\r\n\r\n" + b"x" * 500_000


@pytest.fixture
def fatal() -> list[str]:
    return []


@pytest.fixture
def blobs(tmp_path: Path, fatal: list[str]) -> Iterator[FileBlobStore]:
    worker = ThreadWorker("blob", threads=4)
    store = FileBlobStore(tmp_path / "mail", inline_max=1024, worker=worker, fatal=fatal.append, reserve=0)
    store.open()
    yield store
    worker.close()


async def test_small_octets_stay_for_the_row(blobs: FileBlobStore, tmp_path: Path) -> None:
    blob = await blobs.place(await blobs.content(b"a: b\r\n\r\nc"))
    assert (blob.place, blob.inline) == (BlobPlace.ROW, b"a: b\r\n\r\nc")
    assert await blobs.read(blob) == b"a: b\r\n\r\nc"
    assert list((tmp_path / "mail").rglob("*-*")) == []


@pytest.mark.parametrize("size", [1025, CONTENT_RAM_MAX, CONTENT_RAM_MAX + 1, 2_000_000])
async def test_large_octets_become_a_private_file(blobs: FileBlobStore, tmp_path: Path, size: int) -> None:
    data = b"Subject: s\r\n\r\n" + os.urandom(size - 14)
    writer = blobs.writer()
    for start in range(0, size, 65_536):
        await writer.write(data[start : start + 65_536])
    content = await writer.finish()
    assert (content.size_octets, content.head) == (size, b"Subject: s\r\n\r\n")
    assert content.sha256 == hashlib.sha256(data).hexdigest()
    assert await blobs.read_content(content) == data
    blob = await blobs.place(content)
    path = tmp_path / "mail" / blob.id[:6] / blob.id
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert await blobs.read(blob) == data
    assert list((tmp_path / "mail" / "tmp").iterdir()) == []


async def test_a_discarded_message_leaves_nothing(blobs: FileBlobStore, tmp_path: Path) -> None:
    writer = blobs.writer()
    await writer.write(LARGE)
    await writer.discard()
    await writer.discard()
    content = await blobs.content(LARGE)
    await blobs.discard(content)
    assert list((tmp_path / "mail" / "tmp").iterdir()) == []


async def test_half_received_files_are_deleted_at_start(blobs: FileBlobStore, tmp_path: Path) -> None:
    part = tmp_path / "mail" / "tmp" / "left.part"
    part.write_bytes(b"half")
    blobs.open()
    assert not part.exists()


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
async def test_a_damaged_blob_is_never_served(blobs: FileBlobStore, tmp_path: Path, damage: str) -> None:
    """F20."""
    blob = await blobs.place(await blobs.content(LARGE))
    path = tmp_path / "mail" / blob.id[:6] / blob.id
    if damage == "flip":
        path.write_bytes(LARGE[:-1] + b"y")
    elif damage == "cut":
        path.write_bytes(LARGE[:-1])
    else:
        path.unlink()
    with pytest.raises(Unavailable):
        await blobs.read(blob)


async def test_a_full_disk_is_the_reserve_and_not_fatal(
    blobs: FileBlobStore, fatal: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """F03."""
    content = await blobs.content(LARGE[:100_000])

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskReserve):
        await blobs.place(content)
    assert fatal == []


async def test_a_failed_fsync_ends_the_process(
    blobs: FileBlobStore, fatal: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """F04."""
    content = await blobs.content(LARGE[:100_000])

    def broken(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(Unavailable):
        await blobs.place(content)
    assert fatal == ["fsync: Input/output error"]


async def test_file_and_directory_are_synced_before_the_blob_is_named(
    blobs: FileBlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P1: file, the new folder's parent, then the folder itself."""
    synced: list[str] = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(os.readlink(f"/proc/self/fd/{fd}")), real(fd))[1])
    blob = await blobs.place(await blobs.content(LARGE[:100_000]))
    kinds = [Path(path).name for path in synced]
    assert kinds == [f"{kinds[0]}", "mail", blob.id[:6]]
    assert kinds[0].endswith(".part")


async def test_a_blob_that_fails_fails_alone(blobs: FileBlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = [await blobs.content(LARGE[: 100_000 + number]) for number in range(6)]
    real = os.write

    def write(descriptor: int, data: memoryview) -> int:
        if len(data) == 100_003:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", write)
    results = await asyncio.gather(*(blobs.place(content) for content in contents), return_exceptions=True)
    assert [isinstance(result, DiskReserve) for result in results] == [number == 3 for number in range(6)]


async def test_a_cancelled_caller_does_not_stop_the_others(blobs: FileBlobStore) -> None:
    contents = [await blobs.content(LARGE[: 100_000 + number]) for number in range(6)]
    tasks = [asyncio.ensure_future(blobs.place(content)) for content in contents]
    await asyncio.sleep(0)
    tasks[0].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert all(not isinstance(result, BaseException) for result in results[1:])


async def test_below_the_reserve_nothing_is_taken(blobs: FileBlobStore) -> None:
    blobs.check_space()
    blobs.reserve = 1 << 62
    assert blobs.is_short()
    fresh = FileBlobStore(blobs._root, inline_max=0, worker=blobs._worker, fatal=lambda _reason: None, reserve=1 << 62)
    with pytest.raises(DiskReserve):
        fresh.check_space()
