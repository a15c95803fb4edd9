"""Domain aliases (api.md §3)."""

from __future__ import annotations

from litestar import Controller, Response, delete, get, patch, post
from litestar.params import FromPath, FromQuery, JSONBody

from server.api.controllers.tenants import IfMatch
from server.api.dependencies import Caller, CursorMaker, DomainAliases
from server.api.guards import needs
from server.api.pagination import Listing
from server.api.paths import PREFIX
from server.api.schemas.common import revision_of, tagged
from server.api.schemas.directory import DomainAliasOut
from server.services.identity.domain_aliases import DomainAliasChange, NewDomainAlias


class DomainAliasController(Controller):
    path = PREFIX + "/domain-aliases"
    tags = ("domain-aliases",)

    @get(operation_id="list_domain_aliases", opt=needs("domains:read"))
    async def list_domain_aliases(
        self,
        caller: Caller,
        domain_aliases: DomainAliases,
        cursors: CursorMaker,
        limit: FromQuery[int | None] = None,
        cursor: FromQuery[str | None] = None,
    ) -> Listing[DomainAliasOut]:
        """List domain aliases, newest first."""
        page = await domain_aliases.page(caller, cursors.request(caller, "domain-aliases", limit=limit, cursor=cursor))
        return cursors.listing(caller, "domain-aliases", page, DomainAliasOut.of)

    @post(operation_id="create_domain_alias", opt=needs("domains:write"))
    async def create_domain_alias(
        self, caller: Caller, domain_aliases: DomainAliases, data: JSONBody[NewDomainAlias]
    ) -> Response[DomainAliasOut]:
        """Add a second name for a domain."""
        alias = await domain_aliases.create(caller, data)
        location = {"Location": f"{PREFIX}/domain-aliases/{alias.id}"}
        return tagged(DomainAliasOut.of(alias), alias.revision, status=201, headers=location)

    @get("/{ref:str}", operation_id="get_domain_alias", opt=needs("domains:read"))
    async def get_domain_alias(
        self, caller: Caller, domain_aliases: DomainAliases, ref: FromPath[str]
    ) -> Response[DomainAliasOut]:
        """Show a domain alias by id or name."""
        alias = await domain_aliases.get(caller, ref)
        return tagged(DomainAliasOut.of(alias), alias.revision)

    @patch("/{ref:str}", operation_id="change_domain_alias", opt=needs("domains:write"))
    async def change_domain_alias(
        self,
        caller: Caller,
        domain_aliases: DomainAliases,
        ref: FromPath[str],
        data: JSONBody[DomainAliasChange],
        if_match: IfMatch = None,
    ) -> Response[DomainAliasOut]:
        """Enable or disable a domain alias."""
        alias = await domain_aliases.change(caller, ref, data, revision=revision_of(if_match))
        return tagged(DomainAliasOut.of(alias), alias.revision)

    @delete("/{ref:str}", operation_id="delete_domain_alias", opt=needs("domains:write"))
    async def delete_domain_alias(
        self, caller: Caller, domain_aliases: DomainAliases, ref: FromPath[str], if_match: IfMatch = None
    ) -> None:
        """Remove a domain alias."""
        await domain_aliases.delete(caller, ref, revision=revision_of(if_match))
