"""Bans: networks that are refused, and networks refused for one account (product.md 43, security.md §4).

- They stand in the store: they outlive a restart and hold in every process. Each process answers from a copy, which it
  reads again after its own changes and when `AccessWatch` sees somebody else's.
- A network from which somebody logged in well lately is never shut: what fails there too often bans one account from
  there; only far more than that shuts it for everybody who has not been there before.
- Bans in a row last twice as long each, up to a day. Trusted networks are never banned, and can't be.
- `refuses` is for every edge, once a connection: whole networks only.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from server.config.schema import Login
from server.domain.access import Ban
from server.domain.changes import Severity
from server.domain.errors import InvalidInput
from server.domain.identity import Account, Scope
from server.domain.ids import AccountId, TenantId, new_id
from server.domain.paging import Page, PageRequest
from server.domain.ports import Clock
from server.domain.scopes import require
from server.services.identity.limiter import Over
from server.services.identity.names import text_of
from server.services.identity.networks import Network, address_of, is_within, parse_network, places_in, tiers_of
from server.services.identity.permissions import server_scope
from server.services.identity.writer import Input, found
from server.services.trace.record import Target, record_change
from server.store.counters import access_changed
from server.store.database import Database
from server.store.repositories import accounts, bans
from server.store.times import to_us
from server.store.transaction import Transaction
from server.telemetry import metrics
from server.telemetry.log import get_logger

log = get_logger("auth")

BANS_MAX = 20_000
"""Bans in force that a process holds; the newest count."""
PAGE = 500
"""Bans read at once: turning their rows into answers must not hold up the loop."""
_LAST_ID = "~"
"""Sorts behind every id."""
BAN_MAX = timedelta(days=1)
ROW = timedelta(days=1)
"""Bans that begin within this time after the end of one like them are in a row with it."""
KNOWN_FOR = timedelta(days=30)
"""How long a network is known by a login that went well."""
KNOWN_PATIENCE = 5
"""How many times its allowance a known network may fail."""
REASON_MAX = 200
SERVER = "server"
WIDEST = {4: 8, 6: 16}
"""The shortest prefixes that can be banned: wider is a slip of the hand."""


class NewBan(Input, frozen=True, kw_only=True):
    """`network` in CIDR form or one address; `account_id` an id or address, null = all; no `expires_at` = for good."""

    network: str
    account_id: str | None = None
    reason: str = ""
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Held:
    """A ban as it is asked for: until when (microseconds, None = for good), and whether it spares known accounts."""

    until_us: int | None
    spares_known: bool


class _Copy:
    """Bans in force, to be asked of every connection."""

    def __init__(self) -> None:
        self.held: dict[tuple[str, AccountId | None], _Held] = {}
        self.lengths: dict[int, tuple[int, ...]] = {4: (), 6: ()}

    def add(self, ban: Ban) -> None:
        self.held[(ban.network, ban.account_id)] = _Held(to_us(ban.expires_at), ban.spares_known)
        version, length = 6 if ":" in ban.network else 4, int(ban.network.rpartition("/")[2])
        if length not in self.lengths[version]:
            self.lengths[version] = tuple(sorted((*self.lengths[version], length)))


class Bans:
    """Makes bans, and answers whether one stands in the way."""

    def __init__(self, database: Database, clock: Clock, settings: Callable[[], Login]) -> None:
        self._database = database
        self._clock = clock
        self._settings = settings
        self._copy = _Copy()

    # Questions: of every connection and every login.

    def refuses(self, ip: str) -> bool:
        """Whether no connection from there is taken."""
        return self.wait_s(ip, None, known=True) > 0

    def wait_s(self, ip: str, account_id: AccountId | None, *, known: bool) -> int:
        """Whole seconds until a login may be tried from there; 0 = now.

        Args:
            account_id: None asks for bans of the network as a whole.
            known: Whether the account has logged in well from there lately.
        """
        address = address_of(ip)
        copy = self._copy
        if not copy.held or address is None or is_within(ip, self._settings().trusted_networks):
            return 0
        now_us = to_us(self._clock.now())
        wait_us = 0
        for length in copy.lengths[address.version]:
            network = str(ipaddress.ip_network((address, length), strict=False))
            for who in {None, account_id}:
                held = copy.held.get((network, who))
                if held is None or (held.spares_known and known):
                    continue
                until_us = now_us + _us(BAN_MAX) if held.until_us is None else held.until_us
                wait_us = max(wait_us, until_us - now_us)
        return (wait_us + 999_999) // 1_000_000

    def is_known(self, seen_us: int | None) -> bool:
        """Whether a last good login is recent enough to know a place by it."""
        return seen_us is not None and seen_us > to_us(self._clock.now()) - _us(KNOWN_FOR)

    async def load(self) -> None:
        """Read the bans in force. Raises Unavailable."""
        now_us = to_us(self._clock.now())
        copy, before = _Copy(), _LAST_ID
        while before and len(copy.held) < BANS_MAX:
            before = await self._load_page(copy, before, now_us)
        self._copy = copy
        metrics.BANS_ACTIVE.set(len(copy.held))

    async def _load_page(self, copy: _Copy, before: str, now_us: int) -> str:
        """Add the bans before an id; the last one's id, empty when there are no more."""

        async def unit(tx: Transaction) -> Sequence[Ban]:
            return await bans.active(tx, now_us=now_us, before=before, count=PAGE)

        page = await self._database.read("ban.load", unit)
        for ban in page:
            copy.add(ban)
        return page[-1].id if len(page) == PAGE else ""

    # What failures lead to.

    async def after_failures(
        self, ip: str, *, over: Sequence[Over], account: Account | None, pair_over: bool, login: str
    ) -> None:
        """Ban what a limiter found over its allowance."""
        if is_within(ip, self._settings().trusted_networks):
            return
        since_us = to_us(self._clock.now()) - _us(KNOWN_FOR)

        async def unit(tx: Transaction) -> list[Ban]:
            made: list[Ban] = []
            shut = False
            for one in over:
                low, high = places_in(one.network)
                known = await bans.anybody_from(tx, low, high, since_us=since_us)
                if not known or one.excess >= KNOWN_PATIENCE:
                    made += await self._ban(tx, one.network, None, "too many failed logins", spares_known=known)
                    shut |= not known
            if pair_over and account is not None and not shut:
                narrow = tiers_of(ip)[0].network
                made += await self._ban(tx, narrow, account, f"too many failed logins of {login}", spares_known=False)
            return made

        for ban in await self._database.write("ban.failures", unit):
            log.warning("ban.added", network=ban.network, account_id=ban.account_id, until=str(ban.expires_at))
            self._hold(ban)

    async def _ban(
        self, tx: Transaction, network: str, account: Account | None, reason: str, *, spares_known: bool
    ) -> list[Ban]:
        """Ban, unless it stands already; twice as long as the last in a row. The ban, if one was made."""
        now = self._clock.now()
        account_id = account.id if account is not None else None
        earlier = await bans.same(tx, network, account_id)
        if any(ban.expires_at is None or ban.expires_at > now for ban in earlier):
            return []
        in_row = [ban for ban in earlier if ban.expires_at is not None and ban.expires_at > now - ROW]
        strikes = min(20, in_row[0].strikes + 1 if in_row else 0)
        span = min(BAN_MAX, timedelta(seconds=self._settings().ban_duration) * 2**strikes)
        ban = Ban(
            id=new_id(),
            network=network,
            account_id=account_id,
            reason=reason[:REASON_MAX],
            made_by=SERVER,
            spares_known=spares_known,
            strikes=strikes,
            created_at=now,
            expires_at=now + span,
        )
        tenant_id = account.tenant_id if account is not None else None
        await _insert(tx, server_scope(TenantId("")), ban, tenant_id)
        return [ban]

    # What administrators do.

    async def add(self, scope: Scope, new: NewBan) -> Ban:
        """Raises InvalidInput: no network, one that is trusted or too wide, or no account."""
        require(scope, "system:write")
        network = self._network(new.network)
        reason = text_of(new.reason, pointer="/reason", high=REASON_MAX)
        now = self._clock.now()
        if new.expires_at is not None and (new.expires_at.tzinfo is None or new.expires_at <= now):
            raise InvalidInput("a time to come, with its offset", pointer="/expires_at")
        ban_id = new_id()

        async def unit(tx: Transaction) -> Ban:
            account = await _account(tx, new.account_id)
            for old in await bans.same(tx, str(network), account.id if account else None):
                await bans.remove(tx, old.id)
            ban = Ban(
                id=ban_id,
                network=str(network),
                account_id=account.id if account else None,
                reason=reason,
                made_by=f"{scope.actor_kind.value} {scope.actor_name or scope.actor_id}"[:REASON_MAX],
                spares_known=False,
                strikes=0,
                created_at=now,
                expires_at=new.expires_at,
            )
            await _insert(tx, scope, ban, account.tenant_id if account else None)
            return ban

        ban = await self._database.write("ban.add", unit)
        self._hold(ban)
        return ban

    async def page(self, scope: Scope, request: PageRequest) -> Page[Ban]:
        require(scope, "system:read")
        now_us = to_us(self._clock.now())
        return await self._database.read("ban.page", lambda tx: bans.page(tx, request, now_us=now_us))

    async def get(self, scope: Scope, ban_id: str) -> Ban:
        require(scope, "system:read")
        return found(await self._database.read("ban.get", lambda tx: bans.get(tx, ban_id)), "ban")

    async def remove(self, scope: Scope, ban_id: str) -> None:
        """Lift a ban; the next one of its network begins short again."""
        require(scope, "system:write")

        async def unit(tx: Transaction) -> None:
            ban = found(await bans.get(tx, ban_id), "ban")
            for one in await bans.same(tx, ban.network, ban.account_id):
                await bans.remove(tx, one.id)
            await access_changed(tx)
            await record_change(tx, scope, type="ban.removed", target=_target(ban, None))

        await self._database.write("ban.remove", unit)
        await self.load()

    async def clean(self) -> None:
        """Forget bans that ended long ago, and places nobody has come from for long."""
        now_us = to_us(self._clock.now())

        async def unit(tx: Transaction) -> None:
            await bans.remove_ended(tx, before_us=now_us - _us(ROW) - _us(BAN_MAX))
            await bans.forget_places(tx, before_us=now_us - 3 * _us(KNOWN_FOR))

        await self._database.write("ban.clean", unit)

    def _network(self, text: str) -> Network:
        try:
            network = parse_network(text)
        except ValueError as error:
            raise InvalidInput("not a network such as 192.0.2.0/24", pointer="/network") from error
        if network.prefixlen < WIDEST[network.version]:
            raise InvalidInput(f"at widest a /{WIDEST[network.version]}", pointer="/network")
        for trusted in self._settings().trusted_networks:
            if trusted.version == network.version and trusted.overlaps(network):
                raise InvalidInput(f"{trusted} is in login.trusted_networks and never banned", pointer="/network")
        return network

    def _hold(self, ban: Ban) -> None:
        """Let a ban hold here at once; the next load finds it too."""
        self._copy.add(ban)
        metrics.BANS_ACTIVE.set(len(self._copy.held))


async def _insert(tx: Transaction, scope: Scope, ban: Ban, tenant_id: TenantId | None) -> None:
    await bans.insert(tx, ban)
    await access_changed(tx)
    await record_change(
        tx,
        scope,
        type="ban.added",
        target=_target(ban, tenant_id),
        reason=ban.reason,
        severity=Severity.WARNING,
    )


async def _account(tx: Transaction, ref: str | None) -> Account | None:
    """An account of any tenant by id or address."""
    if ref is None:
        return None
    account = await (accounts.by_address(tx, ref.casefold()) if "@" in ref else accounts.get_any(tx, AccountId(ref)))
    if account is None:
        raise InvalidInput("no such account", pointer="/account_id")
    return account


def _target(ban: Ban, tenant_id: TenantId | None) -> Target:
    return Target(kind="ban", id=ban.id, name=ban.network, tenant_id=tenant_id, account_id=ban.account_id)


def _us(span: timedelta) -> int:
    return int(span.total_seconds() * 1_000_000)
