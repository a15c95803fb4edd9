"""Aliases: addresses that expand to 1 to 100 targets, local or outside; a group is an alias with members.

- No alias leads to itself, directly or through others; the check runs in the transaction that writes.
"""

from __future__ import annotations

from msgspec import UNSET, UnsetType

from server.domain.address import Address
from server.domain.errors import InvalidInput
from server.domain.identity import Alias, Scope
from server.domain.ids import AliasId, new_id
from server.domain.paging import Page, PageRequest
from server.domain.scopes import require
from server.protocol.smtp.address import parse_address
from server.services.identity.accounts import resolve_domain
from server.services.identity.names import address_of, text_of
from server.services.identity.writer import DirectoryWriter, Input, check_free, check_revision, found, given, stored
from server.services.trace.record import Target, differences, record_change
from server.store.repositories import accounts, aliases
from server.store.repositories.rows import strings_text
from server.store.times import from_us
from server.store.transaction import Transaction

TARGETS_MAX = 100
DEPTH_MAX = 10
"""Aliases that may lead through one another."""
EXPANDED_MAX = 1000
DESCRIPTION_MAX = 200
_TAKEN = "the address is taken"


class NewAlias(Input, frozen=True, kw_only=True):
    address: str
    targets: list[str]
    enabled: bool = True
    internal_only: bool = False
    description: str = ""


class AliasChange(Input, frozen=True, kw_only=True):
    targets: list[str] | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    internal_only: bool | UnsetType = UNSET
    description: str | UnsetType = UNSET


class AliasService:
    """Use cases of aliases."""

    def __init__(self, writer: DirectoryWriter) -> None:
        self._writer = writer

    async def create(self, scope: Scope, new: NewAlias) -> Alias:
        """Raises InvalidInput (also for a loop), Conflict when the address is taken."""
        require(scope, "accounts:write")
        address = address_of(new.address, pointer="/address")
        targets = _targets(new.targets)
        description = text_of(new.description, pointer="/description", high=DESCRIPTION_MAX)
        alias_id = AliasId(new_id())

        async def unit(tx: Transaction) -> Alias:
            domain = await resolve_domain(tx, scope, address.domain)
            await check_free(tx, address.key)
            await _check_loop(tx, address, targets)
            now = from_us(tx.now_us)
            alias = Alias(
                id=alias_id,
                tenant_id=scope.tenant_id,
                address=address.key,
                targets=targets,
                enabled=new.enabled,
                internal_only=new.internal_only,
                description=description,
                created_at=now,
                updated_at=now,
                revision=1,
            )
            await aliases.insert(tx, alias, domain.id)
            await accounts.take_address(
                tx,
                alias.address,
                tenant_id=scope.tenant_id,
                domain_id=domain.id,
                kind="alias",
                owner_id=alias.id,
                position=0,
            )
            await record_change(tx, scope, type="alias.created", target=_target(alias))
            return alias

        return await self._writer.write("alias.create", unit, taken=_TAKEN)

    async def get(self, scope: Scope, ref: str) -> Alias:
        """By id or address."""
        require(scope, "accounts:read")
        return await self._writer.read("alias.get", lambda tx: resolve(tx, scope, ref))

    async def page(
        self, scope: Scope, request: PageRequest, *, domain: str | None = None, containing: str | None = None
    ) -> Page[Alias]:
        require(scope, "accounts:read")

        async def unit(tx: Transaction) -> Page[Alias]:
            domain_id = (await resolve_domain(tx, scope, domain)).id if domain else None
            return await aliases.page(tx, scope.tenant_id, request, domain_id=domain_id, containing=containing)

        return await self._writer.read("alias.page", unit)

    async def change(self, scope: Scope, ref: str, change: AliasChange, *, revision: int | None = None) -> Alias:
        require(scope, "accounts:write")
        values = given(change, ("enabled", "internal_only", "description"))
        if isinstance(change.description, str):
            text_of(change.description, pointer="/description", high=DESCRIPTION_MAX)
        targets = None if isinstance(change.targets, UnsetType) else _targets(change.targets)

        async def unit(tx: Transaction) -> Alias:
            alias = await resolve(tx, scope, ref)
            check_revision(alias.revision, revision)
            old: dict[str, object] = {
                "enabled": alias.enabled,
                "internal_only": alias.internal_only,
                "description": alias.description,
                "targets": alias.targets,
            }
            wanted = {**values, "targets": targets} if targets is not None else values
            changes = differences(old, wanted)
            columns = stored(values)
            if targets is not None:
                await _check_loop(tx, parse_address(alias.address), targets)
                columns["targets"] = strings_text(targets)
            if changes:
                await aliases.change(tx, scope.tenant_id, alias.id, columns)
                await record_change(tx, scope, type="alias.updated", target=_target(alias), changes=changes)
            return found(await aliases.get(tx, scope.tenant_id, alias.id), "alias")

        return await self._writer.write("alias.change", unit, taken=_TAKEN)

    async def delete(self, scope: Scope, ref: str, *, revision: int | None = None) -> Alias:
        """Remove it for good; the audit record keeps its targets."""
        require(scope, "accounts:write")

        async def unit(tx: Transaction) -> Alias:
            alias = await resolve(tx, scope, ref)
            check_revision(alias.revision, revision)
            await accounts.free_addresses(tx, scope.tenant_id, alias.id)
            await aliases.remove(tx, scope.tenant_id, alias.id)
            changes = differences({"targets": alias.targets}, {"targets": None})
            await record_change(tx, scope, type="alias.deleted", target=_target(alias), changes=changes)
            return alias

        return await self._writer.write("alias.delete", unit, taken=_TAKEN)


async def resolve(tx: Transaction, scope: Scope, ref: str) -> Alias:
    """An alias of the caller's tenant by id or address. Raises NotFound."""
    if "@" not in ref:
        return found(await aliases.get(tx, scope.tenant_id, AliasId(ref)), "alias")
    try:
        key = address_of(ref, pointer="").key
    except InvalidInput:
        return found(None, "alias")
    alias = await aliases.by_address(tx, key)
    return found(alias if alias and alias.tenant_id == scope.tenant_id else None, "alias")


def _targets(values: list[str]) -> tuple[str, ...]:
    if not 1 <= len(values) <= TARGETS_MAX:
        raise InvalidInput(f"1 to {TARGETS_MAX} targets are needed", pointer="/targets")
    kept: dict[str, str] = {}
    for place, value in enumerate(values):
        address = address_of(value, pointer=f"/targets/{place}")
        kept.setdefault(address.key, str(address))
    return tuple(kept.values())


async def _check_loop(tx: Transaction, address: Address, targets: tuple[str, ...]) -> None:
    """Follow the targets through other aliases, breadth first, as far as routing would."""
    seen = {address.key}
    level = [(parse_address(target).key, place) for place, target in enumerate(targets)]
    for _depth in range(DEPTH_MAX):
        following: list[tuple[str, int]] = []
        for key, place in level:
            if key == address.key:
                raise InvalidInput("the alias would lead back to itself", pointer=f"/targets/{place}")
            if key in seen or len(seen) > EXPANDED_MAX:
                continue
            seen.add(key)
            alias = await aliases.by_address(tx, key)
            if alias is not None:
                following += [(parse_address(target).key, place) for target in alias.targets]
        if not following:
            return
        level = following
    raise InvalidInput(f"the targets lead through more than {DEPTH_MAX} aliases", pointer=f"/targets/{level[0][1]}")


def _target(alias: Alias) -> Target:
    return Target(kind="alias", id=alias.id, name=alias.address, tenant_id=alias.tenant_id)
