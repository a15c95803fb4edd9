"""Parts of long lists: keyset pages by descending id, newest first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRequest:
    """Which part of a list: items after `after` (an id, exclusive), at most `limit`."""

    limit: int
    after: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """Part of a list; `next_after` is the id to go on from, None at the end."""

    items: tuple[T, ...]
    next_after: str | None
