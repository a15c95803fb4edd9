"""Whose mail a caller of the API means, and whether it may: the one gate of all content routes (api.md sections 2, 4).

- A credential of an account acts for that account, by `mail:read` and `mail:write`.
- Anybody else's mail needs `mail:any` besides and a reason, on the admin socket too; each use is one audit record,
  written before anything is read. Further pages of a list belong to its first one.
- A message or mailbox of another tenant looks like a missing one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from server.domain.errors import InvalidInput, NotFound
from server.domain.identity import Account, Scope
from server.domain.ids import AccountId
from server.domain.scopes import require
from server.services.identity.accounts import resolve
from server.store.database import Database
from server.store.repositories import accounts, audit
from server.store.repositories.audit import AuditEntry, Change
from server.store.transaction import Transaction

READ, WRITE, ANY = "mail:read", "mail:write", "mail:any"
REASON_MAX = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Whose:
    """What a request says of the account: its id or address, why, and whether it only goes on with a list."""

    account: str | None = None
    reason: str | None = None
    goes_on: bool = False


FindOwner = Callable[[Transaction], Awaitable[AccountId | None]]


class MailOwners:
    """Finds the account of a request."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def account(self, scope: Scope, whose: Whose, word: str, action: str) -> AccountId:
        """The account named, or else the credential's own.

        Raises:
            Forbidden, NotFound: The caller may not; there is no such account in the tenant.
            InvalidInput: No account is named and the credential has none; no reason is given.
        """
        return await self._find(scope, whose, word, action, None, "account")

    async def holder(
        self, scope: Scope, whose: Whose, word: str, action: str, *, find: FindOwner, kind: str
    ) -> AccountId:
        """As `account`; a credential without one may leave it to `find`, which knows whose the object is."""
        return await self._find(scope, whose, word, action, find, kind)

    async def _find(
        self, scope: Scope, whose: Whose, word: str, action: str, find: FindOwner | None, kind: str
    ) -> AccountId:
        require(scope, word)
        if whose.account is None and scope.account_id is not None:
            return scope.account_id
        if whose.account is None and find is None:
            raise InvalidInput("name the account: this credential belongs to none", pointer="/account_id")
        if scope.account_id is None:
            require(scope, ANY)

        async def unit(tx: Transaction) -> AccountId:
            account = await _named(tx, scope, whose, find, kind)
            if account.id == scope.account_id:
                return account.id
            require(scope, ANY)
            reason = (whose.reason or "").strip()
            if not 1 <= len(reason) <= REASON_MAX or not reason.isprintable():
                raise InvalidInput(
                    f"mail of others needs a reason of 1 to {REASON_MAX} characters; it is audited", pointer="/reason"
                )
            if not whose.goes_on:
                await audit.append(tx, _entry(scope, account, action, reason))
            return account.id

        return await self._database.write("mail.accessed", unit)


async def _named(tx: Transaction, scope: Scope, whose: Whose, find: FindOwner | None, kind: str) -> Account:
    if whose.account is not None:
        return await resolve(tx, scope, whose.account)
    account_id = await find(tx) if find is not None else None
    account = await accounts.get(tx, scope.tenant_id, account_id) if account_id is not None else None
    if account is None:
        raise NotFound(f"no such {kind}")
    return account


def _entry(scope: Scope, account: Account, action: str, reason: str) -> AuditEntry:
    return AuditEntry(
        tenant_id=account.tenant_id,
        type="mail.accessed",
        actor_kind=scope.actor_kind.value,
        actor_id=scope.actor_id,
        actor_name=scope.actor_name,
        ip=scope.remote_ip,
        request_id=scope.request_id,
        target_kind="account",
        target_id=account.id,
        target_name=account.address,
        changes=(Change(field="action", old=None, new=action),),
        reason=reason,
    )
