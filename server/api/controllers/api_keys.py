"""API keys (api.md §2)."""

from __future__ import annotations

from litestar import Controller, Response, delete, get, patch, post
from litestar.params import FromPath, FromQuery, JSONBody

from server.api.controllers.tenants import IfMatch
from server.api.dependencies import Caller, CursorMaker, Tokens
from server.api.guards import needs
from server.api.pagination import Listing
from server.api.paths import PREFIX
from server.api.schemas.common import revision_of, tagged
from server.api.schemas.directory import ApiKeyOut
from server.services.identity.tokens import ApiKeyChange, ApiKeyRotation, NewApiKey


class ApiKeyController(Controller):
    path = PREFIX + "/api-keys"
    tags = ("api-keys",)

    @get(operation_id="list_api_keys", opt=needs("keys:read"))
    async def list_api_keys(
        self,
        caller: Caller,
        tokens: Tokens,
        cursors: CursorMaker,
        limit: FromQuery[int | None] = None,
        cursor: FromQuery[str | None] = None,
    ) -> Listing[ApiKeyOut]:
        """List keys that are not revoked, newest first."""
        page = await tokens.page(caller, cursors.request(caller, "api-keys", limit=limit, cursor=cursor))
        return cursors.listing(caller, "api-keys", page, ApiKeyOut.of)

    @post(operation_id="create_api_key", opt=needs("keys:write"))
    async def create_api_key(self, caller: Caller, tokens: Tokens, data: JSONBody[NewApiKey]) -> Response[ApiKeyOut]:
        """Make a key; its text is shown in this answer only."""
        issued = await tokens.create(caller, data)
        location = {"Location": f"{PREFIX}/api-keys/{issued.key.id}"}
        return tagged(ApiKeyOut.issued(issued), issued.key.revision, status=201, headers=location)

    @get("/{key_id:str}", operation_id="get_api_key", opt=needs("keys:read"))
    async def get_api_key(self, caller: Caller, tokens: Tokens, key_id: FromPath[str]) -> Response[ApiKeyOut]:
        """Show a key, without its text."""
        key = await tokens.get(caller, key_id)
        return tagged(ApiKeyOut.of(key), key.revision)

    @patch("/{key_id:str}", operation_id="change_api_key", opt=needs("keys:write"))
    async def change_api_key(
        self,
        caller: Caller,
        tokens: Tokens,
        key_id: FromPath[str],
        data: JSONBody[ApiKeyChange],
        if_match: IfMatch = None,
    ) -> Response[ApiKeyOut]:
        """Change a key's name, networks or end."""
        key = await tokens.change(caller, key_id, data, revision=revision_of(if_match))
        return tagged(ApiKeyOut.of(key), key.revision)

    @delete("/{key_id:str}", operation_id="revoke_api_key", opt=needs("keys:write"))
    async def revoke_api_key(
        self, caller: Caller, tokens: Tokens, key_id: FromPath[str], if_match: IfMatch = None
    ) -> None:
        """End a key at once."""
        await tokens.revoke(caller, key_id, revision=revision_of(if_match))

    @post("/{key_id:str}/rotate", operation_id="rotate_api_key", opt=needs("keys:write"), status_code=200)
    async def rotate_api_key(
        self, caller: Caller, tokens: Tokens, key_id: FromPath[str], data: JSONBody[ApiKeyRotation]
    ) -> Response[ApiKeyOut]:
        """Give a key a new secret; the old one works on for `grace` seconds."""
        issued = await tokens.rotate(caller, key_id, grace_s=data.grace)
        return tagged(ApiKeyOut.issued(issued), issued.key.revision)
