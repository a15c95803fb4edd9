"""Errors of the store itself; services turn them into words for their callers."""

from __future__ import annotations

from server.domain.errors import Unavailable


class UniqueViolation(Exception):
    """A row with this key exists. It must leave the unit of work: the unit's savepoint is spoilt."""


class StoreReadOnly(Unavailable):
    """The database is damaged or its disk failed: reads go on, writes are refused (F04, F05)."""

    code = "read_only"


class SearchIndexDamaged(Unavailable):
    """The full-text index contradicts itself; all else is well. It is made anew from the mail."""

    code = "search_unavailable"
