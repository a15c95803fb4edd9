"""Sieve scripts of accounts: stored, checked, one of them active (RFC 5804 §2).

- What is stored compiles; what is active is what runs at delivery.
- Names are up to 128 characters without controls (RFC 5804 §1.6); number and size are bounded for each account.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import TypeVar

from server.domain.errors import Conflict, InvalidInput, NotFound, OverQuota
from server.domain.filters import Place, ScriptRow
from server.domain.ids import AccountId, TenantId
from server.domain.ports import Worker
from server.protocol.sieve.compile import compile_script
from server.protocol.sieve.errors import SieveSyntaxError
from server.protocol.sieve.limits import SCRIPT_OCTETS_MAX
from server.protocol.sieve.session import Script
from server.services.identity.directory import Directory
from server.store.database import Database
from server.store.repositories import filters
from server.store.transaction import Transaction, Unit

T = TypeVar("T")

NAME_MAX = 128
"""Characters of a script's name (RFC 5804 §1.6)."""
SCRIPTS_MAX = 32
"""Scripts of one account."""
TOTAL_OCTETS_MAX = 1024 * 1024
"""Octets of all scripts of one account."""


class ScriptInvalid(InvalidInput):
    """A script does not compile.

    Attributes:
        line: Where, from 1; 0 when it is about the whole script.
    """

    def __init__(self, error: SieveSyntaxError) -> None:
        super().__init__(str(error), pointer="/content", code="script_invalid")
        self.line = error.line


class ScriptService:
    """Use cases of an account's scripts; whoever calls has settled that the caller may touch the account.

    Args:
        directory: Told to forget what it knows of accounts when something changed.
        worker: Compiles, which may take longer than the loop can wait.
    """

    def __init__(self, *, database: Database, directory: Directory, worker: Worker) -> None:
        self._database = database
        self._directory = directory
        self._worker = worker

    async def list(self, account_id: AccountId) -> Sequence[tuple[str, bool]]:
        """Name and whether it is active, by name (RFC 5804 §2.7)."""
        found = await self._database.read("sieve.list", lambda tx: filters.scripts(tx, account_id))
        return [(one.name, one.active) for one in found]

    async def get(self, account_id: AccountId, name: str) -> bytes:
        """A script's octets (RFC 5804 §2.9). Raises NotFound."""

        async def unit(tx: Transaction) -> bytes:
            return (await _existing(tx, account_id, name)).octets

        return await self._database.read("sieve.get", unit)

    async def check(self, octets: bytes) -> tuple[str, ...]:
        """Warnings about a script that compiles (RFC 5804 §2.12). Raises ScriptInvalid."""
        return _warnings(await self._compiled(octets))

    async def _compiled(self, octets: bytes) -> Script:
        try:
            # Even a short one may hold patterns that take a quarter of a second.
            return await self._worker.run(lambda: compile_script(octets))
        except SieveSyntaxError as error:
            raise ScriptInvalid(error) from error

    async def put(
        self, account_id: AccountId, name: str, octets: bytes, *, also: Unit[None] | None = None
    ) -> tuple[str, ...]:
        """Store a script under a name, in place of one that has it (RFC 5804 §2.6).

        Args:
            also: Run in the same transaction.

        Returns:
            Warnings.

        Raises:
            ScriptInvalid, InvalidInput: The script, or its name.
            OverQuota: Codes `max_scripts` and `max_size`.
        """
        checked = check_name(name)
        if len(octets) > SCRIPT_OCTETS_MAX:
            raise OverQuota(f"a script has at most {SCRIPT_OCTETS_MAX} octets", code="max_size")
        script = await self._compiled(octets)

        async def unit(tx: Transaction) -> tuple[str, ...]:
            tenant_id = await _tenant(tx, account_id)
            known = await filters.scripts(tx, account_id)
            _check_room(known, checked, len(octets))
            old = next((one for one in known if one.name == checked), None)
            await filters.put_script(
                tx,
                tenant_id=tenant_id,
                account_id=account_id,
                place=Place.USER,
                name=checked,
                content=octets,
                old=old,
            )
            # An inactive script may be included by the active one.
            await filters.refresh_version(tx, account_id, tenant_id)
            if also is not None:
                await also(tx)
            return _missing(known, checked, script) + _warnings(script)

        return await self._write("sieve.put", unit)

    async def have_space(self, account_id: AccountId, name: str, size: int) -> None:
        """Raise OverQuota when a script of that size would not be taken (RFC 5804 §2.5)."""
        checked = check_name(name)
        known = await self._database.read("sieve.space", lambda tx: filters.scripts(tx, account_id))
        _check_room(known, checked, size)

    async def activate(self, account_id: AccountId, name: str, *, also: Unit[None] | None = None) -> None:
        """Make a script the active one; an empty name deactivates (RFC 5804 §2.8). Raises NotFound."""

        async def unit(tx: Transaction) -> None:
            tenant_id = await _tenant(tx, account_id)
            script_id = (await _existing(tx, account_id, name)).id if name else None
            await filters.activate(tx, account_id, script_id)
            await filters.refresh_version(tx, account_id, tenant_id)
            if also is not None:
                await also(tx)

        await self._write("sieve.activate", unit)

    async def delete(self, account_id: AccountId, name: str, *, also: Unit[None] | None = None) -> None:
        """Remove a script. Raises NotFound, and Conflict with code `active` for the active one (RFC 5804 §2.10)."""

        async def unit(tx: Transaction) -> None:
            tenant_id = await _tenant(tx, account_id)
            found = await _existing(tx, account_id, name)
            if found.active:
                raise Conflict("the script is active: activate another one first, or none", code="active")
            await filters.remove_script(tx, found.id)
            await filters.refresh_version(tx, account_id, tenant_id)
            if also is not None:
                await also(tx)

        await self._write("sieve.delete", unit)

    async def rename(self, account_id: AccountId, old: str, new: str) -> None:
        """Rename a script, active or not (RFC 5804 §2.11.1). Raises NotFound, Conflict with code `already_exists`."""
        checked = check_name(new)

        async def unit(tx: Transaction) -> None:
            tenant_id = await _tenant(tx, account_id)
            found = await _existing(tx, account_id, old)
            if checked != found.name:
                if await filters.script(tx, account_id, checked) is not None:
                    raise Conflict("a script of that name exists", code="already_exists")
                await filters.rename_script(tx, found.id, checked)
                await filters.refresh_version(tx, account_id, tenant_id)

        await self._write("sieve.rename", unit)

    async def _write(self, name: str, unit: Unit[T]) -> T:
        try:
            return await self._database.write(name, unit)
        finally:
            self._directory.invalidate()


