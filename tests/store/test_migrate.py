"""Migrations: an empty database gets the schema, a newer one is refused."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect

from server.store.migrate import MIGRATIONS, SchemaTooNew, head, migrate_postgres, migrate_sqlite
from server.store.schema import metadata
from server.store.schema.search import UNMANAGED
from tests.support.postgres import PostgresServer


def test_the_migrations_build_exactly_the_schema(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    assert migrate_sqlite(path)
    assert not migrate_sqlite(path)
    made = inspect(create_engine(f"sqlite:///{path}"))
    wanted = create_engine("sqlite://")
    metadata.create_all(wanted)
    meant = inspect(wanted)
    managed = {name for name in made.get_table_names() if not name.startswith(UNMANAGED)}
    assert managed - {"alembic_version"} == set(meant.get_table_names())
    for table in meant.get_table_names():
        assert [repr(c) for c in made.get_columns(table)] == [repr(c) for c in meant.get_columns(table)], table
        indexes = {i["name"]: i["column_names"] for i in made.get_indexes(table)}
        assert indexes == {i["name"]: i["column_names"] for i in meant.get_indexes(table)}, table
        assert made.get_pk_constraint(table) == meant.get_pk_constraint(table)


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    migrate_sqlite(path)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(SchemaTooNew, match=f"9999, newer than this build's {head()}"):
        migrate_sqlite(path)


def test_the_newest_file_is_the_schema_of_this_build() -> None:
    assert head() == ScriptDirectory(str(MIGRATIONS)).get_current_head()


def test_a_database_of_this_build_is_opened_without_the_migration_library(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    migrate_sqlite(path)
    program = (
        "import pathlib, sys; from server.daemon import stores; from server.store.migrate import migrate_sqlite;"
        f"assert not migrate_sqlite(pathlib.Path({str(path)!r}));"
        "assert not {'alembic', 'asyncpg', 'sqlalchemy.orm'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=20)


async def test_postgres_is_migrated_once(postgres: PostgresServer) -> None:
    dsn = postgres.dsn()
    assert await migrate_postgres(dsn)
    assert not await migrate_postgres(dsn)
