"""Logins of all mail protocols: one answer for every cause of failure (security.md §4, T06, T07, T34).

- Unknown login, disabled account, suspended tenant, no password, wrong password: the same text after the same work.
- The account's password opens everything, an app password the protocols it was made for. A right one that has ended,
  or is for another protocol, is refused like a wrong one and counts for nobody: its device guesses nothing.
- All passwords of an account share one salt, so SCRAM takes any of them: the client's proof says which it was.
- A password that was right is remembered for a minute as a keyed digest bound to the credential's version, in memory
  only; any change of the credential makes it worthless.
- A login is counted as failed only after its password was looked at; our own faults count for nobody.
"""

from __future__ import annotations

import hmac
import os
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

from server.config.schema import Login
from server.domain.access import AppPassword, protocol_of
from server.domain.envelope import ConnectionInfo
from server.domain.errors import InvalidInput, MaiRustError, RateLimited, Unauthenticated
from server.domain.identity import Account, Principal, Status
from server.domain.ports import Clock
from server.protocol.sasl.scram import ScramCredential, ScramKeys
from server.protocol.smtp.address import parse_address
from server.services.identity.app_passwords import digest_of, is_live
from server.services.identity.bans import Bans
from server.services.identity.limiter import Failure, LoginLimiter
from server.services.identity.login_record import GoodLogin, LoginRecord
from server.services.identity.networks import place_of
from server.services.identity.passwords import PASSWORD_OCTETS_MAX, Passwords, normalised
from server.services.identity.scram import imitation
from server.store.database import Database
from server.store.repositories import accounts, app_passwords, bans, credentials, tenants
from server.store.repositories.credentials import StoredCredential
from server.store.transaction import Transaction
from server.telemetry import metrics
from server.telemetry.log import get_logger

log = get_logger("auth")

