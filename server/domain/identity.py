"""Tenants, domains, accounts, aliases, and who is asking."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from server.domain.ids import AccountId, AliasId, DomainId, KeyId, TenantId


class Status(StrEnum):
    ACTIVE = "active"
    DISABLED = "disabled"
    SUSPENDED = "suspended"
    PENDING = "pending"
    DELETED = "deleted"


class Role(StrEnum):
    OWNER = "owner"
    DOMAIN_ADMIN = "domain_admin"
    HELPDESK = "helpdesk"
    AUDITOR = "auditor"
    USER = "user"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    id: TenantId
    name: str
    display_name: str
    status: Status
    created_at: datetime
    updated_at: datetime
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """A mail domain. `catch_all` is an address or None; sizes in octets, None = the server's own limit.

    `quota_octets` is what its accounts may store together, 0 = unlimited.
    """

    id: DomainId
    tenant_id: TenantId
    name: str
    status: Status
    catch_all: str | None
    subaddressing: bool
    max_message_size: int | None
    require_tls_in: bool
    require_tls_out: bool
    quota_octets: int = 0
    created_at: datetime
    updated_at: datetime
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainAlias:
    """A second domain whose addresses are those of `domain_id`."""

    id: str
    tenant_id: TenantId
    name: str
    domain_id: DomainId
    enabled: bool
    created_at: datetime
    updated_at: datetime
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DkimKey:
    """A signing key; `sealed_key` opens only with the master key and this row's id.

    Attributes:
        algorithm: rsa-2048 or ed25519.
        state: pending, active, retiring or revoked.
        public_record: The TXT record's value (RFC 6376 §3.6.1).
    """

    id: str
    tenant_id: TenantId
    domain_id: DomainId
    selector: str
    algorithm: str
    state: str
    sealed_key: bytes
    public_record: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Forwarding:
    """Where an account's mail goes on to: 1 to 10 addresses, with a copy kept or without."""

    targets: tuple[str, ...]
    keep_copy: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The owner of mail. `address` is the primary address and login; `addresses` are all of them, it first.

    Attributes:
        quota_octets: 0 = unlimited.
        credential_version: Rises with every change of a credential; caches and sessions hang on it.
        filter_version: Changes with every change of a script, rule or vacation that runs for it; 0 = nothing runs.
    """

    id: AccountId
    tenant_id: TenantId
    domain_id: DomainId
    address: str
    addresses: tuple[str, ...]
    display_name: str
    role: Role
    status: Status
    quota_octets: int
    used_octets: int
    credential_version: int
    last_login_at: datetime | None
    created_at: datetime
    updated_at: datetime
    revision: int
    filter_version: int = 0
    forward: Forwarding | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """An address that expands to 1 to 100 targets, local or outside."""

    id: AliasId
    tenant_id: TenantId
    address: str
    targets: tuple[str, ...]
    enabled: bool
    internal_only: bool
    description: str
    created_at: datetime
    updated_at: datetime
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """A logged-in account on a mail protocol; `app_password_id` None = by the account's own password."""

    account_id: AccountId
    tenant_id: TenantId
    address: str
    credential_version: int
    app_password_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key as stored; digests are lower-case hex SHA-256 of the secret part.

    Attributes:
        lookup: The 12 public characters by which it is found.
        system: Whether tenants and system paths are open to it.
        networks: CIDR networks it may be used from; empty = anywhere.
    """

    id: KeyId
    tenant_id: TenantId
    lookup: str
    secret_sha256: str
    previous_sha256: str | None
    previous_until: datetime | None
    name: str
    scopes: tuple[str, ...]
    system: bool
    account_id: AccountId | None
    networks: tuple[str, ...]
    expires_at: datetime | None
    last_used_at: datetime | None
    last_used_ip: str | None
    created_at: datetime
    revision: int
    revoked_at: datetime | None


class ActorKind(StrEnum):
    UID = "uid"
    KEY = "key"
    ACCOUNT = "account"
    SYSTEM = "system"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Who asks and what they may touch; every service call of the API takes one.

    Attributes:
        tenant_id: The tenant acted in; every statement filters on it.
        system: Whether tenants and system paths are open to the caller.
        scopes: Words of `api.md` section 2, such as `accounts:write`.
    """

    actor_kind: ActorKind
    actor_id: str
    actor_name: str
    tenant_id: TenantId
    system: bool
    scopes: frozenset[str]
    key_id: KeyId | None = None
    account_id: AccountId | None = None
    remote_ip: str = ""
    request_id: str = ""
