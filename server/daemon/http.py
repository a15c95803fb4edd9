"""The HTTP service of the appliance: its sockets at once, its stack only after the mail listeners are up.

- The sockets are bound when the daemon is built, so a wrong port stops the start; requests wait in the backlog until
  the application has been imported, which takes some hundred milliseconds (architecture.md §7).
"""

from __future__ import annotations

import asyncio
import grp
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from server.config.load import ConfigError, Fault, load, parse
from server.config.schema import Role, Settings
from server.daemon.reload import ReloadFailed, ReloadResult
from server.daemon.service import Host, Service
from server.domain.errors import InvalidInput
from server.services.filters.settings import make_filter_service
from server.services.identity.callers import CallerService
from server.services.identity.idempotency import IdempotencyService
from server.services.identity.send_grants import SendGrantService
from server.services.mailstore.finding import SearchService
from server.services.mailstore.owners import MailOwners
from server.services.mailstore.services import make_mail_services
from server.services.mailstore.sharing import GrantService
from server.services.queue.submissions import SubmissionQueries
from server.services.submission.send import SendService
from server.services.trace.query import TraceService
from server.services.upkeep.doctor import Doctor
from server.services.upkeep.index_admin import IndexService
from server.services.upkeep.quotas import UsageService
from server.services.upkeep.status import Certificate, Listener, StatusService
from server.telemetry.log import get_logger

if TYPE_CHECKING:
    from server.api.server import HttpService
    from server.api.services import ApiServices, SettingsFault
    from server.daemon.appliance import Appliance

log = get_logger("api")


def http_service(appliance: Appliance, host: Host) -> Service:
    """The API on the admin socket and on TCP."""
    server = appliance.live().server
    unix = host.sockets.unix("api", server.admin_socket, group=server.admin_group)
    tcp = host.sockets.tcp("rest", server.api_bind, server.api_port)
    return _Http(appliance, host, unix, tcp).service()


