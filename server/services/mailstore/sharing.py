"""Grants by the administrator: the access control lists of an account's mailboxes as the API shows and sets them.

- To open somebody's mail to another is as much as to set a password: it needs `accounts:reset`, and is audited.
- The rules are those of the mail protocols (`access`): same tenant, the owner's rights fixed.
"""

from __future__ import annotations

from server.domain.errors import InvalidInput, NotFound
from server.domain.identity import Account, Scope
from server.domain.rights import ANYONE, Grant, parse_rights
from server.domain.scopes import require
from server.services.identity.accounts import check_reset, resolve
from server.services.identity.writer import Input
from server.services.mailstore import mailboxes as boxes
from server.services.mailstore.access import address_key, set_rights_in
from server.services.trace.record import Target, record_change
from server.store.database import Database
from server.store.repositories import grants
from server.store.repositories.audit import Change
from server.store.transaction import Transaction


class NewGrant(Input, frozen=True, kw_only=True):
    """`grantee`: an address of the same tenant, or `anyone`; `rights`: letters of RFC 4314, all of lrswipkxtea."""

    mailbox: str
    grantee: str
    rights: str


class GrantService:
    """Lists, sets and removes grants."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self, scope: Scope, ref: str) -> list[Grant]:
        """All grants on an account's mailboxes, by mailbox. Raises NotFound."""
        require(scope, "accounts:read")

        async def unit(tx: Transaction) -> list[Grant]:
            return await grants.of_account(tx, (await resolve(tx, scope, ref)).id)

        return await self._database.read("grant.list", unit)

    async def put(self, scope: Scope, ref: str, new: NewGrant) -> Grant:
        """Give exactly these rights. Raises InvalidInput, NotFound."""
        require(scope, "accounts:reset")
        try:
            rights = parse_rights(new.rights)
        except ValueError:
            raise InvalidInput("letters of lrswipkxtea", pointer="/rights") from None
        if not rights:
            raise InvalidInput("one right at least; remove the grant to take back all", pointer="/rights")
        return await self._set(scope, ref, new.mailbox, new.grantee, rights)

    async def remove(self, scope: Scope, ref: str, *, mailbox: str, grantee: str) -> None:
        """Take back all rights. Raises NotFound."""
        require(scope, "accounts:reset")
        await self._set(scope, ref, mailbox, grantee, "")

    async def _set(self, scope: Scope, ref: str, mailbox: str, grantee: str, rights: str) -> Grant:
        key = grantee if grantee == ANYONE else address_key(grantee)

        async def unit(tx: Transaction) -> Grant:
            account = await resolve(tx, scope, ref)
            check_reset(scope, account)
            found = await boxes.find_in(tx, account.id, mailbox)
            have = {grant.name: grant.rights for grant in await grants.of_mailbox(tx, account.id, found.id)}
            if not rights and key not in have:
                raise NotFound("no such grant")
            identifier = await set_rights_in(tx, account.id, found, key, rights)
            await record_change(
                tx,
                scope,
                type="grant.set" if rights else "grant.removed",
                target=_target(account, found.name, key),
                changes=(Change(field="rights", old=have.get(key), new=rights or None),),
            )
            return Grant(identifier=identifier, name=key, rights=rights, mailbox=found.name)

        return await self._database.write("grant.set", unit)


def _target(account: Account, mailbox: str, grantee: str) -> Target:
    return Target(
        kind="grant",
        id=f"{account.id}/{mailbox}",
        name=f"{account.address} {mailbox} for {grantee}",
        tenant_id=account.tenant_id,
        account_id=account.id,
    )
