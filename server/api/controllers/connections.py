"""Who is connected, and whose network is refused (api.md §2, §7)."""

from __future__ import annotations

from litestar import Controller, Response, delete, get, post
from litestar.params import FromPath, FromQuery, JSONBody

from server.api.dependencies import BanList, Caller, CursorMaker, LiveConnections
from server.api.guards import needs
from server.api.pagination import Listing
from server.api.paths import PREFIX
from server.api.schemas.access import BanOut, ConnectionOut
from server.domain.access import MailProtocol
from server.services.identity.bans import NewBan


class ConnectionController(Controller):
    path = PREFIX + "/connections"
    tags = ("connections",)

    @get(operation_id="list_connections", opt=needs("system:read"))
    async def list_connections(
        self,
        caller: Caller,
        connections: LiveConnections,
        cursors: CursorMaker,
        limit: FromQuery[int | None] = None,
        cursor: FromQuery[str | None] = None,
        protocol: FromQuery[MailProtocol | None] = None,
        account_id: FromQuery[str | None] = None,
    ) -> Listing[ConnectionOut]:
        """List logged-in clients of this process, newest first; `account_id` takes an id or the primary address."""
        name = f"connections {protocol} {account_id}"
        request = cursors.request(caller, name, limit=limit, cursor=cursor)
        page = connections.page(caller, request, protocol=protocol, account=account_id)
        return cursors.listing(caller, name, page, ConnectionOut.of)

    @delete("/{connection_id:str}", operation_id="drop_connection", opt=needs("system:write"))
    async def drop_connection(self, caller: Caller, connections: LiveConnections, connection_id: FromPath[str]) -> None:
        """End a connection; its client may connect again."""
        await connections.drop(caller, connection_id)


class AccountSessionController(Controller):
    path = PREFIX + "/accounts/{ref:str}/sessions"
    tags = ("connections",)

    @delete(operation_id="end_account_sessions", opt=needs("accounts:reset"))
    async def end_sessions(self, caller: Caller, connections: LiveConnections, ref: FromPath[str]) -> None:
        """End every connection of an account; its clients may log in again."""
        await connections.end_all(caller, ref)


class BanController(Controller):
    path = PREFIX + "/bans"
    tags = ("bans",)

    @get(operation_id="list_bans", opt=needs("system:read"))
    async def list_bans(
        self,
        caller: Caller,
        bans: BanList,
        cursors: CursorMaker,
        limit: FromQuery[int | None] = None,
        cursor: FromQuery[str | None] = None,
    ) -> Listing[BanOut]:
        """List bans in force, newest first."""
        page = await bans.page(caller, cursors.request(caller, "bans", limit=limit, cursor=cursor))
        return cursors.listing(caller, "bans", page, BanOut.of)

    @post(operation_id="create_ban", opt=needs("system:write"))
    async def create_ban(self, caller: Caller, bans: BanList, data: JSONBody[NewBan]) -> Response[BanOut]:
        """Refuse a network, or its logins to one account; one in force for the same is replaced."""
        ban = await bans.add(caller, data)
        return Response(BanOut.of(ban), status_code=201, headers={"Location": f"{PREFIX}/bans/{ban.id}"})

    @get("/{ban_id:str}", operation_id="get_ban", opt=needs("system:read"))
    async def get_ban(self, caller: Caller, bans: BanList, ban_id: FromPath[str]) -> BanOut:
        """Show a ban."""
        return BanOut.of(await bans.get(caller, ban_id))

    @delete("/{ban_id:str}", operation_id="delete_ban", opt=needs("system:write"))
    async def delete_ban(self, caller: Caller, bans: BanList, ban_id: FromPath[str]) -> None:
        """Lift a ban."""
        await bans.remove(caller, ban_id)
