"""The mailbox a session has selected: its own numbering of messages, and what it has yet to be told.

- Sequence numbers are frozen: they move only when this session is sent EXPUNGE or EXISTS (RFC 9051 §7.5.1, RFC 2180).
- EXPUNGE lines go from the highest number down, then EXISTS, then FLAGS and FETCH lines: each number is right when the
  client reads it.
- A change the session made itself, and has answered, is not told twice.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence

from server.domain.ids import ModSeq, Uid
from server.protocol.imap.flags import SYSTEM_NAMES, format_flags, format_keywords
from server.protocol.imap.sequence import SequenceSet, positions
from server.services.mailstore.sync import Change, MailboxView

FLAG_LISTS_MAX = 500
"""Formatted FLAGS lists a session keeps."""


class SelectedMailbox:
    """One session's picture of a shared view."""

    def __init__(self, *, read_only: bool, wake: Callable[[], None]) -> None:
        self.read_only = read_only
        self._wake = wake
        self._view: MailboxView | None = None
        self.uids = array("I")
        self.recent_from = 1
        self._keywords: set[str] = set()
        self._flag_lists: dict[tuple[int, str, bool], bytes] = {}
        self._changed: dict[int, ModSeq] = {}
        self._expunged: set[int] = set()

    @property
    def view(self) -> MailboxView:
        if self._view is None:
            raise RuntimeError("the mailbox is not open")
        return self._view

    def attach(self, view: MailboxView) -> None:
        """Take the view's present state as what the client is told by SELECT."""
        self._view = view
        self.uids = array("I", view.uids)
        self.recent_from = view.recent_from
        self._keywords = self._used_keywords(view.keywords)
        self._changed.clear()
        self._expunged.clear()

    # As a follower of the view.

    def wake(self) -> None:
        self._wake()

    def note(self, changes: Sequence[Change]) -> None:
        last = self.uids[-1] if self.uids else 0
        for change in changes:
            if change.uid > last:
                continue
            if change.expunged:
                self._expunged.add(change.uid)
                self._changed.pop(change.uid, None)
            else:
                self._changed[change.uid] = change.modseq

    # For commands.

    def numbered(self, numbers: SequenceSet, *, uid: bool) -> list[tuple[int, Uid]] | None:
        """Sequence number and UID of the messages a set names, ascending.

        Returns:
            None when a sequence number is beyond the last message; UIDs that don't exist are left out.
        """
        if uid:
            ranges = numbers.resolve(self.uids[-1] if self.uids else 0)
            return [(place + 1, Uid(self.uids[place])) for place in positions(self.uids, ranges)]
        ranges = numbers.resolve(len(self.uids))
        if (not self.uids and numbers.ranges) or (ranges and ranges[-1][1] > len(self.uids)):
            return None
        return [(number, Uid(self.uids[number - 1])) for first, last in ranges for number in range(first, last + 1)]

    def number(self, uid: int) -> int | None:
        """The sequence number of a UID."""
        place = bisect_left(self.uids, uid)
        return place + 1 if place < len(self.uids) and self.uids[place] == uid else None

    def is_recent(self, uid: int) -> bool:
        return uid >= self.recent_from

    @property
    def recent_count(self) -> int:
        return len(self.uids) - bisect_left(self.uids, self.recent_from)

    @property
    def has_updates(self) -> bool:
        last = self.uids[-1] if self.uids else 0
        return bool(self._changed or self._expunged or (self.view.uids and self.view.uids[-1] > last))

    def told(self, uids: Iterable[int], modseq: ModSeq | None) -> None:
        """The client knows these messages' flags as of `modseq`."""
        for uid in uids:
            if self._changed.get(uid) == modseq:
                del self._changed[uid]

    def flags_of(self, uid: int) -> bytes | None:
        """The FLAGS list as this session sees it, None when the message is gone."""
        place = self.view.index(uid)
        return None if place is None else self.flags_at(place, uid)

    def flags_at(self, place: int, uid: int) -> bytes:
        """As `flags_of`, for a message whose place in the view is known."""
        key = (self.view.flags[place], self.view.keywords[place], uid >= self.recent_from)
        found = self._flag_lists.get(key)
        if found is None:
            if len(self._flag_lists) >= FLAG_LISTS_MAX:
                self._flag_lists.clear()
            found = self._flag_lists[key] = format_flags(key[0], key[1], recent=key[2])
        return found

    def flags_line(self) -> bytes:
        """FLAGS response: system flags and the keywords in use."""
        return b"* FLAGS (" + SYSTEM_NAMES + format_keywords(sorted(self._keywords)) + b")\r\n"

    def permanent_flags_line(self) -> bytes:
        """PERMANENTFLAGS; empty in a mailbox that is open read-only (RFC 9051 §7.1)."""
        if self.read_only:
            return b"* OK [PERMANENTFLAGS ()] Read-only mailbox\r\n"
        names = SYSTEM_NAMES + format_keywords(sorted(self._keywords))
        return b"* OK [PERMANENTFLAGS (" + names + b" \\*)] Flags permitted\r\n"

    def updates(self, *, expunge: bool) -> Iterator[bytes]:
        """Untagged responses for what changed since the last call; forgets what it yields, so take all.

        Args:
            expunge: Whether EXPUNGE may be sent now; if not, it waits, and numbers stay as they are.
        """
        if expunge and self._expunged:
            yield from self._expunge()
        last = self.uids[-1] if self.uids else 0
        fresh = self.view.uids[bisect_left(self.view.uids, last + 1) :]
        if fresh:
            self.uids.extend(fresh)
            yield b"* %d EXISTS\r\n* %d RECENT\r\n" % (len(self.uids), self.recent_count)
        changed, self._changed = self._changed, {}
        if changed or fresh:
            yield from self._new_keywords([*changed, *fresh])
        for uid in sorted(changed):
            flags, number = self.flags_of(uid), self.number(uid)
            if flags is not None and number is not None:
                yield b"* %d FETCH (UID %d FLAGS %s)\r\n" % (number, uid, flags)

    def _expunge(self) -> list[bytes]:
        lines: list[bytes] = []
        kept = array("I")
        for place, uid in enumerate(self.uids):
            if uid in self._expunged:
                lines.append(b"* %d EXPUNGE\r\n" % (place + 1))
            else:
                kept.append(uid)
        self.uids = kept
        self._expunged.clear()
        lines.reverse()
        return lines

    def _new_keywords(self, uids: Iterable[int]) -> list[bytes]:
        texts = [self.view.keywords[place] for place in map(self.view.index, uids) if place is not None]
        fresh = self._used_keywords(texts) - self._keywords
        if not fresh:
            return []
        self._keywords |= fresh
        return [self.flags_line(), self.permanent_flags_line()]

    @staticmethod
    def _used_keywords(texts: Iterable[str]) -> set[str]:
        return {word for text in set(texts) for word in text.split()}
