"""Mail domains, their second names and their DKIM keys.

- A new domain gets its DKIM keys in the same transaction; private keys are sealed with the row's id and never shown.
- A domain that a system owner adds is active at once; any other is pending until DNS shows that it comes here.
- Names are unique over domains and domain aliases of the whole server.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from msgspec import UNSET, UnsetType

from server.domain.errors import Conflict, InvalidInput
from server.domain.identity import DkimKey, Domain, Scope, Status
from server.domain.ids import DomainId, new_id
from server.domain.paging import Page, PageRequest
from server.domain.ports import Resolver, Worker
from server.domain.scopes import require
from server.services.identity.accounts import QUOTA_MAX, resolve_domain
from server.services.identity.dns_records import DnsRecord, RecordState, checked, wanted_records
from server.services.identity.names import address_of, domain_of
from server.services.identity.writer import DirectoryWriter, Input, check_revision, given, stored
from server.services.trace.record import Target, differences, record_change
from server.store.repositories import accounts, domains
from server.store.repositories.domains import dkim_context
from server.store.repositories.rows import text
from server.store.times import from_us
from server.store.transaction import Transaction

SIZE_MIN = 64 * 1024
SIZE_MAX = 2**30
_TAKEN = "the domain is here already"


class NewDomain(Input, frozen=True, kw_only=True):
    """`catch_all` is an address or null; `max_message_size` null = the server's own limit; `quota_bytes` is what the
    domain's accounts may store together, 0 = no limit."""

    name: str
    catch_all: str | None = None
    subaddressing: bool = True
    max_message_size: int | None = None
    require_tls_in: bool = False
    require_tls_out: bool = False
    quota_bytes: int = 0


class DomainChange(Input, frozen=True, kw_only=True):
    status: Status | UnsetType = UNSET
    catch_all: str | UnsetType | None = UNSET
    subaddressing: bool | UnsetType = UNSET
    max_message_size: int | UnsetType | None = UNSET
    require_tls_in: bool | UnsetType = UNSET
    require_tls_out: bool | UnsetType = UNSET
    quota_bytes: int | UnsetType = UNSET


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDkimKey:
    """A fresh key: the private half as it is to be sealed, and the TXT record's value."""

    private_key: bytes
    public_record: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainView:
    """A domain with its keys."""

    domain: Domain
    keys: tuple[DkimKey, ...]


class Sealer(Protocol):
    """Seals a secret for one place in the database (security.md §12)."""

    def seal(self, plain: bytes, *, context: str) -> bytes: ...


MakeKey = Callable[[str], NewDkimKey]
"""Makes a key of an algorithm (`rsa-2048`, `ed25519`); runs off the event loop."""


