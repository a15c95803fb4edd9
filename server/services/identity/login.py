"""Logins of all mail protocols: one answer for every cause of failure (security.md §4, T06, T07, T34).

- Unknown login, disabled account, suspended tenant, no password, wrong password: the same text after the same work.
- A password that was right is remembered for a minute as a keyed digest bound to the credential's version, in memory
  only; any change of the credential makes it worthless.
- A login is counted as failed only after its password was looked at; our own faults count for nobody.
"""

from __future__ import annotations

import hmac
import os
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from server.config.schema import Login
from server.domain.changes import Severity, TraceEvent
from server.domain.envelope import ConnectionInfo
from server.domain.errors import InvalidInput, MaiRustError, RateLimited, Unauthenticated
from server.domain.identity import Account, Principal, Status
from server.domain.ids import AccountId
from server.domain.ports import Clock
from server.protocol.sasl.scram import ScramCredential
from server.protocol.smtp.address import parse_address
from server.services.identity.limiter import HOUR_S, LoginLimiter
from server.services.identity.passwords import PASSWORD_OCTETS_MAX, Passwords, normalised
from server.services.identity.scram import imitation
from server.store.database import Database
from server.store.repositories import accounts, credentials, tenants
from server.store.repositories.credentials import StoredCredential
from server.store.transaction import Transaction
from server.telemetry import metrics
from server.telemetry.log import get_logger

log = get_logger("auth")