class _Http:
    """Builds the application in `start`, serves it in `run`."""

    def __init__(self, appliance: Appliance, host: Host, unix: list[socket.socket], tcp: list[socket.socket]) -> None:
        self._appliance = appliance
        self._host = host
        self._unix = unix
        self._tcp = tcp
        self._http: HttpService | None = None
        self._draining = False

    def service(self) -> Service:
        return Service(name="http", critical=True, start=self._start, run=self._run, drain=self._drain)

    async def _start(self) -> None:
        # The mail listeners' tasks run first; then the import holds the loop once, before READY.
        await asyncio.sleep(0)
        from server.api.app import create_app
        from server.api.server import HttpService

        app = create_app(self._services())
        self._http = HttpService(app, unix=self._unix, tcp=self._tcp)

    async def _run(self) -> None:
        if self._http is not None:
            await self._http.serve()

    async def _drain(self, grace_s: float) -> None:
        self._draining = True
        if self._http is not None:
            await self._http.drain(grace_s)

    def _services(self) -> ApiServices:
        from importlib.metadata import version

        from server.api.services import ApiServices

        appliance = self._appliance
        adapters, identity = appliance.adapters, appliance.identity
        database, clock = adapters.database, adapters.clock
        return ApiServices(
            clock=clock,
            settings=appliance.live,
            callers=CallerService(database, identity.tokens, clock),
            idempotency=IdempotencyService(database, clock),
            tenants=identity.tenants,
            domains=identity.domains,
            domain_aliases=identity.domain_aliases,
            accounts=identity.accounts,
            aliases=identity.aliases,
            tokens=identity.tokens,
            app_passwords=identity.app_passwords,
            grants=GrantService(database),
            send_grants=SendGrantService(database),
            bans=identity.bans,
            connections=identity.connections,
            status=StatusService(
                database=database,
                blobs=adapters.blobs,
                clock=clock,
                settings=appliance.live,
                version=version("mairust"),
                listeners=self._listeners,
                certificate=self._certificate,
                draining=lambda: self._draining,
            ),
            usage=UsageService(database, clock),
            purge=appliance.mail.purge,
            mail=make_mail_services(
                database=database,
                blobs=adapters.blobs,
                worker=adapters.workers.sign,
                store=appliance.mail.mailstore,
            ),
            searching=SearchService(
                database=database,
                blobs=adapters.blobs,
                worker=adapters.workers.sign,
                owners=MailOwners(database),
                clock=clock,
                damaged=appliance.mail.indexer.damaged,
            ),
            search_index=IndexService(
                database=database,
                indexer=appliance.mail.indexer,
                clock=clock,
                engine=appliance.live().database.type,
            ),
            filters=make_filter_service(
                database=database,
                directory=identity.directory,
                worker=adapters.workers.sign,
                clock=clock,
                settings=appliance.live,
            ),
            queue=appliance.mail.queue_admin,
            jobs=appliance.jobs.jobs,
            uploads=appliance.jobs.uploads,
            exports=appliance.jobs.exports,
            submissions=SubmissionQueries(database),
            sender=SendService(
                submissions=appliance.mail.submission,
                directory=identity.directory,
                blobs=adapters.blobs,
                clock=clock,
                settings=appliance.live,
            ),
            traces=TraceService(database, clock),
            doctor=Doctor(
                database=database,
                blobs=adapters.blobs,
                resolver=adapters.resolver,
                clock=clock,
                settings=appliance.live,
                listeners=self._listeners,
                certificate=self._certificate,
                config_path=self._host.settings_path,
                config_faults=self._config_faults,
            ),
            validate_settings=self._validate,
            reload_settings=self._reload,
            cursor_key=adapters.box.derive("cursors"),
            admin_gid=_group(appliance.live().server.admin_group),
        )

    async def _validate(self, text: str) -> Sequence[SettingsFault]:
        return await self._appliance.adapters.workers.fsync.run(lambda: _faults(text, self._host))

    async def _config_faults(self) -> Sequence[str]:
        return await self._appliance.adapters.workers.fsync.run(lambda: _file_faults(self._host))

    async def _reload(self) -> ReloadResult:
        try:
            return await self._host.reload()
        except ConfigError as error:
            raise InvalidInput("; ".join(error.lines())) from error
        except ReloadFailed as error:
            raise InvalidInput(str(error)) from error

    def _listeners(self) -> list[Listener]:
        return served(self._appliance.live())

    def _certificate(self) -> Certificate:
        info = self._appliance.adapters.tls.info
        return Certificate(not_after=info.not_after, self_signed=info.self_signed)


def served(settings: Settings) -> list[Listener]:
    """The ports of this host's roles, each with the addresses at which the host itself reaches it."""
    server, mail, api = settings.server, _reached(settings.server.bind), _reached(settings.server.api_bind)
    imap, pop3 = settings.imap.enabled, settings.pop3.enabled
    ports: tuple[tuple[str, Role, int, tuple[str, ...]], ...] = (
        ("smtp", "smtp", server.smtp_port, mail),
        ("submission", "submission", server.submission_port, mail),
        ("submissions", "submission", server.submissions_port, mail),
        ("imap", "imap", server.imap_port if imap else 0, mail),
        ("imaps", "imap", server.imaps_port if imap else 0, mail),
        ("pop3", "pop3", server.pop3_port if pop3 else 0, mail),
        ("pop3s", "pop3", server.pop3s_port if pop3 else 0, mail),
        ("managesieve", "sieve", server.sieve_port, mail),
        ("api", "http", server.api_port, api),
    )
    return [
        Listener(name=name, port=port, hosts=hosts)
        for name, role, port, hosts in ports
        if port and role in server.roles
    ]


def _reached(bind: Sequence[str]) -> tuple[str, ...]:
    loopback = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  told apart, not bound
    return tuple(loopback.get(address, address) for address in bind)


def _faults(text: str, host: Host) -> Sequence[Fault]:
    try:
        parse(text, name="config.yaml", environ=host.environ)
    except ConfigError as error:
        return error.faults
    return ()


def _file_faults(host: Host) -> Sequence[str]:
    """What is wrong with the configuration file as it is now."""
    if host.settings_path is None:
        return ()
    try:
        load(host.settings_path, host.environ)
    except ConfigError as error:
        return list(error.lines())
    except OSError as error:
        return [error.strerror or type(error).__name__]
    return ()


def _group(name: str) -> int | None:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None
