"""The full-text index as the API shows it: how far it is, made anew, verified (api.md section 4).

- An account's credential asks about its own part; a tenant's about one account's; the whole is the system's.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import partial

from server.domain.errors import Forbidden
from server.domain.identity import Account, Scope
from server.domain.ids import AccountId
from server.domain.ports import Clock
from server.domain.scopes import require
from server.services.identity.accounts import resolve
from server.services.trace.record import Target, record_change
from server.services.upkeep.index import Indexer, Verified
from server.store.database import Database
from server.store.repositories import search, search_find
from server.store.repositories.search import IndexCount
from server.store.times import from_us
from server.store.transaction import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexState:
    """How far the index is.

    Attributes:
        indexed_through: Mail that came up to then is in it.
    """

    engine: str
    count: IndexCount
    indexed_through: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Reindexed:
    """What a request about the index led to: mails that wait, and what a check found if one was asked for."""

    pending: int
    verified: Verified | None


class IndexService:
    """Use cases of the index."""

    def __init__(self, *, database: Database, indexer: Indexer, clock: Clock, engine: str) -> None:
        self._database = database
        self._indexer = indexer
        self._clock = clock
        self._engine = engine

    async def status(self, scope: Scope, account: str | None) -> IndexState:
        """Raises Forbidden, NotFound."""
        require(scope, "mail:read")

        async def unit(tx: Transaction) -> IndexState:
            account_id = await _account_id(tx, scope, account, "system:read")
            oldest = await search_find.oldest_pending_us(tx, account_id)
            return IndexState(
                engine=self._engine,
                count=await search.count(tx, account_id),
                indexed_through=from_us(oldest) or self._clock.now(),
            )

        return await self._database.read("search.status", unit)

    async def reindex(self, scope: Scope, account: str | None) -> Reindexed:
        """Make an account's part anew, or the whole. Raises Forbidden, NotFound."""
        account_id = await self._recorded(scope, account, "search.reindexed")
        await self._indexer.reindex(account_id)
        return Reindexed(pending=(await self._indexer.status(account_id)).pending, verified=None)

    async def verify(self, scope: Scope) -> Reindexed:
        """Compare the index with the mail; a wrong one is made anew. Raises Forbidden."""
        await self._recorded(scope, None, "search.verified")
        verified = await self._indexer.verify()
        return Reindexed(pending=(await self._indexer.status()).pending, verified=verified)

    async def _recorded(self, scope: Scope, account: str | None, type: str) -> AccountId | None:
        require(scope, "mail:write")
        return await self._database.write("search.asked", partial(_record, scope=scope, account=account, type=type))


async def _record(tx: Transaction, scope: Scope, account: str | None, type: str) -> AccountId | None:
    account_id = await _account_id(tx, scope, account, "system:write")
    target = Target(kind="search", id=account_id or "", name=account or "", tenant_id=scope.tenant_id)
    await record_change(tx, scope, type=type, target=target)
    return account_id


async def _account_id(tx: Transaction, scope: Scope, account: str | None, whole: str) -> AccountId | None:
    """Which account a caller means; None = all, for those who may."""
    if account is None:
        if scope.account_id is None:
            require(scope, whole)
        return scope.account_id
    named: Account = await resolve(tx, scope, account)
    if scope.account_id not in (None, named.id):
        raise Forbidden("this credential is of another account")
    return named.id