class DomainService:
    """Use cases of domains."""

    def __init__(
        self,
        writer: DirectoryWriter,
        *,
        resolver: Resolver,
        worker: Worker,
        sealer: Sealer,
        make_key: MakeKey,
        hostname: str,
        algorithms: Callable[[], Sequence[str]],
    ) -> None:
        self._writer = writer
        self._resolver = resolver
        self._worker = worker
        self._sealer = sealer
        self._make_key = make_key
        self._hostname = hostname
        self._algorithms = algorithms

    async def create(self, scope: Scope, new: NewDomain) -> DomainView:
        """Add a domain and make its keys. Raises Conflict when it exists, also as a domain alias."""
        require(scope, "domains:write")
        name = domain_of(new.name, pointer="/name")
        _check_size(new.max_message_size)
        _check_quota(new.quota_bytes)
        domain_id = DomainId(new_id())
        made = [
            (algorithm, new_id(), await self._worker.run(lambda a=algorithm: self._make_key(a)))  # type: ignore[misc]
            for algorithm in self._algorithms()
        ]

        async def unit(tx: Transaction) -> DomainView:
            now = from_us(tx.now_us)
            if await domains.alias_by_name(tx, name) is not None:
                raise Conflict("the name is a domain alias already")
            domain = _new(domain_id, scope, name, new, now)
            await _check_catch_all(tx, scope, domain, new.catch_all)
            await domains.insert(tx, domain)
            keys = [self._key(domain, key_id, algorithm, key, now) for algorithm, key_id, key in made]
            for key in keys:
                await domains.insert_key(tx, key)
            await record_change(tx, scope, type="domain.created", target=_target(domain))
            return DomainView(domain=domain, keys=tuple(keys))

        return await self._writer.write("domain.create", unit, taken=_TAKEN)

    async def get(self, scope: Scope, ref: str) -> DomainView:
        """By id or name."""
        require(scope, "domains:read")
        return await self._writer.read("domain.get", lambda tx: _view(tx, scope, ref))

    async def page(self, scope: Scope, request: PageRequest, *, status: Status | None = None) -> Page[DomainView]:
        require(scope, "domains:read")

        async def unit(tx: Transaction) -> Page[DomainView]:
            page = await domains.page(tx, scope.tenant_id, request, status=status)
            views = [
                DomainView(domain=domain, keys=tuple(await domains.keys(tx, scope.tenant_id, domain.id)))
                for domain in page.items
            ]
            return Page(items=tuple(views), next_after=page.next_after)

        return await self._writer.read("domain.page", unit)

    async def change(self, scope: Scope, ref: str, change: DomainChange, *, revision: int | None = None) -> DomainView:
        """Change settings; `status` may become active or disabled."""
        require(scope, "domains:write")
        names = ("catch_all", "subaddressing", "max_message_size", "require_tls_in", "require_tls_out")
        values = given(change, names)
        if isinstance(change.max_message_size, int):
            _check_size(change.max_message_size)
        if isinstance(change.quota_bytes, int):
            _check_quota(change.quota_bytes)
            values["quota_octets"] = change.quota_bytes
        if isinstance(change.catch_all, str):
            values["catch_all"] = address_of(change.catch_all, pointer="/catch_all").key
        if isinstance(change.status, Status):
            values["status"] = change.status.value

        async def unit(tx: Transaction) -> DomainView:
            domain = await resolve_domain(tx, scope, ref)
            check_revision(domain.revision, revision)
            _check_status(scope, domain, change.status)
            if isinstance(change.catch_all, str):
                await _check_catch_all(tx, scope, domain, change.catch_all)
            old: dict[str, object] = {name: getattr(domain, name) for name in (*names, "quota_octets")}
            changes = differences({**old, "status": domain.status.value}, values)
            if changes:
                await domains.change(tx, scope.tenant_id, domain.id, stored(values))
                await record_change(tx, scope, type="domain.updated", target=_target(domain), changes=changes)
            return await _view(tx, scope, domain.id)

        return await self._writer.write("domain.change", unit, taken=_TAKEN)

    async def delete(self, scope: Scope, ref: str, *, revision: int | None = None) -> DomainView:
        """Into the trash. Raises Conflict while accounts or aliases stand on it."""
        require(scope, "domains:write")

        async def unit(tx: Transaction) -> DomainView:
            domain = await resolve_domain(tx, scope, ref)
            check_revision(domain.revision, revision)
            if domain.status is Status.DELETED:
                raise Conflict("the domain is deleted", code="invalid_state")
            users = await domains.in_use(tx, scope.tenant_id, domain.id)
            if users:
                raise Conflict(f"{users} accounts and aliases are on the domain; remove them first", code="in_use")
            await domains.change(tx, scope.tenant_id, domain.id, {"status": "deleted", "deleted_at": tx.now_us})
            await record_change(tx, scope, type="domain.deleted", target=_target(domain))
            return await _view(tx, scope, domain.id)

        return await self._writer.write("domain.delete", unit, taken=_TAKEN)

    async def restore(self, scope: Scope, ref: str) -> DomainView:
        require(scope, "domains:write")

        async def unit(tx: Transaction) -> DomainView:
            domain = await resolve_domain(tx, scope, ref)
            if domain.status is not Status.DELETED:
                raise Conflict(f"the domain is {domain.status.value}", code="invalid_state")
            status = Status.ACTIVE if scope.system else Status.PENDING
            await domains.change(tx, scope.tenant_id, domain.id, {"status": status.value, "deleted_at": None})
            await record_change(tx, scope, type="domain.restored", target=_target(domain))
            return await _view(tx, scope, domain.id)

        return await self._writer.write("domain.restore", unit, taken=_TAKEN)

    def records(self, view: DomainView) -> list[DnsRecord]:
        """The records to publish, not compared with anything."""
        return wanted_records(view.domain.name, self._hostname, view.keys)

    async def dns(self, scope: Scope, ref: str, *, live: bool) -> list[DnsRecord]:
        """The records to publish; `live` compares them with DNS."""
        records = self.records(await self.get(scope, ref))
        return await checked(records, self._hostname, self._resolver) if live else records

    async def check(self, scope: Scope, ref: str) -> tuple[DomainView, list[DnsRecord]]:
        """Look at DNS; a pending domain whose MX leads here becomes active."""
        require(scope, "domains:write")
        view = await self.get(scope, ref)
        records = await self.dns(scope, ref, live=True)
        verified = any(record.type == "MX" and record.state is RecordState.OK for record in records)
        if not verified or view.domain.status is not Status.PENDING:
            return view, records

        async def unit(tx: Transaction) -> DomainView:
            await domains.change(tx, scope.tenant_id, view.domain.id, {"status": Status.ACTIVE.value})
            changes = differences({"status": "pending"}, {"status": "active"})
            await record_change(tx, scope, type="domain.verified", target=_target(view.domain), changes=changes)
            return await _view(tx, scope, view.domain.id)

        return await self._writer.write("domain.verify", unit, taken=_TAKEN), records

    def _key(self, domain: Domain, key_id: str, algorithm: str, key: NewDkimKey, now: datetime) -> DkimKey:
        sealed = self._sealer.seal(key.private_key, context=dkim_context(key_id))
        return DkimKey(
            id=key_id,
            tenant_id=domain.tenant_id,
            domain_id=domain.id,
            selector=f"{algorithm[0]}{now:%Y%m}",
            algorithm=algorithm,
            state="active",
            sealed_key=sealed,
            public_record=key.public_record,
            created_at=now,
        )


