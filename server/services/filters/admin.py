"""Scripts of a tenant's administrators: they run before or after every account's own, or are there to be included.

- All of one place run in the order of their names; one that does not keep the mail ends the row.
- A change is a change for every account of the tenant: each one's version rises with it.
"""

from __future__ import annotations

from collections.abc import Sequence

from server.domain.errors import InvalidInput, NotFound, OverQuota
from server.domain.filters import Place, ScriptRow
from server.domain.identity import Scope
from server.domain.ports import Worker
from server.domain.scopes import require
from server.protocol.sieve.compile import compile_script
from server.protocol.sieve.errors import SieveSyntaxError
from server.services.filters.scripts import ScriptInvalid, check_name
from server.services.identity.writer import DirectoryWriter, Input
from server.services.trace.record import Target, record_change
from server.store.repositories import filters
from server.store.repositories.audit import Change
from server.store.transaction import Transaction

SCRIPTS_MAX = 20
"""Scripts of one tenant's administrators: each may run for every mail."""


class AdminScriptInput(Input, frozen=True, kw_only=True):
    """`place` is before, after or included."""

    place: str
    content: str


class AdminScripts:
    """Use cases; `filtering:read` and `filtering:write`."""

    def __init__(self, writer: DirectoryWriter, worker: Worker) -> None:
        self._writer = writer
        self._worker = worker

    async def page(self, scope: Scope) -> Sequence[ScriptRow]:
        """By name."""
        require(scope, "filtering:read")
        return await self._writer.read("admin_sieve.list", lambda tx: filters.admin_scripts(tx, scope.tenant_id))

    async def get(self, scope: Scope, name: str) -> ScriptRow:
        """Raises NotFound."""
        require(scope, "filtering:read")

        async def unit(tx: Transaction) -> ScriptRow:
            return await _existing(tx, scope, name)

        return await self._writer.read("admin_sieve.get", unit)

    async def put(self, scope: Scope, name: str, given: AdminScriptInput) -> ScriptRow:
        """Store a script, in place of one of that name. Raises ScriptInvalid, InvalidInput, OverQuota."""
        require(scope, "filtering:write")
        checked = check_name(name)
        if given.place not in (Place.BEFORE, Place.AFTER, Place.INCLUDED):
            raise InvalidInput("before, after or included", pointer="/place")
        octets = given.content.encode("utf-8", "replace")
        try:
            await self._worker.run(lambda: compile_script(octets))
        except SieveSyntaxError as error:
            raise ScriptInvalid(error) from error

        async def unit(tx: Transaction) -> ScriptRow:
            known = await filters.admin_scripts(tx, scope.tenant_id)
            old = next((one for one in known if one.name == checked), None)
            if old is None and len(known) >= SCRIPTS_MAX:
                raise OverQuota(f"at most {SCRIPTS_MAX} scripts", code="max_scripts")
            await filters.put_script(
                tx,
                tenant_id=scope.tenant_id,
                account_id=None,
                place=Place(given.place),
                name=checked,
                content=octets,
                old=old,
            )
            await filters.refresh_tenant(tx, scope.tenant_id)
            await _record(tx, scope, "filter.script_stored", checked, given.place)
            return await _existing(tx, scope, checked)

        return await self._writer.write("admin_sieve.put", unit, taken="")

    async def delete(self, scope: Scope, name: str) -> None:
        """Raises NotFound."""
        require(scope, "filtering:write")

        async def unit(tx: Transaction) -> None:
            row = await _existing(tx, scope, name)
            await filters.remove_script(tx, row.id)
            await filters.refresh_tenant(tx, scope.tenant_id)
            await _record(tx, scope, "filter.script_removed", row.name, row.place.value)

        await self._writer.write("admin_sieve.delete", unit, taken="")


async def _existing(tx: Transaction, scope: Scope, name: str) -> ScriptRow:
    for row in await filters.admin_scripts(tx, scope.tenant_id):
        if row.name == name:
            return row
    raise NotFound("no script of that name")


async def _record(tx: Transaction, scope: Scope, type_: str, name: str, place: str) -> None:
    target = Target(kind="script", id=name, name=name, tenant_id=scope.tenant_id)
    await record_change(tx, scope, type=type_, target=target, changes=(Change(field="place", old=None, new=place),))
