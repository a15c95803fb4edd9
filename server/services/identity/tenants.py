"""Tenants: the isolation boundary; `default` exists from the start."""

from __future__ import annotations

from datetime import datetime

from msgspec import UNSET, UnsetType

from server.domain.errors import Conflict
from server.domain.identity import Scope, Status, Tenant
from server.domain.ids import TenantId, new_id
from server.domain.paging import Page, PageRequest
from server.domain.scopes import require
from server.services.identity.names import tenant_name_of, text_of
from server.services.identity.permissions import server_scope
from server.services.identity.writer import DirectoryWriter, Input, check_revision, found, given
from server.services.trace.record import Target, differences, record_change
from server.store.counters import access_changed
from server.store.repositories import tags, tenants
from server.store.times import from_us
from server.store.transaction import Transaction

DEFAULT = "default"
DISPLAY_NAME_MAX = 200
_TAKEN = "a tenant with this name exists"


class NewTenant(Input, frozen=True, kw_only=True):
    """`name` is the machine name; `display_name` is for people."""

    name: str
    display_name: str = ""


class TenantChange(Input, frozen=True, kw_only=True):
    display_name: str | UnsetType = UNSET


class TenantService:
    """Use cases of tenants; all but `own` are for system credentials."""

    def __init__(self, writer: DirectoryWriter) -> None:
        self._writer = writer

    async def ensure_default(self) -> Tenant:
        """Make the tenant `default` unless it exists; run at each start."""

        async def unit(tx: Transaction) -> Tenant:
            existing = await tenants.by_name(tx, DEFAULT)
            if existing is not None:
                return existing
            tenant = _new(DEFAULT, "Default", from_us(tx.now_us))
            await tenants.insert(tx, tenant)
            await tags.insert_default_categories(tx, tenant.id)
            await record_change(tx, server_scope(tenant.id), type="tenant.created", target=_target(tenant))
            return tenant

        return await self._writer.write("tenant.ensure_default", unit, taken=_TAKEN)

    async def create(self, scope: Scope, new: NewTenant) -> Tenant:
        """Raises Conflict when the name is taken."""
        require(scope, "tenants:write")
        name = tenant_name_of(new.name, pointer="/name")
        display_name = text_of(new.display_name or new.name, pointer="/display_name", high=DISPLAY_NAME_MAX)
        tenant_id = new_id()

        async def unit(tx: Transaction) -> Tenant:
            tenant = _new(name, display_name, from_us(tx.now_us), tenant_id)
            await tenants.insert(tx, tenant)
            await tags.insert_default_categories(tx, tenant.id)
            await record_change(tx, scope, type="tenant.created", target=_target(tenant))
            return tenant

        return await self._writer.write("tenant.create", unit, taken=_TAKEN)

    async def get(self, scope: Scope, ref: str) -> Tenant:
        """By id or name."""
        require(scope, "tenants:read")

        async def unit(tx: Transaction) -> Tenant:
            return await resolve(tx, ref)

        return await self._writer.read("tenant.get", unit)

    async def own(self, scope: Scope) -> Tenant:
        """The tenant the caller acts in; every credential may see it."""

        async def unit(tx: Transaction) -> Tenant:
            return found(await tenants.get(tx, scope.tenant_id), "tenant")

        return await self._writer.read("tenant.own", unit)

    async def page(self, scope: Scope, request: PageRequest, *, status: Status | None = None) -> Page[Tenant]:
        require(scope, "tenants:read")

        async def unit(tx: Transaction) -> Page[Tenant]:
            return await tenants.page(tx, request, status=status)

        return await self._writer.read("tenant.page", unit)

    async def change(self, scope: Scope, ref: str, change: TenantChange, *, revision: int | None = None) -> Tenant:
        require(scope, "tenants:write")
        values = given(change, ("display_name",))
        if isinstance(change.display_name, str):
            text_of(change.display_name, pointer="/display_name", high=DISPLAY_NAME_MAX)

        async def unit(tx: Transaction) -> Tenant:
            tenant = await resolve(tx, ref)
            check_revision(tenant.revision, revision)
            changes = differences({"display_name": tenant.display_name}, values)
            if changes:
                await tenants.change(tx, tenant.id, values)
                await record_change(tx, scope, type="tenant.updated", target=_target(tenant), changes=changes)
            return found(await tenants.get(tx, tenant.id), "tenant")

        return await self._writer.write("tenant.change", unit, taken=_TAKEN)

    async def suspend(self, scope: Scope, ref: str) -> Tenant:
        """Mail for it is deferred, its logins and submissions are refused."""
        return await self._move(scope, ref, {Status.ACTIVE}, Status.SUSPENDED, "tenant.suspended")

    async def activate(self, scope: Scope, ref: str) -> Tenant:
        return await self._move(scope, ref, {Status.SUSPENDED}, Status.ACTIVE, "tenant.activated")

    async def delete(self, scope: Scope, ref: str, *, revision: int | None = None) -> Tenant:
        """Into the trash; its data stays and `restore` brings it back."""
        states = {Status.ACTIVE, Status.SUSPENDED}
        return await self._move(scope, ref, states, Status.DELETED, "tenant.deleted", revision=revision)

    async def restore(self, scope: Scope, ref: str) -> Tenant:
        return await self._move(scope, ref, {Status.DELETED}, Status.ACTIVE, "tenant.restored")

    async def _move(
        self, scope: Scope, ref: str, states: set[Status], to: Status, event: str, *, revision: int | None = None
    ) -> Tenant:
        require(scope, "tenants:write")

        async def unit(tx: Transaction) -> Tenant:
            tenant = await resolve(tx, ref)
            check_revision(tenant.revision, revision)
            if tenant.status not in states:
                raise Conflict(f"the tenant is {tenant.status.value}", code="invalid_state")
            if tenant.name == DEFAULT and to is Status.DELETED:
                raise Conflict("the default tenant can't be deleted", code="invalid_state")
            deleted_at = tx.now_us if to is Status.DELETED else None
            await tenants.change(tx, tenant.id, {"status": to.value, "deleted_at": deleted_at})
            await access_changed(tx)
            changes = differences({"status": tenant.status.value}, {"status": to.value})
            await record_change(tx, scope, type=event, target=_target(tenant), changes=changes)
            return found(await tenants.get(tx, tenant.id), "tenant")

        return await self._writer.write(event, unit, taken=_TAKEN)


async def resolve(tx: Transaction, ref: str) -> Tenant:
    """A tenant by id or name. Raises NotFound."""
    return found(await tenants.get(tx, TenantId(ref)) or await tenants.by_name(tx, ref), "tenant")


def _new(name: str, display_name: str, now: datetime, tenant_id: str | None = None) -> Tenant:
    return Tenant(
        id=TenantId(tenant_id or new_id()),
        name=name,
        display_name=display_name,
        status=Status.ACTIVE,
        created_at=now,
        updated_at=now,
        revision=1,
    )


def _target(tenant: Tenant) -> Target:
    return Target(kind="tenant", id=tenant.id, name=tenant.name, tenant_id=tenant.id)
