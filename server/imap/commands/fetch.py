"""FETCH and UID FETCH (RFC 9051 §6.4.5, §7.5.2; RFC 7162, RFC 9394, RFC 9586).

- Flags, sizes and dates come from the view; ENVELOPE and structures as stored, a page of rows at a time; only body
  sections open messages, one after the other.
- \\Seen is set, and committed, before the first octet of a body is sent.
- A message that was expunged meanwhile is left out; the tagged OK says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from server.domain.errors import Unavailable
from server.domain.flags import SEEN
from server.domain.ids import ModSeq, Uid
from server.imap.commands.resync import send_vanished
from server.imap.commands.store import BAD_NUMBER, GONE
from server.imap.selected import SelectedMailbox
from server.imap.session import FLUSH_OCTETS, Result, Session, bad, no, ok
from server.protocol.imap.commands import Fetch
from server.protocol.imap.dates import format_date_time
from server.protocol.imap.fetch import BodySection, FetchAttribute, FetchItem
from server.protocol.mime.section import extract, partial
from server.protocol.mime.structure import Structure, parse_structure
from server.services.mailstore.flags import FlagChange
from server.telemetry.log import get_logger

log = get_logger("imap")

PAGE_MESSAGES = 200
INLINE_PARSE_OCTETS = 256 * 1024
"""Larger messages are taken apart in a worker thread: their structure takes more than a slice."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STORED = (FetchAttribute.ENVELOPE, FetchAttribute.BODY, FetchAttribute.BODYSTRUCTURE)
_Rendered = tuple[bytes, bytes, bytes]


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
    for start in range(0, len(named), PAGE_MESSAGES):
        page = named[start : start + PAGE_MESSAGES]
        if sections:
            await fetch.bodies(page)
        else:
            await fetch.rows(page)
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
        self._wants_rendered = any(item in _STORED for item in items)
        self.missing = False
        self.damaged = False

    async def rows(self, page: Sequence[tuple[int, Uid]]) -> None:
        """Answer for a page of messages without opening them."""
        rendered = await self._rendered(page)
        lines: list[bytes] = []
        for number, uid in page:
            line = self._line(number, uid, rendered)
            if line is None:
                self.missing = True
            else:
                lines.append(self._selected.fetch_line(number, uid, line))
        self._session.send(b"".join(lines))
        await self._session.pace()

    async def bodies(self, page: Sequence[tuple[int, Uid]]) -> None:
        """Answer for a page of messages with sections of their octets."""
        rendered = await self._rendered(page)
        numbers = {int(uid): number for number, uid in page}
        answered = 0
        async for uid, octets in self._session.mailstore.octets(self._selected.view, [uid for _, uid in page]):
            line = self._line(numbers[uid], uid, rendered)
            if line is None:
                continue
            answered += 1
            if octets is None:
                self.damaged = True
                continue
            self._session.send(self._selected.fetch_head(numbers[uid], uid) + b" (" + b" ".join(line))
            await self._sections(octets, first=not line)
            self._session.send(b")\r\n")
            await self._session.pace()
        self.missing = self.missing or answered < len(page)

    async def _rendered(self, page: Sequence[tuple[int, Uid]]) -> dict[int, _Rendered]:
        if not self._wants_rendered:
            return {}
        return await self._session.mailstore.rendered(self._selected.view, [uid for _, uid in page])

    def _line(self, number: int, uid: int, rendered: dict[int, _Rendered]) -> list[bytes] | None:
        """The items that need no octets, in the order asked for; None when the message is gone."""
        view = self._selected.view
        uids = view.uids
        # Mostly session and view number alike; a search is for the rest.
        place = number - 1 if number <= len(uids) and uids[number - 1] == uid else view.index(uid)
        stored = rendered.get(uid)
        if place is None or (self._wants_rendered and stored is None):
            return None
        parts: list[bytes] = []
        for item in self._items:
            match item:
                case FetchAttribute.UID:
                    parts.append(b"UID %d" % uid)
                case FetchAttribute.FLAGS:
                    parts.append(b"FLAGS " + self._selected.flags_at(place, uid))
                case FetchAttribute.INTERNALDATE:
                    instant = _EPOCH + timedelta(microseconds=view.internal_dates_us[place])
                    parts.append(b"INTERNALDATE " + format_date_time(instant))
                case FetchAttribute.SIZE:
                    parts.append(b"RFC822.SIZE %d" % view.sizes[place])
                case FetchAttribute.MODSEQ:
                    parts.append(b"MODSEQ (%d)" % view.modseqs[place])
                case FetchAttribute.ENVELOPE | FetchAttribute.BODY | FetchAttribute.BODYSTRUCTURE:
                    assert stored is not None  # noqa: S101 - checked above
                    parts.append(b"%s %s" % (item.value.encode("ascii"), stored[_STORED.index(item)]))
                case BodySection():
                    pass
        if uid in self._seen:
            self._selected.told(uid)
            if FetchAttribute.FLAGS not in self._items:
                parts.append(b"FLAGS " + self._selected.flags_at(place, uid))
            if self._session.modes.condstore and FetchAttribute.MODSEQ not in self._items:
                parts.append(b"MODSEQ (%d)" % view.modseqs[place])
        return parts

    async def _sections(self, octets: bytes, *, first: bool) -> None:
        structure = await self._structure(octets)
        for item in self._items:
            if not isinstance(item, BodySection):
                continue
            data = extract(octets, structure, item.section)
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

    async def _structure(self, octets: bytes) -> Structure:
        if len(octets) <= INLINE_PARSE_OCTETS:
            return parse_structure(octets)
        return await self._session.mailstore.worker.run(lambda: parse_structure(octets))
