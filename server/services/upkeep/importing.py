"""Storing what an import brings: each message once, with its flags and date, counted where it is committed.

- A message is there already when its mailbox shows the same octets, or was given them by an import before, even if its
  owner has deleted them since: a second pass adds only what is new.
- Messages go in by batches of one transaction, which also holds the job's counts, so a killed daemon loses and repeats
  none: what was not counted is sent again and found to be new.
- What can't be stored (too large, empty, a name that is no mailbox) is counted and listed; the rest goes on.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import msgspec

from server.domain.errors import Conflict, InvalidInput, OverQuota
from server.domain.ids import AccountId, MailboxId
from server.domain.jobs import ERRORS_MAX, Job, JobError
from server.domain.mailbox import Mailbox
from server.domain.message import Blob, Rendered, SpecialUse
from server.domain.ports import BlobStore, Clock, Worker
from server.protocol.mime.dates import parse_date
from server.protocol.mime.headers import split_header
from server.protocol.mime.render import render
from server.services.mailstore import mailboxes as boxes
from server.services.mailstore.append import append_in
from server.services.mailstore.flags import KEYWORDS_MAX, format_stored_keywords
from server.store.database import Database
from server.store.repositories import jobs
from server.store.repositories import mailboxes as mailbox_rows
from server.store.transaction import Transaction

BATCH_MESSAGES = 100
BATCH_OCTETS = 4 * 1024 * 1024
LEASE_S = 180
PLACED_AT_ONCE = 16
OCTETS = "octets"
"""The source under which every imported message is known by its mailbox and the digest of its octets."""
_PAGE = 5000
_NAMES_OF_ROLES: Mapping[str, SpecialUse] = {
    "sent": SpecialUse.SENT,
    "sent items": SpecialUse.SENT,
    "sent messages": SpecialUse.SENT,
    "sent mail": SpecialUse.SENT,
    "drafts": SpecialUse.DRAFTS,
    "draft": SpecialUse.DRAFTS,
    "trash": SpecialUse.TRASH,
    "deleted items": SpecialUse.TRASH,
    "deleted messages": SpecialUse.TRASH,
    "junk": SpecialUse.JUNK,
    "spam": SpecialUse.JUNK,
    "junk e-mail": SpecialUse.JUNK,
    "junk email": SpecialUse.JUNK,
    "bulk mail": SpecialUse.JUNK,
    "archive": SpecialUse.ARCHIVE,
    "archives": SpecialUse.ARCHIVE,
}


class ImportOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What an import was asked for; kept as the job's parameters. The fields from `host` on are those by IMAP."""

    mailbox_map: dict[str, str] = {}
    since: datetime | None = None
    dry_run: bool = False
    host: str = ""
    port: int = 0
    tls: str = "implicit"
    login: str = ""
    sync_flags: bool = False
    folders: list[str] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """A message on its way in.

    Attributes:
        place: What names it for people where it can't be taken.
        folder: Its folder at the source, levels joined by `/`.
        role: What the source says the folder is for.
        date: What the source says it arrived; None = its own fields tell.
        source, key: What names it at a source that has lasting names; empty for files.
        state: Its flags there, compared at later passes.
    """

    place: str
    folder: str
    octets: bytes
    flags: int = 0
    keywords: tuple[str, ...] = ()
    date: datetime | None = None
    role: SpecialUse | None = None
    source: str = ""
    key: str = ""
    state: str = ""


class JobStopped(Conflict):
    """The job was paused, cancelled or ended meanwhile; nothing of the batch was stored."""

    code = "invalid_state"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ready:
    """A message that seems new, ready for its transaction."""

    incoming: Incoming
    mailbox_id: MailboxId
    key: str
    rendered: Rendered
    blob: Blob
    words: tuple[str, ...]
    date: datetime


@dataclass(slots=True)
class _Known:
    """What a mailbox shows: digests of octets, and Message-ID with size of those that trace fields of ours precede."""

    digests: set[bytes] = field(default_factory=set)
    prefixed: set[tuple[str, int]] = field(default_factory=set)


@dataclass(slots=True)
class Memory:
    """What was looked up for a job, kept from piece to piece of it."""

    mailboxes: dict[tuple[str, SpecialUse | None], MailboxId | None] = field(default_factory=dict)
    known: dict[MailboxId, _Known] = field(default_factory=dict)
    dry: set[str] = field(default_factory=set)


