"""Who is connected to this process, and how such a connection is ended.

- An edge registers a connection once it has logged in and takes it out at its end. What closes it is the edge's own:
  it says goodbye in its protocol and returns at once.
- A connection ends when the right it was opened with ends: its account's credentials change, the account or its tenant
  is stopped, its app password is removed or runs out. `AccessWatch` calls `recheck` within seconds of any of that.
- Only connections of this process are seen; every process looks after its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from server.domain.access import MailProtocol, protocol_of
from server.domain.envelope import ConnectionInfo
from server.domain.errors import NotFound
from server.domain.identity import Principal, Scope
from server.domain.ids import AccountId, TenantId
from server.domain.paging import Page, PageRequest
from server.domain.ports import Clock
from server.domain.scopes import require
from server.services.identity.accounts import resolve
from server.services.trace.record import Target, record_change
from server.store.database import Database
from server.store.repositories import accounts, app_passwords
from server.store.times import to_us
from server.store.transaction import Transaction
from server.telemetry.log import get_logger

log = get_logger("auth")

Close = Callable[[], None]
CHUNK = 500
"""Accounts asked for in one statement."""


@dataclass(slots=True, kw_only=True)
class LiveConnection:
    """One logged-in connection.

    Attributes:
        id: The connection's id in the log.
        command: The last command's name; empty before the first.
        tls: The protocol version; empty without TLS.
    """

    id: str
    listener: str
    protocol: MailProtocol | None
    account_id: AccountId
    tenant_id: TenantId
    address: str
    credential_version: int
    app_password_id: str | None
    remote_ip: str
    tls: str
    since: datetime
    close: Close
    command: str = ""


class Connections:
    """The registry of one process; the `Gate` of its edges.

    Args:
        banned: Whether no connection from an address is taken.
    """

    def __init__(self, database: Database, clock: Clock, *, banned: Callable[[str], bool]) -> None:
        self._database = database
        self._clock = clock
        self._banned = banned
        self._live: dict[str, LiveConnection] = {}
        self._fresh: list[LiveConnection] = []

    # For edges (`domain.access.Gate`).

    def refuses(self, ip: str) -> bool:
        return self._banned(ip)

    def entered(self, principal: Principal, info: ConnectionInfo, close: Close) -> LiveConnection:
        live = LiveConnection(
            id=info.connection_id,
            listener=info.listener,
            protocol=protocol_of(info.listener),
            account_id=principal.account_id,
            tenant_id=principal.tenant_id,
            address=principal.address,
            credential_version=principal.credential_version,
            app_password_id=principal.app_password_id,
            remote_ip=info.remote_ip,
            tls=info.tls.version if info.tls is not None else "",
            since=self._clock.now(),
            close=close,
        )
        self._live[live.id] = live
        self._fresh.append(live)
        return live

    def left(self, connection_id: str) -> None:
        self._live.pop(connection_id, None)

    @property
    def count(self) -> int:
        return len(self._live)

    # For administrators.

    def page(
        self,
        scope: Scope,
        request: PageRequest,
        *,
        protocol: MailProtocol | None = None,
        account: str | None = None,
    ) -> Page[LiveConnection]:
        """Newest first; `account` is an id or the primary address."""
        require(scope, "system:read")
        wanted = sorted(
            (
                one
                for one in self._live.values()
                if (protocol is None or one.protocol is protocol)
                and (account is None or account.casefold() in (one.account_id, one.address))
                and (request.after is None or one.id < request.after)
            ),
            key=lambda one: one.id,
            reverse=True,
        )
        kept = tuple(wanted[: request.limit])
        return Page(items=kept, next_after=kept[-1].id if len(wanted) > request.limit else None)

    async def drop(self, scope: Scope, connection_id: str) -> None:
        """End one connection. Raises NotFound."""
        require(scope, "system:write")
        live = self._live.get(connection_id)
        if live is None:
            raise NotFound("no such connection")
        target = Target(
            kind="connection",
            id=live.id,
            name=live.address,
            tenant_id=live.tenant_id,
            account_id=live.account_id,
        )
        await self._database.write(
            "connection.drop", lambda tx: record_change(tx, scope, type="connection.dropped", target=target)
        )
        self._close(live, "dropped")

    async def end_all(self, scope: Scope, ref: str) -> int:
        """End all connections of an account; how many there were. Raises NotFound."""
        require(scope, "accounts:reset")

        async def unit(tx: Transaction) -> AccountId:
            account = await resolve(tx, scope, ref)
            target = Target(
                kind="account",
                id=account.id,
                name=account.address,
                tenant_id=account.tenant_id,
                account_id=account.id,
            )
            await record_change(tx, scope, type="account.sessions_ended", target=target)
            return account.id

        return self.kick(await self._database.write("connection.end_all", unit), "ended by an administrator")

    def kick(self, account_id: AccountId, reason: str) -> int:
        """End what an account has open here; how many connections that were."""
        mine = [live for live in self._live.values() if live.account_id == account_id]
        for live in mine:
            self._close(live, reason)
        return len(mine)

    # For the watch.

    async def recheck(self, *, fresh: bool = False) -> None:
        """End connections whose right has ended. Raises Unavailable.

        Args:
            fresh: Look only at those that registered since the last time: their login may have been checked against
                what was changed just before they registered.
        """
        live = self._fresh if fresh else list(self._live.values())
        self._fresh = []
        if live:
            await self._recheck(live)

    async def _recheck(self, live: Sequence[LiveConnection]) -> None:
        ids = sorted({one.account_id for one in live})
        passwords = sorted({one.app_password_id for one in live if one.app_password_id is not None})
        now_us = to_us(self._clock.now())

        async def unit(tx: Transaction) -> tuple[dict[AccountId, int], set[str]]:
            versions: dict[AccountId, int] = {}
            for start in range(0, len(ids), CHUNK):
                versions |= await accounts.login_states(tx, ids[start : start + CHUNK])
            good: set[str] = set()
            for start in range(0, len(passwords), CHUNK):
                good |= await app_passwords.live_ids(tx, passwords[start : start + CHUNK], now_us=now_us)
            return versions, good

        versions, good = await self._database.read("connection.recheck", unit)
        for one in live:
            if versions.get(one.account_id) != one.credential_version:
                self._close(one, "its credentials changed")
            elif one.app_password_id is not None and one.app_password_id not in good:
                self._close(one, "its app password ended")

    def _close(self, live: LiveConnection, reason: str) -> None:
        if self._live.pop(live.id, None) is not None:
            log.info("connection.ended", connection_id=live.id, account_id=live.account_id, reason=reason)
            live.close()
