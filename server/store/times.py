"""Instants as the database keeps them: integer microseconds since the Unix epoch, on both databases alike."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import overload

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@overload
def to_us(instant: datetime) -> int: ...
@overload
def to_us(instant: None) -> None: ...
def to_us(instant: datetime | None) -> int | None:
    """Convert an aware instant; None stays None."""
    return None if instant is None else (instant - _EPOCH) // _MICROSECOND


@overload
def from_us(us: int) -> datetime: ...
@overload
def from_us(us: None) -> None: ...
def from_us(us: int | None) -> datetime | None:
    """Convert back to an aware UTC instant; None stays None."""
    return None if us is None else _EPOCH + us * _MICROSECOND
