"""Aliases (api.md §3)."""

from __future__ import annotations

from litestar import Controller, Response, delete, get, patch, post
from litestar.params import FromPath, FromQuery, JSONBody

from server.api.controllers.tenants import IfMatch
from server.api.dependencies import Aliases, Caller, CursorMaker
from server.api.guards import needs
from server.api.pagination import Listing
from server.api.paths import PREFIX
from server.api.schemas.common import revision_of, tagged
from server.api.schemas.directory import AliasOut
from server.services.identity.aliases import AliasChange, NewAlias


class AliasController(Controller):
    path = PREFIX + "/aliases"
    tags = ("aliases",)

    @get(operation_id="list_aliases", opt=needs("accounts:read"))
    async def list_aliases(
        self,
        caller: Caller,
        aliases: Aliases,
        cursors: CursorMaker,
        limit: FromQuery[int | None] = None,
        cursor: FromQuery[str | None] = None,
        q: FromQuery[str | None] = None,
        domain_id: FromQuery[str | None] = None,
    ) -> Listing[AliasOut]:
        """List aliases, newest first; `q` is looked for in the address."""
        name = f"aliases {q} {domain_id}"
        request = cursors.request(caller, name, limit=limit, cursor=cursor)
        page = await aliases.page(caller, request, domain=domain_id, containing=q)
        return cursors.listing(caller, name, page, AliasOut.of)

    @post(operation_id="create_alias", opt=needs("accounts:write"))
    async def create_alias(self, caller: Caller, aliases: Aliases, data: JSONBody[NewAlias]) -> Response[AliasOut]:
        """Add an alias."""
        alias = await aliases.create(caller, data)
        location = {"Location": f"{PREFIX}/aliases/{alias.id}"}
        return tagged(AliasOut.of(alias), alias.revision, status=201, headers=location)

    @get("/{ref:str}", operation_id="get_alias", opt=needs("accounts:read"))
    async def get_alias(self, caller: Caller, aliases: Aliases, ref: FromPath[str]) -> Response[AliasOut]:
        """Show an alias by id or address."""
        alias = await aliases.get(caller, ref)
        return tagged(AliasOut.of(alias), alias.revision)

    @patch("/{ref:str}", operation_id="change_alias", opt=needs("accounts:write"))
    async def change_alias(
        self,
        caller: Caller,
        aliases: Aliases,
        ref: FromPath[str],
        data: JSONBody[AliasChange],
        if_match: IfMatch = None,
    ) -> Response[AliasOut]:
        """Change an alias; `targets` replaces all of them."""
        alias = await aliases.change(caller, ref, data, revision=revision_of(if_match))
        return tagged(AliasOut.of(alias), alias.revision)

    @delete("/{ref:str}", operation_id="delete_alias", opt=needs("accounts:write"))
    async def delete_alias(
        self, caller: Caller, aliases: Aliases, ref: FromPath[str], if_match: IfMatch = None
    ) -> None:
        """Remove an alias."""
        await aliases.delete(caller, ref, revision=revision_of(if_match))
