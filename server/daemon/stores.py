"""Which database the settings mean, migrated and ready to open.

- A damaged database is left as it is, and none is made beside mail that another one names: the start is refused.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sqlalchemy.exc import DatabaseError

from server.config.schema import Settings
from server.daemon.exits import ExitCode, StartFailure
from server.domain.ports import Clock, Notifier
from server.store.database import Backend, Database
from server.store.migrate import DatabaseMissing, SchemaTooNew, migrate_postgres, migrate_sqlite
from server.store.sqlite import SqliteBackend


def sqlite_path(settings: Settings) -> Path:
    """The database file of an `sqlite:////path` URL."""
    return Path(unquote(urlsplit(settings.database.url.reveal()).path[1:]))


def migrate(settings: Settings) -> str:
    """Bring the database to this build's schema; one sentence for the administrator. Raises StartFailure."""
    may_create = not _holds_mail(settings.storage.path)
    where = "the PostgreSQL database"
    try:
        if settings.database.type == "sqlite":
            path = sqlite_path(settings)
            where = str(path)
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            changed = migrate_sqlite(path, may_create=may_create)
        else:
            changed = asyncio.run(migrate_postgres(settings.database.url.reveal(), may_create=may_create))
    except SchemaTooNew as error:
        raise StartFailure(ExitCode.CONFIGURATION, f"{error}: install the newer build, or restore a backup") from error
    except DatabaseMissing as error:
        text = (
            f"{where}: {error}, but {settings.storage.path} holds messages: bring the database back"
            " (is its disk mounted?), restore a backup, or move the messages away to begin anew"
        )
        raise StartFailure(ExitCode.STORAGE, text) from error
    except DatabaseError as error:
        if not _is_damage(error):
            raise
        text = f"{where}: {error.orig}: the database is damaged and was left as it is: restore a backup"
        raise StartFailure(ExitCode.STORAGE, text) from error
    return "the database was brought to this build's schema" if changed else "the database has this build's schema"


def _holds_mail(folder: Path) -> bool:
    """Whether a blob lies in the mail folder; its folders have names of six hexadecimal digits."""
    return next(folder.glob("[0-9a-f]" * 6 + "/*"), None) is not None


def _is_damage(error: DatabaseError) -> bool:
    code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


async def open_database(
    settings: Settings, *, clock: Clock, notifier: Notifier, fatal: Callable[[str], None]
) -> Database:
    """Open the migrated database."""
    backend: Backend
    if settings.database.type == "sqlite":
        timeout_s = settings.database.busy_timeout
        backend = SqliteBackend(sqlite_path(settings), clock=clock, fatal=fatal, busy_timeout_s=timeout_s)
    else:
        # Only here: its driver would cost every SQLite daemon 3 MiB.
        from server.store.postgres import PostgresBackend

        dsn = settings.database.url.reveal()
        backend = PostgresBackend(dsn, clock=clock, pool_size=settings.database.pool_size)
    database = Database(backend, notifier)
    await database.open()
    return database
