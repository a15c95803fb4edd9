"""Which database the settings mean, migrated and ready to open."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from server.config.schema import Settings
from server.daemon.exits import ExitCode, StartFailure
from server.domain.ports import Clock, Notifier
from server.store.database import Backend, Database
from server.store.migrate import SchemaTooNew, migrate_postgres, migrate_sqlite
from server.store.postgres import PostgresBackend
from server.store.sqlite import SqliteBackend


def sqlite_path(settings: Settings) -> Path:
    """The database file of an `sqlite:////path` URL."""
    return Path(unquote(urlsplit(settings.database.url.reveal()).path[1:]))


def migrate(settings: Settings) -> str:
    """Bring the database to this build's schema; one sentence for the administrator. Raises StartFailure."""
    try:
        if settings.database.type == "sqlite":
            path = sqlite_path(settings)
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            changed = migrate_sqlite(path)
        else:
            changed = asyncio.run(migrate_postgres(settings.database.url.reveal()))
    except SchemaTooNew as error:
        raise StartFailure(ExitCode.CONFIGURATION, f"{error}: install the newer build, or restore a backup") from error
    return "the database was brought to this build's schema" if changed else "the database has this build's schema"


async def open_database(
    settings: Settings, *, clock: Clock, notifier: Notifier, fatal: Callable[[str], None]
) -> Database:
    """Open the migrated database."""
    backend: Backend
    if settings.database.type == "sqlite":
        timeout_s = settings.database.busy_timeout
        backend = SqliteBackend(sqlite_path(settings), clock=clock, fatal=fatal, busy_timeout_s=timeout_s)
    else:
        dsn = settings.database.url.reveal()
        backend = PostgresBackend(dsn, clock=clock, pool_size=settings.database.pool_size)
    database = Database(backend, notifier)
    await database.open()
    return database
