"""What a tenant uses, as the API shows it."""

from __future__ import annotations

from server.api.schemas.common import Output
from server.domain.usage import TenantUsage


class DomainUsageOut(Output, frozen=True, kw_only=True):
    """`quota_bytes` 0 = unlimited."""

    name: str
    accounts: int
    used_bytes: int
    quota_bytes: int


class UsageOut(Output, frozen=True, kw_only=True):
    """`recipients_today` counts recipients of mail that was queued since midnight UTC."""

    accounts: int
    domains: int
    messages: int
    storage_bytes: int
    recipients_today: int
    by_domain: list[DomainUsageOut]

    @classmethod
    def of(cls, usage: TenantUsage) -> UsageOut:
        return cls(
            accounts=usage.accounts,
            domains=len(usage.domains),
            messages=usage.messages,
            storage_bytes=usage.used_octets,
            recipients_today=usage.recipients_today,
            by_domain=[
                DomainUsageOut(
                    name=one.name,
                    accounts=one.accounts,
                    used_bytes=one.used_octets,
                    quota_bytes=one.quota_octets,
                )
                for one in usage.domains
            ],
        )
