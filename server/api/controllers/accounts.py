"""Accounts (api.md §3)."""

from __future__ import annotations

from litestar import Controller, Response, delete, get, patch, post
from litestar.params import FromPath, FromQuery, JSONBody

from server.api.controllers.tenants import IfMatch
from server.api.dependencies import Accounts, Caller, CursorMaker, Purging
from server.api.guards import needs
from server.api.pagination import Listing
from server.api.paths import PREFIX
from server.api.schemas.common import revision_of, tagged
from server.api.schemas.directory import AccountOut, PasswordIn
from server.domain.errors import InvalidInput
from server.domain.identity import Role, Status
from server.services.identity.accounts import AccountChange, NewAccount


class AccountController(Controller):
    path = PREFIX + "/accounts"
    tags = ("accounts",)

    @get(operation_id="list_accounts", opt=needs("accounts:read"))
    async def list_accounts(
        self,
        caller: Caller,
        accounts: Accounts,
        cursors: CursorMaker,
        limit: FromQuery[int | None] = None,
        cursor: FromQuery[str | None] = None,
        q: FromQuery[str | None] = None,
        domain_id: FromQuery[str | None] = None,
        status: FromQuery[Status | None] = None,
        role: FromQuery[Role | None] = None,
    ) -> Listing[AccountOut]:
        """List accounts, newest first; `q` is looked for in address and name, `domain_id` takes an id or a name."""
        name = f"accounts {q} {domain_id} {status} {role}"
        page = await accounts.page(
            caller,
            cursors.request(caller, name, limit=limit, cursor=cursor),
            status=status,
            role=role,
            domain=domain_id,
            containing=q,
        )
        return cursors.listing(caller, name, page, AccountOut.of)

    @post(operation_id="create_account", opt=needs("accounts:write"))
    async def create_account(
        self, caller: Caller, accounts: Accounts, data: JSONBody[NewAccount]
    ) -> Response[AccountOut]:
        """Add an account with its default mailboxes."""
        account = await accounts.create(caller, data)
        location = {"Location": f"{PREFIX}/accounts/{account.id}"}
        return tagged(AccountOut.of(account), account.revision, status=201, headers=location)

    @get("/{ref:str}", operation_id="get_account", opt=needs("accounts:read"))
    async def get_account(self, caller: Caller, accounts: Accounts, ref: FromPath[str]) -> Response[AccountOut]:
        """Show an account by id or address."""
        account = await accounts.get(caller, ref)
        return tagged(AccountOut.of(account), account.revision)

    @patch("/{ref:str}", operation_id="change_account", opt=needs("accounts:write"))
    async def change_account(
        self,
        caller: Caller,
        accounts: Accounts,
        ref: FromPath[str],
        data: JSONBody[AccountChange],
        if_match: IfMatch = None,
    ) -> Response[AccountOut]:
        """Change an account."""
        account = await accounts.change(caller, ref, data, revision=revision_of(if_match))
        return tagged(AccountOut.of(account), account.revision)

    @delete("/{ref:str}", operation_id="delete_account", opt=needs("accounts:write"))
    async def delete_account(
        self,
        caller: Caller,
        accounts: Accounts,
        purging: Purging,
        ref: FromPath[str],
        purge: FromQuery[bool] = False,
        if_match: IfMatch = None,
    ) -> None:
        """Move an account to the trash; its mail and addresses are kept. `purge=true` is final, and for owners."""
        if purge:
            await purging.purge(caller, ref, revision=revision_of(if_match))
        else:
            await accounts.delete(caller, ref, revision=revision_of(if_match))

    @post("/{ref:str}/restore", operation_id="restore_account", opt=needs("accounts:write"), status_code=200)
    async def restore_account(self, caller: Caller, accounts: Accounts, ref: FromPath[str]) -> Response[AccountOut]:
        """Bring an account back from the trash."""
        account = await accounts.restore(caller, ref)
        return tagged(AccountOut.of(account), account.revision)

    @post("/{ref:str}/enable", operation_id="enable_account", opt=needs("accounts:write"), status_code=200)
    async def enable_account(self, caller: Caller, accounts: Accounts, ref: FromPath[str]) -> Response[AccountOut]:
        """Let a disabled account work again."""
        account = await accounts.enable(caller, ref)
        return tagged(AccountOut.of(account), account.revision)

    @post("/{ref:str}/disable", operation_id="disable_account", opt=needs("accounts:write"), status_code=200)
    async def disable_account(self, caller: Caller, accounts: Accounts, ref: FromPath[str]) -> Response[AccountOut]:
        """Shut an account: no login, mail to it is refused."""
        account = await accounts.disable(caller, ref)
        return tagged(AccountOut.of(account), account.revision)

    @post("/{ref:str}/password", operation_id="set_account_password", opt=needs("accounts:reset"), status_code=204)
    async def set_password(
        self, caller: Caller, accounts: Accounts, ref: FromPath[str], data: JSONBody[PasswordIn]
    ) -> None:
        """Set the password; logins with the old one end."""
        if data.must_change:
            raise InvalidInput("there is no web login yet in which it could be changed", pointer="/must_change")
        await accounts.set_password(caller, ref, data.password)
