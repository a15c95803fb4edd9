"""Tenants (api.md §3); system credentials only, but for one's own."""

from __future__ import annotations

from typing import Annotated

from litestar import Controller, Response, delete, get, patch, post
from litestar.params import FromPath, FromQuery, HeaderParameter, JSONBody

from server.api.dependencies import Caller, CursorMaker, Tenants
from server.api.guards import ANY, needs
from server.api.pagination import Listing
from server.api.paths import PREFIX
from server.api.schemas.common import revision_of, tagged
from server.api.schemas.directory import TenantOut
from server.domain.identity import Status
from server.services.identity.tenants import NewTenant, TenantChange

IfMatch = Annotated[str | None, HeaderParameter(name="If-Match", description="The ETag the change is based on.")]


class TenantController(Controller):
    path = PREFIX + "/tenants"
    tags = ("tenants",)

    @get(operation_id="list_tenants", opt=needs("tenants:read"))
    async def list_tenants(
        self,
        caller: Caller,
        tenants: Tenants,
        cursors: CursorMaker,
        limit: FromQuery[int | None] = None,
        cursor: FromQuery[str | None] = None,
        status: FromQuery[Status | None] = None,
    ) -> Listing[TenantOut]:
        """List tenants, newest first."""
        name = f"tenants {status}"
        page = await tenants.page(caller, cursors.request(caller, name, limit=limit, cursor=cursor), status=status)
        return cursors.listing(caller, name, page, TenantOut.of)

    @post(operation_id="create_tenant", opt=needs("tenants:write"))
    async def create_tenant(self, caller: Caller, tenants: Tenants, data: JSONBody[NewTenant]) -> Response[TenantOut]:
        """Add a tenant."""
        tenant = await tenants.create(caller, data)
        location = {"Location": f"{PREFIX}/tenants/{tenant.id}"}
        return tagged(TenantOut.of(tenant), tenant.revision, status=201, headers=location)

    @get("/{ref:str}", operation_id="get_tenant", opt=needs("tenants:read"))
    async def get_tenant(self, caller: Caller, tenants: Tenants, ref: FromPath[str]) -> Response[TenantOut]:
        """Show a tenant by id or name."""
        tenant = await tenants.get(caller, ref)
        return tagged(TenantOut.of(tenant), tenant.revision)

    @patch("/{ref:str}", operation_id="change_tenant", opt=needs("tenants:write"))
    async def change_tenant(
        self,
        caller: Caller,
        tenants: Tenants,
        ref: FromPath[str],
        data: JSONBody[TenantChange],
        if_match: IfMatch = None,
    ) -> Response[TenantOut]:
        """Change a tenant."""
        tenant = await tenants.change(caller, ref, data, revision=revision_of(if_match))
        return tagged(TenantOut.of(tenant), tenant.revision)

    @delete("/{ref:str}", operation_id="delete_tenant", opt=needs("tenants:write"))
    async def delete_tenant(
        self, caller: Caller, tenants: Tenants, ref: FromPath[str], if_match: IfMatch = None
    ) -> None:
        """Move a tenant to the trash."""
        await tenants.delete(caller, ref, revision=revision_of(if_match))

    @post("/{ref:str}/suspend", operation_id="suspend_tenant", opt=needs("tenants:write"), status_code=200)
    async def suspend_tenant(self, caller: Caller, tenants: Tenants, ref: FromPath[str]) -> Response[TenantOut]:
        """Suspend: mail in is deferred, logins and sends are refused."""
        tenant = await tenants.suspend(caller, ref)
        return tagged(TenantOut.of(tenant), tenant.revision)

    @post("/{ref:str}/activate", operation_id="activate_tenant", opt=needs("tenants:write"), status_code=200)
    async def activate_tenant(self, caller: Caller, tenants: Tenants, ref: FromPath[str]) -> Response[TenantOut]:
        """End a suspension."""
        tenant = await tenants.activate(caller, ref)
        return tagged(TenantOut.of(tenant), tenant.revision)

    @post("/{ref:str}/restore", operation_id="restore_tenant", opt=needs("tenants:write"), status_code=200)
    async def restore_tenant(self, caller: Caller, tenants: Tenants, ref: FromPath[str]) -> Response[TenantOut]:
        """Bring a tenant back from the trash."""
        tenant = await tenants.restore(caller, ref)
        return tagged(TenantOut.of(tenant), tenant.revision)


class OwnTenantController(Controller):
    path = PREFIX + "/tenant"
    tags = ("tenants",)

    @get(operation_id="get_own_tenant", opt=needs(ANY))
    async def get_own_tenant(self, caller: Caller, tenants: Tenants) -> Response[TenantOut]:
        """Show the tenant the credential acts in."""
        tenant = await tenants.own(caller)
        return tagged(TenantOut.of(tenant), tenant.revision)
