"""SQL statements: written in SQLAlchemy Core, compiled once a dialect, run on the raw drivers.

- Core keeps the two databases in step and quotes for us; the raw drivers keep a statement at microseconds.
- A `Statement` is compiled at its first use and kept; an ad hoc clause is compiled at each use.
- In UPDATE, name bind parameters differently from the columns set: Core reserves the column names for itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from operator import itemgetter
from typing import Any

from sqlalchemy import ClauseElement, Insert, Table, insert
from sqlalchemy.dialects.postgresql import asyncpg as postgres_dialect
from sqlalchemy.dialects.sqlite import pysqlite as sqlite_dialect


class DialectName(StrEnum):
    SQLITE = "sqlite"
    POSTGRES = "postgres"


_DIALECTS = {
    DialectName.SQLITE: sqlite_dialect.dialect(paramstyle="qmark"),
    DialectName.POSTGRES: postgres_dialect.dialect(),  # type: ignore[no-untyped-call]
}


class Compiled:
    """Driver SQL, the names of its positional parameters, and the values Core bound itself."""

    __slots__ = ("_many", "_pick", "defaults", "names", "sql")

    def __init__(self, sql: str, names: Sequence[str], defaults: Mapping[str, object]) -> None:
        self.sql = sql
        self.names = tuple(names)
        self.defaults = dict(defaults)
        self._pick = itemgetter(*self.names) if len(self.names) > 1 else None
        self._many: dict[int, str] = {}

    def bind(self, params: Mapping[str, object] | None) -> Sequence[object]:
        """Return the positional values. Raises KeyError when a parameter is missing."""
        if not params:
            return [self.defaults[name] for name in self.names]
        defaults = self.defaults
        if not defaults and self._pick is not None:
            values: tuple[object, ...] = self._pick(params)
            return values
        return [params[name] if name in params else defaults[name] for name in self.names]

    def sql_for(self, rows: int) -> str:
        """The SQL of an INSERT of so many rows, whose values follow one another."""
        found = self._many.get(rows)
        if found is None:
            head, values = self.sql.rsplit(" VALUES ", 1)
            found = self._many[rows] = f"{head} VALUES {', '.join([values] * rows)}"
        return found


class Statement:
    """A statement prepared once; `postgres` replaces it where the dialects differ.

    Attributes:
        rank: The inserted table's place among all tables, referenced ones first; None when it is no INSERT.
        beside_inserts: It reads no table that takes held-back rows (`Transaction.insert`).
    """

    __slots__ = ("_clauses", "_compiled", "beside_inserts", "rank")

    def __init__(
        self, clause: ClauseElement, postgres: ClauseElement | None = None, *, beside_inserts: bool = False
    ) -> None:
        self._clauses = {DialectName.SQLITE: clause, DialectName.POSTGRES: postgres if postgres is not None else clause}
        self._compiled: dict[DialectName, Compiled] = {}
        self.beside_inserts = beside_inserts
        self.rank: int | None = None

    def compiled(self, dialect: DialectName) -> Compiled:
        found = self._compiled.get(dialect)
        if found is None:
            found = self._compiled[dialect] = compile_clause(self._clauses[dialect], dialect)
        return found


Executable = Statement | ClauseElement


def prepared(
    clause: ClauseElement, postgres: ClauseElement | None = None, *, beside_inserts: bool = False
) -> Statement:
    """Prepare a statement for the hot path; call it at module level."""
    return Statement(clause, postgres, beside_inserts=beside_inserts)


def prepared_insert(table: Table) -> Statement:
    """Prepare an INSERT of every column; parameters are named as the columns."""
    statement = Statement(insert(table))
    statement.rank = table.metadata.sorted_tables.index(table)
    return statement


def compile_clause(clause: ClauseElement, dialect: DialectName) -> Compiled:
    """Compile a Core clause to driver SQL with positional parameters."""
    kwargs: dict[str, Any] = {}
    if isinstance(clause, Insert) and not clause._values and not clause._multi_values and clause.select is None:
        kwargs["column_keys"] = [column.name for column in clause.table.columns]
    compiled = clause.compile(dialect=_DIALECTS[dialect], **kwargs)
    values = {name: bind.effective_value for name, bind in compiled.binds.items()}  # type: ignore[attr-defined]
    required = {name for name, bind in compiled.binds.items() if bind.required}  # type: ignore[attr-defined]
    sql, names = compiled.string, getattr(compiled, "positiontup", None) or ()
    if compiled.post_compile_params or compiled.literal_execute_params:  # type: ignore[attr-defined]
        # IN lists are known now: they are written out, as the executing engine would do (`render_postcompile` alone
        # refuses statements that have parameters still to come).
        expanded = compiled._process_parameters_for_postcompile(dict(values))  # type: ignore[attr-defined]
        sql, names = expanded.statement, expanded.positiontup or ()
        values |= expanded.additional_parameters
    return Compiled(sql, names, {name: value for name, value in values.items() if name not in required})


def compiled_for(stmt: Executable, dialect: DialectName) -> Compiled:
    """Compile whatever a unit of work hands over."""
    return stmt.compiled(dialect) if isinstance(stmt, Statement) else compile_clause(stmt, dialect)
