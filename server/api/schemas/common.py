"""What several answers share."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TypeVar

import msgspec
from litestar import Response

from server.domain.errors import InvalidInput
from server.domain.times import rfc3339

T = TypeVar("T", bound=msgspec.Struct)


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """An answer; only gains fields within v1."""


def time_text(instant: datetime) -> str:
    """RFC 3339 in UTC with milliseconds."""
    return rfc3339(instant)


def time_or_none(instant: datetime | None) -> str | None:
    return None if instant is None else rfc3339(instant)


def tagged(content: T, revision: int, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response[T]:
    """An answer with the object's ETag."""
    return Response(content, status_code=status, headers={"ETag": f'"{revision}"', **(headers or {})})


def revision_of(if_match: str | None) -> int | None:
    """The revision in an `If-Match` header; None = any (RFC 9110 §13.1.1)."""
    if if_match is None or if_match.strip() == "*":
        return None
    digits = if_match.strip().strip('"')
    if not digits.isdecimal() or len(digits) > 18:
        raise InvalidInput("If-Match takes an ETag of ours", pointer="")
    return int(digits)
