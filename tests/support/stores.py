"""Stores for tests: a migrated SQLite database, and PostgreSQL where it is installed."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from server.domain.changes import StateChange
from server.domain.ids import AccountId
from server.store.consistency import check
from server.store.database import Database
from server.store.migrate import migrate_postgres, migrate_sqlite
from server.store.postgres import PostgresBackend
from server.store.sqlite import SqliteBackend


class WallClock:
    """The real clock, for tests where time plays no part."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def random(self) -> float:
        return 0.5


class RecordingNotifier:
    """Keeps what was published and passes it on at once."""

    def __init__(self) -> None:
        self.published: list[StateChange] = []
        self._wakers: dict[AccountId, list[Callable[[StateChange], None]]] = {}

    def publish(self, change: StateChange) -> None:
        self.published.append(change)
        for wake in list(self._wakers.get(change.account_id, ())):
            wake(change)

    def subscribe(self, account_id: AccountId, wake: Callable[[StateChange], None]) -> Callable[[], None]:
        wakers = self._wakers.setdefault(account_id, [])
        wakers.append(wake)
        return lambda: wakers.remove(wake)


def _fatal(reason: str) -> None:
    raise AssertionError(f"the store asked to end the process: {reason}")


@cache
def _template() -> Path:
    """One migrated, empty database a test run copies: migrating takes a tenth of a second."""
    path = Path(tempfile.mkdtemp(prefix="mairust-template-")) / "empty.db"
    migrate_sqlite(path)
    return path


@asynccontextmanager
async def open_sqlite(folder: Path, notifier: RecordingNotifier | None = None) -> AsyncIterator[Database]:
    """A database in `folder`; it must be consistent at the end."""
    path = folder / "mairust.db"
    if not path.exists():
        shutil.copyfile(_template(), path)
    backend = SqliteBackend(path, clock=WallClock(), fatal=_fatal)
    database = Database(backend, notifier or RecordingNotifier())
    await database.open()
    try:
        yield database
        assert await database.read("check", check) == []
    finally:
        await database.close()


@asynccontextmanager
async def open_postgres(dsn: str, notifier: RecordingNotifier | None = None) -> AsyncIterator[Database]:
    """A database on a running server, migrated; it must be consistent at the end."""
    await migrate_postgres(dsn)
    database = Database(PostgresBackend(dsn, clock=WallClock()), notifier or RecordingNotifier())
    await database.open()
    try:
        yield database
        assert await database.read("check", check) == []
    finally:
        await database.close()
