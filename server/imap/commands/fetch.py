"""FETCH and UID FETCH (RFC 9051 §6.4.5, §7.5.2; RFC 7162, RFC 9394, RFC 9586).

- Flags, sizes and dates come from the view; ENVELOPE and structures as stored, a page of rows at a time; only body
  sections open messages, one after the other.
- \\Seen is set, and committed, before the first octet of a body is sent.
- A message that was expunged meanwhile is left out; the tagged OK says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from server.domain.errors import Unavailable
from server.domain.flags import SEEN
from server.domain.ids import ModSeq, Uid
from server.imap.commands.details import DETAILS, format_detail
from server.imap.commands.resync import send_vanished
from server.imap.commands.store import BAD_NUMBER, GONE
from server.imap.selected import SelectedMailbox
from server.imap.session import FLUSH_OCTETS, Result, Session, bad, no, ok
from server.protocol.imap.commands import Fetch
from server.protocol.imap.dates import format_date_time
from server.protocol.imap.fetch import BodySection, FetchAttribute, FetchItem
from server.protocol.mime.section import extract, partial
from server.protocol.mime.structure import Part, outline, parse_structure
from server.services.mailstore.flags import FlagChange
from server.services.mailstore.store import Details
from server.telemetry.log import get_logger

log = get_logger("imap")

PAGE_MESSAGES = 200
INLINE_PARSE_OCTETS = 256 * 1024
"""Larger messages are taken apart in a worker thread: their structure takes more than a slice."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STORED = (FetchAttribute.ENVELOPE, FetchAttribute.BODY, FetchAttribute.BODYSTRUCTURE)


@dataclass(frozen=True, slots=True)
class _Stored:
    """What was read of a page's rows, by UID: ENVELOPE, BODY and BODYSTRUCTURE; ids, preview, date of saving."""

    rendered: dict[int, tuple[bytes, bytes, bytes]]
    details: dict[int, Details]


async def do_fetch(session: Session, command: Fetch) -> Result:
    selected = session.selected
    wanted = command.modifiers
    if wanted.vanished and not session.modes.qresync:
        return bad("Enable QRESYNC first")
    if wanted.changed_since is not None or FetchAttribute.MODSEQ in command.items:
        session.enable_condstore()
    named = selected.numbered(command.numbers, uid=command.uid)
    if named is None:
        return BAD_NUMBER
    items = _items(session, command)
    if wanted.changed_since is not None:
        since = wanted.changed_since
        modseqs = selected.view.modseqs
        index = selected.view.index
        named = [pair for pair in named if (place := index(pair[1])) is not None and modseqs[place] > since]
        if wanted.vanished:
            ranges = selected.resolve_uids(command.numbers)
            await send_vanished(session, selected, ranges, ModSeq(since))
    if wanted.page is not None:
        named = list(wanted.page.of(named))
    sections = [item for item in items if isinstance(item, BodySection)]
    seen: frozenset[int] = frozenset()
    if not selected.read_only and any(not section.peek for section in sections):
        seen = await _set_seen(session, selected, [uid for _, uid in named])
    fetch = _Fetch(session, selected, items, seen)
    if sections:
        for start in range(0, len(named), PAGE_MESSAGES):
            await fetch.bodies(named[start : start + PAGE_MESSAGES])
    else:
        await fetch.rows(named)
    if fetch.damaged:
        return no("Some messages can't be read now", b"SERVERBUG")
    return ok("FETCH completed", GONE if fetch.missing else b"")


def _items(session: Session, command: Fetch) -> tuple[FetchItem, ...]:
    """What is asked for and what goes with it: UID, and MODSEQ behind CHANGEDSINCE (RFC 7162 §3.1.4.1)."""
    items = command.items
    if command.uid and FetchAttribute.UID not in items:
        items = (FetchAttribute.UID, *items)
    if session.modes.uid_only:
        items = tuple(item for item in items if item is not FetchAttribute.UID)
    if command.modifiers.changed_since is not None and FetchAttribute.MODSEQ not in items:
        items = (*items, FetchAttribute.MODSEQ)
    return items


async def _set_seen(session: Session, selected: SelectedMailbox, uids: Sequence[int]) -> frozenset[int]:
    """Set \\Seen where it is missing; the messages that changed. Reading goes on when nothing can be written (F03)."""
    view = selected.view
    unseen = [uid for uid in uids if (place := view.index(uid)) is not None and not view.flags[place] & SEEN]
    if not unseen:
        return frozenset()
    try:
        stored = await session.mailstore.store_flags(view, unseen, FlagChange.ADD, flags=SEEN)
    except Unavailable as error:
        log.warning("imap.seen_not_set", reason=error.public)
        return frozenset()
    return frozenset(stored.changed)


