"""API keys `mk_<12>_<52>`: made by the server, shown once, stored as a digest (security.md §4, api.md §2).

- A key never has a scope its maker has not, and ends when the account it was made for can't log in any more.
- Missing, malformed, unknown, expired, revoked and used from elsewhere: one answer.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import os
import re
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec
from msgspec import UNSET, UnsetType

from server.domain.errors import InvalidInput, MaiRustError, Unauthenticated
from server.domain.identity import ActorKind, ApiKey, Scope, Status
from server.domain.ids import AccountId, KeyId, new_id
from server.domain.paging import Page, PageRequest
from server.domain.ports import Clock
from server.domain.scopes import require
from server.services.identity.names import text_of
from server.services.identity.permissions import expand
from server.services.identity.writer import Input, check_revision, found
from server.services.trace.record import Target, differences, record_change
from server.store.database import Database
from server.store.repositories import accounts, api_keys, tenants
from server.store.repositories.rows import strings_text
from server.store.times import from_us, to_us
from server.store.transaction import Transaction
from server.telemetry.log import get_logger

log = get_logger("auth")

SCOPES_MAX = 40
NETWORKS_MAX = 20
NAME_MAX = 64
LIFE = timedelta(days=365)
"""Life of a key made without `expires_at`."""
GRACE_MAX_S = 604_800
USED_WRITTEN_EVERY_S = 60.0
USED_MAX = 10_000
_KEY = re.compile(r"mk_([a-z2-7]{12})_([a-z2-7]{52})")
_REFUSED = "the API key is missing, unknown or no longer valid"


class NewApiKey(Input, frozen=True, kw_only=True):
    """`scopes` takes scopes and the bundles read, write, send and admin; `account_id` an id or address: a key with
    `mail:*` scopes acts for it."""

    name: str
    scopes: list[str]
    account_id: str | None = None
    allowed_networks: list[str] = msgspec.field(default_factory=list)
    expires_at: datetime | None = None


class ApiKeyChange(Input, frozen=True, kw_only=True):
    name: str | UnsetType = UNSET
    allowed_networks: list[str] | UnsetType = UNSET
    expires_at: datetime | UnsetType = UNSET


class ApiKeyRotation(Input, frozen=True, kw_only=True):
    """`grace`: seconds the old key goes on working."""

    grace: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedKey:
    """A key and its text, which exists nowhere else."""

    key: ApiKey
    text: str


class TokenService:
    """Makes, changes and checks API keys."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._used: OrderedDict[KeyId, float] = OrderedDict()

    async def create(self, scope: Scope, new: NewApiKey) -> IssuedKey:
        """Raises Forbidden for a scope the maker has not, InvalidInput for anything else."""
        require(scope, "keys:write")
        name = text_of(new.name, pointer="/name", high=NAME_MAX)
        if not name:
            raise InvalidInput("a name is needed", pointer="/name")
        if len(new.scopes) > SCOPES_MAX:
            raise InvalidInput(f"at most {SCOPES_MAX} scopes", pointer="/scopes")
        scopes = expand(new.scopes, scope)
        networks = _networks(new.allowed_networks)
        key_id, lookup, secret = KeyId(new_id()), _base32(12), _base32(52)
        expires_at = self._expiry(new.expires_at)

        async def unit(tx: Transaction) -> ApiKey:
            account_id = await _account(tx, scope, new.account_id)
            key = ApiKey(
                id=key_id,
                tenant_id=scope.tenant_id,
                lookup=lookup,
                secret_sha256=_digest(secret),
                previous_sha256=None,
                previous_until=None,
                name=name,
                scopes=scopes,
                system=scope.system and any(s.partition(":")[0] in {"tenants", "system"} for s in scopes),
                account_id=account_id,
                networks=networks,
                expires_at=expires_at,
                last_used_at=None,
                last_used_ip=None,
                created_at=from_us(tx.now_us),
                revision=1,
                revoked_at=None,
            )
            await api_keys.insert(tx, key)
            await record_change(tx, scope, type="key.created", target=_target(key))
            return key

        return IssuedKey(key=await self._database.write("key.create", unit), text=f"mk_{lookup}_{secret}")

    async def get(self, scope: Scope, key_id: str) -> ApiKey:
        require(scope, "keys:read")
        return await self._database.read("key.get", lambda tx: _resolve(tx, scope, key_id))

    async def page(self, scope: Scope, request: PageRequest) -> Page[ApiKey]:
        require(scope, "keys:read")
        return await self._database.read("key.page", lambda tx: api_keys.page(tx, scope.tenant_id, request))

    async def change(self, scope: Scope, key_id: str, change: ApiKeyChange, *, revision: int | None = None) -> ApiKey:
        require(scope, "keys:write")
        values: dict[str, object] = {}
        if isinstance(change.name, str):
            values["name"] = text_of(change.name, pointer="/name", high=NAME_MAX)
        if isinstance(change.allowed_networks, list):
            values["networks"] = strings_text(_networks(change.allowed_networks))
        if isinstance(change.expires_at, datetime):
            values["expires_at"] = to_us(self._expiry(change.expires_at))

        async def unit(tx: Transaction) -> ApiKey:
            key = await _resolve(tx, scope, key_id)
            check_revision(key.revision, revision)
            old = {"name": key.name, "networks": strings_text(key.networks), "expires_at": to_us(key.expires_at)}
            changes = differences(old, values)
            if changes:
                await api_keys.change(tx, scope.tenant_id, key.id, values)
                await record_change(tx, scope, type="key.updated", target=_target(key), changes=changes)
            return await _resolve(tx, scope, key_id)

        return await self._database.write("key.change", unit)

    async def rotate(self, scope: Scope, key_id: str, *, grace_s: int) -> IssuedKey:
        """Give the key a new secret; the old one works on for `grace_s` seconds."""
        require(scope, "keys:write")
        if not 0 <= grace_s <= GRACE_MAX_S:
            raise InvalidInput(f"0 to {GRACE_MAX_S} seconds", pointer="/grace")
        secret = _base32(52)

        async def unit(tx: Transaction) -> ApiKey:
            key = await _resolve(tx, scope, key_id)
            values: dict[str, object] = {
                "secret_sha256": _digest(secret),
                "previous_sha256": key.secret_sha256 if grace_s else None,
                "previous_until": tx.now_us + grace_s * 1_000_000 if grace_s else None,
            }
            await api_keys.change(tx, scope.tenant_id, key.id, values)
            await record_change(tx, scope, type="key.rotated", target=_target(key))
            return await _resolve(tx, scope, key_id)

        key = await self._database.write("key.rotate", unit)
        return IssuedKey(key=key, text=f"mk_{key.lookup}_{secret}")

    async def revoke(self, scope: Scope, key_id: str, *, revision: int | None = None) -> None:
        """End a key at once."""
        require(scope, "keys:write")

        async def unit(tx: Transaction) -> None:
            key = await _resolve(tx, scope, key_id)
            check_revision(key.revision, revision)
            await api_keys.change(tx, scope.tenant_id, key.id, {"revoked_at": tx.now_us})
            await record_change(tx, scope, type="key.revoked", target=_target(key))

        await self._database.write("key.revoke", unit)

    async def authenticate(self, text: str, *, ip: str, request_id: str) -> Scope:
        """The scope of a request that shows a key. Raises Unauthenticated, one text for every cause."""
        match = _KEY.fullmatch(text)
        if match is None:
            raise Unauthenticated(_REFUSED)
        lookup, digest = match[1], _digest(match[2])

        async def unit(tx: Transaction) -> tuple[ApiKey | None, bool]:
            key = await api_keys.by_lookup(tx, lookup)
            return key, key is not None and await _maker_may(tx, key)

        key, maker_may = await self._database.read("key.authenticate", unit)
        if key is None or not maker_may or not _valid(key, digest, ip, self._clock.now()):
            raise Unauthenticated(_REFUSED)
        await self._note_use(key, ip)
        return Scope(
            actor_kind=ActorKind.KEY,
            actor_id=key.id,
            actor_name=key.name,
            tenant_id=key.tenant_id,
            system=key.system,
            scopes=frozenset(key.scopes),
            key_id=key.id,
            account_id=key.account_id,
            remote_ip=ip,
            request_id=request_id,
        )

    async def _note_use(self, key: ApiKey, ip: str) -> None:
        now = self._clock.monotonic()
        last = self._used.get(key.id)
        if last is not None and now - last < USED_WRITTEN_EVERY_S:
            return
        self._used[key.id] = now
        self._used.move_to_end(key.id)
        if len(self._used) > USED_MAX:
            self._used.popitem(last=False)
        try:
            await self._database.write("key.used", lambda tx: api_keys.used(tx, key.id, ip))
        except MaiRustError as error:
            log.warning("key.note_failed", key_id=key.id, error=error.public)

    def _expiry(self, wanted: datetime | None) -> datetime:
        now = self._clock.now()
        if wanted is None:
            return now + LIFE
        if wanted.tzinfo is None or not now < wanted <= now + 10 * LIFE:
            raise InvalidInput("a time in the next ten years, with its offset", pointer="/expires_at")
        return wanted


