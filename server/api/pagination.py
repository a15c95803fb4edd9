"""Opaque cursors: where a list goes on, for this caller, this list and a day (api.md §1).

- A cursor is signed over the caller's tenant and account and the list with its filters; it opens nothing elsewhere.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable
from datetime import timedelta
from typing import Generic, TypeVar

import msgspec

from server.api.problems import BadRequest
from server.domain.errors import InvalidInput
from server.domain.identity import Scope
from server.domain.paging import Page, PageRequest
from server.domain.ports import Clock

T = TypeVar("T")
U = TypeVar("U")

LIMIT_DEFAULT = 50
LIMIT_MAX = 200
CURSOR_LIFE = timedelta(hours=24)
CURSOR_MAX = 512
_TAG_OCTETS = 16


class Listing(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """A page of a list; `total` only with `?count=true`, at most 10,000."""

    items: list[T]
    next_cursor: str | None
    total: int | msgspec.UnsetType = msgspec.UNSET


class Cursors:
    """Makes and reads cursors with a key of this installation."""

    def __init__(self, key: bytes, clock: Clock) -> None:
        self._key = key
        self._clock = clock

    def request(self, scope: Scope, name: str, *, limit: int | None, cursor: str | None) -> PageRequest:
        """The part of the list `name` that a caller asks for. Raises InvalidInput, BadRequest (`bad_cursor`)."""
        wanted = LIMIT_DEFAULT if limit is None else limit
        if not 1 <= wanted <= LIMIT_MAX:
            raise InvalidInput(f"1 to {LIMIT_MAX}", pointer="/limit")
        return PageRequest(limit=wanted, after=None if cursor is None else self._read(scope, name, cursor))

    def listing(self, scope: Scope, name: str, page: Page[T], convert: Callable[[T], U]) -> Listing[U]:
        """The answer for one page."""
        following = None if page.next_after is None else self._make(scope, name, page.next_after)
        return Listing(items=[convert(item) for item in page.items], next_cursor=following)

    def _make(self, scope: Scope, name: str, after: str) -> str:
        until = int((self._clock.now() + CURSOR_LIFE).timestamp())
        body = f"{until} {after}".encode()
        return base64.urlsafe_b64encode(self._tag(scope, name, body) + body).decode().rstrip("=")

    def _read(self, scope: Scope, name: str, cursor: str) -> str:
        try:
            octets = base64.urlsafe_b64decode(cursor[:CURSOR_MAX] + "=" * (-len(cursor[:CURSOR_MAX]) % 4))
        except (binascii.Error, ValueError) as error:
            raise _bad() from error
        tag, body = octets[:_TAG_OCTETS], octets[_TAG_OCTETS:]
        if not hmac.compare_digest(tag, self._tag(scope, name, body)):
            raise _bad()
        until, _, after = body.decode().partition(" ")
        if int(until) < self._clock.now().timestamp():
            raise _bad()
        return after

    def _tag(self, scope: Scope, name: str, body: bytes) -> bytes:
        context = f"{scope.tenant_id} {scope.account_id or ''} {name} ".encode()
        return hmac.digest(self._key, context + body, "sha256")[:_TAG_OCTETS]


def _bad() -> BadRequest:
    return BadRequest("ask for the first page again", code="bad_cursor")
