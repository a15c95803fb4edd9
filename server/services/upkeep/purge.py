"""Deleted accounts and domains go for good: after `retention.deleted_accounts_days`, or at once by an owner's word.

- Until then `restore` brings them back with their mail. A purge that was cut short goes on in the next round.
"""

from __future__ import annotations

from functools import partial

from server.domain.identity import Scope, Status
from server.domain.ids import AccountId
from server.domain.scopes import require
from server.services.identity.accounts import AccountService
from server.services.identity.directory import Directory
from server.services.identity.permissions import server_scope
from server.services.trace.record import Target, record_change
from server.store.database import Database
from server.store.repositories import accounts, purge
from server.store.transaction import Transaction


class Purge:
    """Ends what was deleted."""

    def __init__(self, *, database: Database, accounts: AccountService, directory: Directory) -> None:
        self._database = database
        self._accounts = accounts
        self._directory = directory

    async def purge(self, scope: Scope, ref: str, *, revision: int | None = None) -> None:
        """Delete an account at once and for good; for those who may see all mail of the tenant.

        Raises:
            NotFound, Forbidden, Conflict: As deleting it.
        """
        require(scope, "mail:any")
        account = await self._accounts.get(scope, ref)
        if account.status is not Status.DELETED:
            account = await self._accounts.delete(scope, account.id, revision=revision)
        await self._drop(scope, account.id)

    async def accounts_before(self, before_us: int) -> int:
        """Purge accounts deleted before `before_us`; how many."""
        due = await self._database.read("purge.due", partial(purge.due_accounts, before_us=before_us))
        for tenant_id, account_id in due:
            await self._drop(server_scope(tenant_id), account_id)
        return len(due)

    async def domains_before(self, before_us: int) -> int:
        """Purge empty domains deleted before `before_us`; how many."""
        return await self._database.write("purge.domains", partial(purge.drop_domains, before_us=before_us))

    async def _drop(self, scope: Scope, account_id: AccountId) -> None:
        while await self._database.write("purge.mail", partial(purge.drop_mail, account_id=account_id)):
            pass

        async def unit(tx: Transaction) -> None:
            account = await accounts.get_any(tx, account_id)
            if account is None or account.status is not Status.DELETED:
                return
            # Mail that came after the last look goes with it.
            while await purge.drop_mail(tx, account_id):
                pass
            await purge.drop_account(tx, account_id)
            target = Target(kind="account", id=account.id, name=account.address, tenant_id=account.tenant_id)
            await record_change(tx, scope, type="account.purged", target=target)

        await self._database.write("purge.account", unit)
        self._directory.invalidate()
