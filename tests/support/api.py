"""The API on real sockets, and a small client of the standard library's for it."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import msgspec
import pytest

from server.adapters.blobs_fs import FileBlobStore
from server.api.app import create_app
from server.api.gateway import Gateway
from server.api.server import HttpService
from server.api.services import ApiServices
from server.config.schema import Settings
from server.domain.ports import Resolver
from server.services.filters.settings import make_filter_service
from server.services.identity.callers import CallerService
from server.services.identity.domains import NewDkimKey
from server.services.identity.idempotency import IdempotencyService
from server.services.identity.send_grants import SendGrantService
from server.services.identity.tokens import NewApiKey
from server.services.mailstore.finding import SearchService
from server.services.mailstore.owners import MailOwners
from server.services.mailstore.services import make_mail_services
from server.services.mailstore.sharing import GrantService
from server.services.mailstore.store import MailStore
from server.services.queue.admin import QueueAdmin
from server.services.queue.dsn import Reporter
from server.services.queue.report import compose_notice
from server.services.queue.submissions import SubmissionQueries
from server.services.reception.routing import Routing
from server.services.submission.keys import KeyRing
from server.services.submission.send import SendService
from server.services.submission.sign import Signer
from server.services.submission.submit import SubmissionService
from server.services.trace.query import TraceService
from server.services.trace.refusals import RefusalLog
from server.services.upkeep.doctor import Doctor
from server.services.upkeep.exporting import ExportService
from server.services.upkeep.index import Indexer
from server.services.upkeep.index_admin import IndexService
from server.services.upkeep.jobs import Holder, JobService
from server.services.upkeep.purge import Purge
from server.services.upkeep.quotas import UsageService
from server.services.upkeep.status import Listener, StatusService
from server.services.upkeep.uploads import UploadService
from server.store.database import Database
from tests.support.fake_dns import FakeResolver
from tests.support.identity import Identity, fake_key, make_identity, scope_of
from tests.support.stores import RecordingNotifier, WallClock, open_sqlite


class Space(FileBlobStore):
    """A blob store whose space can run out at will."""

    error: Exception | None = None

    def check_space(self) -> None:
        if self.error is not None:
            raise self.error


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class UnixConnection(HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(self._path)


@dataclass(slots=True)
class Api:
    """A served API: `unix` calls as root of the socket, `tcp` with whatever credential is given."""

    identity: Identity
    services: ApiServices
    socket_path: str
    port: int
    space: Space
    live: list[Settings]
    app: Gateway
    draining: bool = False
    _made: int = field(default=0)

    async def unix(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        return await self._call(lambda: UnixConnection(self.socket_path), method, path, body, headers)

    async def tcp(
        self, method: str, path: str, body: object = None, *, key: str | None = None, **headers: str
    ) -> Answer:
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        return await self._call(lambda: HTTPConnection("127.0.0.1", self.port, timeout=10), method, path, body, headers)

    async def key(self, *scopes: str, tenant: str | None = None, **more: Any) -> str:
        """Make an API key with these scopes."""
        self._made += 1
        scope = self.identity.root
        if tenant is not None:
            scope = replace(scope, tenant_id=(await self.identity.tenants.get(scope, tenant)).id)
        issued = await self.identity.tokens.create(scope, NewApiKey(name=f"k{self._made}", scopes=list(scopes), **more))
        return issued.text

    async def tenant_key(self, tenant: str) -> str:
        """A key with all that an owner of the tenant has, made by such an owner."""
        tenant_id = (await self.identity.tenants.get(self.identity.root, tenant)).id
        owner = scope_of(tenant_id, system=False)
        return (await self.identity.tokens.create(owner, NewApiKey(name="owner", scopes=["admin"]))).text

    def settings_override(self, **api: Any) -> None:
        """Change keys of the `api` section."""
        changed = msgspec.structs.replace(self.live[0].api, **api)
        self.live[0] = msgspec.structs.replace(self.live[0], api=changed)

    def keys_made(self) -> list[NewDkimKey]:
        """Private DKIM keys that stand, sealed, in the store."""
        return [fake_key(algorithm) for algorithm in ("rsa-2048", "ed25519")]

    async def raw(self, octets: bytes, *, wait_s: float = 5.0) -> bytes:
        """Send octets on a new TCP connection; all that comes back until it is closed, or for `wait_s`."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(octets)
            return await asyncio.wait_for(_until_end(reader), wait_s)
        finally:
            writer.close()

    async def _call(
        self,
        connect: Callable[[], HTTPConnection],
        method: str,
        path: str,
        body: object,
        headers: Mapping[str, str],
    ) -> Answer:
        def call() -> Answer:
            connection = connect()
            try:
                fields = {name.replace("_", "-"): value for name, value in headers.items()}
                octets = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
                if octets is not None:
                    fields.setdefault("Content-Type", "application/json")
                connection.request(method, path, body=octets, headers=fields)
                response = connection.getresponse()
                answer = response.read()
                return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, answer)
            finally:
                connection.close()

        return await asyncio.to_thread(call)


async def _until_end(reader: asyncio.StreamReader) -> bytes:
    got = bytearray()
    while chunk := await reader.read(65536):
        got += chunk
    return bytes(got)


@dataclass(frozen=True, slots=True)
class _Fault:
    line: int
    key: str
    text: str


@dataclass(frozen=True, slots=True)
class _Reloaded:
    applied: tuple[str, ...] = ("log.level",)
    restart_required: tuple[str, ...] = ()


