"""The identity services on a real store, with cheap hashes and ready-made DKIM keys."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from server.adapters.secrets import SecretBox
from server.config.schema import Login
from server.domain.envelope import ConnectionInfo
from server.domain.identity import Account, ActorKind, Scope, Tenant
from server.domain.ids import TenantId
from server.domain.ports import Resolver
from server.protocol.emailauth.dkim_key import KeyKind, make_key
from server.services.identity.accounts import AccountService, NewAccount
from server.services.identity.aliases import AliasService
from server.services.identity.app_passwords import AppPasswordService
from server.services.identity.bans import Bans
from server.services.identity.connections import Connections
from server.services.identity.directory import Directory
from server.services.identity.domain_aliases import DomainAliasService
from server.services.identity.domains import DomainService, NewDkimKey, NewDomain
from server.services.identity.login import LoginService
from server.services.identity.passwords import Passwords
from server.services.identity.permissions import ALL_SCOPES
from server.services.identity.tenants import TenantService
from server.services.identity.tokens import TokenService
from server.services.identity.writer import DirectoryWriter
from server.services.mailstore.mailboxes import create_default_mailboxes
from server.store.database import Database
from tests.support.clock import FakeClock
from tests.support.fake_dns import FakeResolver
from tests.support.stores import open_sqlite

T = TypeVar("T")

PASSWORD = "kelp orbit 42 maple"
CHEAP = Login(argon2_memory_kib=19_456, argon2_time=2)


class AtOnce:
    """A worker that runs everything at once and counts it."""

    def __init__(self) -> None:
        self.runs = 0

    def run(self, work: Callable[[], T]) -> Awaitable[T]:
        async def now() -> T:
            return work()

        self.runs += 1
        return now()


def fake_key(algorithm: str) -> NewDkimKey:
    """A real key, the same each time: making RSA keys takes too long for tests."""
    made = _KEYS.get(algorithm)
    if made is None:
        key = make_key(KeyKind(algorithm))
        made = _KEYS[algorithm] = NewDkimKey(private_key=key.private, public_record=key.record)
    return made


_KEYS: dict[str, NewDkimKey] = {}


@dataclass(slots=True)
class Identity:
    """All identity services of one store; `root` acts in the tenant `default` with every right."""

    database: Database
    clock: FakeClock
    directory: Directory
    passwords: Passwords
    login: LoginService
    tenants: TenantService
    domains: DomainService
    domain_aliases: DomainAliasService
    accounts: AccountService
    aliases: AliasService
    tokens: TokenService
    app_passwords: AppPasswordService
    bans: Bans
    connections: Connections
    worker: AtOnce
    root: Scope
    box: SecretBox

    async def account(self, address: str, password: str | None = PASSWORD, **more: object) -> Account:
        """Make an account, and its domain when that is missing."""
        name = address.partition("@")[2]
        if await self.directory.domain(name) is None:
            await self.domains.create(self.root, NewDomain(name=name))
        new = NewAccount(address=address, password=password, **more)  # type: ignore[arg-type]
        return await self.accounts.create(self.root, new)


@asynccontextmanager
async def open_identity(
    folder: Path, *, resolver: Resolver | None = None, settings: Login = CHEAP
) -> AsyncIterator[Identity]:
    """Identity services on a fresh SQLite store in `folder`."""
    async with open_sqlite(folder) as database:
        yield await make_identity(database, resolver=resolver, settings=settings)


async def make_identity(database: Database, *, resolver: Resolver | None = None, settings: Login = CHEAP) -> Identity:
    clock, worker = FakeClock(), AtOnce()
    directory = Directory(database, clock)
    writer = DirectoryWriter(database, directory)
    passwords = Passwords(worker, lambda: settings)
    tenants = TenantService(writer)
    tenant: Tenant = await tenants.ensure_default()
    box = SecretBox(b"k" * 32)
    bans = Bans(database, clock, lambda: settings)
    return Identity(
        database=database,
        clock=clock,
        directory=directory,
        passwords=passwords,
        login=LoginService(
            database=database,
            passwords=passwords,
            clock=clock,
            settings=lambda: settings,
            bans=bans,
            imitation_secret=b"i" * 32,
        ),
        tenants=tenants,
        domains=DomainService(
            writer,
            resolver=resolver or FakeResolver({}),
            worker=worker,
            sealer=box,
            make_key=fake_key,
            hostname="mail.example.com",
            algorithms=lambda: ("rsa-2048", "ed25519"),
        ),
        domain_aliases=DomainAliasService(writer),
        accounts=AccountService(
            writer, passwords, create_mailboxes=create_default_mailboxes, default_quota=lambda: 10 * 2**30
        ),
        aliases=AliasService(writer),
        tokens=TokenService(database, clock),
        app_passwords=AppPasswordService(database, clock, passwords),
        bans=bans,
        connections=Connections(database, clock, banned=bans.refuses),
        worker=worker,
        root=scope_of(tenant.id),
        box=box,
    )


def scope_of(tenant_id: TenantId, *, system: bool = True, scopes: frozenset[str] = ALL_SCOPES) -> Scope:
    return Scope(
        actor_kind=ActorKind.UID,
        actor_id="0",
        actor_name="root",
        tenant_id=tenant_id,
        system=system,
        scopes=scopes,
        request_id="test",
    )


def connection(ip: str = "192.0.2.7", listener: str = "imaps") -> ConnectionInfo:
    return ConnectionInfo(listener=listener, remote_ip=ip, remote_port=40000, local_port=993, connection_id="c1")
