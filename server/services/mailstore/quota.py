"""How much an account may store and does store (product.md 24); the check itself is part of each storing statement."""

from __future__ import annotations

from dataclasses import dataclass

from server.domain.ids import AccountId
from server.store.repositories import messages
from server.store.transaction import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """In octets, of the account and of its domain; a limit of 0 = unlimited."""

    limit_octets: int
    used_octets: int
    domain_limit_octets: int = 0
    domain_used_octets: int = 0

    def has_room(self, octets: int) -> bool:
        return (self.limit_octets == 0 or self.used_octets + octets <= self.limit_octets) and (
            self.domain_limit_octets == 0 or self.domain_used_octets + octets <= self.domain_limit_octets
        )


async def quota_in(tx: Transaction, account_id: AccountId) -> Quota:
    """Raises NotFound when there is no such account."""
    limit, used = await messages.quota(tx, account_id)
    domain_limit, domain_used = await messages.domain_quota(tx, account_id)
    return Quota(limit_octets=limit, used_octets=used, domain_limit_octets=domain_limit, domain_used_octets=domain_used)