async def _resolve(tx: Transaction, scope: Scope, key_id: str) -> ApiKey:
    key = await api_keys.get(tx, scope.tenant_id, KeyId(key_id))
    return found(key if key and key.revoked_at is None else None, "API key")


async def _account(tx: Transaction, scope: Scope, ref: str | None) -> AccountId | None:
    if ref is None:
        return scope.account_id
    if "@" in ref:
        account = await accounts.by_address(tx, ref.casefold())
    else:
        account = await accounts.get(tx, scope.tenant_id, AccountId(ref))
    if account is None or account.tenant_id != scope.tenant_id or account.status is not Status.ACTIVE:
        raise InvalidInput("no such account", pointer="/account_id")
    if scope.account_id is not None and account.id != scope.account_id:
        raise InvalidInput("no such account", pointer="/account_id")
    return account.id


async def _maker_may(tx: Transaction, key: ApiKey) -> bool:
    """Whether the tenant is active, and the account the key is bound to as well."""
    tenant = await tenants.get(tx, key.tenant_id)
    if tenant is None or tenant.status is not Status.ACTIVE:
        return False
    if key.account_id is None:
        return True
    account = await accounts.get(tx, key.tenant_id, key.account_id)
    return account is not None and account.status is Status.ACTIVE


def _valid(key: ApiKey, digest: str, ip: str, now: datetime) -> bool:
    fits = hmac.compare_digest(key.secret_sha256, digest)
    if key.previous_sha256 is not None and key.previous_until is not None:
        fits |= hmac.compare_digest(key.previous_sha256, digest) and now < key.previous_until
    alive = key.revoked_at is None and (key.expires_at is None or now < key.expires_at)
    return fits and alive and _allowed_from(key.networks, ip)


def _allowed_from(networks: tuple[str, ...], ip: str) -> bool:
    if not networks:
        return True
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in ipaddress.ip_network(network) for network in networks)


def _networks(values: list[str]) -> tuple[str, ...]:
    if len(values) > NETWORKS_MAX:
        raise InvalidInput(f"at most {NETWORKS_MAX} networks", pointer="/allowed_networks")
    networks = []
    for place, value in enumerate(values):
        try:
            networks.append(str(ipaddress.ip_network(value)))
        except ValueError as error:
            raise InvalidInput("not a network such as 10.0.0.0/8", pointer=f"/allowed_networks/{place}") from error
    return tuple(networks)


def _base32(characters: int) -> str:
    """Random lower-case base32 text: 5 bits a character."""
    return base64.b32encode(os.urandom((characters * 5 + 7) // 8)).decode().lower()[:characters]


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _target(key: ApiKey) -> Target:
    return Target(kind="key", id=key.id, name=key.name, tenant_id=key.tenant_id, account_id=key.account_id)
