"""Bring a database to this build's schema; refuse one that is newer (product.md 22, F16).

- Runs before readers open, on a connection of its own; each migration is one transaction.
- Where there is mail on disk, an empty database is a lost one: nothing is made in its place.
- Alembic, and what else only a migration needs, is imported when there is one to run: it would cost 16 MiB for good.
"""

from __future__ import annotations

import contextlib
import sqlite3
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, create_engine, event, pool

if TYPE_CHECKING:
    from alembic.config import Config

MIGRATIONS = Path(__file__).parent / "migrations"


class SchemaTooNew(Exception):
    """The database was written by a newer build."""


class DatabaseMissing(Exception):
    """The database is empty or not there, and there is mail that only it could name."""


def head() -> str:
    """The schema revision of this build: migrations are files named `NNNN_what.py`, each after the one before."""
    return max(path.name[:4] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")
    return config


def upgrade(connection: Connection, *, may_create: bool = True) -> bool:
    """Run what is missing; True when anything was. Raises SchemaTooNew, DatabaseMissing."""
    from alembic import command
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    current = MigrationContext.configure(connection).get_current_revision()
    if current is None and not may_create:
        raise DatabaseMissing("the database is empty")
    config = _config()
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if current is not None and current not in known:
        raise SchemaTooNew(f"the database has schema {current}, newer than this build's {head()}")
    if current == head():
        return False
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    return True


def migrate_sqlite(path: Path, *, may_create: bool = True) -> bool:
    """Migrate a SQLite file, made if it does not exist and that may be; True when anything was run."""
    if not may_create and not path.exists():
        raise DatabaseMissing("the database is not there")
    if path.exists() and _revision(path) == head():
        return False
    engine = create_engine("sqlite://", creator=lambda: _connect(path), poolclass=pool.NullPool)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    with engine.connect() as connection:
        changed = upgrade(connection, may_create=may_create)
        connection.commit()
    engine.dispose()
    return changed


def _revision(path: Path) -> str | None:
    """The schema revision of a SQLite file; None when it can't be told, for whatever reason."""
    with contextlib.suppress(sqlite3.Error), contextlib.closing(_connect(path)) as connection:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        return None if row is None else str(row[0])
    return None


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=30)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA wal_autocheckpoint=0")
    return connection


async def migrate_postgres(dsn: str, *, may_create: bool = True) -> bool:
    """Migrate a PostgreSQL database under an advisory lock, so that hosts take turns."""
    from sqlalchemy.ext.asyncio import create_async_engine

    scheme, _, rest = dsn.partition("://")
    engine = create_async_engine(f"postgresql+asyncpg://{rest}" if scheme else dsn, poolclass=pool.NullPool)
    try:
        async with engine.begin() as connection:
            await connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7062010)")
            return await connection.run_sync(partial(upgrade, may_create=may_create))
    finally:
        await engine.dispose()
