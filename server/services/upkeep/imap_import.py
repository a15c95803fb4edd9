"""Imports by IMAP: every folder of an account on another server, its messages with flags and dates.

- What came before is known by the folder, its UIDVALIDITY and the UID, so a later pass fetches only what is new; where
  UIDVALIDITY has changed everything is fetched again, and found to be there by its octets.
- Special-use folders go to our mailboxes of that role; those that only show mail of other folders are left out.
- Messages are asked for by groups of about BATCH_OCTETS; a group that the server refuses is asked for one by one, and
  what it does not give is listed.
- `sync_flags`: flags that changed there since the last pass are set here, wherever the message is now.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from server.domain.errors import InvalidInput
from server.domain.ids import MailboxId
from server.domain.jobs import Job
from server.domain.message import SpecialUse
from server.domain.ports import BlobStore, Clock, Dialer, Worker
from server.protocol.imap.client import (
    Folder,
    Response,
    Value,
    flags_of,
    folder_of,
    foreign_prefixes,
    format_quoted,
    format_uids,
    items_of,
    number_of,
)
from server.protocol.mime.dates import parse_date
from server.services.mailstore.flags import FlagChange, store_flags_in
from server.services.queue.mx import MxRouter
from server.services.upkeep.imap_session import ImapSession, Refused, Server, open_session
from server.services.upkeep.importing import BATCH_MESSAGES, BATCH_OCTETS, Incoming, Intake, Memory, storable
from server.services.upkeep.job_runner import JobFailed
from server.services.upkeep.jobs import Sealer, secret_context
from server.store.database import Database
from server.store.repositories import jobs
from server.store.transaction import Transaction

FOLDERS_MAX = 5000
KEPT_OCTETS = 2 * BATCH_OCTETS
"""When a group of messages has that many, the rest of it is asked for one by one."""
PAGE = 500
"""Messages whose flags, sizes and dates are asked for at once."""
_ROLES = {
    "\\sent": SpecialUse.SENT,
    "\\drafts": SpecialUse.DRAFTS,
    "\\junk": SpecialUse.JUNK,
    "\\trash": SpecialUse.TRASH,
    "\\archive": SpecialUse.ARCHIVE,
}
_SHOWS_OTHERS = frozenset({"\\all", "\\flagged", "\\important"})
_NO_MAIL = frozenset({"\\noselect", "\\nonexistent"})
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listed:
    """A folder to import: where it is there, and what it is called here."""

    folder: Folder
    name: str
    role: SpecialUse | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Message:
    """A message as the other server lists it; `state` is its flags as text."""

    uid: int
    size: int
    flags: int
    keywords: tuple[str, ...]
    date: datetime | None

    @property
    def state(self) -> str:
        return " ".join((str(self.flags), *sorted(self.keywords)))


class ImapImporter:
    """Runs imports by IMAP."""

    def __init__(
        self,
        *,
        database: Database,
        blobs: BlobStore,
        worker: Worker,
        clock: Clock,
        sealer: Sealer,
        dialer: Dialer,
        router: MxRouter,
        context: ssl.SSLContext,
        largest: Callable[[], int],
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._worker = worker
        self._clock = clock
        self._sealer = sealer
        self._dialer = dialer
        self._router = router
        self._context = context
        self._largest = largest

    async def run(self, job: Job, owner: str) -> None:
        """Do a claimed job. Raises as `job_runner.Work`."""
        # What was skipped and failed is found again by this pass; what was added counts once.
        fresh = replace(job, counts=replace(job.counts, skipped=0, failed=0), errors=())
        intake = Intake(
            database=self._database,
            blobs=self._blobs,
            worker=self._worker,
            clock=self._clock,
            job=fresh,
            owner=owner,
            largest=self._largest(),
            memory=Memory(),
        )
        if job.sealed_secret is None:
            raise JobFailed("the password is gone: begin the import again")
        options = intake.options
        password = self._sealer.open(job.sealed_secret, context=secret_context(job.id)).decode()
        server = Server(host=options.host, port=options.port, tls=options.tls, login=options.login, password=password)
        session = await open_session(self._dialer, self._router, self._context, server, largest=self._largest())
        try:
            await _Pass(self._database, intake, session).run()
        except BaseException:
            session.abort()
            raise
        await session.close()


class _Pass:
    """One walk over the other server's folders."""

    def __init__(self, database: Database, intake: Intake, session: ImapSession) -> None:
        self._database = database
        self._intake = intake
        self._session = session
        self._credit = intake.counts.added

    async def run(self) -> None:
        folders = await self._folders()
        self._intake.total = await self._count(folders)
        for listed in folders:
            try:
                await self._folder(listed)
            except Refused as error:
                self._intake.fail(listed.name, f"the other server refused: {error}", count=0)
        await self._intake.take([], place="")

    async def _folders(self) -> list[_Listed]:
        """What to import, INBOX first."""
        foreign: tuple[bytes, ...] = ()
        if "NAMESPACE" in self._session.capabilities:
            for response in await self._session.command(b"NAMESPACE"):
                if response.kind == b"NAMESPACE":
                    foreign = foreign_prefixes(response.values)
        special = "SPECIAL-USE" in self._session.capabilities and "LIST-EXTENDED" in self._session.capabilities
        command = b'LIST "" "*" RETURN (SPECIAL-USE)' if special else b'LIST "" "*"'
        try:
            responses = await self._session.command(command)
        except Refused as error:
            raise JobFailed(f"the other server lists no folders: {error}") from error
        found = [folder_of(response.values) for response in responses if response.kind == b"LIST"]
        folders = [
            folder
            for folder in found[:FOLDERS_MAX]
            if folder is not None and not folder.attributes & _NO_MAIL and not folder.raw.startswith(foreign)
        ]
        return self._named(folders)

    def _named(self, folders: Sequence[Folder]) -> list[_Listed]:
        wanted = set(self._intake.options.folders)
        below_inbox = [folder for folder in folders if len(folder.levels) > 1 and folder.levels[0].upper() == "INBOX"]
        # Courier and Cyrus keep all folders below INBOX: there, INBOX is no level of their names.
        strip = len(below_inbox) == len([folder for folder in folders if folder.raw.upper() != b"INBOX"])
        listed = []
        for folder in folders:
            levels = folder.levels
            levels = levels[1:] if strip and len(levels) > 1 else levels
            name = "INBOX" if folder.raw.upper() == b"INBOX" else "/".join(levels)
            if (name not in wanted) if wanted else folder.attributes & _SHOWS_OTHERS:
                continue
            role = next((_ROLES[word] for word in sorted(folder.attributes) if word in _ROLES), None)
            listed.append(_Listed(folder=folder, name=name, role=role))
        return sorted(listed, key=lambda one: (one.name != "INBOX", one.name))

    async def _count(self, folders: Sequence[_Listed]) -> int | None:
        """Messages in all, for the progress; None when the server does not say."""
        total = 0
        for listed in folders:
            try:
                for response in await self._command(b"STATUS {} (MESSAGES)", listed):
                    if response.kind == b"STATUS" and len(response.values) > 1:
                        total += number_of(items_of(response.values[1]).get(b"MESSAGES"))
            except Refused:
                return None
        return total

    async def _folder(self, listed: _Listed) -> None:
        validity = 0
        for response in await self._command(b"EXAMINE {}", listed):
            if response.code[:1] == (b"UIDVALIDITY",) and len(response.code) > 1:
                validity = number_of(response.code[1])
        options = self._intake.options
        source = f"imap:{options.login}@{options.host}:{options.port}/{listed.name}"
        account_id = self._intake.job.account_id
        known = await self._database.read("import.source", lambda tx: jobs.of_source(tx, account_id, source))
        uids = await self._search()
        new = [uid for uid in uids if f"{validity}:{uid}" not in known]
        self._skip(len(uids) - len(new))
        for start in range(0, len(new), PAGE):
            page = await self._list(new[start : start + PAGE])
            async for batch in self._fetch(listed, source, validity, page):
                await self._intake.take(batch, place=listed.name)
        if options.sync_flags and not options.dry_run:
            old = [uid for uid in uids if f"{validity}:{uid}" in known]
            await self._sync(source, validity, old, known)

    def _skip(self, count: int) -> None:
        """Count what is known; what this very job added before a restart is counted already."""
        used = min(self._credit, count)
        self._credit -= used
        self._intake.skip(count - used)

    async def _search(self) -> list[int]:
        since = self._intake.options.since
        words = b"ALL"
        if since is not None:
            words = f"SINCE {since.day}-{_MONTHS[since.month - 1]}-{since.year:04d}".encode()
        uids: set[int] = set()
        for response in await self._session.command(b"UID SEARCH " + words):
            if response.kind == b"SEARCH":
                uids |= {number_of(value) for value in response.values}
        return sorted(uids - {0})

    async def _list(self, uids: Sequence[int]) -> list[_Message]:
        """Flags, dates and sizes of messages; one that is gone meanwhile is left out."""
        command = b"UID FETCH " + format_uids(uids) + b" (UID FLAGS INTERNALDATE RFC822.SIZE)"
        wanted = set(uids)
        found: dict[int, _Message] = {}
        async for response in self._session.responses(command):
            message = _message(response)
            if message is not None and message.uid in wanted:
                found[message.uid] = message
        return [found[uid] for uid in sorted(found)]

    async def _fetch(
        self, listed: _Listed, source: str, validity: int, page: Sequence[_Message]
    ) -> AsyncIterator[list[Incoming]]:
        """The messages of a page with their octets, batch by batch."""
        for group in self._groups(listed, page):
            by_uid = {message.uid: message for message in group}
            try:
                octets = await self._octets(list(by_uid))
            except Refused:
                octets = {}
            missing = sorted(by_uid.keys() - octets.keys())
            yield [self._incoming(listed, source, validity, by_uid[uid], octets[uid]) for uid in octets]
            octets.clear()
            for uid in missing:
                alone = await self._one(listed, uid)
                if uid in alone:
                    yield [self._incoming(listed, source, validity, by_uid[uid], alone[uid])]

    @staticmethod
    def _incoming(listed: _Listed, source: str, validity: int, message: _Message, octets: bytes) -> Incoming:
        return Incoming(
            place=f"{listed.name}, UID {message.uid}",
            folder=listed.name,
            role=listed.role,
            octets=octets,
            flags=message.flags,
            keywords=message.keywords,
            date=message.date,
            source=source,
            key=f"{validity}:{message.uid}",
            state=message.state,
        )

    def _groups(self, listed: _Listed, page: Sequence[_Message]) -> list[list[_Message]]:
        groups: list[list[_Message]] = []
        octets = 0
        for message in page:
            if message.size > self._intake.largest:
                self._intake.fail(f"{listed.name}, UID {message.uid}", f"larger than {self._intake.largest} octets")
                continue
            if not groups or octets + message.size > BATCH_OCTETS or len(groups[-1]) >= BATCH_MESSAGES:
                groups.append([])
                octets = 0
            groups[-1].append(message)
            octets += message.size
        return groups

    async def _one(self, listed: _Listed, uid: int) -> dict[int, bytes]:
        """A message asked for alone; nothing, and an error in the list, when the server does not give it."""
        try:
            found = await self._octets([uid])
        except Refused as error:
            self._intake.fail(f"{listed.name}, UID {uid}", f"the other server refused: {error}")
            return {}
        if uid not in found and await self._list([uid]):
            self._intake.fail(f"{listed.name}, UID {uid}", "the other server gave no octets")
        return found

    async def _octets(self, uids: Sequence[int]) -> dict[int, bytes]:
        """The octets of messages; those of a server that tells sizes wrongly are kept up to a bound only."""
        found: dict[int, bytes] = {}
        kept = 0
        async for response in self._session.responses(b"UID FETCH " + format_uids(uids) + b" (UID BODY.PEEK[])"):
            if response.kind == b"FETCH" and response.values:
                items = items_of(response.values[0])
                body = items.get(b"BODY[]")
                if isinstance(body, bytes) and body and kept < KEPT_OCTETS:
                    found[number_of(items.get(b"UID"))] = body
                    kept += len(body)
        return {uid: found[uid] for uid in uids if uid in found}

    async def _sync(self, source: str, validity: int, uids: Sequence[int], known: dict[str, tuple[str, str]]) -> None:
        """Set the flags that changed at the source since the last pass."""
        for start in range(0, len(uids), PAGE):
            changed = [
                message
                for message in await self._list(uids[start : start + PAGE])
                if known[f"{validity}:{message.uid}"][1] != message.state
            ]
            if changed:
                await self._set_flags(source, validity, changed, known)

    async def _set_flags(
        self, source: str, validity: int, changed: Sequence[_Message], known: dict[str, tuple[str, str]]
    ) -> None:
        account_id = self._intake.job.account_id

        async def unit(tx: Transaction) -> int:
            count = 0
            for message in changed:
                message_id = known[f"{validity}:{message.uid}"][0]
                place = await jobs.place_of(tx, account_id, message_id) if message_id else None
                if place is None:
                    continue
                try:
                    stored = await store_flags_in(
                        tx,
                        account_id=account_id,
                        mailbox_id=MailboxId(place[0]),
                        uids=[place[1]],
                        change=FlagChange.SET,
                        flags=message.flags,
                        keywords=storable(message.keywords),
                    )
                except InvalidInput:
                    continue
                count += len(stored.changed)
            states = {f"{validity}:{message.uid}": message.state for message in changed}
            await jobs.set_states(tx, account_id, source, states)
            return count

        count = await self._database.write("import.flags", unit)
        self._intake.counts = replace(self._intake.counts, changed=self._intake.counts.changed + count)

    async def _command(self, text: bytes, listed: _Listed) -> list[Response]:
        """A command with the folder's name in place of `{}`."""
        quoted = format_quoted(listed.folder.raw)
        if quoted is None:
            return await self._session.command(text, listed.folder.raw)
        return await self._session.command(text.replace(b"{}", quoted))


def _message(response: Response) -> _Message | None:
    """What a FETCH response says of a message; None without a UID."""
    if response.kind != b"FETCH" or not response.values:
        return None
    items = items_of(response.values[0])
    uid = number_of(items.get(b"UID"))
    if not uid:
        return None
    flags, keywords = flags_of(items.get(b"FLAGS"))
    return _Message(
        uid=uid,
        size=number_of(items.get(b"RFC822.SIZE")),
        flags=flags,
        keywords=keywords,
        date=_date(items.get(b"INTERNALDATE")),
    )


def _date(value: Value) -> datetime | None:
    return parse_date(value) if isinstance(value, bytes) else None
