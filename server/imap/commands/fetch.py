"""FETCH and UID FETCH (RFC 9051 §6.4.5, §7.5.2; RFC 3516, RFC 7162, RFC 9394, RFC 9586).

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
from server.domain.rights import SEEN as MAY_SEE
from server.imap.commands.details import DETAILS, format_detail
from server.imap.commands.resync import send_vanished
from server.imap.commands.store import BAD_NUMBER, GONE
from server.imap.selected import SelectedMailbox
from server.imap.session import FLUSH_OCTETS, Result, Session, bad, no, ok
from server.protocol.imap.commands import Fetch
from server.protocol.imap.dates import format_date_time
from server.protocol.imap.fetch import BinarySection, BodySection, FetchAttribute, FetchItem
from server.protocol.mime.section import UnknownTransferEncoding, extract, extract_binary, partial
from server.protocol.mime.structure import Part, outline, parse_structure
from server.services.mailstore.flags import FlagChange
from server.services.mailstore.store import Details
from server.telemetry.log import get_logger

log = get_logger("imap")

PAGE_MESSAGES = 400
FILTER_MESSAGES = 5000
INLINE_PARSE_OCTETS = 256 * 1024
"""Larger messages are taken apart in a worker thread: their structure takes more than a slice."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STORED = (FetchAttribute.ENVELOPE, FetchAttribute.BODY, FetchAttribute.BODYSTRUCTURE)


@dataclass(frozen=True, slots=True)
class _Stored:
    """What was read of a page's rows, by UID: ENVELOPE, BODY and BODYSTRUCTURE; ids, preview, date of saving."""

    rendered: dict[int, tuple[bytes, bytes, bytes]]
    details: dict[int, Details]


NOTHING_STORED = _Stored({}, {})


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
        named = await _changed(session, selected, named, since)
        if wanted.vanished:
            ranges = selected.resolve_uids(command.numbers)
            await send_vanished(session, selected, ranges, ModSeq(since))
    if wanted.page is not None:
        named = list(wanted.page.of(named))
    sections = [item for item in items if not isinstance(item, FetchAttribute)]
    seen: frozenset[int] = frozenset()
    if not selected.read_only and MAY_SEE in session.rights and any(not section.peek for section in sections):
        seen = await _set_seen(session, selected, [uid for _, uid in named])
    fetch = _Fetch(session, selected, items, seen)
    await fetch.answer(named)
    if fetch.unknown_encoding:
        return no("The part's encoding is not known", b"UNKNOWN-CTE")
    if fetch.damaged:
        return no("Some messages can't be read now", b"SERVERBUG")
    return ok("FETCH completed", GONE if fetch.missing else b"")


async def send_items(session: Session, items: tuple[FetchItem, ...], named: Sequence[tuple[int, Uid]]) -> None:
    """FETCH responses that no command asked for; they leave \\Seen as it is (RFC 5465 §5.2)."""
    if session.modes.uid_only:
        items = tuple(item for item in items if item is not FetchAttribute.UID) or (FetchAttribute.FLAGS,)
    await _Fetch(session, session.selected, items, frozenset()).answer(named)


async def _changed(
    session: Session, selected: SelectedMailbox, named: Sequence[tuple[int, Uid]], since: int
) -> list[tuple[int, Uid]]:
    """Those of the messages that changed after `since`."""
    found: list[tuple[int, Uid]] = []
    for start in range(0, len(named), FILTER_MESSAGES):
        page, places = selected.places(named[start : start + FILTER_MESSAGES])
        modseqs = selected.view.modseqs
        found += [pair for pair, place in zip(page, places, strict=True) if modseqs[place] > since]
        await session.pace()
    return found


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


