"""Both doors of the mail path on a real store: routing, reception, submission; DNS is a fake."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import select

from server.adapters.blobs_fs import FileBlobStore
from server.adapters.worker import ThreadWorker
from server.config.schema import Settings
from server.domain.envelope import ConnectionInfo, Envelope, Recipient, TlsInfo
from server.domain.identity import Principal
from server.domain.inbound import Inbound
from server.protocol.smtp.address import parse_address
from server.services.filters.programs import Programs
from server.services.reception.authenticate import Authenticator
from server.services.reception.filtering import DeliveryFilter
from server.services.reception.inbound import Reception
from server.services.reception.local import LocalDeliverer
from server.services.reception.routing import Routing
from server.services.submission.keys import KeyRing
from server.services.submission.sign import Signer
from server.services.submission.submit import SubmissionService
from server.services.trace.refusals import RefusalLog
from server.store.schema import emails, events, mailboxes, messages, queued_messages, queued_recipients
from server.store.transaction import Row
from tests.support.fake_dns import FakeResolver
from tests.support.identity import Identity, open_identity

MESSAGE = (
    b"From: Carol <carol@outside.example>\r\nTo: anna@example.org\r\nSubject: Offer\r\nMessage-ID: <m1@outside>\r\n"
)


@dataclass(slots=True)
class Doors:
    """Everything between the edges and the store."""

    identity: Identity
    blobs: FileBlobStore
    routing: Routing
    reception: Reception
    submission: SubmissionService
    local: LocalDeliverer
    filters: DeliveryFilter
    refusals: RefusalLog
    woken: list[int]
    live: list[Settings]

    def set(self, **sections: msgspec.Struct) -> None:
        """Replace sections of the settings in force."""
        self.live[0] = msgspec.structs.replace(self.live[0], **sections)

    async def inbound(
        self,
        octets: bytes = MESSAGE + b"\r\nHello\r\n",
        *,
        to: Sequence[str] = ("anna@example.org",),
        sender: str | None = "carol@outside.example",
        **more: Any,
    ) -> Inbound:
        """A complete transaction."""
        return Inbound(
            connection=replace(CONNECTION, **more),
            envelope=Envelope(
                reverse_path=parse_address(sender) if sender else None,
                recipients=tuple(Recipient(address=parse_address(address)) for address in to),
            ),
            content=await self.blobs.content(octets),
            received_at=datetime(2026, 11, 22, 12, 0, tzinfo=UTC),
        )

    async def principal(self, address: str) -> Principal:
        entry = await self.identity.directory.lookup(parse_address(address))
        assert entry.account is not None
        return Principal(
            account_id=entry.account.id, tenant_id=entry.account.tenant_id, address=address, credential_version=1
        )

    async def stored(self) -> list[Row]:
        """Every message in every mailbox, oldest first."""
        statement = (
            select(messages, mailboxes.c.name, emails.c.prefix, emails.c.blob_id, emails.c.subject)
            .join(mailboxes, mailboxes.c.id == messages.c.mailbox_id)
            .join(emails, emails.c.id == messages.c.email_id)
            .order_by(messages.c.id)
        )
        return list(await self.identity.database.read("test", lambda tx: tx.fetch(statement)))

    async def queued(self) -> list[Row]:
        statement = select(queued_recipients, queued_messages.c.sender, queued_messages.c.prefix).join(
            queued_messages, queued_messages.c.id == queued_recipients.c.queue_id
        )
        return list(await self.identity.database.read("test", lambda tx: tx.fetch(statement)))

    async def events(self) -> list[Row]:
        await self.refusals.flush()
        statement = select(events).order_by(events.c.seq)
        return list(await self.identity.database.read("test", lambda tx: tx.fetch(statement)))


CONNECTION = ConnectionInfo(
    listener="smtp",
    remote_ip="192.0.2.7",
    remote_port=40000,
    local_port=25,
    connection_id="c1",
    tls=TlsInfo(version="TLSv1.3", cipher="TLS_AES_256_GCM_SHA384"),
    helo="mx.outside.example",
)


@asynccontextmanager
async def open_doors(folder: Path, zone: Mapping[str, Mapping[str, Any]] | None = None) -> AsyncIterator[Doors]:
    """Both doors with the account anna@example.org."""
    worker = ThreadWorker("test", threads=2)
    async with open_identity(folder) as identity:
        await identity.account("anna@example.org")
        blobs = FileBlobStore(folder / "mail", inline_max=1024, worker=worker, fatal=_fatal, reserve=0)
        blobs.open()
        live = [Settings()]
        live[0] = msgspec.structs.replace(
            live[0], server=msgspec.structs.replace(live[0].server, hostname="mail.example.org")
        )
        yield _make(identity, blobs, worker, live, FakeResolver(zone or {}))
    worker.close()


def _fatal(reason: str) -> None:
    raise AssertionError(reason)


def _make(
    identity: Identity, blobs: FileBlobStore, worker: ThreadWorker, live: list[Settings], resolver: FakeResolver
) -> Doors:
    database, clock = identity.database, identity.clock
    woken: list[int] = []
    routing = Routing(identity.directory, lambda: live[0])
    refusals = RefusalLog(database)

    def wake() -> None:
        woken.append(1)

    submission = SubmissionService(
        database=database,
        blobs=blobs,
        directory=identity.directory,
        routing=routing,
        keys=KeyRing(database, clock, identity.box),
        signer=Signer(worker=worker, clock=clock),
        refusals=refusals,
        worker=worker,
        clock=clock,
        settings=lambda: live[0],
        wake_queue=wake,
    )
    filters = DeliveryFilter(
        database=database,
        blobs=blobs,
        programs=Programs(database=database, worker=worker),
        outgoing=submission,
        is_local=routing.is_local,
        worker=worker,
        settings=lambda: live[0],
    )
    return Doors(
        identity=identity,
        blobs=blobs,
        routing=routing,
        reception=Reception(
            database=database,
            blobs=blobs,
            routing=routing,
            authenticator=Authenticator(resolver=resolver, worker=worker, clock=clock),
            refusals=refusals,
            worker=worker,
            settings=lambda: live[0],
            wake_queue=wake,
            filters=filters,
        ),
        submission=submission,
        local=LocalDeliverer(
            database=database,
            blobs=blobs,
            routing=routing,
            worker=worker,
            clock=clock,
            settings=lambda: live[0],
            filters=filters,
        ),
        filters=filters,
        refusals=refusals,
        woken=woken,
        live=live,
    )
