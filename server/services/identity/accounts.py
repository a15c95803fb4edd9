"""Accounts: logins that own mail, with one or more addresses.

- An address belongs to one object on the server; a deleted account keeps its addresses, so that it can come back.
- A new account gets its default mailboxes in the transaction that makes it.
- Any change of a credential or of the right to log in raises `credential_version`: sessions and caches hang on it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime

import msgspec
from msgspec import UNSET, UnsetType

from server.domain.address import Address
from server.domain.errors import Conflict, Forbidden, InvalidInput
from server.domain.identity import Account, Domain, Role, Scope, Status
from server.domain.ids import AccountId, DomainId, new_id
from server.domain.paging import Page, PageRequest
from server.domain.scopes import require
from server.services.identity.names import address_of, text_of
from server.services.identity.passwords import Passwords
from server.services.identity.permissions import ROLES
from server.services.identity.writer import DirectoryWriter, Input, check_free, check_revision, found, given
from server.services.trace.record import REDACTED, Target, differences, record_change
from server.store.repositories import accounts, app_passwords, credentials, domains
from server.store.repositories.audit import Change
from server.store.repositories.credentials import StoredCredential
from server.store.times import from_us
from server.store.transaction import Transaction

CreateMailboxes = Callable[[Transaction, AccountId], Awaitable[None]]
ADDRESSES_MAX = 100
DISPLAY_NAME_MAX = 200
QUOTA_MAX = 2**50
_TAKEN = "the address is taken"


class NewAccount(Input, frozen=True, kw_only=True):
    """`addresses` are further ones besides `address`; no `password` = nobody can log in yet; `quota_bytes` 0 = no
    limit, null or left out = `limits.default_quota`."""

    address: str
    password: str | None = None
    display_name: str = ""
    role: Role = Role.USER
    quota_bytes: int | None = None
    addresses: list[str] = msgspec.field(default_factory=list)


class AccountChange(Input, frozen=True, kw_only=True):
    """`addresses`, when given, replaces all but the primary address."""

    display_name: str | UnsetType = UNSET
    role: Role | UnsetType = UNSET
    quota_bytes: int | UnsetType = UNSET
    addresses: list[str] | UnsetType = UNSET


class AccountService:
    """Use cases of accounts.

    Args:
        create_mailboxes: Makes INBOX and the other default mailboxes inside a transaction.
        default_quota: Octets a new account gets when none are given.
    """

    def __init__(
        self,
        writer: DirectoryWriter,
        passwords: Passwords,
        *,
        create_mailboxes: CreateMailboxes,
        default_quota: Callable[[], int],
    ) -> None:
        self._writer = writer
        self._passwords = passwords
        self._create_mailboxes = create_mailboxes
        self._default_quota = default_quota

    async def create(self, scope: Scope, new: NewAccount) -> Account:
        """Raises InvalidInput, NotFound (the domain), Conflict (an address is taken)."""
        require(scope, "accounts:write")
        _check_role(scope, new.role)
        wanted = _addresses([new.address, *new.addresses])
        display_name = text_of(new.display_name, pointer="/display_name", high=DISPLAY_NAME_MAX)
        quota = _quota(self._default_quota() if new.quota_bytes is None else new.quota_bytes)
        secret = None if new.password is None else await self._passwords.make(new.password, address=wanted[0].key)
        account_id = AccountId(new_id())

        async def unit(tx: Transaction) -> Account:
            domain = await _domain(tx, scope, wanted[0].domain, "/address")
            now = from_us(tx.now_us)
            account = _new(account_id, domain, wanted, display_name, new.role, quota, now)
            for address in wanted:
                await check_free(tx, address.key)
            await accounts.insert_account(tx, account)
            await _take(tx, scope, account.id, wanted)
            if secret is not None:
                await credentials.put(tx, account.id, secret)
            await self._create_mailboxes(tx, account.id)
            await record_change(tx, scope, type="account.created", target=_target(account))
            return account

        return await self._writer.write("account.create", unit, taken=_TAKEN)

    async def get(self, scope: Scope, ref: str) -> Account:
        """By id or any of its addresses."""
        require(scope, "accounts:read")

        async def unit(tx: Transaction) -> Account:
            return await resolve(tx, scope, ref)

        return await self._writer.read("account.get", unit)

    async def page(
        self,
        scope: Scope,
        request: PageRequest,
        *,
        status: Status | None = None,
        role: Role | None = None,
        domain: str | None = None,
        containing: str | None = None,
    ) -> Page[Account]:
        """`domain` is an id or a name."""
        require(scope, "accounts:read")

        async def unit(tx: Transaction) -> Page[Account]:
            domain_id = (await resolve_domain(tx, scope, domain)).id if domain else None
            return await accounts.page(
                tx, scope.tenant_id, request, status=status, role=role, domain_id=domain_id, containing=containing
            )

        return await self._writer.read("account.page", unit)

    async def change(self, scope: Scope, ref: str, change: AccountChange, *, revision: int | None = None) -> Account:
        require(scope, "accounts:write")
        values = given(change, ("display_name", "role", "quota_bytes"))
        if isinstance(change.display_name, str):
            text_of(change.display_name, pointer="/display_name", high=DISPLAY_NAME_MAX)
        if isinstance(change.quota_bytes, int):
            _quota(change.quota_bytes)
        if isinstance(change.role, Role):
            _check_role(scope, change.role)
            values["role"] = change.role.value
        more = None if isinstance(change.addresses, UnsetType) else change.addresses

        async def unit(tx: Transaction) -> Account:
            account = await resolve(tx, scope, ref)
            check_revision(account.revision, revision)
            _check_role(scope, account.role)
            old: dict[str, object] = {
                "display_name": account.display_name,
                "role": account.role.value,
                "quota_bytes": account.quota_octets,
            }
            changes = differences(old, values)
            columns = {("quota_octets" if name == "quota_bytes" else name): value for name, value in values.items()}
            if more is not None:
                wanted = _addresses([account.address, *(a for a in more if a != account.address)])
                changes += differences({"addresses": account.addresses}, {"addresses": tuple(a.key for a in wanted)})
                await accounts.free_addresses(tx, scope.tenant_id, account.id)
                for address in wanted:
                    await check_free(tx, address.key)
                await _take(tx, scope, account.id, wanted)
            if changes:
                await accounts.change(tx, scope.tenant_id, account.id, columns)
                await record_change(tx, scope, type="account.updated", target=_target(account), changes=changes)
            return found(await accounts.get(tx, scope.tenant_id, account.id), "account")

        return await self._writer.write("account.change", unit, taken=_TAKEN)

    async def set_password(self, scope: Scope, ref: str, password: str) -> Account:
        """Replace the password; sessions with the old one end."""
        require(scope, "accounts:reset")

        async def known(tx: Transaction) -> tuple[Account, bytes | None]:
            account = await resolve(tx, scope, ref)
            return account, await scram_salt(tx, account.id)

        account, salt = await self._writer.read("account.get", known)
        check_reset(scope, account)
        secret: StoredCredential = await self._passwords.make(password, address=account.address, salt=salt)

        async def unit(tx: Transaction) -> Account:
            current = await resolve(tx, scope, account.id)
            check_reset(scope, current)
            await credentials.put(tx, current.id, secret)
            await accounts.raise_credential_version(tx, scope.tenant_id, current.id)
            changes = (Change(field="password", old=REDACTED, new=REDACTED),)
            await record_change(tx, scope, type="account.password_changed", target=_target(current), changes=changes)
            return found(await accounts.get(tx, scope.tenant_id, current.id), "account")

        return await self._writer.write("account.password", unit, taken=_TAKEN)

    async def enable(self, scope: Scope, ref: str) -> Account:
        return await self._move(scope, ref, {Status.DISABLED}, Status.ACTIVE, "account.enabled")

    async def disable(self, scope: Scope, ref: str) -> Account:
        """No login, no mail in (550 5.2.1); its mail stays."""
        return await self._move(scope, ref, {Status.ACTIVE}, Status.DISABLED, "account.disabled")

    async def delete(self, scope: Scope, ref: str, *, revision: int | None = None) -> Account:
        """Into the trash; mail and addresses are kept and `restore` brings it back."""
        states = {Status.ACTIVE, Status.DISABLED}
        return await self._move(scope, ref, states, Status.DELETED, "account.deleted", revision=revision)

    async def restore(self, scope: Scope, ref: str) -> Account:
        return await self._move(scope, ref, {Status.DELETED}, Status.ACTIVE, "account.restored")

    async def _move(
        self, scope: Scope, ref: str, states: set[Status], to: Status, event: str, *, revision: int | None = None
    ) -> Account:
        require(scope, "accounts:write")

        async def unit(tx: Transaction) -> Account:
            account = await resolve(tx, scope, ref)
            check_revision(account.revision, revision)
            _check_role(scope, account.role)
            if account.status not in states:
                raise Conflict(f"the account is {account.status.value}", code="invalid_state")
            deleted_at = tx.now_us if to is Status.DELETED else None
            await accounts.change(tx, scope.tenant_id, account.id, {"status": to.value, "deleted_at": deleted_at})
            await accounts.raise_credential_version(tx, scope.tenant_id, account.id)
            changes = differences({"status": account.status.value}, {"status": to.value})
            await record_change(tx, scope, type=event, target=_target(account), changes=changes)
            return found(await accounts.get(tx, scope.tenant_id, account.id), "account")

        return await self._writer.write(event, unit, taken=_TAKEN)


async def resolve(tx: Transaction, scope: Scope, ref: str) -> Account:
    """An account of the caller's tenant by id or address. Raises NotFound."""
    if "@" not in ref:
        return found(await accounts.get(tx, scope.tenant_id, AccountId(ref)), "account")
    try:
        key = address_of(ref, pointer="").key
    except InvalidInput:
        return found(None, "account")
    account = await accounts.by_address(tx, key)
    return found(account if account and account.tenant_id == scope.tenant_id else None, "account")


