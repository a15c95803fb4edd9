"""Search over an account's mail for the API (filtering.md section 10).

- Who asks and whose mail is meant is decided by `MailOwners`; the query only narrows that account's messages.
- Right whether or not the index is ready: mail it does not know yet is read, up to `SCAN_MAIL`; beyond that,
  `indexed_through` tells up to when the answer is whole.
- Highlights are made of the messages of the page alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from server.domain.errors import InvalidInput, Unavailable
from server.domain.identity import Scope
from server.domain.ids import AccountId
from server.domain.listing import MessageRecord
from server.domain.paging import PageRequest
from server.domain.ports import BlobStore, Clock, Worker
from server.domain.search import (
    AllOf,
    AnyOf,
    NameKind,
    NameTerm,
    NoneOf,
    Phrase,
    SearchOrder,
    SearchQuery,
    TextTerm,
    text_terms,
)
from server.protocol.mime.document import body_text, make_document
from server.protocol.mime.snippets import highlight, snippet
from server.protocol.mime.structure import parse_structure
from server.protocol.search_query import SearchQuerySyntaxError, parse_search_query
from server.services.mailstore.owners import READ, MailOwners, Whose
from server.services.mailstore.reading import MessageView, views_in
from server.services.mailstore.tags import TagNames, names_in
from server.store.database import Database
from server.store.errors import SearchIndexDamaged
from server.store.repositories import listing, mailboxes, search_find, tags
from server.store.repositories.listing import Octets
from server.store.repositories.search import Waiting
from server.store.repositories.search_find import Hit, HitPosition, Names, Scanned
from server.store.times import from_us
from server.store.transaction import Transaction

SCAN_MAIL = 500
SCAN_OCTETS = 16 * 1024 * 1024
"""Mails, and their octets, that one search reads beside the index."""
SNIPPET_MAIL_MAX = 1024 * 1024
"""Octets of a mail from which a snippet is made; a larger one shows its preview."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Highlights:
    """HTML-escaped text with the matches in `<mark>` (RFC 8621 §5); None where nothing matched."""

    subject: str | None
    preview: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundMessage:
    view: MessageView
    highlights: Highlights


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """A page of what was found.

    Attributes:
        indexed_through: Mail that came up to then was searched completely.
    """

    items: tuple[FoundMessage, ...]
    next_after: str | None
    took_ms: int
    indexed_through: datetime


