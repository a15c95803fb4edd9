"""What a unit of work is given: statements in, rows out, events and hints recorded for the commit.

- A unit is an `async def` that awaits only its transaction's methods: on SQLite it is driven to its end inside the
  writer's thread, on PostgreSQL in the event loop. It may be run again as a whole, so it keeps nothing outside `tx`.
- `record` and `touch` take effect with the commit: events are numbered and inserted in the same transaction, hints go
  out after it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from server.domain.changes import TraceEvent
from server.domain.ids import AccountId, ModSeq
from server.store.statements import DialectName, Executable, Statement

T = TypeVar("T")


class Row(Protocol):
    """A result row, by column name or position; drivers give it whatever the column holds."""

    def __getitem__(self, key: str | int, /) -> object: ...


class Driver(Protocol):
    """One connection inside a transaction."""

    dialect: DialectName

    async def fetch(self, stmt: Executable, params: Mapping[str, object] | None) -> Sequence[Row]: ...

    async def execute(self, stmt: Executable, params: Mapping[str, object] | None) -> int: ...

    async def execute_many(self, stmt: Executable, rows: Sequence[Mapping[str, object]]) -> None: ...

    async def insert(self, stmt: Statement, row: Mapping[str, object]) -> None: ...


class Transaction:
    """One unit's view of the database."""

    __slots__ = ("_driver", "events", "now_us", "touched")

    def __init__(self, driver: Driver, now_us: int) -> None:
        self._driver = driver
        self.now_us = now_us
        self.events: list[TraceEvent] = []
        self.touched: dict[AccountId, ModSeq] = {}

    @property
    def dialect(self) -> DialectName:
        return self._driver.dialect

    async def fetch(self, stmt: Executable, params: Mapping[str, object] | None = None) -> Sequence[Row]:
        """Run a query or a RETURNING statement; all its rows."""
        return await self._driver.fetch(stmt, params)

    async def fetch_one(self, stmt: Executable, params: Mapping[str, object] | None = None) -> Row | None:
        """The first row, or None."""
        rows = await self._driver.fetch(stmt, params)
        return rows[0] if rows else None

    async def execute(self, stmt: Executable, params: Mapping[str, object] | None = None) -> int:
        """Run a statement; the number of rows it changed. Raises UniqueViolation."""
        return await self._driver.execute(stmt, params)

    async def execute_many(self, stmt: Executable, rows: Sequence[Mapping[str, object]]) -> None:
        """Run a statement once for each row of parameters. Raises UniqueViolation."""
        if rows:
            await self._driver.execute_many(stmt, rows)

    async def insert(self, stmt: Statement, row: Mapping[str, object]) -> None:
        """Insert a row (`prepared_insert`), now or together with other units' rows.

        A row may be held back until something is read or changed, but for statements marked `beside_inserts`, or the
        commit. A taken key raises UniqueViolation then, and out of the unit: don't catch it inside.
        """
        await self._driver.insert(stmt, row)

    def record(self, event: TraceEvent) -> None:
        """Write an event with this transaction."""
        self.events.append(event)

    def touch(self, account_id: AccountId, modseq: ModSeq) -> None:
        """Announce after the commit that the account has moved."""
        self.touched[account_id] = modseq


Unit = Callable[[Transaction], Awaitable[T]]