class _Fetch:
    """One FETCH on its way out."""

    def __init__(
        self, session: Session, selected: SelectedMailbox, items: tuple[FetchItem, ...], seen: frozenset[int]
    ) -> None:
        self._session = session
        self._selected = selected
        self._items = items
        self._seen = seen
        self._stored = any(item in _STORED for item in items)
        self._detailed = any(item in DETAILS for item in items)
        self._parts_wanted = any(isinstance(item, BodySection) and item.section.path for item in items)
        self.missing = False
        self.damaged = False

    async def rows(self, named: Sequence[tuple[int, Uid]]) -> None:
        """Answer without opening messages; the next page's rows are read while this one is written."""
        pages = [named[start : start + PAGE_MESSAGES] for start in range(0, len(named), PAGE_MESSAGES)]
        ahead = asyncio.ensure_future(self._read(pages[0])) if pages else None
        try:
            for place, page in enumerate(pages):
                assert ahead is not None  # noqa: S101 - made above and below
                stored = await ahead
                ahead = asyncio.ensure_future(self._read(pages[place + 1])) if place + 1 < len(pages) else None
                present, texts = self._texts(page, stored)
                self.missing = self.missing or len(present) < len(page)
                self._session.send(self._selected.fetch_lines(present, texts))
                await self._session.pace()
        finally:
            if ahead is not None:
                ahead.cancel()

    async def bodies(self, page: Sequence[tuple[int, Uid]]) -> None:
        """Answer for a page of messages with sections of their octets."""
        stored = await self._read(page)
        numbers = {int(uid): number for number, uid in page}
        answered = 0
        async for uid, octets in self._session.mailstore.octets(self._selected.view, [uid for _, uid in page]):
            present, texts = self._texts([(numbers[uid], uid)], stored)
            if not present:
                continue
            answered += 1
            if octets is None:
                self.damaged = True
                continue
            if uid in self._seen:
                self._selected.told(uid)
            self._session.send(self._selected.fetch_head(numbers[uid], uid) + b" (" + texts[0])
            await self._sections(octets, first=not texts[0])
            self._session.send(b")\r\n")
            await self._session.pace()
        self.missing = self.missing or answered < len(page)

    async def _read(self, page: Sequence[tuple[int, Uid]]) -> _Stored:
        """What the items need of a page's rows."""
        mailstore, view = self._session.mailstore, self._selected.view
        uids = [uid for _, uid in page]
        return _Stored(
            rendered=await mailstore.rendered(view, uids) if self._stored else {},
            details=await mailstore.details(view, uids) if self._detailed else {},
        )

    def _texts(self, page: Sequence[tuple[int, Uid]], stored: _Stored) -> tuple[Sequence[tuple[int, Uid]], list[bytes]]:
        """The messages of a page that exist, and of each the items that need no octets, in the order asked for.

        Made column by column: a listing of a whole mailbox spends its time here.
        """
        if self._stored:
            page = [pair for pair in page if pair[1] in stored.rendered]
        if self._detailed:
            page = [pair for pair in page if pair[1] in stored.details]
        page, places = self._selected.places(page)
        columns = [self._column(item, page, places, stored) for item in self._columns(page)]
        if not columns:
            return page, [b""] * len(page)
        form = b" ".join(label for label, _ in columns)
        return page, [form % values for values in zip(*(column for _, column in columns), strict=True)]

    def _columns(self, page: Sequence[tuple[int, Uid]]) -> list[FetchAttribute]:
        """The items without sections; with what a client must learn of messages that became \\Seen."""
        items = [item for item in self._items if isinstance(item, FetchAttribute)]
        if self._seen and any(uid in self._seen for _, uid in page):
            if FetchAttribute.FLAGS not in items:
                items.append(FetchAttribute.FLAGS)
            if self._session.modes.condstore and FetchAttribute.MODSEQ not in items:
                items.append(FetchAttribute.MODSEQ)
        return items

    def _column(
        self,
        item: FetchAttribute,
        page: Sequence[tuple[int, Uid]],
        places: Sequence[int],
        stored: _Stored,
    ) -> tuple[bytes, Sequence[object]]:
        """An item's form, and its value for each message of the page."""
        view = self._selected.view
        match item:
            case FetchAttribute.UID:
                return b"UID %d", [uid for _, uid in page]
            case FetchAttribute.FLAGS:
                return b"FLAGS %b", self._selected.flags_column(places)
            case FetchAttribute.INTERNALDATE:
                dates = view.internal_dates_us
                return b"INTERNALDATE %b", [
                    format_date_time(_EPOCH + timedelta(microseconds=dates[place])) for place in places
                ]
            case FetchAttribute.SIZE:
                return b"RFC822.SIZE %d", [view.sizes[place] for place in places]
            case FetchAttribute.MODSEQ:
                return b"MODSEQ (%d)", [view.modseqs[place] for place in places]
            case FetchAttribute.ENVELOPE | FetchAttribute.BODY | FetchAttribute.BODYSTRUCTURE:
                column = _STORED.index(item)
                return item.value.encode("ascii") + b" %b", [stored.rendered[uid][column] for _, uid in page]
            case _:
                return b"%b", [format_detail(item, stored.details[uid]) for _, uid in page]

    async def _sections(self, octets: bytes, *, first: bool) -> None:
        root = await self._root(octets)
        for item in self._items:
            if not isinstance(item, BodySection):
                continue
            data = extract(octets, root, item.section)
            label = item.label if first else b" " + item.label
            first = False
            if item.partial is not None:
                label += b"<%d>" % item.partial[0]
                data = None if data is None else partial(data, *item.partial)
            if data is None:
                self._session.send(label + b" NIL")
                continue
            self._session.send(b"%s {%d}\r\n" % (label, len(data)))
            if len(data) > FLUSH_OCTETS:
                await self._session.flush()
                await self._session.connection.write_large(data)
            else:
                self._session.send(data)

    async def _root(self, octets: bytes) -> Part:
        if not self._parts_wanted:
            return outline(octets)
        if len(octets) <= INLINE_PARSE_OCTETS:
            return parse_structure(octets).root
        return (await self._session.mailstore.worker.run(lambda: parse_structure(octets))).root