def _path(item: FetchItem) -> tuple[int, ...]:
    """The part an item names, so that the message's structure is needed."""
    match item:
        case BodySection():
            return item.section.path
        case BinarySection():
            return item.path
        case _:
            return ()


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
        self._parts_wanted = any(_path(item) for item in items)
        self.missing = False
        self.damaged = False
        self.unknown_encoding = False

    async def answer(self, named: Sequence[tuple[int, Uid]]) -> None:
        """Answer for messages, ascending."""
        if all(isinstance(item, FetchAttribute) for item in self._items):
            await self.rows(named)
            return
        for start in range(0, len(named), PAGE_MESSAGES):
            await self.bodies(named[start : start + PAGE_MESSAGES])

    async def rows(self, named: Sequence[tuple[int, Uid]]) -> None:
        """Answer without opening messages; the next page's rows are read while this one is written."""
        pages = [named[start : start + PAGE_MESSAGES] for start in range(0, len(named), PAGE_MESSAGES)]
        ahead = self._read_ahead(pages, 0)
        try:
            for place, page in enumerate(pages):
                stored = NOTHING_STORED if ahead is None else await ahead
                ahead = self._read_ahead(pages, place + 1)
                self._send_lines(page, stored)
                await self._session.pace()
        finally:
            if ahead is not None:
                ahead.cancel()

    def _send_lines(self, page: Sequence[tuple[int, Uid]], stored: _Stored) -> None:
        """One response for each message, written column by column: listings spend their time here."""
        present, form, columns = self._table(page, stored)
        self.missing = self.missing or len(present) < len(page)
        head, numbers = self._selected.fetch_heads(present)
        form = head + b" (" + form + b")\r\n"
        self._session.send(b"".join([form % values for values in zip(numbers, *columns, strict=True)]))

    def _read_ahead(self, pages: Sequence[Sequence[tuple[int, Uid]]], place: int) -> asyncio.Future[_Stored] | None:
        if place >= len(pages) or not (self._stored or self._detailed):
            return None
        return asyncio.ensure_future(self._read(pages[place]))

    async def bodies(self, page: Sequence[tuple[int, Uid]]) -> None:
        """Answer for a page of messages with sections of their octets."""
        stored = await self._read(page)
        numbers = {int(uid): number for number, uid in page}
        answered = 0
        async for uid, octets in self._session.mailstore.octets(self._selected.view, [uid for _, uid in page]):
            present, form, columns = self._table([(numbers[uid], uid)], stored)
            if not present:
                continue
            text = form % tuple(column[0] for column in columns)
            answered += 1
            if octets is None:
                self.damaged = True
                continue
            if uid in self._seen:
                self._selected.told(uid)
            self._session.send(self._selected.fetch_head(numbers[uid], uid) + b" (" + text)
            await self._sections(octets, first=not text)
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

    def _table(
        self, page: Sequence[tuple[int, Uid]], stored: _Stored
    ) -> tuple[Sequence[tuple[int, Uid]], bytes, list[Sequence[object]]]:
        """The messages of a page that exist; of the items that need no octets a form, and its values in columns."""
        if self._stored:
            page = [pair for pair in page if pair[1] in stored.rendered]
        if self._detailed:
            page = [pair for pair in page if pair[1] in stored.details]
        page, places = self._selected.places(page)
        columns = [self._column(item, page, places, stored) for item in self._columns(page)]
        return page, b" ".join([label for label, _ in columns]), [column for _, column in columns]

    def _columns(self, page: Sequence[tuple[int, Uid]]) -> list[FetchAttribute]:
        """The items without sections; with what a client must learn of messages that became \\Seen."""
        items = [item for item in self._items if isinstance(item, FetchAttribute)]
        if self._seen and any(uid in self._seen for _, uid in page):
            modes = self._session.modes
            # RFC 7162 §3.2.4: with QRESYNC whatever tells changed flags names the UID.
            if modes.qresync and not modes.uid_only and FetchAttribute.UID not in items:
                items.insert(0, FetchAttribute.UID)
            if FetchAttribute.FLAGS not in items:
                items.append(FetchAttribute.FLAGS)
            if modes.condstore and FetchAttribute.MODSEQ not in items:
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
            if isinstance(item, FetchAttribute):
                continue
            label, data = await self._section(octets, root, item)
            if not first:
                label = b" " + label
            first = False
            if data is None:
                self._session.send(label)
                continue
            self._session.send(b"%s %s{%d}\r\n" % (label, b"~" if b"\0" in data else b"", len(data)))
            if len(data) > FLUSH_OCTETS:
                await self._session.flush()
                await self._session.connection.write_large(data)
            else:
                self._session.send(data)

    async def _section(
        self, octets: bytes, root: Part, item: BodySection | BinarySection
    ) -> tuple[bytes, bytes | None]:
        """An item's label and the octets it names; None when the label says it all."""
        try:
            if isinstance(item, BodySection):
                data = extract(octets, root, item.section)
            elif len(octets) <= INLINE_PARSE_OCTETS:
                data = extract_binary(octets, root, item.path)
            else:
                path = item.path
                data = await self._session.mailstore.worker.run(lambda: extract_binary(octets, root, path))
        except UnknownTransferEncoding:
            # RFC 3516 §4.3: what can't be decoded is told by the tagged NO.
            self.unknown_encoding = True
            data = None
        if isinstance(item, BinarySection) and item.size_only:
            return item.label + b" %d" % len(data or b""), None
        label = item.label
        if item.partial is not None:
            label += b"<%d>" % item.partial[0]
            data = None if data is None else partial(data, *item.partial)
        return (label + b" NIL" if data is None else label), data

    async def _root(self, octets: bytes) -> Part:
        if not self._parts_wanted:
            return outline(octets)
        if len(octets) <= INLINE_PARSE_OCTETS:
            return parse_structure(octets).root
        return (await self._session.mailstore.worker.run(lambda: parse_structure(octets))).root
