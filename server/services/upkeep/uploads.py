"""Imports from files: a client sends pieces of an mbox, or tar archives of a Maildir or of single mails.

- A piece is answered when everything in it is committed; a piece that was not answered is sent again, and adds nothing
  twice. So a client needs no memory, and a killed daemon or client costs one piece.
- A piece is held in memory, so its size and how many are worked at are bounded.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from server.config.schema import Settings
from server.domain.errors import Conflict, InvalidInput, RateLimited
from server.domain.identity import Scope
from server.domain.jobs import Counts, Job, JobId, JobKind
from server.domain.ports import BlobStore, Clock, Worker
from server.domain.scopes import require
from server.protocol.maildir import KEYWORDS_FILE, flags_of, mailbox_of, parse_keywords
from server.protocol.mbox import MboxMessage, split_mbox
from server.protocol.tar import Member, TarSyntaxError, read_tar
from server.services.upkeep.importing import BATCH_MESSAGES, BATCH_OCTETS, LEASE_S, Incoming, Intake, Memory, own_date
from server.services.upkeep.jobs import Holder, visible
from server.store.database import Database
from server.store.repositories import jobs
from server.store.transaction import Transaction

T = TypeVar("T")

PIECE_SLACK = 8 * 1024 * 1024
"""Octets of a piece beyond the largest message."""
UPLOADS_MAX = 2
"""Pieces worked at at once: each may take its size in memory twice."""
MEMORIES_MAX = 4
"""Jobs of which is kept what their mailboxes show."""
EXTRA_FLAGS = "MAIRUST.flags"
EXTRA_KEYWORDS = "MAIRUST.keywords"


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What became of a piece.

    Attributes:
        consumed: Octets of it that are dealt with; the next piece begins there.
        counts: The job's, after it.
    """

    consumed: int
    counts: Counts


