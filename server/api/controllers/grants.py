"""Grants on an account's mailboxes (RFC 4314; api.md §4), and grants to send with its addresses."""

from __future__ import annotations

from litestar import Controller, delete, get, put
from litestar.params import FromPath, FromQuery, JSONBody

from server.api.dependencies import Caller, Grants, SendGrants
from server.api.guards import needs
from server.api.paths import PREFIX
from server.api.schemas.grants import GrantOut, GrantsOut, SendGrantOut, SendGrantsOut
from server.services.identity.send_grants import NewSendGrant
from server.services.mailstore.sharing import NewGrant


class GrantController(Controller):
    path = PREFIX + "/accounts/{ref:str}/grants"
    tags = ("grants",)

    @get(operation_id="list_grants", opt=needs("accounts:read"))
    async def list_grants(self, caller: Caller, grants: Grants, ref: FromPath[str]) -> GrantsOut:
        """Who else may use the account's mailboxes, by mailbox."""
        return GrantsOut(items=[GrantOut.of(grant) for grant in await grants.list(caller, ref)])

    @put(operation_id="set_grant", opt=needs("accounts:reset"))
    async def set_grant(self, caller: Caller, grants: Grants, ref: FromPath[str], data: JSONBody[NewGrant]) -> GrantOut:
        """Give an account of the same tenant, or anyone in it, exactly these rights on a mailbox."""
        return GrantOut.of(await grants.put(caller, ref, data))

    @delete(operation_id="remove_grant", opt=needs("accounts:reset"))
    async def remove_grant(
        self, caller: Caller, grants: Grants, ref: FromPath[str], mailbox: FromQuery[str], grantee: FromQuery[str]
    ) -> None:
        """Take back all rights of a grantee on a mailbox; open sessions lose it at their next command."""
        await grants.remove(caller, ref, mailbox=mailbox, grantee=grantee)


class SendGrantController(Controller):
    path = PREFIX + "/accounts/{ref:str}/send-grants"
    tags = ("grants",)

    @get(operation_id="list_send_grants", opt=needs("accounts:read"))
    async def list_send_grants(self, caller: Caller, send_grants: SendGrants, ref: FromPath[str]) -> SendGrantsOut:
        """Who else may send with the account's addresses."""
        return SendGrantsOut(items=[SendGrantOut(grantee=name) for name in await send_grants.list(caller, ref)])

    @put(operation_id="add_send_grant", opt=needs("accounts:reset"))
    async def add_send_grant(
        self, caller: Caller, send_grants: SendGrants, ref: FromPath[str], data: JSONBody[NewSendGrant]
    ) -> SendGrantOut:
        """Let an account of the same tenant send with the account's addresses."""
        return SendGrantOut(grantee=await send_grants.add(caller, ref, data))

    @delete(operation_id="remove_send_grant", opt=needs("accounts:reset"))
    async def remove_send_grant(
        self, caller: Caller, send_grants: SendGrants, ref: FromPath[str], grantee: FromQuery[str]
    ) -> None:
        """Take it back: the grantee's next mail in that name is refused."""
        await send_grants.remove(caller, ref, grantee=grantee)
