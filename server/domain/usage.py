"""How much of their room domains and tenants use."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainUsage:
    """What a domain's accounts store together; `quota_octets` 0 = unlimited."""

    name: str
    accounts: int
    used_octets: int
    quota_octets: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantUsage:
    """A tenant's accounts, messages and octets; recipients of its mail out since midnight UTC."""

    accounts: int
    messages: int
    used_octets: int
    recipients_today: int
    domains: tuple[DomainUsage, ...]
