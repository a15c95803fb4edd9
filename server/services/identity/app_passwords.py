"""App passwords: one for each device, made by the server, shown once (api.md §2, security.md §4).

- 28 base32 characters, 140 random bits, in groups of four: a plain digest is enough, and none can be guessed.
- Each is good for the protocols it was made for, and for nothing else: one for reading can't send.
- They share the salt of the account's password, so that SCRAM works with any of them (`accounts.scram_salt`).
- Removing one ends what was opened with it. Its row stays for `KEPT`: the device still sends it and guesses nothing.
- A key that acts for an account makes and removes its passwords within its own rights; others need `accounts:reset`.
"""

from __future__ import annotations

import base64
import hashlib
import os
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from server.domain.access import AppPassword, MailProtocol
from server.domain.errors import Conflict, InvalidInput, NotFound
from server.domain.identity import Account, Scope, Status
from server.domain.ids import AccountId, new_id
from server.domain.paging import Page, PageRequest
from server.domain.ports import Clock
from server.domain.scopes import require
from server.services.identity.accounts import check_reset, resolve, scram_salt
from server.services.identity.names import text_of
from server.services.identity.passwords import Passwords
from server.services.identity.writer import Input, found
from server.services.trace.record import Target, record_change
from server.store.counters import access_changed
from server.store.database import Database
from server.store.repositories import accounts, app_passwords
from server.store.times import to_us
from server.store.transaction import Transaction

NAME_MAX = 64
PASSWORDS_MAX = 25
"""App passwords of one account."""
CHARACTERS = 28
GROUP = 4
LIFE_MAX = timedelta(days=3650)
KEPT = timedelta(days=90)
_SEPARATORS = str.maketrans("", "", "- \t")
_ALPHABET = frozenset("abcdefghijklmnopqrstuvwxyz234567")
_RIGHTS: dict[MailProtocol, tuple[str, ...]] = {
    MailProtocol.SMTP: ("mail:send",),
    MailProtocol.IMAP: ("mail:read", "mail:write"),
    MailProtocol.POP3: ("mail:read", "mail:write"),
    MailProtocol.SIEVE: ("mail:write",),
}


class NewAppPassword(Input, frozen=True, kw_only=True):
    """`protocols`: smtp, imap, pop3, sieve; `expires_at` left out = until it is removed."""

    name: str
    protocols: list[MailProtocol] = msgspec.field(default_factory=lambda: [MailProtocol.SMTP, MailProtocol.IMAP])
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedAppPassword:
    """An app password and its text, which exists nowhere else."""

    password: AppPassword
    text: str


