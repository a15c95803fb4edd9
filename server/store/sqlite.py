"""SQLite behind the store: one writer, which alone checkpoints, and a few readers (reliability.md §5).

- The writer and each reader are a thread; a whole batch, or a whole read, crosses to it in one call.
- FULL synchronous mode: a commit returns after its fsync. An fsync that failed is never tried again: the process ends
  (F04). A damaged database stops writes and is left alone (F05).
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import aiosqlite

from server.domain.errors import DiskReserve, MaiRustError, Unavailable
from server.domain.ports import Clock
from server.store.database import Outcome
from server.store.errors import SearchIndexDamaged, StoreReadOnly, UniqueViolation
from server.store.events import write_events
from server.store.statements import DialectName, Executable, Statement, compiled_for
from server.store.times import to_us
from server.store.transaction import Row, Transaction, Unit
from server.telemetry.log import get_logger

P = ParamSpec("P")
T = TypeVar("T")
log = get_logger("storage")

READERS = 4
WRITER_CACHE_KIB = 16 * 1024
"""Indexes whose keys come in no order, Message-IDs above all, are touched everywhere."""
ROWS_A_STATEMENT = 16
"""Rows in one INSERT at most: every number up to it is a statement that is prepared once."""
WAL_PASSIVE_FRAMES = 16 * 1024 * 1024 // 4096
FRAMES_PER_CHANGE_MIN = 0.05
WAL_TRUNCATE_OCTETS = 256 * 1024 * 1024

_UNIQUE = {sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY}
_FSYNC = {sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


async def _in_thread(
    connection: aiosqlite.Connection,
    work: Callable[Concatenate[sqlite3.Connection, P], T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Hand a whole piece of work to a connection's thread in one call.

    aiosqlite's public methods cross to the thread once a statement; the method it builds them from crosses once.
    """
    run: Callable[..., Awaitable[T]] = connection._execute
    return await run(lambda: work(connection._conn, *args, **kwargs))


class SqliteDriver:
    """Statements on one sqlite3 connection, in that connection's thread.

    Args:
        holds: Hold rows of `insert` back until `flush`, which writes many in one statement: each statement makes this
            thread and the event loop's wait for one another several times.
    """

    dialect = DialectName.SQLITE

    def __init__(self, connection: sqlite3.Connection, *, holds: bool = False) -> None:
        self._connection = connection
        self._holds = holds
        self._held: dict[Statement, list[Sequence[object]]] = {}

    async def fetch(self, stmt: Executable, params: Mapping[str, object] | None) -> Sequence[Row]:
        return self._run(stmt, params).fetchall()

    async def execute(self, stmt: Executable, params: Mapping[str, object] | None) -> int:
        return self._run(stmt, params).rowcount

    async def execute_many(self, stmt: Executable, rows: Sequence[Mapping[str, object]]) -> None:
        self.flush()
        compiled = compiled_for(stmt, DialectName.SQLITE)
        try:
            self._connection.executemany(compiled.sql, [compiled.bind(row) for row in rows])
        except sqlite3.IntegrityError as error:
            raise _integrity(error) from error

    async def insert(self, stmt: Statement, row: Mapping[str, object]) -> None:
        if not self._holds:
            self._run(stmt, row)
            return
        self._held.setdefault(stmt, []).append(stmt.compiled(DialectName.SQLITE).bind(row))

    def flush(self) -> None:
        """Write the rows held back, referenced tables first."""
        if not self._held:
            return
        held, self._held = self._held, {}
        for stmt in sorted(held, key=lambda stmt: stmt.rank or 0):
            compiled, rows = stmt.compiled(DialectName.SQLITE), held[stmt]
            for first in range(0, len(rows), ROWS_A_STATEMENT):
                some = rows[first : first + ROWS_A_STATEMENT]
                try:
                    self._connection.execute(compiled.sql_for(len(some)), list(chain.from_iterable(some)))
                except sqlite3.IntegrityError as error:
                    raise _integrity(error) from error

    def _run(self, stmt: Executable, params: Mapping[str, object] | None) -> sqlite3.Cursor:
        if self._held and not (isinstance(stmt, Statement) and stmt.beside_inserts):
            self.flush()
        compiled = compiled_for(stmt, DialectName.SQLITE)
        try:
            return self._connection.execute(compiled.sql, compiled.bind(params))
        except sqlite3.IntegrityError as error:
            raise _integrity(error) from error


def _integrity(error: sqlite3.IntegrityError) -> Exception:
    return UniqueViolation(str(error)) if error.sqlite_errorcode in _UNIQUE else error


def _drive(unit: Unit[T], transaction: Transaction) -> T:
    """Run a unit's coroutine to its end at once: its transaction's methods never suspend here."""
    coroutine = unit(transaction).__await__()
    try:
        coroutine.send(None)
    except StopIteration as stop:
        value: T = stop.value
        return value
    coroutine.close()
    raise RuntimeError("a unit of work awaited something other than its transaction")