class Intake:
    """Takes the messages of one job, batch by batch.

    Args:
        owner: Who holds the job's lease; each batch renews it.
        largest: Octets of the largest message taken.
    """

    def __init__(
        self,
        *,
        database: Database,
        blobs: BlobStore,
        worker: Worker,
        clock: Clock,
        job: Job,
        owner: str,
        largest: int,
        memory: Memory,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._worker = worker
        self._clock = clock
        self._owner = owner
        self.largest = largest
        self.job = job
        self.options = msgspec.json.decode(job.parameters, type=ImportOptions)
        self.counts = job.counts
        self.errors = list(job.errors)
        self.total = job.total
        self._memory = memory

    def fail(self, place: str, detail: str, *, count: int = 1) -> None:
        """Count something that can't be taken; the next batch writes it down."""
        self.counts = replace(self.counts, failed=self.counts.failed + count)
        if len(self.errors) < ERRORS_MAX:
            self.errors.append(JobError(place=place[:300], detail=detail[:300]))

    def skip(self, count: int = 1) -> None:
        """Count what need not be taken."""
        self.counts = replace(self.counts, skipped=self.counts.skipped + count)

    async def take(self, batch: Sequence[Incoming], *, place: str) -> None:
        """Store what is new of a batch (at most BATCH_MESSAGES) and write the job's counts.

        Raises:
            JobStopped: Nothing of the batch is stored or counted.
            OverQuota: The account has no room; what had some is stored and counted, the rest is not.
            DiskReserve, Unavailable: Nothing of the batch is stored.
        """
        before = (self.counts, list(self.errors))
        try:
            ready = await self._prepare(batch)
            full = await self._store(ready, place)
        except BaseException:
            self.counts, self.errors = before[0], before[1]
            raise
        if full:
            raise OverQuota("the account has no room left")

    async def _prepare(self, batch: Sequence[Incoming]) -> list[_Ready]:
        """Leave out what can't be or need not be stored, and place the octets of the rest."""
        kept = [incoming for incoming in batch if self._fits(incoming)]
        if not kept:
            return []
        texts = await self._worker.run(lambda: [_normalised(incoming.octets) for incoming in kept])
        wanted: list[tuple[Incoming, MailboxId, str, datetime]] = []
        seen: set[str] = set()
        for incoming, (octets, digest, own) in zip(kept, texts, strict=True):
            date = incoming.date or own or self._clock.now()
            if self.options.since is not None and date < self.options.since:
                self.skip()
                continue
            mailbox_id = await self._mailbox(incoming)
            if mailbox_id is None:
                continue
            key = f"{mailbox_id} {digest}"
            if key in seen or await self._is_known(mailbox_id, key, digest, incoming):
                self.skip()
                continue
            seen.add(key)
            await self._shown(mailbox_id)
            wanted.append((replace(incoming, octets=octets), mailbox_id, key, date))
        made: list[_Ready | None] = []
        for start in range(0, len(wanted), PLACED_AT_ONCE):
            # Their octets are made durable side by side: one after the other, the disk would be waited for each time.
            made += await asyncio.gather(*(self._make(*some) for some in wanted[start : start + PLACED_AT_ONCE]))
        return [message for message in made if message is not None]

    def _fits(self, incoming: Incoming) -> bool:
        if not incoming.octets:
            self.fail(incoming.place, "the message is empty")
        elif len(incoming.octets) > self.largest:
            self.fail(incoming.place, f"larger than {self.largest} octets")
        else:
            return True
        return False

    async def _make(self, incoming: Incoming, mailbox_id: MailboxId, key: str, date: datetime) -> _Ready | None:
        octets = incoming.octets
        rendered = await self._worker.run(lambda: render(octets))
        if (rendered.message_id_header or "", len(octets)) in (await self._shown(mailbox_id)).prefixed:
            self.skip()
            return None
        if self.options.dry_run:
            self._memory.dry.add(key)
            self.counts = replace(self.counts, added=self.counts.added + 1)
            return None
        self._blobs.check_space()
        return _Ready(
            incoming=incoming,
            mailbox_id=mailbox_id,
            key=key,
            rendered=rendered,
            blob=await self._blobs.place(await self._blobs.content(octets)),
            words=storable(incoming.keywords),
            date=date,
        )

    async def _store(self, ready: Sequence[_Ready], place: str) -> bool:
        """Store a batch with the job's counts; True when the account was full before its end."""
        job, base, errors = self.job, self.counts, list(self.errors)

        async def unit(tx: Transaction) -> tuple[int, bool]:
            if not await jobs.renew(tx, job.id, owner=self._owner, span_us=LEASE_S * 1_000_000):
                raise JobStopped("the job was paused, cancelled or has ended")
            added = 0
            for message in ready:
                try:
                    await self._append(tx, message)
                except OverQuota:
                    break
                added += 1
            counts = replace(base, added=base.added + added)
            await jobs.set_progress(tx, job, counts, place=place, total=self.total, errors=errors)
            return added, added < len(ready)

        added, full = await self._database.write("import.batch", unit)
        self.counts = replace(base, added=base.added + added)
        for message in ready[:added]:
            (await self._shown(message.mailbox_id)).digests.add(_short(message.blob.sha256))
        return full

    async def _append(self, tx: Transaction, message: _Ready) -> None:
        incoming, account_id = message.incoming, self.job.account_id
        stored = await append_in(
            tx,
            account_id=account_id,
            mailbox=message.mailbox_id,
            blob=message.blob,
            blob_is_new=True,
            prefix=b"",
            rendered=message.rendered,
            flags=incoming.flags,
            keywords=message.words,
            internal_date=message.date,
            received_at=message.date,
            trace_id=None,
        )
        rows = [(OCTETS, message.key, stored.message_id, "")]
        if incoming.source:
            rows.append((incoming.source, incoming.key, stored.message_id, incoming.state))
        await jobs.remember(tx, account_id, rows)

    async def _is_known(self, mailbox_id: MailboxId, key: str, digest: str, incoming: Incoming) -> bool:
        """Whether the mailbox has or had these octets; a name at the source is written down beside them."""
        found: dict[str, str] = {}
        if mailbox_id:
            account_id = self.job.account_id
            found = await self._database.read("import.known", lambda tx: jobs.known_keys(tx, account_id, OCTETS, [key]))
        if not found and (key in self._memory.dry or _short(digest) in (await self._shown(mailbox_id)).digests):
            found = {key: ""}
        if found and incoming.source and not self.options.dry_run:
            row = (incoming.source, incoming.key, found[key], incoming.state)
            await self._database.write("import.named", lambda tx: jobs.remember(tx, self.job.account_id, [row]))
        return bool(found)

    async def _shown(self, mailbox_id: MailboxId) -> _Known:
        """What the mailbox shows, read once a job."""
        known = self._memory.known.get(mailbox_id)
        if known is not None:
            return known
        known = self._memory.known[mailbox_id] = _Known()
        after, account_id = 0, self.job.account_id
        while mailbox_id:
            rows = await self._database.read(
                "import.shown",
                lambda tx, after=after: jobs.digests(tx, account_id, mailbox_id, after=after, limit=_PAGE),  # type: ignore[misc]
            )
            for uid, message_id, size, has_prefix, digest in rows:
                after = uid
                if has_prefix:
                    known.prefixed.add((message_id, size))
                else:
                    known.digests.add(_short(digest))
            if len(rows) < _PAGE:
                break
        return known

    async def _mailbox(self, incoming: Incoming) -> MailboxId | None:
        """Where a message goes; None when its folder can't be a mailbox (counted). Empty: not there in a dry run."""
        name = (incoming.folder, incoming.role)
        if name not in self._memory.mailboxes:
            try:
                self._memory.mailboxes[name] = await self._find(incoming.folder, incoming.role)
            except InvalidInput as error:
                self._memory.mailboxes[name] = None
                self.fail(incoming.folder, error.public, count=0)
        found = self._memory.mailboxes[name]
        if found is None:
            self.fail(incoming.place, "its folder can't be a mailbox")
        return found

    async def _find(self, folder: str, role: SpecialUse | None) -> MailboxId:
        mapped = self.options.mailbox_map.get(folder)
        wanted = boxes.normalise_name(mapped or folder)
        account_id = self.job.account_id
        have = await self._database.read("import.mailboxes", lambda tx: mailbox_rows.list_all(tx, account_id))
        found = target_of(wanted, have, None if mapped else role, by_word=not mapped)
        if found is not None:
            return found.id
        if self.options.dry_run:
            return MailboxId("")
        made = await self._database.write("import.mailbox", lambda tx: _create(tx, account_id, wanted))
        return made.id


def target_of(wanted: str, have: Sequence[Mailbox], role: SpecialUse | None, *, by_word: bool) -> Mailbox | None:
    """The mailbox that a folder of another server stands for: the same name, the same role, or a role's usual word."""
    for mailbox in have:
        if mailbox.name == wanted:
            return mailbox
    role = role or (_NAMES_OF_ROLES.get(wanted.lower()) if by_word else None)
    return next((mailbox for mailbox in have if role is not None and mailbox.role is role), None)


async def _create(tx: Transaction, account_id: AccountId, name: str) -> Mailbox:
    found = await mailbox_rows.by_name(tx, account_id, name)
    if found is not None:
        return found
    made = await boxes.create_in(tx, account_id, name)
    await boxes.subscribe_in(tx, account_id, made.name, subscribed=True)
    return made


def own_date(octets: bytes) -> datetime | None:
    """When a message says it arrived: its newest Received field, else its Date."""
    fields = split_header(octets)
    received = fields.first(b"received")
    if received is not None:
        found = parse_date(received.rpartition(b";")[2])
        if found is not None:
            return found
    written = fields.first(b"date")
    return None if written is None else parse_date(written)


def _normalised(octets: bytes) -> tuple[bytes, str, datetime | None]:
    """The octets with CRLF where they had bare LF throughout, their SHA-256, and their own date."""
    if b"\r\n" not in octets:
        octets = octets.replace(b"\n", b"\r\n")
    return octets, hashlib.sha256(octets).hexdigest(), own_date(octets)


def _short(digest: str) -> bytes:
    return bytes.fromhex(digest[:32])


def storable(keywords: Sequence[str]) -> tuple[str, ...]:
    """Those of the keywords that can be stored."""
    kept = []
    for word in dict.fromkeys(keywords):
        try:
            format_stored_keywords([word])
        except InvalidInput:
            continue
        kept.append(word)
    return tuple(kept[:KEYWORDS_MAX])
