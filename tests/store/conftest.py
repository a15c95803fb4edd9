"""The `store` fixture: every test that takes it runs on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from server.store.database import Database
from server.store.migrate import migrate_postgres
from tests.support.postgres import PostgresServer, binaries
from tests.support.stores import open_postgres, open_sqlite


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One PostgreSQL server for the run."""
    if binaries() is None:
        pytest.skip("PostgreSQL is not installed")
    server = PostgresServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def migrated(postgres: PostgresServer) -> str:
    """A database that is migrated, to be copied."""
    dsn = postgres.dsn()
    # A thread of its own, as the test runs in an event loop.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(migrate_postgres(dsn))).result()
    return dsn


@pytest.fixture(params=["sqlite", "postgres"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    """A migrated, empty database, consistent at the end."""
    if request.param == "sqlite":
        async with open_sqlite(tmp_path) as database:
            yield database
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        dsn = server.dsn(request.getfixturevalue("migrated"))
        async with open_postgres(dsn) as database:
            yield database
        server.drop(dsn)
