"""Answers about tenants, domains, accounts, aliases and keys."""

from __future__ import annotations

import msgspec

from server.api.schemas.common import Output, time_or_none, time_text
from server.domain.identity import Account, Alias, ApiKey, DkimKey, DomainAlias, Tenant
from server.services.identity.dns_records import DnsRecord
from server.services.identity.domains import DomainView
from server.services.identity.tokens import IssuedKey


class TenantOut(Output, frozen=True, kw_only=True):
    id: str
    name: str
    display_name: str
    status: str
    created_at: str
    updated_at: str
    revision: int

    @classmethod
    def of(cls, tenant: Tenant) -> TenantOut:
        return cls(
            id=tenant.id,
            name=tenant.name,
            display_name=tenant.display_name,
            status=tenant.status.value,
            created_at=time_text(tenant.created_at),
            updated_at=time_text(tenant.updated_at),
            revision=tenant.revision,
        )


class DkimKeyOut(Output, frozen=True, kw_only=True):
    """A signing key; the private half is never shown."""

    selector: str
    algorithm: str
    state: str
    public_record: str
    created_at: str

    @classmethod
    def of(cls, key: DkimKey) -> DkimKeyOut:
        return cls(
            selector=key.selector,
            algorithm=key.algorithm,
            state=key.state,
            public_record=key.public_record,
            created_at=time_text(key.created_at),
        )


class DnsRecordOut(Output, frozen=True, kw_only=True):
    type: str
    name: str
    value: str
    ttl: int
    purpose: str
    required: bool
    state: str
    found: list[str]

    @classmethod
    def of(cls, record: DnsRecord) -> DnsRecordOut:
        return cls(
            type=record.type,
            name=record.name,
            value=record.value,
            ttl=record.ttl,
            purpose=record.purpose,
            required=record.required,
            state=record.state.value,
            found=list(record.found),
        )


class DomainOut(Output, frozen=True, kw_only=True):
    """`dns_records` only in the answer that made the domain."""

    id: str
    tenant_id: str
    name: str
    status: str
    catch_all: str | None
    subaddressing: bool
    max_message_size: int | None
    require_tls_in: bool
    require_tls_out: bool
    quota_bytes: int
    dkim: list[DkimKeyOut]
    created_at: str
    updated_at: str
    revision: int
    dns_records: list[DnsRecordOut] | msgspec.UnsetType = msgspec.UNSET

    @classmethod
    def of(cls, view: DomainView, records: list[DnsRecord] | None = None) -> DomainOut:
        domain = view.domain
        return cls(
            id=domain.id,
            tenant_id=domain.tenant_id,
            name=domain.name,
            status=domain.status.value,
            catch_all=domain.catch_all,
            subaddressing=domain.subaddressing,
            max_message_size=domain.max_message_size,
            require_tls_in=domain.require_tls_in,
            require_tls_out=domain.require_tls_out,
            quota_bytes=domain.quota_octets,
            dkim=[DkimKeyOut.of(key) for key in view.keys],
            created_at=time_text(domain.created_at),
            updated_at=time_text(domain.updated_at),
            revision=domain.revision,
            dns_records=msgspec.UNSET if records is None else [DnsRecordOut.of(record) for record in records],
        )


class DomainAliasOut(Output, frozen=True, kw_only=True):
    id: str
    tenant_id: str
    name: str
    domain_id: str
    enabled: bool
    created_at: str
    updated_at: str
    revision: int

    @classmethod
    def of(cls, alias: DomainAlias) -> DomainAliasOut:
        return cls(
            id=alias.id,
            tenant_id=alias.tenant_id,
            name=alias.name,
            domain_id=alias.domain_id,
            enabled=alias.enabled,
            created_at=time_text(alias.created_at),
            updated_at=time_text(alias.updated_at),
            revision=alias.revision,
        )


class AccountOut(Output, frozen=True, kw_only=True):
    id: str
    tenant_id: str
    domain_id: str
    address: str
    addresses: list[str]
    display_name: str
    role: str
    status: str
    quota_bytes: int
    used_bytes: int
    last_login_at: str | None
    created_at: str
    updated_at: str
    revision: int

    @classmethod
    def of(cls, account: Account) -> AccountOut:
        return cls(
            id=account.id,
            tenant_id=account.tenant_id,
            domain_id=account.domain_id,
            address=account.address,
            addresses=list(account.addresses),
            display_name=account.display_name,
            role=account.role.value,
            status=account.status.value,
            quota_bytes=account.quota_octets,
            used_bytes=account.used_octets,
            last_login_at=time_or_none(account.last_login_at),
            created_at=time_text(account.created_at),
            updated_at=time_text(account.updated_at),
            revision=account.revision,
        )


class AliasOut(Output, frozen=True, kw_only=True):
    id: str
    tenant_id: str
    address: str
    targets: list[str]
    enabled: bool
    internal_only: bool
    description: str
    created_at: str
    updated_at: str
    revision: int

    @classmethod
    def of(cls, alias: Alias) -> AliasOut:
        return cls(
            id=alias.id,
            tenant_id=alias.tenant_id,
            address=alias.address,
            targets=list(alias.targets),
            enabled=alias.enabled,
            internal_only=alias.internal_only,
            description=alias.description,
            created_at=time_text(alias.created_at),
            updated_at=time_text(alias.updated_at),
            revision=alias.revision,
        )


class ApiKeyOut(Output, frozen=True, kw_only=True):
    """A key as it is listed; `key` is its text and stands only in the answer that made it."""

    id: str
    tenant_id: str
    name: str
    prefix: str
    scopes: list[str]
    system: bool
    account_id: str | None
    allowed_networks: list[str]
    expires_at: str | None
    last_used_at: str | None
    last_used_ip: str | None
    created_at: str
    revision: int
    key: str | msgspec.UnsetType = msgspec.UNSET

    @classmethod
    def of(cls, key: ApiKey, text: str | msgspec.UnsetType = msgspec.UNSET) -> ApiKeyOut:
        return cls(
            id=key.id,
            tenant_id=key.tenant_id,
            name=key.name,
            prefix=f"mk_{key.lookup}",
            scopes=list(key.scopes),
            system=key.system,
            account_id=key.account_id,
            allowed_networks=list(key.networks),
            expires_at=time_or_none(key.expires_at),
            last_used_at=time_or_none(key.last_used_at),
            last_used_ip=key.last_used_ip,
            created_at=time_text(key.created_at),
            revision=key.revision,
            key=text,
        )

    @classmethod
    def issued(cls, issued: IssuedKey) -> ApiKeyOut:
        return cls.of(issued.key, issued.text)


class PasswordIn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`must_change` needs a web login to change it in, so only false is taken until there is one."""

    password: str
    must_change: bool = False
