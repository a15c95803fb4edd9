"""App passwords: one's own, and those of an account (api.md §2)."""

from __future__ import annotations

from litestar import Controller, Response, delete, get, post
from litestar.params import FromPath, FromQuery, JSONBody

from server.api.dependencies import AppPasswords, Caller, CursorMaker
from server.api.guards import needs
from server.api.pagination import Listing
from server.api.paths import PREFIX
from server.api.schemas.access import AppPasswordOut
from server.services.identity.app_passwords import NewAppPassword


class AppPasswordController(Controller):
    path = PREFIX + "/app-passwords"
    tags = ("app-passwords",)

    @get(operation_id="list_app_passwords", opt=needs("mail:read"))
    async def list_app_passwords(
        self,
        caller: Caller,
        app_passwords: AppPasswords,
        cursors: CursorMaker,
        limit: FromQuery[int | None] = None,
        cursor: FromQuery[str | None] = None,
    ) -> Listing[AppPasswordOut]:
        """List the app passwords of the caller's account, newest first."""
        request = cursors.request(caller, "app-passwords", limit=limit, cursor=cursor)
        page = await app_passwords.page(caller, None, request)
        return cursors.listing(caller, "app-passwords", page, AppPasswordOut.of)

    @post(operation_id="create_app_password", opt=needs("mail:write"))
    async def create_app_password(
        self, caller: Caller, app_passwords: AppPasswords, data: JSONBody[NewAppPassword]
    ) -> Response[AppPasswordOut]:
        """Make an app password for the caller's account; its text is shown in this answer only."""
        issued = await app_passwords.create(caller, None, data)
        location = {"Location": f"{PREFIX}/app-passwords/{issued.password.id}"}
        return Response(AppPasswordOut.issued(issued), status_code=201, headers=location)

    @delete("/{app_password_id:str}", operation_id="revoke_app_password", opt=needs("mail:write"))
    async def revoke_app_password(
        self, caller: Caller, app_passwords: AppPasswords, app_password_id: FromPath[str]
    ) -> None:
        """Remove an app password of the caller's account; connections opened with it end."""
        await app_passwords.revoke(caller, None, app_password_id)


class AccountAppPasswordController(Controller):
    path = PREFIX + "/accounts/{ref:str}/app-passwords"
    tags = ("app-passwords",)

    @get(operation_id="list_account_app_passwords", opt=needs("accounts:read"))
    async def list_app_passwords(
        self,
        caller: Caller,
        app_passwords: AppPasswords,
        cursors: CursorMaker,
        ref: FromPath[str],
        limit: FromQuery[int | None] = None,
        cursor: FromQuery[str | None] = None,
    ) -> Listing[AppPasswordOut]:
        """List the app passwords of an account, newest first."""
        name = f"app-passwords {ref}"
        page = await app_passwords.page(caller, ref, cursors.request(caller, name, limit=limit, cursor=cursor))
        return cursors.listing(caller, name, page, AppPasswordOut.of)

    @post(operation_id="create_account_app_password", opt=needs("accounts:reset"))
    async def create_app_password(
        self, caller: Caller, app_passwords: AppPasswords, ref: FromPath[str], data: JSONBody[NewAppPassword]
    ) -> Response[AppPasswordOut]:
        """Make an app password for an account; its text is shown in this answer only."""
        issued = await app_passwords.create(caller, ref, data)
        made = issued.password
        location = {"Location": f"{PREFIX}/accounts/{made.account_id}/app-passwords/{made.id}"}
        return Response(AppPasswordOut.issued(issued), status_code=201, headers=location)

    @delete("/{app_password_id:str}", operation_id="revoke_account_app_password", opt=needs("accounts:reset"))
    async def revoke_app_password(
        self, caller: Caller, app_passwords: AppPasswords, ref: FromPath[str], app_password_id: FromPath[str]
    ) -> None:
        """Remove an app password of an account; connections opened with it end."""
        await app_passwords.revoke(caller, ref, app_password_id)
