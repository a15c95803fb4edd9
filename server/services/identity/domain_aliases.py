"""Domain aliases: second names of a domain; any address under one is the same address under the domain."""

from __future__ import annotations

from msgspec import UNSET, UnsetType

from server.domain.errors import Conflict, InvalidInput, NotFound
from server.domain.identity import DomainAlias, Scope, Status
from server.domain.ids import new_id
from server.domain.paging import Page, PageRequest
from server.domain.scopes import require
from server.services.identity.accounts import resolve_domain
from server.services.identity.names import domain_of
from server.services.identity.writer import DirectoryWriter, Input, check_revision, found, given, stored
from server.services.trace.record import Target, differences, record_change
from server.store.repositories import domains
from server.store.times import from_us
from server.store.transaction import Transaction

_TAKEN = "the name is taken"


class NewDomainAlias(Input, frozen=True, kw_only=True):
    """`domain_id` takes the domain's id or name."""

    name: str
    domain_id: str
    enabled: bool = True


class DomainAliasChange(Input, frozen=True, kw_only=True):
    enabled: bool | UnsetType = UNSET


class DomainAliasService:
    """Use cases of domain aliases."""

    def __init__(self, writer: DirectoryWriter) -> None:
        self._writer = writer

    async def create(self, scope: Scope, new: NewDomainAlias) -> DomainAlias:
        require(scope, "domains:write")
        name = domain_of(new.name, pointer="/name")
        alias_id = new_id()

        async def unit(tx: Transaction) -> DomainAlias:
            try:
                domain = await resolve_domain(tx, scope, new.domain_id)
            except NotFound as error:
                raise InvalidInput("no such domain", pointer="/domain_id") from error
            if domain.status is Status.DELETED:
                raise InvalidInput("the domain is deleted", pointer="/domain_id")
            if await domains.by_name(tx, name) is not None:
                raise Conflict("the name is a domain already")
            now = from_us(tx.now_us)
            alias = DomainAlias(
                id=alias_id,
                tenant_id=scope.tenant_id,
                name=name,
                domain_id=domain.id,
                enabled=new.enabled,
                created_at=now,
                updated_at=now,
                revision=1,
            )
            await domains.insert_alias(tx, alias)
            await record_change(tx, scope, type="domain.alias_created", target=_target(alias))
            return alias

        return await self._writer.write("domain_alias.create", unit, taken=_TAKEN)

    async def get(self, scope: Scope, ref: str) -> DomainAlias:
        """By id or name."""
        require(scope, "domains:read")
        return await self._writer.read("domain_alias.get", lambda tx: _resolve(tx, scope, ref))

    async def page(self, scope: Scope, request: PageRequest) -> Page[DomainAlias]:
        require(scope, "domains:read")
        return await self._writer.read("domain_alias.page", lambda tx: domains.alias_page(tx, scope.tenant_id, request))

    async def change(
        self, scope: Scope, ref: str, change: DomainAliasChange, *, revision: int | None = None
    ) -> DomainAlias:
        require(scope, "domains:write")
        values = given(change, ("enabled",))

        async def unit(tx: Transaction) -> DomainAlias:
            alias = await _resolve(tx, scope, ref)
            check_revision(alias.revision, revision)
            changes = differences({"enabled": alias.enabled}, values)
            if changes:
                await domains.change_alias(tx, scope.tenant_id, alias.id, stored(values))
                await record_change(tx, scope, type="domain.alias_updated", target=_target(alias), changes=changes)
            return await _resolve(tx, scope, alias.id)

        return await self._writer.write("domain_alias.change", unit, taken=_TAKEN)

    async def delete(self, scope: Scope, ref: str, *, revision: int | None = None) -> None:
        require(scope, "domains:write")

        async def unit(tx: Transaction) -> None:
            alias = await _resolve(tx, scope, ref)
            check_revision(alias.revision, revision)
            await domains.delete_alias(tx, scope.tenant_id, alias.id)
            await record_change(tx, scope, type="domain.alias_deleted", target=_target(alias))

        await self._writer.write("domain_alias.delete", unit, taken=_TAKEN)


async def _resolve(tx: Transaction, scope: Scope, ref: str) -> DomainAlias:
    alias = await domains.get_alias(tx, scope.tenant_id, ref) or await domains.alias_by_name(tx, ref.lower())
    return found(alias if alias and alias.tenant_id == scope.tenant_id else None, "domain alias")


def _target(alias: DomainAlias) -> Target:
    return Target(kind="domain_alias", id=alias.id, name=alias.name, tenant_id=alias.tenant_id)