class AppPasswordService:
    """Makes, lists and removes app passwords. `ref` None = the caller's own account."""

    def __init__(self, database: Database, clock: Clock, passwords: Passwords) -> None:
        self._database = database
        self._clock = clock
        self._passwords = passwords

    async def create(self, scope: Scope, ref: str | None, new: NewAppPassword) -> IssuedAppPassword:
        """Raises InvalidInput, Forbidden, NotFound, Conflict (there are 25)."""
        require(scope, "accounts:reset" if ref is not None else "mail:write")
        name = text_of(new.name, pointer="/name", high=NAME_MAX)
        if not name:
            raise InvalidInput("a name is needed", pointer="/name")
        protocols = tuple(protocol for protocol in MailProtocol if protocol in new.protocols)
        if not protocols:
            raise InvalidInput("one protocol at least", pointer="/protocols")
        if ref is None:
            for word in sorted({word for protocol in protocols for word in _RIGHTS[protocol]}):
                require(scope, word)
        now = self._clock.now()
        expires_at = _expiry(new.expires_at, now)
        account, salt = await self._database.read("app_password.account", lambda tx: _account_and_salt(tx, scope, ref))
        text = make_text()
        keys = await self._passwords.scram_keys(text.encode(), salt=salt)
        password = AppPassword(
            id=new_id(),
            tenant_id=account.tenant_id,
            account_id=account.id,
            name=name,
            secret_sha256=digest_of(text.encode()) or "",
            scram_salt=keys.salt,
            scram_iterations=keys.iterations,
            scram_stored_key=keys.stored_key,
            scram_server_key=keys.server_key,
            protocols=protocols,
            created_at=now,
            expires_at=expires_at,
            last_used_at=None,
            last_used_ip=None,
            last_used_protocol=None,
            revoked_at=None,
        )

        async def unit(tx: Transaction) -> None:
            current = await _account(tx, scope, ref)
            there = [one for one in await app_passwords.of_account(tx, current.id) if one.revoked_at is None]
            if len(there) >= PASSWORDS_MAX:
                raise Conflict(f"an account has at most {PASSWORDS_MAX} app passwords")
            if any(one.name.casefold() == name.casefold() for one in there):
                raise Conflict("the account has an app password of that name")
            await app_passwords.insert(tx, password)
            await record_change(tx, scope, type="app_password.created", target=_target(password, current))

        await self._database.write("app_password.create", unit)
        return IssuedAppPassword(password=password, text=text)

    async def page(self, scope: Scope, ref: str | None, request: PageRequest) -> Page[AppPassword]:
        require(scope, "accounts:read" if ref is not None else "mail:read")

        async def unit(tx: Transaction) -> Page[AppPassword]:
            account = await _account(tx, scope, ref)
            return await app_passwords.page(tx, account.tenant_id, account.id, request)

        return await self._database.read("app_password.page", unit)

    async def revoke(self, scope: Scope, ref: str | None, password_id: str) -> None:
        """End an app password and, within seconds, what was opened with it. Raises NotFound."""
        require(scope, "accounts:reset" if ref is not None else "mail:write")

        async def unit(tx: Transaction) -> None:
            account = await _account(tx, scope, ref)
            if ref is not None:
                check_reset(scope, account)
            there = await app_passwords.of_account(tx, account.id)
            wanted = next((one for one in there if one.id == password_id and one.revoked_at is None), None)
            password = found(wanted, "app password")
            await app_passwords.revoke(tx, password)
            before_us = to_us(self._clock.now() - KEPT)
            await app_passwords.forget_revoked(tx, account.id, before_us=before_us)
            await access_changed(tx)
            await record_change(tx, scope, type="app_password.revoked", target=_target(password, account))

        await self._database.write("app_password.revoke", unit)


def make_text() -> str:
    """A new password as it is shown: seven groups of four characters, 140 random bits."""
    text = base64.b32encode(os.urandom(20)).decode().lower()[:CHARACTERS]
    return "-".join(text[start : start + GROUP] for start in range(0, CHARACTERS, GROUP))


def digest_of(secret: bytes) -> str | None:
    """What an app password is found by, however its groups and case were typed; None for what can't be one."""
    if not CHARACTERS <= len(secret) <= 2 * CHARACTERS or not secret.isascii():
        return None
    text = secret.decode("ascii").translate(_SEPARATORS).lower()
    if len(text) != CHARACTERS or not _ALPHABET.issuperset(text):
        return None
    return hashlib.sha256(text.encode()).hexdigest()


def is_live(password: AppPassword, now: datetime) -> bool:
    """Whether it is neither removed nor past its end."""
    return password.revoked_at is None and (password.expires_at is None or now < password.expires_at)


async def _account(tx: Transaction, scope: Scope, ref: str | None) -> Account:
    if ref is not None:
        return await resolve(tx, scope, ref)
    if scope.account_id is None:
        raise NotFound("this credential has no account of its own: name one, as in /accounts/{id}/app-passwords")
    account = found(await accounts.get(tx, scope.tenant_id, AccountId(scope.account_id)), "account")
    return found(account if account.status is Status.ACTIVE else None, "account")


async def _account_and_salt(tx: Transaction, scope: Scope, ref: str | None) -> tuple[Account, bytes | None]:
    account = await _account(tx, scope, ref)
    if ref is not None:
        check_reset(scope, account)
    return account, await scram_salt(tx, account.id)


def _expiry(wanted: datetime | None, now: datetime) -> datetime | None:
    if wanted is not None and (wanted.tzinfo is None or not now < wanted <= now + LIFE_MAX):
        raise InvalidInput("a time in the next ten years, with its offset", pointer="/expires_at")
    return wanted


def _target(password: AppPassword, account: Account) -> Target:
    return Target(
        kind="app_password",
        id=password.id,
        name=f"{account.address} {password.name}",
        tenant_id=account.tenant_id,
        account_id=account.id,
    )
