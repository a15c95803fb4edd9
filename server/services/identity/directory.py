"""Who owns which address, fast: facts for routing, with a short memory.

- A lookup is of one exact address, after mapping a domain alias; subaddresses and catch-alls are further lookups of
  the caller's (product.md 4).
- Facts are at most `FRESH_S` old; a change made by this process is seen by the next lookup.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from server.domain.address import Address
from server.domain.identity import Account, Alias, Domain, Status
from server.domain.ids import AccountId, DomainId
from server.domain.ports import Clock
from server.store.database import Database
from server.store.repositories import accounts, aliases, domains, tenants
from server.store.repositories.rows import text
from server.store.transaction import Transaction

FRESH_S = 2.0
ENTRIES_MAX = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainFacts:
    """A domain of ours with the state of its tenant; `is_full` when its accounts together have used up its quota."""

    domain: Domain
    tenant_status: Status
    is_full: bool = False

    @property
    def is_open(self) -> bool:
        """Whether mail for it is taken now; otherwise the sender is told to try again."""
        return self.domain.status is Status.ACTIVE and self.tenant_status is Status.ACTIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What the directory knows of one address.

    Attributes:
        address: The address with a domain alias replaced by its domain.
        domain: None when the domain is not ours, or is deleted.
        account: The account that holds the address; its status may be anything but deleted.
        alias: The alias with the address, enabled or not; never together with `account`.
    """

    address: Address
    domain: DomainFacts | None
    account: Account | None = None
    alias: Alias | None = None

    @property
    def over_quota(self) -> bool:
        """Whether the account has no room left; exact room is checked in the delivering transaction."""
        account, domain = self.account, self.domain
        if account is None:
            return False
        return 0 < account.quota_octets <= account.used_octets or (domain is not None and domain.is_full)


class Directory:
    """Lookups of addresses, domains and accounts with a bounded memory."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._entries: OrderedDict[Address, tuple[float, Entry]] = OrderedDict()
        self._accounts: OrderedDict[AccountId, tuple[float, Account | None]] = OrderedDict()
        self._generation = 0

    async def lookup(self, address: Address) -> Entry:
        """Facts of one address."""
        found = self._entries.get(address)
        if found is not None and self._clock.monotonic() < found[0]:
            return found[1]

        async def unit(tx: Transaction) -> Entry:
            return await _entry(tx, address)

        generation = self._generation
        entry = await self._database.read("directory.lookup", unit)
        if generation != self._generation:
            return entry
        self._entries[address] = (self._clock.monotonic() + FRESH_S, entry)
        self._entries.move_to_end(address)
        if len(self._entries) > ENTRIES_MAX:
            self._entries.popitem(last=False)
        return entry

    async def domain(self, name: str) -> DomainFacts | None:
        """Facts of a domain or domain alias of ours by its A-label name, or None."""
        return (await self.lookup(Address("postmaster", name))).domain

    async def account(self, account_id: AccountId) -> Account | None:
        """An account that is not deleted, with all its addresses."""
        found = self._accounts.get(account_id)
        if found is not None and self._clock.monotonic() < found[0]:
            return found[1]

        async def unit(tx: Transaction) -> Account | None:
            account = await accounts.get_any(tx, account_id)
            return None if account is None or account.status is Status.DELETED else account

        generation = self._generation
        account = await self._database.read("directory.account", unit)
        if generation != self._generation:
            return account
        self._accounts[account_id] = (self._clock.monotonic() + FRESH_S, account)
        self._accounts.move_to_end(account_id)
        if len(self._accounts) > ENTRIES_MAX:
            self._accounts.popitem(last=False)
        return account

    async def postmaster(self, domain_id: DomainId) -> AccountId | None:
        """The account that gets postmaster mail of a domain where nobody holds that address (RFC 5321 §4.5.1)."""
        return await self._database.read("directory.postmaster", lambda tx: accounts.first_reader(tx, domain_id))

    def invalidate(self) -> None:
        """Forget everything, also what is being read now: something in the directory changed."""
        self._generation += 1
        self._entries.clear()
        self._accounts.clear()


async def _entry(tx: Transaction, address: Address) -> Entry:
    domain = await domains.by_name(tx, address.domain)
    mapped = address
    if domain is None:
        domain_alias = await domains.alias_by_name(tx, address.domain)
        if domain_alias is not None and domain_alias.enabled:
            domain = await domains.get(tx, domain_alias.tenant_id, domain_alias.domain_id)
        if domain is not None:
            mapped = Address(address.local, domain.name)
    if domain is None or domain.status is Status.DELETED:
        return Entry(address=mapped, domain=None)
    tenant = await tenants.get(tx, domain.tenant_id)
    facts = DomainFacts(
        domain=domain,
        tenant_status=tenant.status if tenant else Status.DELETED,
        is_full=0 < domain.quota_octets <= await domains.used_octets(tx, domain.id) if domain.quota_octets else False,
    )
    owner = await accounts.address_owner(tx, mapped.key)
    if owner is None:
        return Entry(address=mapped, domain=facts)
    if text(owner, "kind") == "alias":
        return Entry(address=mapped, domain=facts, alias=await aliases.by_address(tx, mapped.key))
    account = await accounts.get(tx, domain.tenant_id, AccountId(text(owner, "owner_id")))
    if account is not None and account.status is Status.DELETED:
        account = None
    return Entry(address=mapped, domain=facts, account=account)
