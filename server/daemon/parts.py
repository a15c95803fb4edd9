"""The parts of an appliance, made from settings: adapters, identity, mail (architecture.md §3).

- Nothing here runs or listens; `bootstrap` turns the parts into services.
- Reloadable settings reach services through one `Live` value.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from server.adapters.blobs_fs import FileBlobStore
from server.adapters.clock import SystemClock
from server.adapters.dialer import StreamDialer
from server.adapters.dns import DnsResolver
from server.adapters.notify_local import LocalNotifier
from server.adapters.secrets import SecretBox, load_master_key
from server.adapters.tls import TlsContexts, opportunistic_context, verified_context
from server.adapters.worker import Workers
from server.config.schema import Settings
from server.daemon import stores
from server.daemon.exits import ExitCode
from server.daemon.service import Host
from server.protocol.emailauth.dkim_key import KeyKind, make_key
from server.services.filters.programs import Programs
from server.services.identity.accounts import AccountService
from server.services.identity.aliases import AliasService
from server.services.identity.app_passwords import AppPasswordService
from server.services.identity.bans import Bans
from server.services.identity.connections import Connections
from server.services.identity.directory import Directory
from server.services.identity.domain_aliases import DomainAliasService
from server.services.identity.domains import DomainService, NewDkimKey
from server.services.identity.login import LoginService
from server.services.identity.passwords import Passwords
from server.services.identity.tenants import TenantService
from server.services.identity.tokens import TokenService
from server.services.identity.watch import AccessWatch
from server.services.identity.writer import DirectoryWriter
from server.services.mailstore.mailboxes import create_default_mailboxes
from server.services.mailstore.store import MailStore
from server.services.mailstore.text_index import StoredTextIndex
from server.services.queue.admin import QueueAdmin
from server.services.queue.capture import CaptureCourier
from server.services.queue.courier import Courier
from server.services.queue.dsn import Reporter
from server.services.queue.local import LocalCourier
from server.services.queue.remote import Host as MailHost
from server.services.queue.remote import RemoteCourier
from server.services.queue.report import compose_notice
from server.services.queue.retry import policy_from
from server.services.queue.runner import QueueRunner
from server.services.queue.session import ClientTls
from server.services.queue.settle import Settler
from server.services.reception.authenticate import Authenticator
from server.services.reception.filtering import DeliveryFilter
from server.services.reception.inbound import Reception
from server.services.reception.local import LocalDeliverer
from server.services.reception.routing import Routing
from server.services.submission.keys import KeyRing
from server.services.submission.sign import Signer
from server.services.submission.submit import SubmissionService
from server.services.trace.refusals import RefusalLog
from server.services.upkeep.index import Indexer
from server.services.upkeep.purge import Purge
from server.services.upkeep.quotas import QuotaWarnings
from server.services.upkeep.retention import Retention
from server.store.database import Database


class Live:
    """The settings in force; services ask at each use."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def __call__(self) -> Settings:
        return self.settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapters:
    """What touches the world."""

    clock: SystemClock
    notifier: LocalNotifier
    workers: Workers
    resolver: DnsResolver
    tls: TlsContexts
    client_tls: ClientTls
    box: SecretBox
    blobs: FileBlobStore
    database: Database


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who owns mail, and who is asking."""

    directory: Directory
    passwords: Passwords
    logins: LoginService
    tenants: TenantService
    domains: DomainService
    domain_aliases: DomainAliasService
    accounts: AccountService
    aliases: AliasService
    tokens: TokenService
    app_passwords: AppPasswordService
    bans: Bans
    connections: Connections
    watch: AccessWatch
    keys: KeyRing


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """The two doors, the queue and the mailstore."""

    refusals: RefusalLog
    reception: Reception
    submission: SubmissionService
    runner: QueueRunner
    queue_admin: QueueAdmin
    mailstore: MailStore
    retention: Retention
    quota_warnings: QuotaWarnings
    purge: Purge
    indexer: Indexer


async def make_adapters(settings: Settings, host: Host) -> Adapters:
    fatal = partial(host.fatal, ExitCode.STORAGE)
    clock, notifier = SystemClock(), LocalNotifier()
    box = load_master_key(host.environ, config_folder=host.config_folder)
    workers = Workers(hash_slots=settings.login.hash_slots)
    blobs = FileBlobStore(
        settings.storage.path,
        inline_max=settings.storage.inline_max,
        worker=workers.blob,
        fatal=fatal,
        reserve=settings.storage.reserve,
    )
    blobs.open()
    tls = TlsContexts(settings.tls, folder=settings.server.state_dir / "tls", hostname=settings.server.hostname)
    resolver = DnsResolver(
        settings.dns.resolvers, timeout_s=settings.dns.timeout, believe_ad=settings.dns.dnssec != "off"
    )
    host.extend_start(300.0)
    await workers.fsync.run(lambda: stores.migrate(settings))
    return Adapters(
        clock=clock,
        notifier=notifier,
        workers=workers,
        resolver=resolver,
        tls=tls,
        client_tls=ClientTls(unverified=opportunistic_context(), verified=verified_context()),
        box=box,
        blobs=blobs,
        database=await stores.open_database(settings, clock=clock, notifier=notifier, fatal=fatal),
    )


def make_identity(live: Live, adapters: Adapters) -> Identity:
    database, clock = adapters.database, adapters.clock
    directory = Directory(database, clock)
    writer = DirectoryWriter(database, directory)
    passwords = Passwords(adapters.workers.hash, lambda: live().login)
    bans = Bans(database, clock, lambda: live().login)
    connections = Connections(database, clock, banned=bans.refuses)
    return Identity(
        directory=directory,
        passwords=passwords,
        logins=LoginService(
            database=database,
            passwords=passwords,
            clock=clock,
            settings=lambda: live().login,
            bans=bans,
            imitation_secret=adapters.box.derive("scram imitation"),
        ),
        tenants=TenantService(writer),
        domains=DomainService(
            writer,
            resolver=adapters.resolver,
            worker=adapters.workers.sign,
            sealer=adapters.box,
            make_key=_new_dkim_key,
            hostname=live().server.hostname,
            algorithms=lambda: live().mailauth.dkim_algorithms,
        ),
        domain_aliases=DomainAliasService(writer),
        accounts=AccountService(
            writer,
            passwords,
            create_mailboxes=create_default_mailboxes,
            default_quota=lambda: live().limits.default_quota,
        ),
        aliases=AliasService(writer),
        tokens=TokenService(database, clock),
        app_passwords=AppPasswordService(database, clock, passwords),
        bans=bans,
        connections=connections,
        watch=AccessWatch(database, clock, bans=bans, connections=connections),
        keys=KeyRing(database, clock, adapters.box),
    )


def make_mail(live: Live, adapters: Adapters, identity: Identity, host: Host) -> Mail:
    database, blobs, clock = adapters.database, adapters.blobs, adapters.clock
    worker = adapters.workers.sign
    routing = Routing(identity.directory, live)
    purge = Purge(database=database, accounts=identity.accounts, directory=identity.directory)
    refusals = RefusalLog(database)
    reporter = Reporter(
        database=database,
        blob_store=blobs,
        clock=clock,
        hostname=live().server.hostname,
        is_local=routing.is_local,
        compose=compose_notice,
        expire_after=lambda: timedelta(seconds=live().queue.expire_after),
    )
    submission = SubmissionService(
        database=database,
        blobs=blobs,
        directory=identity.directory,
        routing=routing,
        keys=identity.keys,
        signer=Signer(worker=worker, clock=clock),
        refusals=refusals,
        worker=worker,
        clock=clock,
        settings=live,
        wake_queue=lambda: runner.wake(),
    )
    delivery_filter = DeliveryFilter(
        database=database,
        blobs=blobs,
        programs=Programs(database=database, worker=worker),
        outgoing=submission,
        is_local=routing.is_local,
        worker=worker,
        settings=live,
    )
    deliverer = LocalDeliverer(
        database=database,
        blobs=blobs,
        routing=routing,
        worker=worker,
        clock=clock,
        settings=live,
        filters=delivery_filter,
    )
    settler = Settler(database=database, clock=clock, policy=lambda: policy_from(live().queue), reporter=reporter)
    runner = QueueRunner(
        database=database,
        clock=clock,
        settings=lambda: live().queue,
        host_id=live().server.hostname,
        remote=_courier(live, adapters),
        local=LocalCourier(delivery=deliverer, clock=clock),
        settler=settler,
    )
    indexer = _indexer(live, adapters)
    return Mail(
        refusals=refusals,
        reception=Reception(
            database=database,
            blobs=blobs,
            routing=routing,
            authenticator=Authenticator(
                resolver=adapters.resolver,
                worker=worker,
                clock=clock,
                trusted_sealers=lambda: live().mailauth.trusted_sealers,
            ),
            refusals=refusals,
            worker=worker,
            settings=live,
            wake_queue=runner.wake,
            filters=delivery_filter,
        ),
        submission=submission,
        runner=runner,
        queue_admin=QueueAdmin(database=database, clock=clock, reporter=reporter, wake=runner.wake),
        mailstore=MailStore(
            database=database,
            blobs=blobs,
            notifier=adapters.notifier,
            clock=clock,
            worker=worker,
            index=StoredTextIndex(database, indexer.damaged),
        ),
        purge=purge,
        quota_warnings=QuotaWarnings(database=database, blobs=blobs, clock=clock, settings=live),
        retention=Retention(
            database=database,
            files=blobs,
            clock=clock,
            settings=live,
            owner=live().server.hostname,
            purge=purge,
        ),
        indexer=indexer,
    )


def _indexer(live: Live, adapters: Adapters) -> Indexer:
    indexer = Indexer(
        database=adapters.database,
        blobs=adapters.blobs,
        clock=adapters.clock,
        worker=adapters.workers.index,
        owner=live().server.hostname,
    )
    adapters.notifier.watch(indexer.wake)
    return indexer


def _courier(live: Live, adapters: Adapters) -> Courier:
    settings = live()
    if settings.outbound.capture_path is not None:
        return CaptureCourier(
            database=adapters.database,
            blob_store=adapters.blobs,
            clock=adapters.clock,
            folder=settings.outbound.capture_path,
            worker=adapters.workers.blob,
        )
    own = tuple(address for address in settings.server.bind if address not in ("0.0.0.0", "::"))  # noqa: S104
    return RemoteCourier(
        database=adapters.database,
        blob_store=adapters.blobs,
        resolver=adapters.resolver,
        dialer=StreamDialer(),
        clock=adapters.clock,
        host=MailHost(name=settings.server.hostname, addresses=own),
        settings=live,
        contexts=adapters.client_tls,
    )


def _new_dkim_key(algorithm: str) -> NewDkimKey:
    made = make_key(KeyKind(algorithm))
    return NewDkimKey(private_key=made.private, public_record=made.record)