async def scram_salt(tx: Transaction, account_id: AccountId) -> bytes | None:
    """The salt that all passwords of an account share, None when it has none yet: one salt lets a client's proof say
    which password it used, as SCRAM asks for a login only (RFC 5802 §5)."""
    stored = await credentials.get(tx, account_id)
    if stored is not None:
        return stored.scram_salt
    devices = await app_passwords.of_account(tx, account_id)
    return devices[0].scram_salt if devices else None


async def resolve_domain(tx: Transaction, scope: Scope, ref: str) -> Domain:
    """A domain of the caller's tenant by id or name, deleted ones too. Raises NotFound."""
    domain = await domains.get(tx, scope.tenant_id, DomainId(ref)) or await domains.by_name(tx, ref.lower())
    return found(domain if domain and domain.tenant_id == scope.tenant_id else None, "domain")


async def _domain(tx: Transaction, scope: Scope, name: str, pointer: str) -> Domain:
    """The domain of a new address: it must be the caller's and not deleted."""
    domain = await domains.by_name(tx, name)
    if domain is None or domain.tenant_id != scope.tenant_id or domain.status is Status.DELETED:
        raise InvalidInput("the address is in a domain that is not here; add the domain first", pointer=pointer)
    return domain


async def _take(tx: Transaction, scope: Scope, account_id: AccountId, wanted: list[Address]) -> None:
    for position, address in enumerate(wanted):
        domain = await _domain(tx, scope, address.domain, f"/addresses/{position}")
        await accounts.take_address(
            tx,
            address.key,
            tenant_id=scope.tenant_id,
            domain_id=domain.id,
            kind="account",
            owner_id=account_id,
            position=position,
        )


