"""Blobs as files: written once under a server-made key, synced before anybody is told (reliability.md §7).

- Octets up to `inline_max` never touch a file: they go into the blob's row with the rest of the commit.
- A file is written as `tmp/KEY.part`, synced, renamed to `<first 6 hex digits>/KEY`, and its directory synced. Syncs of
  one directory that wait at the same time share one fsync.
- An fsync that failed is never repeated on that file: the process ends through `fatal` (F04).
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from server.domain.errors import DiskReserve, Unavailable
from server.domain.ids import BlobId, new_id
from server.domain.message import CONTENT_RAM_MAX, Blob, BlobPlace, Content
from server.domain.ports import Worker
from server.telemetry.log import get_logger

log = get_logger("storage")

HEAD_MAX = 1024 * 1024
"""Octets of the header section that `Content.head` shows at most (product.md section 6)."""
RESERVE_MIN = 1024 * 1024 * 1024
RESERVE_SHARE = 0.05
SPACE_CHECK_S = 1.0
_FULL = {errno.ENOSPC, errno.EDQUOT}
_OPEN_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class FileBlobStore:
    """The BlobStore port on a local file system.

    Args:
        root: The folder of all blobs; made, with `tmp` below it, when `open` runs.
        inline_max: Largest size kept in the blob's row, in octets; 0 = every blob is a file.
        reserve: Free octets to keep; None = the larger of 1 GiB and 5 % of the disk.
        fatal: Called once when the disk refused an fsync; it ends the process.
        worker: Runs what touches the disk.
        sync: False only in tests that show what is lost without it.
    """

    def __init__(
        self,
        root: Path,
        *,
        inline_max: int,
        worker: Worker,
        fatal: Callable[[str], None],
        reserve: int | None = None,
        sync: bool = True,
    ) -> None:
        self._root = root
        self._tmp = root / "tmp"
        self.inline_max = inline_max
        self._worker = worker
        self._fatal = fatal
        self.reserve = reserve
        self._sync = sync
        self._made: set[str] = set()
        self._dir_syncs: dict[Path, asyncio.Future[None]] = {}
        self._space_checked = float("-inf")
        self._space_short = False

    def open(self) -> None:
        """Make the folders and delete what a crash left half received (M0). Blocking; called before listeners."""
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._tmp.mkdir(mode=0o700, exist_ok=True)
        for part in self._tmp.glob("*.part"):
            part.unlink(missing_ok=True)

    def writer(self) -> FileContentWriter:
        return FileContentWriter(self._tmp, self._run)

    async def _run(self, work: Callable[[], None]) -> None:
        await self._worker.run(self._guarded(work))

    def _guarded(self, work: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                work()
            except OSError as error:
                log.error("blob.error", error=errno.errorcode.get(error.errno or 0, "OSError"))
                if error.errno in _FULL:
                    raise DiskReserve("insufficient system storage") from error
                raise Unavailable from error

        return run

    async def content(self, data: bytes) -> Content:
        if len(data) <= CONTENT_RAM_MAX:
            return Content(
                size_octets=len(data), sha256=hashlib.sha256(data).hexdigest(), head=head_of(data), data=data
            )
        writer = self.writer()
        try:
            await writer.write(data)
            return await writer.finish()
        except BaseException:
            await writer.discard()
            raise

    async def place(self, content: Content) -> Blob:
        key = BlobId(new_id())
        if content.data is not None and content.size_octets <= self.inline_max:
            return Blob(
                id=key,
                size_octets=content.size_octets,
                sha256=content.sha256,
                place=BlobPlace.ROW,
                inline=content.data,
            )
        folder = self._root / key[:6]
        await self._run(lambda: self._place(content, key, folder))
        if self._sync:
            await self._sync_directory(folder)
        return Blob(id=key, size_octets=content.size_octets, sha256=content.sha256, place=BlobPlace.FILE)

    def _place(self, content: Content, key: BlobId, folder: Path) -> None:
        if content.spool_key is not None:
            part = self._tmp / content.spool_key
            descriptor = os.open(part, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        else:
            part = self._tmp / f"{key}.part"
            descriptor = os.open(part, _OPEN_NEW, 0o600)
        try:
            if content.data is not None:
                write_all(descriptor, content.data)
            self._fsync(descriptor)
        finally:
            os.close(descriptor)
        if folder.name not in self._made:
            folder.mkdir(mode=0o700, exist_ok=True)
            self._fsync_directory(self._root)
            self._made.add(folder.name)
        os.rename(part, folder / key)

    def _fsync(self, descriptor: int) -> None:
        if not self._sync:
            return
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in _FULL:
                self._fatal(f"fsync: {os.strerror(error.errno or 0)}")
            raise

    def _fsync_directory(self, folder: Path) -> None:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._fsync(descriptor)
        finally:
            os.close(descriptor)

    async def _sync_directory(self, folder: Path) -> None:
        """Sync a folder; callers that come while one sync runs share the next."""
        running = self._dir_syncs.get(folder)
        if running is not None:
            await asyncio.wait([running])
        running = self._dir_syncs.get(folder)
        if running is None or running.done():
            running = asyncio.ensure_future(self._run(lambda: self._fsync_directory(folder)))
            self._dir_syncs[folder] = running
            running.add_done_callback(lambda done: self._forget(folder, done))
        await asyncio.shield(running)

    def _forget(self, folder: Path, done: asyncio.Future[None]) -> None:
        if self._dir_syncs.get(folder) is done:
            del self._dir_syncs[folder]
        if not done.cancelled():
            done.exception()

    async def read(self, blob: Blob) -> bytes:
        if blob.place is BlobPlace.ROW:
            if blob.inline is None:
                raise Unavailable
            return self._checked(blob, blob.inline)
        path = self._root / blob.id[:6] / blob.id
        try:
            data = await self._worker.run(lambda: self._checked(blob, read_file(path)))
        except OSError as error:
            log.error("blob.missing", blob_id=blob.id, error=errno.errorcode.get(error.errno or 0, "OSError"))
            raise Unavailable("the message can't be read now") from error
        return data

    def _checked(self, blob: Blob, data: bytes) -> bytes:
        if len(data) != blob.size_octets or hashlib.sha256(data).hexdigest() != blob.sha256:
            log.error("blob.damaged", blob_id=blob.id, size=len(data))
            raise Unavailable("the message is damaged on disk")
        return data

    async def read_content(self, content: Content) -> bytes:
        if content.data is not None:
            return content.data
        path = self._tmp / (content.spool_key or "")
        try:
            return await self._worker.run(lambda: read_file(path))
        except OSError as error:
            log.error("blob.spool_unreadable", error=errno.errorcode.get(error.errno or 0, "OSError"))
            raise Unavailable from error

    async def discard(self, content: Content) -> None:
        if content.spool_key is not None:
            path = self._tmp / content.spool_key
            await self._run(lambda: path.unlink(missing_ok=True))

    async def remove(self, ids: Sequence[BlobId]) -> None:
        """Delete the files of blobs whose rows are gone; a missing file is no error."""
        paths = [self._root / blob_id[:6] / blob_id for blob_id in ids]

        def work() -> None:
            for path in paths:
                path.unlink(missing_ok=True)

        if paths:
            await self._run(work)

    async def folders(self) -> Sequence[str]:
        """Names of the folders that hold blobs, oldest first."""
        return await self._worker.run(
            lambda: sorted(path.name for path in self._root.iterdir() if path.is_dir() and path.name != "tmp")
        )

    async def old_files(self, folder: str, older_than_s: float) -> Sequence[str]:
        """Names of the files of one folder that were written longer ago than that."""
        return await self._worker.run(lambda: _old_files(self._root / folder, time.time() - older_than_s))

    def check_space(self) -> None:
        loop_time = asyncio.get_running_loop().time()
        if loop_time - self._space_checked >= SPACE_CHECK_S:
            self._space_checked = loop_time
            short = self.is_short()
            if short and not self._space_short:
                log.error(
                    "disk.low", next_step="free space on the disk that holds the mail; reading and deleting go on"
                )
            self._space_short = short
        if self._space_short:
            raise DiskReserve("insufficient system storage")

    def is_short(self) -> bool:
        """Whether free space or free inodes are below the reserve."""
        state = os.statvfs(self._root)
        wanted = self.reserve
        if wanted is None:
            wanted = max(RESERVE_MIN, int(state.f_blocks * state.f_frsize * RESERVE_SHARE))
        if state.f_bavail * state.f_frsize < wanted:
            return True
        return state.f_files > 0 and state.f_favail < state.f_files * RESERVE_SHARE


class FileContentWriter:
    """Collects a message: in memory to 256 KiB, then in a `.part` file, hashed on the way."""

    def __init__(self, tmp: Path, run: Callable[[Callable[[], None]], Awaitable[None]]) -> None:
        self._tmp = tmp
        self._run = run
        self._chunks: list[bytes] = []
        self._buffered = 0
        self._size = 0
        self._hash = hashlib.sha256()
        self._head = b""
        self._key: str | None = None

    @property
    def size_octets(self) -> int:
        return self._size

    async def write(self, chunk: bytes) -> None:
        self._hash.update(chunk)
        self._chunks.append(chunk)
        self._size += len(chunk)
        self._buffered += len(chunk)
        if self._buffered > CONTENT_RAM_MAX:
            await self._spill()

    async def _spill(self) -> None:
        data = b"".join(self._chunks)
        self._chunks, self._buffered = [], 0
        if self._key is None:
            self._head = head_of(data)
            self._key = f"{new_id()}.part"
        elif len(self._head) < HEAD_MAX and b"\r\n\r\n" not in self._head:
            self._head = head_of(self._head + data)
        path = self._tmp / self._key
        await self._run(lambda: append(path, data))

    async def finish(self) -> Content:
        digest = self._hash.hexdigest()
        if self._key is None:
            data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
            return Content(size_octets=self._size, sha256=digest, head=head_of(data), data=data)
        if self._buffered:
            await self._spill()
        return Content(size_octets=self._size, sha256=digest, head=self._head, spool_key=self._key)

    async def discard(self) -> None:
        self._chunks, self._buffered = [], 0
        if self._key is not None:
            path, self._key = self._tmp / self._key, None
            await self._run(lambda: path.unlink(missing_ok=True))


def _old_files(folder: Path, before: float) -> list[str]:
    return [
        entry.name
        for entry in os.scandir(folder)
        if entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_mtime < before
    ]


def head_of(data: bytes) -> bytes:
    """The header section with its empty line; the first MiB when it has no end before."""
    if data.startswith(b"\r\n"):
        return data[:2]
    end = data.find(b"\r\n\r\n", 0, HEAD_MAX)
    return data[: end + 4] if end >= 0 else data[:HEAD_MAX]


def append(path: Path, data: bytes) -> None:
    """Append octets to a file of ours, made 0600 if it is new; never through a link."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        write_all(descriptor, data)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    """Write every octet, however short the single writes are."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def read_file(path: Path) -> bytes:
    """Read a whole file of ours, never through a link."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(descriptor, "rb") as stream:
        return stream.read()