class UploadService:
    """Takes pieces of uploads."""

    def __init__(
        self,
        *,
        database: Database,
        blobs: BlobStore,
        worker: Worker,
        clock: Clock,
        settings: Callable[[], Settings],
        holder: Holder,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._worker = worker
        self._clock = clock
        self._settings = settings
        self._holder = holder
        self._running = 0
        self._memories: OrderedDict[JobId, Memory] = OrderedDict()

    @property
    def piece_max(self) -> int:
        """Octets of the largest piece."""
        return self._settings().smtp.max_message_size + PIECE_SLACK

    async def take(
        self,
        scope: Scope,
        job_id: str,
        body: Callable[[], Awaitable[bytes]],
        *,
        folder: str,
        name: str,
        final: bool,
    ) -> Taken:
        """Store the messages of a piece.

        Args:
            body: Reads the piece.
            folder: The mailbox of an mbox or of mails without a folder, as the source calls it.
            name: What names the file for people.
            final: Whether an mbox ends with this piece.

        Raises:
            NotFound, JobStopped, OverQuota, DiskReserve.
            Conflict: The job is over or paused, or another of the account runs.
            RateLimited: Too many pieces are worked at.
            InvalidInput: Not what the job's kind says; what stood before it is stored.
        """
        require(scope, "mail:write")
        if self._running >= UPLOADS_MAX:
            raise RateLimited("other imports are running, try again", retry_after_s=1)
        self._running += 1
        owner = self._holder.owner()
        try:
            job = await self._claim(scope, job_id, owner)
            try:
                return await self._take(job, owner, await body(), folder=folder, name=name, final=final)
            finally:
                await asyncio.shield(
                    self._database.write("import.release", lambda tx: jobs.release(tx, job.id, owner=owner))
                )
        finally:
            self._running -= 1

    async def _claim(self, scope: Scope, job_id: str, owner: str) -> Job:
        async def unit(tx: Transaction) -> Job:
            job = await visible(tx, scope, job_id)
            if not job.kind.is_upload:
                raise Conflict("this job takes no upload", code="invalid_state")
            if job.status.is_final or job.status.value == "paused":
                raise Conflict(f"the job is {job.status.value}", code="invalid_state")
            if not await jobs.claim(tx, job, owner=owner, span_us=LEASE_S * 1_000_000):
                raise Conflict("another job of this account runs", code="in_use")
            return job

        return await self._database.write("import.claim", unit)

    async def _take(self, job: Job, owner: str, data: bytes, *, folder: str, name: str, final: bool) -> Taken:
        intake = Intake(
            database=self._database,
            blobs=self._blobs,
            worker=self._worker,
            clock=self._clock,
            job=job,
            owner=owner,
            largest=self._settings().smtp.max_message_size,
            memory=self._memory(job.id),
        )
        if job.kind is JobKind.IMPORT_MBOX:
            consumed = await self._mbox(intake, data, folder=folder, name=name, final=final)
        else:
            consumed = await self._tar(intake, data, folder=folder)
        return Taken(consumed=consumed, counts=intake.counts)

    def _memory(self, job_id: JobId) -> Memory:
        memory = self._memories.setdefault(job_id, Memory())
        self._memories.move_to_end(job_id)
        if len(self._memories) > MEMORIES_MAX:
            self._memories.popitem(last=False)
        return memory

    async def _mbox(self, intake: Intake, data: bytes, *, folder: str, name: str, final: bool) -> int:
        messages = split_mbox(data, final=final)
        consumed = 0
        while found := await self._worker.run(lambda: _some(messages, lambda m: len(m.octets))):
            batch = []
            for message in found:
                consumed = message.end
                if message.internal:
                    intake.skip()
                else:
                    batch.append(_of_mbox(message, folder, name))
            await intake.take(batch, place=name)
        if not final and not consumed and len(data) > self._settings().smtp.max_message_size:
            intake.fail(name, "a message is too large, or the file is no mbox")
            consumed = len(data)
        elif final and not consumed and data.strip():
            intake.fail(name, "there is no From_ line: not an mbox")
        await intake.take([], place=name)
        return len(data) if final else consumed

    async def _tar(self, intake: Intake, data: bytes, *, folder: str) -> int:
        members = read_tar(data)
        keywords: dict[str, dict[int, str]] = {}
        is_maildir = intake.job.kind is JobKind.IMPORT_MAILDIR
        while True:
            try:
                found = await self._worker.run(lambda: _some(members, lambda m: len(m.octets)))
            except TarSyntaxError as error:
                raise InvalidInput(str(error), pointer="") from error
            if not found:
                return len(data)
            batch = []
            for member in found:
                if not member.safe:
                    intake.fail(member.name, "the name leads out of the archive")
                elif is_maildir:
                    batch += _of_maildir(member, keywords, intake)
                else:
                    batch.append(_of_eml(member, folder))
            await intake.take(batch, place=found[-1].name)


def _some(items: Iterator[T], size: Callable[[T], int]) -> list[T]:
    """The next few items: at most BATCH_MESSAGES and about BATCH_OCTETS."""
    taken: list[T] = []
    octets = 0
    for item in islice(items, BATCH_MESSAGES):
        taken.append(item)
        octets += size(item)
        if octets >= BATCH_OCTETS:
            break
    return taken


def _of_mbox(message: MboxMessage, folder: str, name: str) -> Incoming:
    return Incoming(
        place=f"{name}, octet {message.start}",
        folder=folder,
        octets=message.octets,
        flags=message.flags,
        keywords=message.keywords,
        date=message.date,
    )


def _of_maildir(member: Member, keywords: dict[str, dict[int, str]], intake: Intake) -> list[Incoming]:
    """The message of a Maildir's file; nothing for other files."""
    *levels, name = member.name.split("/")
    if name == KEYWORDS_FILE:
        keywords["/".join(levels)] = parse_keywords(member.octets)
        return []
    if not levels or levels[-1] not in ("cur", "new") or name.startswith("."):
        if not name.startswith((".", "dovecot", "subscriptions", "maildir")):
            intake.fail(member.name, "not in the folder cur or new of a Maildir")
        return []
    folders = levels[:-1]
    flags, words = flags_of(name, keywords.get("/".join(folders), {})) if levels[-1] == "cur" else (0, ())
    words = tuple(dict.fromkeys((*words, *member.extra.get(EXTRA_KEYWORDS, "").split())))
    return [
        Incoming(
            place=member.name,
            folder=mailbox_of(folders),
            octets=member.octets,
            flags=flags,
            keywords=words,
            date=member.modified,
        )
    ]


def _of_eml(member: Member, folder: str) -> Incoming:
    """A mail of its own: its folders are its mailbox; flags and date as our own export wrote them."""
    levels = member.name.split("/")[:-1]
    flags = member.extra.get(EXTRA_FLAGS, "")
    exported = EXTRA_FLAGS in member.extra
    return Incoming(
        place=member.name,
        folder="/".join(levels) or folder,
        octets=member.octets,
        flags=int(flags) & 31 if flags.isascii() and flags.isdigit() and len(flags) < 4 else 0,
        keywords=tuple(member.extra.get(EXTRA_KEYWORDS, "").split()),
        date=member.modified if exported else own_date(member.octets) or member.modified,
    )
