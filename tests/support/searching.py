"""A store with mail in it and the index's writer, on a database of the test's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from server.adapters.blobs_fs import FileBlobStore
from server.adapters.worker import ThreadWorker
from server.domain.identity import ActorKind, Scope
from server.domain.ids import AccountId, BlobId, MailboxId, TenantId, new_id
from server.domain.message import Blob, BlobPlace, SpecialUse, Stored
from server.domain.paging import PageRequest
from server.domain.search import SearchOrder
from server.protocol.imap.search_keys import BodyKey, HeaderKey
from server.protocol.mime.render import render
from server.protocol.mime.search import MessageText
from server.protocol.mime.structure import parse_structure
from server.services.mailstore.append import append_in
from server.services.mailstore.finding import SearchResult, SearchService
from server.services.mailstore.owners import MailOwners, Whose
from server.services.mailstore.text_index import StoredTextIndex
from server.services.upkeep.index import Indexer
from server.store.database import Database
from server.store.repositories import mailboxes
from tests.support.stores import WallClock

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)

MAILS = (
    b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe_aus_Bern?=\r\nFrom: Alice Meier <alice@example.com>\r\nTo: bob@example.org\r\n"
    b"List-Id: Climbing <climb.lists.example>\r\n"
    b"Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    b"Wir gehen am Wochenende durch die Stra=DFe nach Z=FCrich und ess=\r\nen Raclette.\r\n",
    b"Subject: Report\r\nFrom: carol@example.net\r\nTo: bob@example.org\r\nCc: Dan <dan@other.example>\r\n"
    b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    b"--b\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    b"PGh0bWw+PHN0eWxlPnAge2NvbG9yOnJlZH08L3N0eWxlPjxwPlF1YXJ0ZXJseSA8Yj5udW1iZXJzPC9iPiBhcmUgJmFtcDsgZ29vZDwvcD48L2h0\r\n"
    b"bWw+\r\n"
    b'--b\r\nContent-Type: application/pdf; name="=?utf-8?q?Umsatz=C3=BCbersicht_2026.pdf?="\r\n'
    b"Content-Disposition: attachment\r\nContent-Transfer-Encoding: base64\r\n\r\nJVBERi0=\r\n"
    b"--b\r\nContent-Type: text/csv; charset=utf-8\r\nContent-Disposition: attachment; filename=list.csv\r\n\r\n"
    b"country,capital\r\nNorway,Oslo\r\n--b--\r\n",
    b"Subject: =?iso-2022-jp?b?GyRCMnE1RCROJCpDTiRpJDsbKEI=?=\r\nFrom: taro@example.jp\r\nTo: bob@example.org\r\n"
    b"Content-Type: text/plain; charset=iso-2022-jp\r\n\r\n"
    b"\x1b$BEl5~ETD#$GL@F|$N2q5D$r9T$$$^$9!#\x1b(B Room 5\r\n",
    b"Subject: Fwd\r\nFrom: dan@other.example\r\nTo: alice@example.com\r\n"
    b"Content-Type: multipart/mixed; boundary=x\r\n\r\n"
    b"--x\r\nContent-Type: message/rfc822\r\n\r\nSubject: Inner words\r\nFrom: eve@deep.example\r\n\r\n"
    b"hidden treasure\r\n"
    b"--x--\r\n",
    b"Subject: plain\r\nFrom: dan@other.example\r\n\r\nthe report of the numbers by alice\r\n",
    b"Subject: nothing here\r\n\r\n",
)


@dataclass
class SearchRoom:
    """One account with mail, and what searches it."""

    database: Database
    blobs: FileBlobStore
    indexer: Indexer
    index: StoredTextIndex
    service: SearchService
    account: AccountId

    async def add(
        self,
        octets: bytes,
        *,
        account: AccountId | None = None,
        at: datetime = NOW,
        flags: int = 0,
        keywords: tuple[str, ...] = (),
    ) -> Stored:
        """Store a mail in INBOX."""
        blob = Blob(
            id=BlobId(new_id()),
            size_octets=len(octets),
            sha256=sha256(octets).hexdigest(),
            place=BlobPlace.ROW,
            inline=octets,
        )
        return await self.database.write(
            "t",
            lambda tx: append_in(
                tx,
                account_id=account or self.account,
                mailbox=SpecialUse.INBOX,
                blob=blob,
                blob_is_new=True,
                prefix=b"",
                rendered=render(octets),
                flags=flags,
                keywords=keywords,
                internal_date=at,
                received_at=at,
                trace_id=None,
            ),
        )

    async def add_all(self, mails: Sequence[bytes] = MAILS) -> list[Stored]:
        return [await self.add(octets) for octets in mails]

    async def settle(self) -> None:
        """Index all that waits."""
        while await self.indexer.batch():
            pass

    async def inbox(self) -> MailboxId:
        boxes = await self.database.read("t", lambda tx: mailboxes.list_all(tx, self.account))
        return next(box.id for box in boxes if box.name == "INBOX")

    async def search(
        self,
        query: str,
        *,
        account: AccountId | None = None,
        order: SearchOrder = SearchOrder.NEWEST,
        limit: int = 50,
        after: str | None = None,
    ) -> SearchResult:
        """What the account's own credential is told."""
        own = account or self.account
        scope = Scope(
            actor_kind=ActorKind.KEY,
            actor_id="k",
            actor_name="k",
            tenant_id=TenantId(""),
            system=False,
            scopes=frozenset({"mail:read"}),
            account_id=own,
        )
        return await self.service.search(scope, Whose(), query, PageRequest(limit=limit, after=after), order=order)

    async def hits(self, query: str, *, order: SearchOrder = SearchOrder.NEWEST) -> list[int]:
        """UIDs found, in order."""
        return [item.view.record.uid for item in (await self.search(query, order=order)).items]

    async def found(self, key: HeaderKey | BodyKey) -> set[int] | None:
        """UIDs the index answers with; every mail must be known to it."""
        known = await self.index.candidates(self.account, await self.inbox(), key)
        if known is None:
            return None
        assert not known.unindexed
        return set(known.uids)


def scanned(mails: Sequence[bytes], key: HeaderKey | BodyKey) -> set[int]:
    """UIDs that a scan of the mails answers with; the first has UID 1."""
    found = set()
    for uid, octets in enumerate(mails, 1):
        text = MessageText(octets, parse_structure(octets))
        if isinstance(key, HeaderKey):
            hit = text.header_contains(key.name.encode(), key.text)
        else:
            hit = text.text_contains(key.text) if key.header else text.body_contains(key.text)
        if hit:
            found.add(uid)
    return found


@contextmanager
def open_room(database: Database, folder: Path, account: AccountId, owner: str = "here") -> Iterator[SearchRoom]:
    """The room on a database that has the account."""
    worker = ThreadWorker("blob", threads=2)
    blobs = FileBlobStore(folder / "mail", inline_max=16384, worker=worker, fatal=lambda _r: None, reserve=0)
    blobs.open()
    text = ThreadWorker("index", threads=1)
    indexer = Indexer(database=database, blobs=blobs, clock=WallClock(), worker=text, owner=owner)
    index = StoredTextIndex(database, indexer.damaged)
    service = SearchService(
        database=database,
        blobs=blobs,
        worker=text,
        owners=MailOwners(database),
        clock=WallClock(),
        damaged=indexer.damaged,
    )
    yield SearchRoom(database, blobs, indexer, index, service, account)
    worker.close()
    text.close()