def _addresses(values: list[str]) -> list[Address]:
    if len(values) > ADDRESSES_MAX:
        raise InvalidInput(f"at most {ADDRESSES_MAX} addresses", pointer="/addresses")
    wanted: list[Address] = []
    for place, value in enumerate(values):
        address = address_of(value, pointer="/address" if place == 0 else f"/addresses/{place - 1}")
        if all(address.key != other.key for other in wanted):
            wanted.append(address)
    return wanted


def _quota(octets: int) -> int:
    if not 0 <= octets <= QUOTA_MAX:
        raise InvalidInput("the quota is out of range", pointer="/quota_bytes")
    return octets


def _check_role(scope: Scope, role: Role) -> None:
    """A caller may neither give nor touch a role with rights of its own beyond the caller's."""
    if role is not Role.USER and not ROLES[role] - ROLES[Role.USER] <= scope.scopes | _only_system(scope):
        raise Forbidden(f"the role {role.value} needs more rights than yours")


def _only_system(scope: Scope) -> frozenset[str]:
    """Scopes of the role owner that nobody in a tenant has: they don't stand in the way."""
    return frozenset() if scope.system else frozenset({"tenants:read", "tenants:write", "system:read", "system:write"})


def check_reset(scope: Scope, account: Account) -> None:
    """Raise Forbidden or Conflict unless the caller may change the account's credentials."""
    _check_role(scope, account.role)
    if account.status is Status.DELETED:
        raise Conflict("the account is deleted", code="invalid_state")


def _new(
    account_id: AccountId,
    domain: Domain,
    wanted: list[Address],
    display_name: str,
    role: Role,
    quota: int,
    now: datetime,
) -> Account:
    return Account(
        id=account_id,
        tenant_id=domain.tenant_id,
        domain_id=domain.id,
        address=wanted[0].key,
        addresses=tuple(address.key for address in wanted),
        display_name=display_name,
        role=role,
        status=Status.ACTIVE,
        quota_octets=quota,
        used_octets=0,
        credential_version=1,
        last_login_at=None,
        created_at=now,
        updated_at=now,
        revision=1,
    )


def _target(account: Account) -> Target:
    return Target(
        kind="account", id=account.id, name=account.address, tenant_id=account.tenant_id, account_id=account.id
    )
