"""The way every change of the directory goes: one unit of work, then the directory forgets.

- A name that is taken is a Conflict, whether a check or the database's own constraint found it.
- `If-Match` is checked inside the unit that changes, so two writers can't both win.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from server.domain.errors import Conflict, NotFound
from server.services.identity.directory import Directory
from server.store.database import Database
from server.store.errors import UniqueViolation
from server.store.repositories import accounts
from server.store.repositories.rows import text
from server.store.transaction import Transaction, Unit

T = TypeVar("T")


class Input(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a caller sends: unknown fields are refused, fields left out of a change stay as they are."""


class DirectoryWriter:
    """Runs changes of tenants, domains, accounts and aliases."""

    def __init__(self, database: Database, directory: Directory) -> None:
        self.database = database
        self._directory = directory

    async def read(self, name: str, unit: Unit[T]) -> T:
        return await self.database.read(name, unit)

    async def write(self, name: str, unit: Unit[T], *, taken: str) -> T:
        """Run a change. Raises Conflict with `taken` when a unique name exists."""
        try:
            return await self.database.write(name, unit)
        except UniqueViolation as error:
            raise Conflict(taken) from error
        finally:
            self._directory.invalidate()


def given(change: msgspec.Struct, names: tuple[str, ...]) -> dict[str, object]:
    """The named fields that a change sets, with their values."""
    return {name: value for name in names if (value := getattr(change, name)) is not msgspec.UNSET}


def stored(values: Mapping[str, object]) -> dict[str, object]:
    """Values as columns hold them: booleans as 0 and 1."""
    return {name: int(value) if isinstance(value, bool) else value for name, value in values.items()}


def found(value: T | None, kind: str) -> T:
    """The value, or NotFound naming the kind: absent and foreign look alike."""
    if value is None:
        raise NotFound(f"no such {kind}")
    return value


def check_revision(current: int, wanted: int | None) -> None:
    """Raise Conflict when the object has changed since the caller read it."""
    if wanted is not None and wanted != current:
        raise Conflict("the object was changed meanwhile", code="revision_mismatch")


async def check_free(tx: Transaction, key: str) -> None:
    """Raise Conflict when the address is taken; the kind of its holder is named, never the holder."""
    owner = await accounts.address_owner(tx, key)
    if owner is not None:
        raise Conflict(f"the address belongs to an {text(owner, 'kind')} already")