def _write_events(driver: SqliteDriver, outcomes: Sequence[Outcome], now_us: int) -> None:
    """The last act before the commit."""
    events = [event for outcome in outcomes if outcome.transaction for event in outcome.transaction.events]
    if events:
        writing = write_events(driver, events, now_us)
        _drive(lambda _tx: writing, Transaction(driver, now_us))
    driver.flush()


class SqliteBackend:
    """One SQLite database file.

    Args:
        fatal: Called once, in the event loop, when the disk refused an fsync; it ends the process.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock,
        fatal: Callable[[str], None],
        busy_timeout_s: float = 5.0,
        synchronous: str = "FULL",
    ) -> None:
        self._path = path
        self._clock = clock
        self._fatal = fatal
        self._busy_timeout_s = busy_timeout_s
        self._synchronous = synchronous
        self._writer: aiosqlite.Connection | None = None
        self._readers: list[aiosqlite.Connection] = []
        self._free: asyncio.Queue[aiosqlite.Connection] = asyncio.Queue()
        self._wal = Path(f"{path}-wal")
        self._read_only = ""
        self._changes = 0
        self._changes_at_checkpoint = 0
        self._frames_per_change = 2.0

    async def open(self) -> None:
        self._writer = await aiosqlite.connect(
            self._path, isolation_level=None, timeout=self._busy_timeout_s, cached_statements=256
        )
        await _in_thread(self._writer, self._prepare_writer)
        for _ in range(READERS):
            uri = f"file:{_quote(self._path)}?mode=ro"
            reader = await aiosqlite.connect(
                uri, uri=True, isolation_level=None, timeout=self._busy_timeout_s, cached_statements=256
            )
            await _in_thread(reader, _prepare_reader)
            self._readers.append(reader)
            self._free.put_nowait(reader)

    def _prepare_writer(self, connection: sqlite3.Connection) -> None:
        connection.row_factory = sqlite3.Row
        mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        if mode != "wal":
            raise OSError(f"SQLite can't use a write-ahead log on {self._path}: journal mode is {mode}")
        for pragma in (
            f"synchronous={self._synchronous}",
            "wal_autocheckpoint=0",
            "foreign_keys=ON",
            "mmap_size=0",
            f"cache_size=-{WRITER_CACHE_KIB}",
            # Statement journals undo parts of a transaction and never outlive it: as files they cost more than the log.
            "temp_store=MEMORY",
            "cell_size_check=ON",
            "trusted_schema=OFF",
        ):
            connection.execute(f"PRAGMA {pragma}")

    async def close(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None and self._read_only:
            # The last connection to close checkpoints, which would sync the log again (F04): a reader can't.
            await writer.close()
        for reader in self._readers:
            await reader.close()
        self._readers.clear()
        self._free = asyncio.Queue()
        if writer is not None and not self._read_only:
            await _in_thread(writer, self._checkpoint, "TRUNCATE")
            await writer.close()

    async def idle(self) -> None:
        if self._writer is not None and not self._read_only and _size(self._wal) > 0:
            await _in_thread(self._writer, self._checkpoint, "PASSIVE")

    async def settle(self) -> None:
        if self._writer is not None and not self._read_only and self._log_is_long():
            await _in_thread(self._writer, self._checkpoint_log)

    async def read(self, unit: Unit[T]) -> T:
        reader = await self._free.get()
        try:
            work = asyncio.ensure_future(_in_thread(reader, self._read, unit))
            try:
                value: T = await asyncio.shield(work)
            except asyncio.CancelledError:
                # The thread can't be cancelled; the connection is free when it has finished.
                await asyncio.wait([work])
                raise
            return value
        except sqlite3.Error as error:
            raise self._translated(error) from error
        finally:
            self._free.put_nowait(reader)

    def _read(self, connection: sqlite3.Connection, unit: Unit[T]) -> T:
        connection.execute("BEGIN")
        try:
            return _drive(unit, Transaction(SqliteDriver(connection), to_us(self._clock.now())))
        finally:
            connection.execute("COMMIT")

    async def commit(self, units: Sequence[Unit[object]]) -> list[Outcome]:
        if self._read_only:
            return [Outcome(error=StoreReadOnly(self._read_only)) for _ in units]
        if self._writer is None:
            return [Outcome(error=Unavailable()) for _ in units]
        outcomes: list[Outcome] = await _in_thread(self._writer, self._commit, units)
        return [self._judged(outcome) for outcome in outcomes]

    def _commit(self, connection: sqlite3.Connection, units: Sequence[Unit[object]]) -> list[Outcome]:
        """Run a batch in the writer's thread.

        First all units as one, without savepoints; if any fails, again with one each; if that fails as a whole, the
        units one by one.
        """
        outcomes = self._attempt(connection, units, self._together)
        if outcomes is None and len(units) > 1:
            outcomes = self._attempt(connection, units, self._apart)
        if outcomes is None:
            outcomes = [self._commit(connection, [unit])[0] for unit in units]
        return outcomes

    def _attempt(
        self,
        connection: sqlite3.Connection,
        units: Sequence[Unit[object]],
        run: Callable[[sqlite3.Connection, Sequence[Unit[object]]], list[Outcome]],
    ) -> list[Outcome] | None:
        """One transaction; None when it failed and the units may be tried otherwise."""
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            # Whatever holds the lock, a backup for one, holds it for every unit.
            return [Outcome(error=error) for _ in units]
        try:
            outcomes = run(connection, units)
            connection.execute("COMMIT")
        except Exception as error:
            _rollback(connection)
            if len(units) == 1 or (isinstance(error, sqlite3.Error) and error.sqlite_errorcode in _FSYNC):
                return [Outcome(error=error) for _ in units]
            return None
        self._changes = connection.total_changes
        return outcomes

    def _together(self, connection: sqlite3.Connection, units: Sequence[Unit[object]]) -> list[Outcome]:
        driver, now_us = SqliteDriver(connection, holds=True), to_us(self._clock.now())
        outcomes = []
        for unit in units:
            transaction = Transaction(driver, now_us)
            outcomes.append(Outcome(value=_drive(unit, transaction), transaction=transaction))
        _write_events(driver, outcomes, now_us)
        return outcomes

    def _apart(self, connection: sqlite3.Connection, units: Sequence[Unit[object]]) -> list[Outcome]:
        now_us = to_us(self._clock.now())
        outcomes = [self._unit(connection, unit, now_us) for unit in units]
        _write_events(SqliteDriver(connection), outcomes, now_us)
        return outcomes

    def _unit(self, connection: sqlite3.Connection, unit: Unit[object], now_us: int) -> Outcome:
        transaction = Transaction(SqliteDriver(connection), now_us)
        connection.execute("SAVEPOINT unit")
        try:
            value = _drive(unit, transaction)
        except Exception as error:
            if not connection.in_transaction:
                raise  # The error ended the whole transaction (FULL, IOERR): the batch is lost.
            connection.execute("ROLLBACK TO unit")
            connection.execute("RELEASE unit")
            return Outcome(error=error)
        connection.execute("RELEASE unit")
        return Outcome(value=value, transaction=transaction)

    def _judged(self, outcome: Outcome) -> Outcome:
        error = outcome.error
        if not isinstance(error, sqlite3.Error):
            return outcome
        return Outcome(error=self._translated(error))

    def _translated(self, error: sqlite3.Error) -> MaiRustError:
        """Log what the database said and turn it into what a caller may hear; ends writes or the process if it must."""
        code = getattr(error, "sqlite_errorcode", 0)
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        log.error("store.error", error=name, reason=str(error)[:256])
        if code in _FSYNC:
            self._read_only = "the disk refused an fsync"
            self._fatal(f"SQLite: {name}")
        elif code == sqlite3.SQLITE_CORRUPT_VTAB:
            return SearchIndexDamaged("the search index is damaged")
        elif code & 0xFF in _DAMAGED:
            self._read_only = f"the database is damaged ({name})"
            log.error("store.damaged", next_step="restore the newest backup; nothing has been deleted")
        elif code & 0xFF == sqlite3.SQLITE_FULL:
            return DiskReserve("insufficient system storage")
        return Unavailable()

    def _log_is_long(self) -> bool:
        """Whether the log has probably grown past its mark.

        The file's size says nothing: SQLite overwrites a checkpointed log from its start. So rows changed are counted,
        and each checkpoint tells how many frames they were.
        """
        changes = self._changes - self._changes_at_checkpoint
        return changes * self._frames_per_change > WAL_PASSIVE_FRAMES or _size(self._wal) > WAL_TRUNCATE_OCTETS

    def _checkpoint_log(self, connection: sqlite3.Connection) -> None:
        if _size(self._wal) > WAL_TRUNCATE_OCTETS:
            self._checkpoint(connection, "TRUNCATE")
            return
        changes = self._changes - self._changes_at_checkpoint
        frames = self._checkpoint(connection, "PASSIVE")
        self._frames_per_change = max(FRAMES_PER_CHANGE_MIN, frames / changes)

    def _checkpoint(self, connection: sqlite3.Connection, mode: str) -> int:
        """Move the log into the database; the number of frames the log held, 0 when unknown."""
        self._changes_at_checkpoint = connection.total_changes
        try:
            row = connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        except sqlite3.Error as error:
            # The commit stands: the log keeps growing until a later checkpoint succeeds, and doctor sees its size.
            log.warning("store.checkpoint_failed", error=str(error)[:256])
            return 0
        return max(0, int(row[1]))


def _prepare_reader(connection: sqlite3.Connection) -> None:
    connection.row_factory = sqlite3.Row
    for pragma in ("query_only=ON", "mmap_size=0", "trusted_schema=OFF"):
        connection.execute(f"PRAGMA {pragma}")


def _rollback(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def _quote(path: Path) -> str:
    return str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _size(path: Path) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0