SUCCESS_KEPT_S = 60.0
SUCCESSES_MAX = 10_000
LOGIN_CHARACTERS_MAX = 320
FAILURE_EVENTS_PER_MINUTE = 60
"""Failed logins written to the event log at most; beyond, only metric and log line."""
_REFUSED = "the login or the password is wrong"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What the store knows of a login; `usable` = it may log in with the right password."""

    account: Account | None
    credential: StoredCredential | None
    usable: bool


class LoginService:
    """Checks who logs in.

    Args:
        imitation_secret: 32 octets that stay the same over restarts; shape SCRAM answers for unknown logins.
    """

    def __init__(
        self,
        *,
        database: Database,
        passwords: Passwords,
        clock: Clock,
        settings: Callable[[], Login],
        imitation_secret: bytes,
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._clock = clock
        self._limiter = LoginLimiter(clock, settings)
        self._imitation_secret = imitation_secret
        self._cache_key = os.urandom(32)
        self._successes: OrderedDict[bytes, float] = OrderedDict()
        self._last_written: OrderedDict[AccountId, float] = OrderedDict()
        self._events_until = 0.0
        self._events_left = 0

    async def authenticate(
        self, *, login: str, password: bytes, connection: ConnectionInfo, mechanism: str
    ) -> Principal:
        """Check a login and its password.

        Raises:
            Unauthenticated: One text for every cause.
            RateLimited: The network has failed too often; nothing was checked.
            Unavailable: Too many hashes wait, or the store does not answer.
        """
        protocol = connection.listener
        key = login_key(login)
        self._refuse_banned(connection.remote_ip, protocol)
        await self._delay(key, connection.remote_ip)
        found = await self._find(key)
        octets = normalised(password)
        right = False
        if 0 < len(octets) <= PASSWORD_OCTETS_MAX:
            right = self._remembered(found, octets) or await self._verify(found, octets)
        if not right or found.account is None or not found.usable:
            await self._failed(key, connection, octets, mechanism)
            raise Unauthenticated(_REFUSED)
        self._remember(found.account, octets)
        return await self._succeeded(found.account, key, connection, mechanism, password=octets, found=found)

    async def scram(self, login: str) -> ScramCredential:
        """Keys for a SCRAM exchange (RFC 5802 §5); an unknown login gets its own, stable and never right."""
        key = login_key(login)
        found = await self._find(key)
        if found.credential is None or not found.usable:
            return imitation(key, self._imitation_secret)
        return ScramCredential(
            salt=found.credential.scram_salt,
            iterations=found.credential.scram_iterations,
            stored_key=found.credential.scram_stored_key,
            server_key=found.credential.scram_server_key,
        )

    async def scram_result(self, *, login: str, ok: bool, connection: ConnectionInfo) -> Principal:
        """Tell how a SCRAM exchange ended.

        Args:
            ok: Whether the client's proof fitted the keys of `scram`.

        Raises:
            Unauthenticated: It did not, or the login may not be used.
            RateLimited: The network has failed too often; the proof counts for nothing.
        """
        key = login_key(login)
        self._refuse_banned(connection.remote_ip, connection.listener)
        await self._delay(key, connection.remote_ip)
        found = await self._find(key)
        if not ok or found.account is None or not found.usable:
            await self._failed(key, connection, None, "SCRAM-SHA-256")
            raise Unauthenticated(_REFUSED)
        return await self._succeeded(found.account, key, connection, "SCRAM-SHA-256", password=None, found=found)

    def forget(self) -> None:
        """Empty the cache of right passwords."""
        self._successes.clear()

    def _refuse_banned(self, ip: str, protocol: str) -> None:
        wait_s = self._limiter.banned_for_s(ip)
        if wait_s:
            metrics.AUTH_ATTEMPTS.labels(protocol, "limited").inc()
            raise RateLimited("too many failed logins, try again later", retry_after_s=wait_s)

    async def _delay(self, key: str, ip: str) -> None:
        delay_s = self._limiter.delay_s(key, ip)
        if delay_s:
            await self._clock.sleep(delay_s)

    async def _find(self, key: str) -> _Found:
        async def unit(tx: Transaction) -> _Found:
            account = await accounts.by_address(tx, key)
            if account is None:
                return _Found(account=None, credential=None, usable=False)
            tenant = await tenants.get(tx, account.tenant_id)
            active = account.status is Status.ACTIVE and tenant is not None and tenant.status is Status.ACTIVE
            return _Found(account=account, credential=await credentials.get(tx, account.id), usable=active)

        return await self._database.read("login.find", unit)

    async def _verify(self, found: _Found, password: bytes) -> bool:
        return await self._passwords.verify(found.credential.argon2 if found.credential else None, password)

    def _digest(self, account: Account, password: bytes) -> bytes:
        text = f"{account.id} {account.credential_version} ".encode()
        return hmac.digest(self._cache_key, text + password, "sha256")

    def _remembered(self, found: _Found, password: bytes) -> bool:
        if found.account is None or found.credential is None or not found.usable:
            return False
        until = self._successes.get(self._digest(found.account, password))
        return until is not None and self._clock.monotonic() < until

    def _remember(self, account: Account, password: bytes) -> None:
        digest = self._digest(account, password)
        if digest not in self._successes:
            self._successes[digest] = self._clock.monotonic() + SUCCESS_KEPT_S
            if len(self._successes) > SUCCESSES_MAX:
                self._successes.popitem(last=False)
        elif self._successes[digest] <= self._clock.monotonic():
            self._successes[digest] = self._clock.monotonic() + SUCCESS_KEPT_S

    async def _succeeded(
        self,
        account: Account,
        key: str,
        connection: ConnectionInfo,
        mechanism: str,
        *,
        password: bytes | None,
        found: _Found,
    ) -> Principal:
        self._limiter.succeeded(key, connection.remote_ip)
        metrics.AUTH_ATTEMPTS.labels(connection.listener, "ok").inc()
        log.info(
            "auth.succeeded",
            account_id=account.id,
            protocol=connection.listener,
            mechanism=mechanism,
            remote_addr=connection.remote_ip,
        )
        await self._note_login(account, password, found)
        return Principal(
            account_id=account.id,
            tenant_id=account.tenant_id,
            address=account.address,
            credential_version=account.credential_version,
        )

    async def _note_login(self, account: Account, password: bytes | None, found: _Found) -> None:
        """Write the time of login, at most once an hour, and a new hash where parameters changed; a login that can't
        be noted is a login all the same."""
        now = self._clock.monotonic()
        last = self._last_written.get(account.id)
        if last is not None and now - last < HOUR_S:
            return
        self._last_written[account.id] = now
        self._last_written.move_to_end(account.id)
        if len(self._last_written) > SUCCESSES_MAX:
            self._last_written.popitem(last=False)
        old = found.credential.argon2 if found.credential else ""
        try:
            new = await self._passwords.rehash(old, password) if password and old else None

            async def unit(tx: Transaction) -> None:
                await accounts.logged_in(tx, account.id)
                if new is not None:
                    await credentials.rehash(tx, account.id, old=old, new=new)

            await self._database.write("login.note", unit)
        except MaiRustError as error:
            log.warning("auth.note_failed", account_id=account.id, error=error.public)

    async def _failed(self, key: str, connection: ConnectionInfo, password: bytes | None, mechanism: str) -> None:
        metrics.AUTH_ATTEMPTS.labels(connection.listener, "failed").inc()
        counted = self._limiter.failed(key, connection.remote_ip, password)
        log.info(
            "auth.failed",
            login=key,
            protocol=connection.listener,
            mechanism=mechanism,
            remote_addr=connection.remote_ip,
            counted=counted,
        )
        if not counted or not self._may_write_event():
            return
        event = TraceEvent(
            type="auth.login_failed",
            component=connection.listener,
            verdict="refused",
            detail=f"login {key} refused by {mechanism}",
            severity=Severity.WARNING,
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

    def _may_write_event(self) -> bool:
        now = self._clock.monotonic()
        if now >= self._events_until:
            self._events_until, self._events_left = now + 60.0, FAILURE_EVENTS_PER_MINUTE
        self._events_left -= 1
        return self._events_left >= 0


def login_key(login: str) -> str:
    """The `Address.key` of a login, or the shortened text itself when it is no address: such a login is unknown."""
    try:
        return parse_address(login[:LOGIN_CHARACTERS_MAX]).key
    except InvalidInput:
        return login[:LOGIN_CHARACTERS_MAX].casefold().encode("utf-8", "replace").decode()
