"""The use cases of mail that the API is built on, made together."""

from __future__ import annotations

from dataclasses import dataclass

from server.domain.ports import BlobStore, Worker
from server.services.mailstore.acting import MailActor
from server.services.mailstore.owners import MailOwners
from server.services.mailstore.reading import MailReader
from server.services.mailstore.store import MailStore
from server.services.mailstore.tags import TagService
from server.services.mailstore.undelete import Undelete
from server.store.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class MailServices:
    """Reading, changing, what tags are called, and what was deleted."""

    reader: MailReader
    actor: MailActor
    tags: TagService
    deleted: Undelete


def make_mail_services(*, database: Database, blobs: BlobStore, worker: Worker, store: MailStore) -> MailServices:
    """Build them over one store."""
    owners = MailOwners(database)
    reader = MailReader(database=database, blobs=blobs, worker=worker, owners=owners)
    return MailServices(
        reader=reader,
        actor=MailActor(database=database, store=store, reader=reader, owners=owners),
        tags=TagService(database),
        deleted=Undelete(database=database, reader=reader, owners=owners),
    )