async def _view(tx: Transaction, scope: Scope, ref: str) -> DomainView:
    domain = await resolve_domain(tx, scope, ref)
    return DomainView(domain=domain, keys=tuple(await domains.keys(tx, scope.tenant_id, domain.id)))


def _check_size(octets: int | None) -> None:
    if octets is not None and not SIZE_MIN <= octets <= SIZE_MAX:
        raise InvalidInput(f"from {SIZE_MIN} to {SIZE_MAX} octets", pointer="/max_message_size")


def _check_quota(octets: int) -> None:
    if not 0 <= octets <= QUOTA_MAX:
        raise InvalidInput("the quota is out of range", pointer="/quota_bytes")


def _check_status(scope: Scope, domain: Domain, wanted: Status | UnsetType) -> None:
    if isinstance(wanted, UnsetType) or wanted is domain.status:
        return
    if wanted not in {Status.ACTIVE, Status.DISABLED}:
        raise InvalidInput("active or disabled", pointer="/status")
    if domain.status is Status.DELETED or (domain.status is Status.PENDING and not scope.system):
        raise Conflict(f"the domain is {domain.status.value}", code="invalid_state")


async def _check_catch_all(tx: Transaction, scope: Scope, domain: Domain, value: str | None) -> None:
    """A catch-all leads to an address of the same tenant, never to a stranger's."""
    if value is None:
        return
    key = address_of(value, pointer="/catch_all").key
    owner = await accounts.address_owner(tx, key)
    if owner is None or text(owner, "tenant_id") != scope.tenant_id:
        raise InvalidInput("no account or alias of yours has this address", pointer="/catch_all")


def _new(domain_id: DomainId, scope: Scope, name: str, new: NewDomain, now: datetime) -> Domain:
    return Domain(
        id=domain_id,
        tenant_id=scope.tenant_id,
        name=name,
        status=Status.ACTIVE if scope.system else Status.PENDING,
        catch_all=address_of(new.catch_all, pointer="/catch_all").key if new.catch_all else None,
        subaddressing=new.subaddressing,
        max_message_size=new.max_message_size,
        require_tls_in=new.require_tls_in,
        require_tls_out=new.require_tls_out,
        quota_octets=new.quota_bytes,
        created_at=now,
        updated_at=now,
        revision=1,
    )


def _target(domain: Domain) -> Target:
    return Target(kind="domain", id=domain.id, name=domain.name, tenant_id=domain.tenant_id)