def check_name(name: str) -> str:
    """A script's name in NFC. Raises InvalidInput (RFC 5804 §1.6)."""
    checked = unicodedata.normalize("NFC", name)
    if not 1 <= len(checked) <= NAME_MAX or any(c == "/" or unicodedata.category(c) in _FORBIDDEN for c in checked):
        raise InvalidInput(f"a script's name has 1 to {NAME_MAX} characters, no controls, no slash", pointer="/name")
    return checked


_FORBIDDEN = ("Cc", "Cs", "Zl", "Zp")


async def _tenant(tx: Transaction, account_id: AccountId) -> TenantId:
    tenant_id = await filters.tenant_of(tx, account_id)
    if tenant_id is None:
        raise NotFound("no such account")
    return tenant_id


async def _existing(tx: Transaction, account_id: AccountId, name: str) -> ScriptRow:
    found = await filters.script(tx, account_id, unicodedata.normalize("NFC", name))
    if found is None:
        raise NotFound("no script of that name")
    return found


def _check_room(known: tuple[ScriptRow, ...], name: str, size: int) -> None:
    others = [one for one in known if one.name != name]
    if size > SCRIPT_OCTETS_MAX:
        raise OverQuota(f"a script has at most {SCRIPT_OCTETS_MAX} octets", code="max_size")
    if len(others) >= SCRIPTS_MAX:
        raise OverQuota(f"at most {SCRIPTS_MAX} scripts", code="max_scripts")
    if size + sum(len(one.octets) for one in others) > TOTAL_OCTETS_MAX:
        raise OverQuota(f"all scripts have at most {TOTAL_OCTETS_MAX} octets together", code="max_size")


def _warnings(script: Script) -> tuple[str, ...]:
    return () if script.commands else ("the script does nothing: all mail is kept",)


def _missing(known: tuple[ScriptRow, ...], name: str, script: Script) -> tuple[str, ...]:
    """Warnings about included scripts that are not there yet."""
    names = {one.name for one in known} | {name}
    wanted = [one.name for one in script.includes if one.personal]
    return tuple(f"the included script {one!r} is not there yet" for one in wanted if one not in names)
