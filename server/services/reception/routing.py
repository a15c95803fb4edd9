"""Where an address leads: accounts, outside addresses, or a refusal, decided at RCPT (product.md 4).

- Order: account or alias address, then its base without the subaddress, then the domain it is an alias of, then the
  domain's catch-all, then 550 5.1.1. postmaster always leads somewhere (RFC 5321 §4.5.1).
- Aliases expand to the end, bounded in depth and count; a loop is cut where it closes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from server.config.schema import Settings
from server.domain.address import Address
from server.domain.identity import Account, Forwarding, Status
from server.domain.ids import AccountId, TenantId
from server.domain.reply import Reply, reply
from server.protocol.smtp.address import AddressSyntaxError, parse_address
from server.services.identity.directory import Directory, DomainFacts, Entry

ALIAS_DEPTH = 10
"""Aliases of aliases that are followed."""
TARGETS_MAX = 1_000
"""Targets one address may expand to in all."""

UNKNOWN = reply(550, "5.1.1", "no such user here")
RELAY_DENIED = reply(550, "5.7.1", "relaying denied: this server takes no mail for that domain")
DISABLED = reply(550, "5.2.1", "this mailbox is disabled")
OVER_QUOTA = reply(452, "4.2.2", "the mailbox is full")
SUSPENDED = reply(450, "4.2.1", "mail for this domain is suspended; try again later")
INTERNAL_ONLY = reply(550, "5.7.1", "this address takes mail from local senders only")
LOOP = reply(550, "5.4.6", "this address leads back to itself")


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalTarget:
    """An account that gets the mail; `address` is the recipient address it came by.

    Attributes:
        filter_version, forward: As of the account: what it does with its mail, so that a delivery needs not ask.
    """

    account_id: AccountId
    tenant_id: TenantId
    address: str
    filter_version: int = 0
    forward: Forwarding | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where one recipient leads. With a `refusal` there are no targets.

    Attributes:
        local: Whether the domain is ours.
        forwards: Outside addresses the mail goes on to.
    """

    local: bool
    tenant_id: TenantId | None = None
    accounts: tuple[LocalTarget, ...] = ()
    forwards: tuple[Address, ...] = ()
    refusal: Reply | None = None


class _Expansion:
    """What an address has led to so far."""

    def __init__(self) -> None:
        self.accounts: dict[AccountId, LocalTarget] = {}
        self.forwards: dict[str, Address] = {}
        self.expanded: set[str] = set()
        self.refusal: Reply | None = None
        self.tenant_id: TenantId | None = None

    @property
    def count(self) -> int:
        return len(self.accounts) + len(self.forwards)


class Routing:
    """Resolves recipients through the directory."""

    def __init__(self, directory: Directory, settings: Callable[[], Settings]) -> None:
        self._directory = directory
        self._settings = settings

    async def is_local(self, domain: str) -> bool:
        """Whether we take mail for the domain."""
        return await self._directory.domain(domain) is not None

    async def resolve(self, address: Address, *, authenticated: bool = False, check_quota: bool = True) -> Route:
        """Find where mail for `address` goes.

        Args:
            authenticated: The sender is one of our users (opens internal-only aliases).
            check_quota: Refuse a full mailbox; off once the mail has been accepted.
        """
        domain = await self._directory.domain(address.domain)
        if domain is None and self._is_host_postmaster(address):
            address, domain = await self._host_postmaster(address)
        if domain is None:
            return Route(local=False, refusal=RELAY_DENIED)
        found = _Expansion()
        await self._expand(address, found, (), authenticated=authenticated, check_quota=check_quota)
        if found.count:
            return Route(
                local=True,
                tenant_id=domain.domain.tenant_id,
                accounts=tuple(found.accounts.values()),
                forwards=tuple(found.forwards.values()),
            )
        return Route(local=True, tenant_id=domain.domain.tenant_id, refusal=found.refusal or UNKNOWN)

    def _is_host_postmaster(self, address: Address) -> bool:
        hostname = self._settings().server.hostname.lower()
        return address.domain == hostname and address.local.casefold() == "postmaster"

    async def _host_postmaster(self, address: Address) -> tuple[Address, DomainFacts | None]:
        """The postmaster of the nearest domain of ours above the host's name (RFC 5321 §4.5.1)."""
        name = address.domain
        while "." in name:
            name = name.partition(".")[2]
            domain = await self._directory.domain(name)
            if domain is not None:
                return Address(address.local, name), domain
        return address, None

    async def _expand(
        self, address: Address, found: _Expansion, path: tuple[str, ...], *, authenticated: bool, check_quota: bool
    ) -> None:
        entry = await self._directory.lookup(address)
        domain = entry.domain
        if domain is None:
            if found.count < TARGETS_MAX:
                found.forwards[address.key] = address
            return
        if not domain.is_open:
            found.refusal = SUSPENDED
            return
        entry = await self._owned(entry, domain)
        if entry.account is not None:
            self._account(entry.account, address, found, is_full=check_quota and entry.over_quota)
            return
        alias = entry.alias
        if alias is None or not alias.enabled:
            found.refusal = found.refusal or UNKNOWN
        elif alias.internal_only and not authenticated and not path:
            found.refusal = INTERNAL_ONLY
        elif alias.address in path or len(path) >= ALIAS_DEPTH:
            found.refusal = LOOP
        elif alias.address not in found.expanded:
            # Each alias once: aliases that share targets would multiply with every level.
            found.expanded.add(alias.address)
            deeper = (*path, alias.address)
            for target in alias.targets:
                await self._expand(_parsed(target), found, deeper, authenticated=authenticated, check_quota=check_quota)

    def _account(self, account: Account, address: Address, found: _Expansion, *, is_full: bool) -> None:
        if account.status is not Status.ACTIVE:
            found.refusal = DISABLED
        elif is_full:
            found.refusal = OVER_QUOTA
        elif found.count < TARGETS_MAX:
            target = LocalTarget(
                account_id=account.id,
                tenant_id=account.tenant_id,
                address=str(address),
                filter_version=account.filter_version,
                forward=account.forward,
            )
            found.accounts.setdefault(account.id, target)

    async def _owned(self, entry: Entry, domain: DomainFacts) -> Entry:
        """The first candidate for the address that somebody owns; the entry itself when nobody does."""
        if entry.account is not None or entry.alias is not None:
            return entry
        for candidate in self._candidates(entry.address, domain):
            found = await self._directory.lookup(candidate)
            if found.account is not None or found.alias is not None:
                return found
        if entry.address.local.casefold() == "postmaster":
            account = await self._postmaster(domain)
            return Entry(address=entry.address, domain=domain, account=account)
        return entry

    async def _postmaster(self, domain: DomainFacts) -> Account | None:
        """Who reads postmaster mail when nobody was named: the domain's first owner, else its first account."""
        account_id = await self._directory.postmaster(domain.domain.id)
        return None if account_id is None else await self._directory.account(account_id)

    def _candidates(self, address: Address, facts: DomainFacts) -> list[Address]:
        candidates: list[Address] = []
        separator = self._settings().smtp.subaddress_separator
        if separator and facts.domain.subaddressing:
            base, found, _detail = address.local.partition(separator)
            if found and base:
                candidates.append(Address(base, address.domain))
        if facts.domain.catch_all is not None and address.local.casefold() != "postmaster":
            candidates.append(_parsed(facts.domain.catch_all))
        return candidates


def _parsed(text: str) -> Address:
    """Parse an address of our own directory, which was checked when it was written."""
    try:
        return parse_address(text)
    except AddressSyntaxError:
        local, _, domain = text.rpartition("@")
        return Address(local, domain)
