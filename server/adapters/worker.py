"""Threads for what must not run on the event loop, in separate bounded pools (reliability.md §4.8).

- A full pool delays only its own users; beyond `waiting_max` it refuses with a temporary error.
- A thread can't be cancelled: work must be safe to finish unseen (§4.6).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from server.domain.errors import Unavailable

T = TypeVar("T")

BLOB_THREADS = 8
FSYNC_THREADS = 4
SIGN_THREADS = 2
WAITING_MAX = 2000
HASH_WAITING_MAX = 100
"""Logins that may wait for a hashing slot (security.md T34)."""


class ThreadWorker:
    """Implements `domain.ports.Worker` with threads of its own."""

    def __init__(self, name: str, *, threads: int, waiting_max: int = WAITING_MAX) -> None:
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix=name)
        self._limit = threads + waiting_max
        self._pending = 0

    def run(self, work: Callable[[], T]) -> Awaitable[T]:
        """Run `work` in a thread of the pool. Raises Unavailable when too much waits already."""
        if self._pending >= self._limit:
            raise Unavailable(code="busy")
        self._pending += 1
        future = asyncio.get_running_loop().run_in_executor(self._pool, work)
        future.add_done_callback(self._done)
        return future

    def close(self) -> None:
        """Take no more work; what runs finishes in its thread, what waits is dropped."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _done(self, _future: object) -> None:
        self._pending -= 1


class Workers:
    """The pools of the daemon."""

    def __init__(self, *, hash_slots: int) -> None:
        self.blob = ThreadWorker("blob", threads=BLOB_THREADS)
        self.fsync = ThreadWorker("fsync", threads=FSYNC_THREADS)
        self.hash = ThreadWorker("hash", threads=hash_slots, waiting_max=HASH_WAITING_MAX)
        self.sign = ThreadWorker("sign", threads=SIGN_THREADS)
        self.index = ThreadWorker("index", threads=1)

    def close(self) -> None:
        for worker in (self.blob, self.fsync, self.hash, self.sign, self.index):
            worker.close()