SUCCESS_KEPT_S = 60.0
SUCCESSES_MAX = 10_000
LOGIN_CHARACTERS_MAX = 320
_REFUSED = "the login or the password is wrong"
_LIMITED = "too many failed logins, try again later"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What the store knows of a login; `usable` = it may log in with the right password.

    Attributes:
        seen_us: When it last logged in well from this place, in microseconds; None = never.
    """

    account: Account | None = None
    credential: StoredCredential | None = None
    usable: bool = False
    devices: tuple[AppPassword, ...] = ()
    seen_us: int | None = None


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
        bans: Bans,
        imitation_secret: bytes,
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._clock = clock
        self._limiter = LoginLimiter(clock, settings)
        self._bans = bans
        self._record = LoginRecord(database, clock, passwords)
        self._imitation_secret = imitation_secret
        self._cache_key = os.urandom(32)
        self._successes: OrderedDict[bytes, float] = OrderedDict()

    async def authenticate(
        self, *, login: str, password: bytes, connection: ConnectionInfo, mechanism: str
    ) -> Principal:
        """Check a login and its password.

        Raises:
            Unauthenticated: One text for every cause.
            RateLimited: The network has failed too often; nothing was checked.
            Unavailable: Too many hashes wait, or the store does not answer.
        """
        key = login_key(login)
        found = await self._admitted(key, connection)
        octets = normalised(password)
        device = _device(found, octets)
        if device is not None and found.usable:
            return await self._by_device(found, device, key, connection, mechanism)
        right = False
        if 0 < len(octets) <= PASSWORD_OCTETS_MAX:
            right = self._remembered(found, octets) or await self._verify(found, octets)
        if not right or found.account is None or not found.usable:
            await self._failed(key, connection, octets, mechanism, found)
            raise Unauthenticated(_REFUSED)
        self._remember(found.account, octets)
        return await self._succeeded(found, key, connection, mechanism, password=octets)

    async def bearer(
        self, *, token: str, login: str, connection: ConnectionInfo, mechanism: str = "OAUTHBEARER"
    ) -> Principal:
        """Check a token: an app password (RFC 7628).

        Args:
            login: Whose it is to be; empty leaves that to the token.

        Raises:
            Unauthenticated, RateLimited, Unavailable: As `authenticate`.
        """
        secret = token.encode("utf-8", "replace")
        key = login_key(login) if login else await self._login_of(secret)
        found = await self._admitted(key, connection)
        device = _device(found, secret)
        if device is not None and found.usable:
            return await self._by_device(found, device, key, connection, mechanism)
        # What a wrong password costs: nothing tells a known login from an unknown one.
        await self._passwords.verify(None, secret[:PASSWORD_OCTETS_MAX])
        await self._failed(key, connection, secret, mechanism, found)
        raise Unauthenticated(_REFUSED)

    async def scram(self, login: str, *, app_passwords: bool = False) -> ScramCredential:
        """Keys for a SCRAM exchange (RFC 5802 §5); an unknown login gets its own, stable and never right.

        Args:
            app_passwords: Whether the edge tells `scram_result` which password was used; else it is the account's own.
        """
        key = login_key(login)
        found = await self._find(key, "")
        if not found.usable:
            return imitation(key, self._imitation_secret)
        own, now = found.credential, self._clock.now()
        devices = [one for one in found.devices if is_live(one, now)] if app_passwords else []
        if own is not None:
            keys = ScramCredential(
                salt=own.scram_salt,
                iterations=own.scram_iterations,
                stored_key=own.scram_stored_key,
                server_key=own.scram_server_key,
            )
        elif devices:
            keys = replace(
                imitation(key, self._imitation_secret),
                salt=devices[0].scram_salt,
                iterations=devices[0].scram_iterations,
            )
        else:
            return imitation(key, self._imitation_secret)
        others = tuple(
            ScramKeys(id=one.id, stored_key=one.scram_stored_key, server_key=one.scram_server_key)
            for one in devices
            if (one.scram_salt, one.scram_iterations) == (keys.salt, keys.iterations)
        )
        return replace(keys, others=others)

    async def scram_result(self, *, login: str, ok: bool, connection: ConnectionInfo, matched: str = "") -> Principal:
        """Tell how a SCRAM exchange ended.

        Args:
            ok: Whether the client's proof fitted the keys of `scram`.
            matched: `ScramServer.matched`: which of its `others` the proof fitted.

        Raises:
            Unauthenticated: It did not, or the login may not be used.
            RateLimited: The network has failed too often; the proof counts for nothing.
        """
        key, mechanism = login_key(login), "SCRAM-SHA-256"
        found = await self._admitted(key, connection)
        device = next((one for one in found.devices if one.id == matched), None) if matched else None
        if ok and device is not None and found.usable:
            return await self._by_device(found, device, key, connection, mechanism)
        if not ok or matched or found.account is None or found.credential is None or not found.usable:
            await self._failed(key, connection, None, mechanism, found)
            raise Unauthenticated(_REFUSED)
        return await self._succeeded(found, key, connection, mechanism)

    def forget(self) -> None:
        """Empty the cache of right passwords."""
        self._successes.clear()

    async def _admitted(self, key: str, connection: ConnectionInfo) -> _Found:
        """What the store knows of the login, once it may be tried. Raises RateLimited."""
        ip = connection.remote_ip
        self._refuse(self._bans.wait_s(ip, None, known=True), connection)
        found = await self._find(key, ip)
        known = self._bans.is_known(found.seen_us)
        account_id = found.account.id if found.account is not None else None
        held_s = self._limiter.held_s(key, ip) if account_id is None else 0
        self._refuse(max(held_s, self._bans.wait_s(ip, account_id, known=known)), connection)
        delay_s = self._limiter.delay_s(key, ip, known=known)
        if delay_s:
            await self._clock.sleep(delay_s)
        return found

    def _refuse(self, wait_s: int, connection: ConnectionInfo) -> None:
        if wait_s:
            metrics.AUTH_ATTEMPTS.labels(connection.listener, "limited").inc()
            raise RateLimited(_LIMITED, retry_after_s=wait_s)

    async def _find(self, key: str, ip: str) -> _Found:
        place = place_of(ip)

        async def unit(tx: Transaction) -> _Found:
            account = await accounts.by_address(tx, key)
            if account is None:
                return _Found()
            tenant = await tenants.get(tx, account.tenant_id)
            return _Found(
                account=account,
                credential=await credentials.get(tx, account.id),
                usable=account.status is Status.ACTIVE and tenant is not None and tenant.status is Status.ACTIVE,
                devices=await app_passwords.of_account(tx, account.id),
                seen_us=await bans.seen_at(tx, account.id, place) if place else None,
            )

        return await self._database.read("login.find", unit)

    async def _login_of(self, secret: bytes) -> str:
        """The address of the account a token belongs to, or a name that no account has."""
        digest = digest_of(secret)
        if digest is None:
            return ""

        async def unit(tx: Transaction) -> str:
            device = await app_passwords.by_digest(tx, digest)
            account = await accounts.get_any(tx, device.account_id) if device is not None else None
            return account.address if account is not None else ""

        return await self._database.read("login.of_token", unit)

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

    async def _by_device(
        self, found: _Found, device: AppPassword, key: str, connection: ConnectionInfo, mechanism: str
    ) -> Principal:
        """A login with an app password that exists: whether it is still good, and good for this."""
        reason = ""
        if not is_live(device, self._clock.now()):
            reason = "ended"
        elif protocol_of(connection.listener) not in device.protocols:
            reason = "protocol"
        if reason:
            metrics.AUTH_ATTEMPTS.labels(connection.listener, "failed").inc()
            log.info(
                "auth.app_password_refused",
                account_id=device.account_id,
                app_password_id=device.id,
                protocol=connection.listener,
                remote_addr=connection.remote_ip,
                reason=reason,
            )
            raise Unauthenticated(_REFUSED)
        return await self._succeeded(found, key, connection, mechanism, device=device)

    async def _succeeded(
        self,
        found: _Found,
        key: str,
        connection: ConnectionInfo,
        mechanism: str,
        *,
        password: bytes | None = None,
        device: AppPassword | None = None,
    ) -> Principal:
        account = found.account
        if account is None:
            raise Unauthenticated(_REFUSED)
        self._limiter.succeeded(key)
        metrics.AUTH_ATTEMPTS.labels(connection.listener, "ok").inc()
        log.info(
            "auth.succeeded",
            account_id=account.id,
            protocol=connection.listener,
            mechanism=mechanism,
            remote_addr=connection.remote_ip,
            app_password_id=device.id if device is not None else None,
        )
        await self._record.succeeded(
            GoodLogin(
                account=account,
                connection=connection,
                argon2=found.credential.argon2 if found.credential is not None else "",
                password=password,
                device=device,
                seen_us=found.seen_us,
            )
        )
        return Principal(
            account_id=account.id,
            tenant_id=account.tenant_id,
            address=account.address,
            credential_version=account.credential_version,
            app_password_id=device.id if device is not None else None,
        )

    async def _failed(
        self, key: str, connection: ConnectionInfo, secret: bytes | None, mechanism: str, found: _Found
    ) -> None:
        ip = connection.remote_ip
        metrics.AUTH_ATTEMPTS.labels(connection.listener, "failed").inc()
        failure = self._limiter.failed(key, ip, secret)
        log.info(
            "auth.failed",
            login=key,
            protocol=connection.listener,
            mechanism=mechanism,
            remote_addr=ip,
            counted=failure.counted,
        )
        if not failure.counted:
            return
        if failure.over or failure.pair_over:
            await self._ban(ip, failure, found, key)
        await self._record.failed(key, connection, mechanism, found.account)

    async def _ban(self, ip: str, failure: Failure, found: _Found, key: str) -> None:
        """Have it banned; when that can't be written, the next failure tries again."""
        if failure.pair_over and found.account is None:
            self._limiter.hold(key, ip)
        try:
            await self._bans.after_failures(
                ip, over=failure.over, account=found.account, pair_over=failure.pair_over, login=key
            )
        except MaiRustError as error:
            log.warning("ban.failed", error=error.public)


def _device(found: _Found, secret: bytes) -> AppPassword | None:
    """The app password of the account that the secret is, ended ones too."""
    digest = digest_of(secret) if found.devices else None
    if digest is None:
        return None
    return next((one for one in found.devices if hmac.compare_digest(one.secret_sha256, digest)), None)


def login_key(login: str) -> str:
    """The `Address.key` of a login, or the shortened text itself when it is no address: such a login is unknown."""
    try:
        return parse_address(login[:LOGIN_CHARACTERS_MAX]).key
    except InvalidInput:
        return login[:LOGIN_CHARACTERS_MAX].casefold().encode("utf-8", "replace").decode()
