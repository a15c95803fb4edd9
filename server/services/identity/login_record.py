"""What a login leaves behind: times, places, and the events an administrator wants to see.

- A login that can't be noted is a login all the same; nothing here fails it.
- Written lazily: the time of login once an hour, the use of an app password once a minute, a place once a day.
- A place far from all others of the account is an event, `auth.login_new_place`; the first place of all is none.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from server.domain.access import AppPassword
from server.domain.changes import Severity, TraceEvent
from server.domain.envelope import ConnectionInfo
from server.domain.errors import MaiRustError
from server.domain.identity import Account
from server.domain.ports import Clock
from server.services.identity.networks import neighbourhood_of, place_of
from server.services.identity.passwords import Passwords
from server.store.database import Database
from server.store.errors import UniqueViolation
from server.store.repositories import accounts, app_passwords, bans, credentials
from server.store.times import to_us
from server.store.transaction import Transaction
from server.telemetry.log import get_logger

log = get_logger("auth")

LOGIN_WRITTEN_EVERY_S = 3600.0
USE_WRITTEN_EVERY_S = 60.0
PLACE_WRITTEN_EVERY_US = 86_400 * 1_000_000
PLACES_MAX = 50
"""Places kept of one account; the one not seen for longest goes first."""
REMEMBERED_MAX = 10_000
FAILURE_EVENTS_PER_MINUTE = 60
"""Failed logins written to the event log at most; beyond, only metric and log line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GoodLogin:
    """A login that went well.

    Attributes:
        argon2: The account's present hash; empty when it has none.
        password: The account's password, when it was shown; a hash with old parameters is made anew from it.
        seen_us: When the account last logged in well from there, None = never.
    """

    account: Account
    connection: ConnectionInfo
    argon2: str = ""
    password: bytes | None = None
    device: AppPassword | None = None
    seen_us: int | None = None


class LoginRecord:
    """Writes what is to be kept of logins."""

    def __init__(self, database: Database, clock: Clock, passwords: Passwords) -> None:
        self._database = database
        self._clock = clock
        self._passwords = passwords
        self._written: OrderedDict[str, float] = OrderedDict()
        self._events_until = 0.0
        self._events_left = 0

    async def succeeded(self, login: GoodLogin) -> None:
        """Note what is due."""
        account, device, ip = login.account, login.device, login.connection.remote_ip
        now_us = to_us(self._clock.now())
        hourly = self._is_due(account.id, LOGIN_WRITTEN_EVERY_S)
        used = device is not None and self._is_due(device.id, USE_WRITTEN_EVERY_S)
        place = place_of(ip)
        placed = place != "" and (login.seen_us is None or now_us - login.seen_us >= PLACE_WRITTEN_EVERY_US)
        if not (hourly or used or placed):
            return
        try:
            new = await self._passwords.rehash(login.argon2, login.password) if hourly and login.password else None

            async def unit(tx: Transaction) -> None:
                if hourly:
                    await accounts.logged_in(tx, account.id)
                if new is not None:
                    await credentials.rehash(tx, account.id, old=login.argon2, new=new)
                if used and device is not None:
                    await app_passwords.used(tx, device.id, ip=ip, protocol=login.connection.listener)
                if placed:
                    await _note_place(tx, login, place, now_us)

            await self._database.write("login.note", unit)
        except MaiRustError as error:
            log.warning("auth.note_failed", account_id=account.id, error=error.public)
        except UniqueViolation:
            log.debug("auth.place_noted_elsewhere", account_id=account.id)

    async def failed(self, key: str, connection: ConnectionInfo, mechanism: str, account: Account | None) -> None:
        """Write the event of a failed login, unless there have been too many."""
        now = self._clock.monotonic()
        if now >= self._events_until:
            self._events_until, self._events_left = now + 60.0, FAILURE_EVENTS_PER_MINUTE
        self._events_left -= 1
        if self._events_left < 0:
            return
        event = TraceEvent(
            type="auth.login_failed",
            component=connection.listener,
            verdict="refused",
            detail=f"login {key} refused by {mechanism}",
            severity=Severity.WARNING,
            tenant_id=account.tenant_id if account is not None else None,
            account_id=account.id if account is not None else None,
            sender=key,
            remote_ip=connection.remote_ip,
            data={"mechanism": mechanism},
        )

        async def unit(tx: Transaction) -> None:
            tx.record(event)

        try:
            await self._database.write("login.failed", unit)
        except MaiRustError as error:
            log.warning("auth.event_failed", error=error.public)

    def _is_due(self, name: str, every_s: float) -> bool:
        now = self._clock.monotonic()
        last = self._written.get(name)
        if last is not None and now - last < every_s:
            return False
        self._written[name] = now
        self._written.move_to_end(name)
        if len(self._written) > REMEMBERED_MAX:
            self._written.popitem(last=False)
        return True


async def _note_place(tx: Transaction, login: GoodLogin, place: str, now_us: int) -> None:
    account = login.account
    if login.seen_us is None:
        known = await bans.places(tx, account.id)
        for old in list(known)[PLACES_MAX - 1 :]:
            await bans.forget_place(tx, account.id, old)
        near = neighbourhood_of(place)
        if known and not any(other.startswith(near) for other in known):
            tx.record(
                TraceEvent(
                    type="auth.login_new_place",
                    component=login.connection.listener,
                    verdict="accepted",
                    detail=f"{account.address} logged in from a place it was never seen at",
                    tenant_id=account.tenant_id,
                    account_id=account.id,
                    remote_ip=login.connection.remote_ip,
                    data={"device": login.device.name if login.device is not None else None},
                )
            )
    await bans.note_place(tx, account.id, place, now_us=now_us)
