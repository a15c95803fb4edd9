"""Exports: an account's mail as an mbox (mboxrd), or as a tar of a Maildir or of single mails, made while it is read.

- What is exported is imported again as it was: octets, flags, keywords and dates (an mbox keeps whole seconds).
- Nothing is kept on disk here, and little in memory: a page of messages at a time.
- Octets that can't be read are counted and listed; the rest goes on.
- Another account's mail is an audited read, made when the export is (jobs.py): nobody reads an export of another's
  making but the account itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from server.domain.errors import Conflict, Forbidden, InvalidInput, NotFound, Unavailable
from server.domain.identity import Scope
from server.domain.jobs import ERRORS_MAX, Counts, Job, JobError, JobKind
from server.domain.mailbox import DELIMITER, Mailbox
from server.domain.ports import BlobStore, Worker
from server.domain.scopes import require
from server.protocol.maildir import KEYWORDS_FILE, folder_of, format_keywords, info_of
from server.protocol.maildir import KEYWORDS_MAX as LETTERS_MAX
from server.protocol.mbox import format_mbox
from server.protocol.mime.headers import split_header
from server.protocol.tar import END, format_member
from server.services.upkeep.importing import LEASE_S
from server.services.upkeep.jobs import Holder, check_mailboxes, made_by, visible
from server.services.upkeep.uploads import EXTRA_FLAGS, EXTRA_KEYWORDS
from server.store.database import Database
from server.store.repositories import jobs, messages
from server.store.repositories.messages import MessageState, Source
from server.store.times import from_us
from server.store.transaction import Transaction

PAGE_UIDS = 5000
PAGE_MESSAGES = 100
LARGE = 256 * 1024
"""Octets from which a message is formatted off the event loop."""
MEDIA_TYPES = {
    JobKind.EXPORT_MBOX: "application/mbox",
    JobKind.EXPORT_MAILDIR: "application/x-tar",
    JobKind.EXPORT_EML: "application/x-tar",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """Octets to send, and their media type."""

    media_type: str
    octets: AsyncIterator[bytes]


@dataclass(slots=True)
class _Tally:
    """What one export has done."""

    counts: Counts
    errors: list[JobError]
    total: int

    def fail(self, place: str, detail: str) -> None:
        self.counts = replace(self.counts, failed=self.counts.failed + 1)
        if len(self.errors) < ERRORS_MAX:
            self.errors.append(JobError(place=place, detail=detail))


class ExportService:
    """Makes the octets of exports."""

    def __init__(
        self, *, database: Database, blobs: BlobStore, worker: Worker, hostname: Callable[[], str], holder: Holder
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._worker = worker
        self._hostname = hostname
        self._holder = holder

    async def mailboxes(self, scope: Scope, job_id: str) -> list[str]:
        """Names of the mailboxes of an export."""
        job = await self._database.read("export.get", lambda tx: visible(tx, scope, job_id))
        return [mailbox.name for mailbox in await self._wanted(job)]

    async def open(self, scope: Scope, job_id: str, *, mailbox: str = "") -> Export:
        """Begin the octets of an export; of an mbox those of one mailbox.

        Raises:
            NotFound: No such job or mailbox.
            Forbidden: Neither the caller's own mail nor an export of the caller's making.
            Conflict: The job is over or paused, or another of the account runs.
            InvalidInput: An mbox holds one mailbox, and none is named.
        """
        require(scope, "mail:read")
        owner = self._holder.owner()

        async def unit(tx: Transaction) -> Job:
            job = await visible(tx, scope, job_id)
            if scope.account_id != job.account_id and job.created_by != made_by(scope):
                raise Forbidden("the mail goes to the account and to whoever made the export: make one of your own")
            if not job.kind.is_export or job.status.is_final or job.status.value == "paused":
                raise Conflict("there is nothing to export", code="invalid_state")
            if not await jobs.claim(tx, job, owner=owner, span_us=LEASE_S * 1_000_000):
                raise Conflict("another job of this account runs", code="in_use")
            return job

        job = await self._database.write("export.claim", unit)
        try:
            every = await self._wanted(job)
            chosen = [box for box in every if not mailbox or box.name == mailbox]
            if not chosen:
                raise NotFound("no such mailbox")
            if job.kind is JobKind.EXPORT_MBOX and len(chosen) > 1:
                raise InvalidInput("an mbox holds one mailbox: name it", pointer="/mailbox")
        except BaseException:
            await self._release(job, owner)
            raise
        total = sum(box.total for box in every)
        tally = _Tally(counts=job.counts if mailbox else Counts(), errors=list(job.errors), total=total)
        return Export(media_type=MEDIA_TYPES[job.kind], octets=self._octets(job, owner, chosen, tally))

    async def _wanted(self, job: Job) -> list[Mailbox]:
        return await self._database.read(
            "export.mailboxes", lambda tx: check_mailboxes(tx, job.account_id, job.parameters)
        )

    async def _octets(self, job: Job, owner: str, chosen: Sequence[Mailbox], tally: _Tally) -> AsyncIterator[bytes]:
        try:
            for mailbox in chosen:
                letters: dict[str, int] = {}
                if job.kind is JobKind.EXPORT_MAILDIR:
                    letters = await self._letters(job, mailbox)
                    yield _folder(mailbox, letters)
                async for page in self._pages(job, mailbox):
                    async for octets in self._page(job, mailbox, page, letters, tally):
                        yield octets
                    await self._progress(job, owner, mailbox, tally)
            if job.kind is not JobKind.EXPORT_MBOX:
                yield END
        finally:
            await asyncio.shield(self._release(job, owner))

    async def _page(
        self,
        job: Job,
        mailbox: Mailbox,
        page: Sequence[MessageState],
        letters: dict[str, int],
        tally: _Tally,
    ) -> AsyncIterator[bytes]:
        uids = [state.uid for state in page]
        sources = await self._database.read(
            "export.sources", lambda tx: messages.sources(tx, job.account_id, mailbox.id, uids)
        )
        states = {state.uid: state for state in page}
        for source in sources:
            octets = await self._read(mailbox, source, tally)
            if octets is None:
                continue
            state = states[source.uid]
            if len(octets) > LARGE:
                yield await self._worker.run(lambda o=octets, s=state: self._format(job.kind, mailbox, s, o, letters))  # type: ignore[misc]
            else:
                yield self._format(job.kind, mailbox, state, octets, letters)
            tally.counts = replace(tally.counts, added=tally.counts.added + 1)

    async def _read(self, mailbox: Mailbox, source: Source, tally: _Tally) -> bytes | None:
        try:
            return source.prefix + await self._blobs.read(source.blob)
        except Unavailable as error:
            tally.fail(f"{mailbox.name}, UID {source.uid}", error.public)
            return None

    def _format(
        self, kind: JobKind, mailbox: Mailbox, state: MessageState, octets: bytes, letters: dict[str, int]
    ) -> bytes:
        date, words = from_us(state.internal_date_us), tuple(state.keywords.split())
        if kind is JobKind.EXPORT_MBOX:
            return format_mbox(octets, sender=_sender(octets), date=date, flags=state.flags, keywords=words)
        extra = {EXTRA_KEYWORDS: " ".join(words)} if words else {}
        if kind is JobKind.EXPORT_EML:
            extra[EXTRA_FLAGS] = str(state.flags)
            return format_member(f"{_path(mailbox.name)}/{state.uid:08d}.eml", octets, modified=date, extra=extra)
        host = self._hostname().replace("/", "_").replace(":", "_")
        info = info_of(state.flags, words, letters)
        folder = folder_of(mailbox.name)
        leaf = f"cur/{int(date.timestamp())}.M{date.microsecond}V{mailbox.uidvalidity}U{state.uid}.{host}:{info}"
        return format_member(f"{folder}/{leaf}" if folder else leaf, _unix(octets), modified=date, extra=extra)

    async def _pages(self, job: Job, mailbox: Mailbox) -> AsyncIterator[list[MessageState]]:
        for first in range(1, mailbox.uidnext, PAGE_UIDS):
            uids = range(first, min(first + PAGE_UIDS, mailbox.uidnext))
            found = await self._database.read(
                "export.page",
                lambda tx, uids=uids: messages.states(tx, job.account_id, mailbox.id, uids),  # type: ignore[misc]
            )
            for start in range(0, len(found), PAGE_MESSAGES):
                yield found[start : start + PAGE_MESSAGES]

    async def _letters(self, job: Job, mailbox: Mailbox) -> dict[str, int]:
        """Keywords that get a letter in the names of files: the first 26."""
        found: dict[str, int] = {}
        async for page in self._pages(job, mailbox):
            for state in page:
                for word in state.keywords.split():
                    if len(found) < LETTERS_MAX:
                        found.setdefault(word, len(found))
        return found

    async def _progress(self, job: Job, owner: str, mailbox: Mailbox, tally: _Tally) -> None:
        async def unit(tx: Transaction) -> None:
            if not await jobs.renew(tx, job.id, owner=owner, span_us=LEASE_S * 1_000_000):
                raise Conflict("the job was paused, cancelled or has ended", code="invalid_state")
            await jobs.set_progress(tx, job, tally.counts, place=mailbox.name, total=tally.total, errors=tally.errors)

        await self._database.write("export.progress", unit)

    async def _release(self, job: Job, owner: str) -> None:
        await self._database.write("export.release", lambda tx: jobs.release(tx, job.id, owner=owner))


def _folder(mailbox: Mailbox, letters: dict[str, int]) -> bytes:
    """The files that make a Maildir++ folder what it is, and spell its keywords."""
    folder = folder_of(mailbox.name)
    then = datetime(1970, 1, 2, tzinfo=UTC)
    made = format_member(f"{folder}/maildirfolder", b"", modified=then) if folder else b""
    if letters:
        name = f"{folder}/{KEYWORDS_FILE}" if folder else KEYWORDS_FILE
        made += format_member(name, format_keywords(letters), modified=then)
    return made


def _path(name: str) -> str:
    """A mailbox as folders; no level of it may begin with a dot."""
    return "/".join("_" + level if level.startswith(".") else level for level in name.split(DELIMITER))


def _unix(octets: bytes) -> bytes:
    """Lines with LF as in a Maildir, where every line ended in CRLF; else as they are."""
    return octets.replace(b"\r\n", b"\n") if octets.count(b"\n") == octets.count(b"\r\n") else octets


def _sender(octets: bytes) -> bytes:
    value = split_header(octets).first(b"return-path") or b""
    return value.strip().strip(b"<>")
