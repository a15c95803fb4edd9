"""What the repositories share: reading typed values out of rows, and keyset pages.

- A column holds an integer, text, octets or NULL; another type there is a fault of ours and raises TypeError.
- Pages go by descending id: ids are UUIDv7, so that is newest first, and a page stays right while rows are added.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar

import msgspec

from server.domain.paging import Page, PageRequest
from server.store.times import from_us
from server.store.transaction import Row

T = TypeVar("T")
_strings = msgspec.json.Decoder(list[str])


def text(row: Row, name: str) -> str:
    value = row[name]
    if not isinstance(value, str):
        raise TypeError(f"column {name} holds {type(value).__name__}, not text")
    return value


def text_or_none(row: Row, name: str) -> str | None:
    return None if row[name] is None else text(row, name)


def number(row: Row, name: str) -> int:
    value = row[name]
    if not isinstance(value, int):
        raise TypeError(f"column {name} holds {type(value).__name__}, not an integer")
    return value


def number_or_none(row: Row, name: str) -> int | None:
    return None if row[name] is None else number(row, name)


def octets(row: Row, name: str) -> bytes:
    value = row[name]
    if not isinstance(value, bytes):
        raise TypeError(f"column {name} holds {type(value).__name__}, not octets")
    return value


def instant(row: Row, name: str) -> datetime:
    return from_us(number(row, name))


def instant_or_none(row: Row, name: str) -> datetime | None:
    return from_us(number_or_none(row, name))


def strings(row: Row, name: str) -> tuple[str, ...]:
    """Read a JSON list of strings."""
    return tuple(_strings.decode(text(row, name)))


def strings_text(values: Sequence[str]) -> str:
    """Write a list of strings as its column holds it."""
    return msgspec.json.encode(list(values)).decode()


def page_of(rows: Sequence[Row], request: PageRequest, convert: Callable[[Row], T]) -> Page[T]:
    """Make a page from up to `limit + 1` rows that carry an `id` column."""
    kept = rows[: request.limit]
    more = len(rows) > request.limit
    return Page(items=tuple(convert(row) for row in kept), next_after=text(kept[-1], "id") if more else None)
