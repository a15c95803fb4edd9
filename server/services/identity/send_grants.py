"""Who may send with the addresses of another account: granted by the administrator, apart from rights on mailboxes.

- To write in somebody's name is as much as to set a password: it needs `accounts:reset`, and is audited.
- Grants stay within a tenant; they hold while both accounts are active.
"""

from __future__ import annotations

from server.domain.errors import InvalidInput, NotFound
from server.domain.identity import Account, Scope, Status
from server.domain.scopes import require
from server.services.identity.accounts import check_reset, resolve
from server.services.identity.writer import Input
from server.services.trace.record import Target, record_change
from server.store.database import Database
from server.store.repositories import send_grants
from server.store.repositories.audit import Change
from server.store.transaction import Transaction


class NewSendGrant(Input, frozen=True, kw_only=True):
    """`grantee`: an account of the same tenant, by address or id."""

    grantee: str


class SendGrantService:
    """Lists, adds and removes rights to send as an account."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self, scope: Scope, ref: str) -> list[str]:
        """Primary addresses of those who may send as the account, sorted. Raises NotFound."""
        require(scope, "accounts:read")

        async def unit(tx: Transaction) -> list[str]:
            return await send_grants.of_account(tx, (await resolve(tx, scope, ref)).id)

        return await self._database.read("send_grant.list", unit)

    async def add(self, scope: Scope, ref: str, new: NewSendGrant) -> str:
        """Let the grantee send as the account; its primary address. Nothing changes when it may already.

        Raises:
            InvalidInput: The grantee is the account itself.
            NotFound: One of them is not an account of the caller's tenant.
            Forbidden, Conflict: The caller may not reset the account, or it is deleted.
        """
        require(scope, "accounts:reset")

        async def unit(tx: Transaction) -> str:
            account = await resolve(tx, scope, ref)
            check_reset(scope, account)
            grantee = await _grantee(tx, scope, new.grantee)
            if grantee.status is Status.DELETED:
                raise NotFound(_UNKNOWN)
            if grantee.id == account.id:
                raise InvalidInput("an account may send as itself without a grant", pointer="/grantee")
            if await send_grants.add(tx, account.id, grantee.id):
                change = Change(field="send_as", old=None, new=grantee.address)
                await record_change(
                    tx, scope, type="send_grant.added", target=_target(account, grantee), changes=(change,)
                )
            return grantee.address

        return await self._database.write("send_grant.add", unit)

    async def remove(self, scope: Scope, ref: str, *, grantee: str) -> None:
        """Revoke; the grantee's next mail is refused. Raises NotFound."""
        require(scope, "accounts:reset")

        async def unit(tx: Transaction) -> None:
            account = await resolve(tx, scope, ref)
            check_reset(scope, account)
            sender = await _grantee(tx, scope, grantee)
            if not await send_grants.remove(tx, account.id, sender.id):
                raise NotFound("no such grant")
            change = Change(field="send_as", old=sender.address, new=None)
            await record_change(
                tx, scope, type="send_grant.removed", target=_target(account, sender), changes=(change,)
            )

        await self._database.write("send_grant.remove", unit)


_UNKNOWN = "no such account: the grantee must be one of the same organisation"


async def _grantee(tx: Transaction, scope: Scope, ref: str) -> Account:
    try:
        return await resolve(tx, scope, ref)
    except NotFound:
        raise NotFound(_UNKNOWN) from None


def _target(account: Account, grantee: Account) -> Target:
    return Target(
        kind="send_grant",
        id=f"{account.id}/{grantee.id}",
        name=f"{grantee.address} sends as {account.address}",
        tenant_id=account.tenant_id,
        account_id=account.id,
    )