class SearchService:
    """Answers searches.

    Args:
        damaged: Called when a query shows that the index is damaged.
    """

    def __init__(
        self,
        *,
        database: Database,
        blobs: BlobStore,
        worker: Worker,
        owners: MailOwners,
        clock: Clock,
        damaged: Callable[[], None],
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._worker = worker
        self._owners = owners
        self._clock = clock
        self._damaged = damaged

    async def search(
        self, scope: Scope, whose: Whose, text: str, request: PageRequest, *, order: SearchOrder
    ) -> SearchResult:
        """Find messages.

        Raises:
            InvalidInput: The query is outside its language; the message names the place.
            Unavailable: The index is damaged; it is being made anew.
        """
        started = self._clock.monotonic()
        query = parse_query(text)
        after = None if request.after is None else _position(request.after)
        account_id = await self._owners.account(scope, whose, READ, "search")
        try:
            scanned, through = await self._scan(account_id, query)
            hits, views = await self._find(account_id, query, scanned, order, after, request.limit + 1)
        except SearchIndexDamaged:
            self._damaged()
            raise
        kept = hits[: request.limit]
        phrases = [term.phrase for term in text_terms(query)]
        marks = await self._highlights(account_id, views[: request.limit], phrases)
        items = [FoundMessage(view=view, highlights=one) for view, one in zip(views, marks, strict=False)]
        return SearchResult(
            items=tuple(items),
            next_after=_cursor(kept[-1].position) if len(hits) > request.limit else None,
            took_ms=round((self._clock.monotonic() - started) * 1000),
            indexed_through=through,
        )

    async def _find(
        self,
        account_id: AccountId,
        query: SearchQuery,
        scanned: Scanned,
        order: SearchOrder,
        after: HitPosition | None,
        limit: int,
    ) -> tuple[list[Hit], list[MessageView]]:
        now = self._clock.now()

        async def unit(tx: Transaction) -> tuple[list[Hit], list[MessageView]]:
            known = await names_in(tx, account_id)
            names = await _names(tx, account_id, query, known, now)
            hits = await search_find.find(
                tx, account_id, query, names=names, scanned=scanned, order=order, after=after, limit=limit
            )
            records: dict[str, MessageRecord] = {
                one.id: one for one in await listing.many(tx, account_id, [hit.message_id for hit in hits])
            }
            found = [records[hit.message_id] for hit in hits if hit.message_id in records]
            return hits, list(await views_in(tx, account_id, found, known))

        return await self._database.read("search.find", unit)

    async def _scan(self, account_id: AccountId, query: SearchQuery) -> tuple[Scanned, datetime]:
        """Read the mail that the index does not know; and up to when the answer will be whole."""
        terms = list(dict.fromkeys(text_terms(query, wanted=False)))
        if not terms:
            return Scanned(), self._clock.now()
        find = partial(search_find.pending, account_id=account_id, limit=SCAN_MAIL + 1)
        waiting = await self._database.read("search.pending", find)
        read: list[str] = []
        matches: dict[TextTerm, list[str]] = {term: [] for term in terms}
        octets_left = SCAN_OCTETS
        for mail in waiting[:SCAN_MAIL]:
            if octets_left <= 0:
                break
            octets = await self._octets(mail)
            octets_left -= len(octets)
            read.append(mail.email_id)
            for term in await self._worker.run(partial(_matching, octets, terms)):
                matches[term].append(mail.email_id)
        through = self._clock.now()
        if len(read) < len(waiting):
            oldest = partial(search_find.oldest_pending_us, account_id=account_id)
            through = from_us(await self._database.read("search.oldest", oldest)) or through
        return Scanned(read, matches), through

    async def _octets(self, mail: Waiting | Octets) -> bytes:
        if mail.blob is None:
            return b""
        try:
            return mail.prefix + await self._blobs.read(mail.blob)
        except Unavailable:
            return b""

    async def _highlights(
        self, account_id: AccountId, views: Sequence[MessageView], phrases: Sequence[Phrase]
    ) -> list[Highlights]:
        if not phrases:
            return [Highlights(subject=None, preview=None) for _ in views]
        return [await self._highlighted(account_id, view, phrases) for view in views]

    async def _highlighted(self, account_id: AccountId, view: MessageView, phrases: Sequence[Phrase]) -> Highlights:
        record = view.record
        subject = highlight(record.subject, phrases)
        preview = highlight(record.preview, phrases)
        if preview is None and record.size_octets <= SNIPPET_MAIL_MAX:
            source = await self._database.read("search.source", lambda tx: listing.source(tx, account_id, record.id))
            octets = b"" if source is None else await self._octets(source)
            preview = await self._worker.run(partial(_body_snippet, octets, phrases))
        return Highlights(subject=subject, preview=preview)


def parse_query(text: str) -> SearchQuery:
    """Parse what a user wrote. Raises InvalidInput, which names the place."""
    try:
        return parse_search_query(text)
    except SearchQuerySyntaxError as error:
        raise InvalidInput(f"at character {error.position + 1}: {error.reason}", pointer="/q") from error


def _matching(octets: bytes, terms: Sequence[TextTerm]) -> list[TextTerm]:
    document = make_document(octets, parse_structure(octets))
    return [term for term in terms if document.has(term.phrase, term.fields)]


def _body_snippet(octets: bytes, phrases: Sequence[Phrase]) -> str | None:
    return snippet(body_text(octets, parse_structure(octets)), phrases)


async def _names(tx: Transaction, account_id: AccountId, query: SearchQuery, known: TagNames, now: datetime) -> Names:
    boxes: dict[str, list[str]] = {}
    for box in await mailboxes.list_all(tx, account_id):
        for name in {box.name.casefold(), box.role.value if box.role else box.name.casefold()}:
            boxes.setdefault(name, []).append(box.id)
    asked = _asked_names(query)
    categories: dict[str, str] = {}
    tenant_id = await tags.tenant_of(tx, account_id)
    if tenant_id is not None and any(term.kind is NameKind.CATEGORY for term in asked):
        categories = {one.name.casefold(): one.id for one in await tags.list_categories(tx, tenant_id)}
    keywords = {term.name: known.keyword(term.name, pointer="/q") for term in asked if term.kind is NameKind.TAG}
    return Names(mailboxes=boxes, keywords=keywords, categories=categories, zone=UTC, now=now)


def _asked_names(query: SearchQuery) -> list[NameTerm]:
    match query:
        case NameTerm():
            return [query]
        case AllOf(parts) | AnyOf(parts):
            return [term for part in parts for term in _asked_names(part)]
        case NoneOf(part):
            return _asked_names(part)
        case _:
            return []


def _cursor(place: HitPosition) -> str:
    return f"{place.rank} {place.received_us} {place.mailbox_id} {place.uid}"


def _position(after: str) -> HitPosition:
    parts = after.split(" ")
    if len(parts) != 4 or not all(part.lstrip("-").isdecimal() for part in (parts[0], parts[1], parts[3])):
        raise InvalidInput("the cursor belongs to another list", pointer="/cursor")
    return HitPosition(int(parts[0]), int(parts[1]), parts[2], int(parts[3]))
