"""PostgreSQL behind the store, by asyncpg (reliability.md §6).

- A batch is one transaction with a savepoint a unit. Every batch writes its id into `committed_units`: when the
  connection is lost during COMMIT, a new one looks the id up, so the outcome is known before anybody is answered.
- A serialization failure or deadlock runs the batch again, at most three times; units are repeatable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import asyncpg
from sqlalchemy import bindparam, delete, select

from server.domain.errors import DiskReserve, MaiRustError, Unavailable
from server.domain.ids import new_id
from server.domain.ports import Clock
from server.store.database import Outcome
from server.store.errors import UniqueViolation
from server.store.events import write_events
from server.store.schema import committed_units
from server.store.statements import DialectName, Executable, Statement, compiled_for, prepared, prepared_insert
from server.store.times import to_us
from server.store.transaction import Row, Transaction, Unit
from server.telemetry.log import get_logger

T = TypeVar("T")
log = get_logger("storage")

RETRIES = 3
CONFIRM_S = 10.0
"""How long a batch whose COMMIT got no answer is looked for before its units are called failed."""
UNIT_KEPT_US = 3_600 * 1_000_000

_SESSION = {
    "synchronous_commit": "on",
    "lock_timeout": "5s",
    "statement_timeout": "30s",
    "idle_in_transaction_session_timeout": "30s",
    "timezone": "UTC",
    "application_name": "mairust",
}
_MARK = prepared_insert(committed_units)
_FIND = prepared(select(committed_units.c.id).where(committed_units.c.id == bindparam("b_id")))
_FORGET = prepared(delete(committed_units).where(committed_units.c.at < bindparam("b_at")))
_AGAIN = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
_LOST = (asyncpg.PostgresConnectionError, asyncpg.InterfaceError, ConnectionError, asyncpg.AdminShutdownError)


class PostgresDriver:
    """Statements on one asyncpg connection."""

    dialect = DialectName.POSTGRES

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def fetch(self, stmt: Executable, params: Mapping[str, object] | None) -> Sequence[Row]:
        compiled = compiled_for(stmt, DialectName.POSTGRES)
        try:
            rows: Sequence[Row] = await self._connection.fetch(compiled.sql, *compiled.bind(params))
        except asyncpg.UniqueViolationError as error:
            raise UniqueViolation(str(error)) from error
        return rows

    async def execute(self, stmt: Executable, params: Mapping[str, object] | None) -> int:
        compiled = compiled_for(stmt, DialectName.POSTGRES)
        try:
            status: str = await self._connection.execute(compiled.sql, *compiled.bind(params))
        except asyncpg.UniqueViolationError as error:
            raise UniqueViolation(str(error)) from error
        tail = status.rsplit(" ", 1)[-1]
        return int(tail) if tail.isdigit() else 0

    async def execute_many(self, stmt: Executable, rows: Sequence[Mapping[str, object]]) -> None:
        compiled = compiled_for(stmt, DialectName.POSTGRES)
        try:
            await self._connection.executemany(compiled.sql, [compiled.bind(row) for row in rows])
        except asyncpg.UniqueViolationError as error:
            raise UniqueViolation(str(error)) from error

    async def insert(self, stmt: Statement, row: Mapping[str, object]) -> None:
        await self.execute(stmt, row)


class PostgresBackend:
    """One PostgreSQL database, by a pool of connections."""

    def __init__(self, dsn: str, *, clock: Clock, pool_size: int = 10) -> None:
        self._dsn = dsn
        self._clock = clock
        self._pool_size = pool_size
        self._pool: Any = None

    async def open(self) -> None:
        self._pool = await asyncpg.create_pool(
            self._dsn, min_size=2, max_size=self._pool_size, server_settings=_SESSION, timeout=10, command_timeout=30
        )
        async with self._pool.acquire() as connection:
            for setting in ("fsync", "full_page_writes"):
                if await connection.fetchval(f"SHOW {setting}") != "on":
                    raise OSError(f"PostgreSQL runs with {setting} off: mail would be lost at a power cut; turn it on")

    async def close(self) -> None:
        if self._pool is not None:
            try:
                await asyncio.wait_for(self._pool.close(), timeout=10)
            except TimeoutError:
                self._pool.terminate()
            self._pool = None

    async def settle(self) -> None:
        """Nothing is due."""

    async def idle(self) -> None:
        """Forget batch ids that nobody can ask for any more."""
        try:
            async with self._pool.acquire() as connection:
                await PostgresDriver(connection).execute(_FORGET, {"b_at": self._now_us() - UNIT_KEPT_US})
        except (asyncpg.PostgresError, *_LOST, OSError, TimeoutError) as error:
            log.warning("store.cleanup_failed", error=type(error).__name__)

    def _now_us(self) -> int:
        return to_us(self._clock.now())

    async def read(self, unit: Unit[T]) -> T:
        try:
            async with self._pool.acquire(timeout=10) as connection:
                async with connection.transaction(isolation="repeatable_read", readonly=True):
                    return await unit(Transaction(PostgresDriver(connection), self._now_us()))
        except (asyncpg.PostgresError, *_LOST, OSError, TimeoutError) as error:
            raise _translated(error) from error

    async def commit(self, units: Sequence[Unit[object]]) -> list[Outcome]:
        """Run a batch; if it fails as a whole, its units one by one."""
        try:
            return await self._with_retries(units)
        except _LOST as error:
            return [Outcome(error=_translated(error)) for _ in units]
        except (asyncpg.PostgresError, OSError, TimeoutError) as error:
            if len(units) == 1:
                return [Outcome(error=_translated(error))]
            return [(await self.commit([unit]))[0] for unit in units]

    async def _with_retries(self, units: Sequence[Unit[object]]) -> list[Outcome]:
        for _ in range(RETRIES - 1):
            try:
                return await self._batch(units)
            except _AGAIN as error:
                log.info("store.batch_again", error=type(error).__name__, units=len(units))
        return await self._batch(units)

    async def _batch(self, units: Sequence[Unit[object]]) -> list[Outcome]:
        now_us = self._now_us()
        batch_id = new_id()
        async with self._pool.acquire(timeout=10) as connection:
            transaction = connection.transaction()
            await transaction.start()
            try:
                driver = PostgresDriver(connection)
                outcomes = [await self._unit(connection, unit, now_us) for unit in units]
                events = [event for outcome in outcomes if outcome.transaction for event in outcome.transaction.events]
                if events:
                    await write_events(driver, events, now_us)
                await driver.execute(_MARK, {"id": batch_id, "at": now_us})
            except BaseException:
                await _roll_back(transaction)
                raise
            try:
                await transaction.commit()
            except (*_LOST, TimeoutError) as error:
                if not await self._was_committed(batch_id):
                    raise
                log.warning("store.commit_confirmed", error=type(error).__name__, units=len(units))
        return outcomes

    async def _unit(self, connection: Any, unit: Unit[object], now_us: int) -> Outcome:
        transaction = Transaction(PostgresDriver(connection), now_us)
        savepoint = connection.transaction()
        await savepoint.start()
        try:
            value = await unit(transaction)
        except (*_AGAIN, *_LOST):
            raise
        except Exception as error:
            await savepoint.rollback()
            public = _translated(error) if isinstance(error, asyncpg.PostgresError) else error
            return Outcome(error=public)
        await savepoint.commit()
        return Outcome(value=value, transaction=transaction)

    async def _was_committed(self, batch_id: str) -> bool:
        """Look a batch up after its COMMIT got no answer; unreachable for CONFIRM_S counts as failed."""
        deadline = self._clock.monotonic() + CONFIRM_S
        while self._clock.monotonic() < deadline:
            try:
                connection = await asyncpg.connect(self._dsn, timeout=2, server_settings=_SESSION)
            except (asyncpg.PostgresError, *_LOST, OSError, TimeoutError):
                await asyncio.sleep(0.25)
                continue
            try:
                return bool(await PostgresDriver(connection).fetch(_FIND, {"b_id": batch_id}))
            except (asyncpg.PostgresError, *_LOST, OSError, TimeoutError):
                await asyncio.sleep(0.25)
            finally:
                connection.terminate()
        return False


async def _roll_back(transaction: Any) -> None:
    try:
        await transaction.rollback()
    except (asyncpg.PostgresError, *_LOST, OSError) as error:
        # The connection is gone and its transaction with it; the pool drops the connection.
        log.info("store.rollback_failed", error=type(error).__name__)


def _translated(error: BaseException) -> MaiRustError:
    log.error("store.error", error=type(error).__name__, reason=str(error)[:256])
    if isinstance(error, asyncpg.DiskFullError):
        return DiskReserve("insufficient system storage")
    return Unavailable()