async def _validate(text: str) -> list[_Fault]:
    return [] if text == "" else [_Fault(1, "server.nope", "is not known")]


async def _no_faults() -> list[str]:
    return []


async def _reload() -> _Reloaded:
    return _Reloaded()


@dataclass(frozen=True, slots=True)
class _Mail:
    queue: QueueAdmin
    sender: SendService


def _blobs(folder: Path, identity: Identity) -> Space:
    space = Space(
        folder / "mail", inline_max=16384, worker=identity.worker, fatal=lambda reason: pytest.fail(reason), reserve=0
    )
    space.open()
    return space


def _mail(database: Database, identity: Identity, blobs: Space, live: list[Settings]) -> _Mail:
    clock, worker = WallClock(), identity.worker
    routing = Routing(identity.directory, lambda: live[0])
    reporter = Reporter(
        database=database,
        blob_store=blobs,
        clock=clock,
        hostname="mail.example.com",
        is_local=routing.is_local,
        compose=compose_notice,
        expire_after=lambda: timedelta(days=5),
    )
    submission = SubmissionService(
        database=database,
        blobs=blobs,
        directory=identity.directory,
        routing=routing,
        keys=KeyRing(database, clock, identity.box),
        signer=Signer(worker=worker, clock=clock),
        refusals=RefusalLog(database),
        worker=worker,
        clock=clock,
        settings=lambda: live[0],
        wake_queue=lambda: None,
    )
    return _Mail(
        queue=QueueAdmin(database=database, clock=clock, reporter=reporter, wake=lambda: None),
        sender=SendService(
            submissions=submission,
            directory=identity.directory,
            blobs=blobs,
            clock=clock,
            settings=lambda: live[0],
        ),
    )


@asynccontextmanager
async def open_api(
    folder: Path, *, settings: Settings | None = None, resolver: Resolver | None = None
) -> AsyncIterator[Api]:
    """The API over a fresh store, on a Unix socket and a free TCP port."""
    async with open_sqlite(folder) as database:
        identity = await make_identity(database, resolver=resolver)
        settings = settings or Settings()
        space, clock = _blobs(folder, identity), WallClock()
        settings = msgspec.structs.replace(
            settings,
            storage=msgspec.structs.replace(settings.storage, path=folder / "mail"),
            server=msgspec.structs.replace(settings.server, state_dir=folder),
        )
        live = [settings]
        api: Api
        mail = _mail(database, identity, space, live)
        indexer = Indexer(database=database, blobs=space, clock=clock, worker=identity.worker, owner="here")
        services = ApiServices(
            clock=clock,
            settings=lambda: live[0],
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
                blobs=space,
                clock=clock,
                settings=lambda: live[0],
                version="0.1.0",
                listeners=lambda: (Listener(name="smtp", port=25),),
                certificate=lambda: None,
                draining=lambda: api.draining,
            ),
            usage=UsageService(database, clock),
            purge=Purge(database=database, accounts=identity.accounts, directory=identity.directory),
            mail=make_mail_services(
                database=database,
                blobs=space,
                worker=identity.worker,
                store=MailStore(
                    database=database,
                    blobs=space,
                    notifier=RecordingNotifier(),
                    clock=clock,
                    worker=identity.worker,
                ),
            ),
            searching=SearchService(
                database=database,
                blobs=space,
                worker=identity.worker,
                owners=MailOwners(database),
                clock=clock,
                damaged=indexer.damaged,
            ),
            search_index=IndexService(database=database, indexer=indexer, clock=clock, engine="sqlite"),
            filters=make_filter_service(
                database=database,
                directory=identity.directory,
                worker=identity.worker,
                clock=clock,
                settings=lambda: live[0],
            ),
            queue=mail.queue,
            submissions=SubmissionQueries(database),
            sender=mail.sender,
            traces=TraceService(database, clock),
            doctor=Doctor(
                database=database,
                blobs=space,
                resolver=resolver or FakeResolver({}),
                clock=clock,
                settings=lambda: live[0],
                listeners=lambda: (Listener(name="api", port=api.port),),
                certificate=lambda: None,
                config_path=None,
                config_faults=_no_faults,
            ),
            jobs=JobService(database=database, sealer=identity.box, wake=lambda: None),
            uploads=UploadService(
                database=database,
                blobs=space,
                worker=identity.worker,
                clock=clock,
                settings=lambda: live[0],
                holder=Holder("mail.example.com"),
            ),
            exports=ExportService(
                database=database,
                blobs=space,
                worker=identity.worker,
                hostname=lambda: "mail.example.com",
                holder=Holder("mail.example.com"),
            ),
            validate_settings=_validate,
            reload_settings=_reload,
            cursor_key=b"c" * 32,
            admin_gid=None,
        )
        unix, tcp = socket.socket(socket.AF_UNIX), socket.socket()
        path = str(folder / "api.sock")
        unix.bind(path)
        tcp.bind(("127.0.0.1", 0))
        for sock in (unix, tcp):
            sock.listen(64)
            sock.setblocking(False)
        api = Api(
            identity=identity,
            services=services,
            socket_path=path,
            port=tcp.getsockname()[1],
            space=space,
            live=live,
            app=create_app(services),
        )
        service = HttpService(api.app, unix=[unix], tcp=[tcp])
        task = asyncio.create_task(service.serve())
        try:
            await service.started()
            yield api
        finally:
            await service.drain(1)
            await task
