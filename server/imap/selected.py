"""The mailbox a session has selected: its own numbering of messages, and what it has yet to be told.

- Sequence numbers are frozen: they move only when this session is sent EXPUNGE or EXISTS (RFC 9051 §7.5.1, RFC 2180).
- EXPUNGE lines go from the highest number down, then EXISTS, then FLAGS and FETCH lines: each number is right when the
  client reads it.
- A change the session made itself, and has answered, is not told twice.
- `told_modseq` never is ahead of what the client was told: a client may keep it for its next QRESYNC (RFC 7162 §3.2.5).
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import cast

from server.domain.flags import ALL_FLAGS, FLAGGED
from server.domain.ids import ModSeq, Uid
from server.imap.modes import SessionModes
from server.protocol.imap.flags import SYSTEM_NAMES, format_flags, format_keywords
from server.protocol.imap.sequence import SequenceSet, format_uid_set, runs, spans
from server.services.mailstore.sync import Change, MailboxView

FLAG_LISTS_MAX = 500
"""Formatted FLAGS lists a session keeps."""


class SelectedMailbox:
    """One session's picture of a shared view."""

    def __init__(self, *, read_only: bool, modes: SessionModes, wake: Callable[[], None]) -> None:
        self.read_only = read_only
        self._modes = modes
        self._wake = wake
        self._view: MailboxView | None = None
        self.uids = array("I")
        self.recent_from = 1
        self.permitted = ALL_FLAGS
        """Flags this session may change (RFC 4314 §4)."""
        self.told_modseq = ModSeq(0)
        self.saved = array("I")
        """UIDs that SEARCH RETURN (SAVE) found last; "$" (RFC 5182)."""
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
        self.told_modseq = view.mailbox.modseq
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
        if numbers.saved:
            return [(number, Uid(uid)) for uid in self.saved if (number := self.number(uid)) is not None]
        if uid:
            ranges = spans(self.uids, numbers.resolve(self.uids[-1] if self.uids else 0))
            return self._named(ranges)
        ranges = numbers.resolve(len(self.uids))
        if (not self.uids and numbers.ranges) or (ranges and ranges[-1][1] > len(self.uids)):
            return None
        return self._named(ranges)

    def _named(self, ranges: Iterable[tuple[int, int]]) -> list[tuple[int, Uid]]:
        """Sequence number and UID of the messages in ranges of sequence numbers."""
        named: list[tuple[int, Uid]] = []
        for first, last in ranges:
            named += zip(range(first, last + 1), cast("Iterable[Uid]", self.uids[first - 1 : last]), strict=True)
        return named

    def resolve_uids(self, numbers: SequenceSet) -> list[tuple[int, int]]:
        """A set of UIDs as ascending, disjoint ranges, UIDs that are gone included."""
        return runs(self.saved) if numbers.saved else numbers.resolve(self.view.mailbox.uidnext - 1)

    def number(self, uid: int) -> int | None:
        """The sequence number of a UID."""
        place = bisect_left(self.uids, uid)
        return place + 1 if place < len(self.uids) and self.uids[place] == uid else None

    def first_after(self, uid: int) -> int:
        """The number of the first message with a greater UID; one more than there are when there is none."""
        return bisect_right(self.uids, uid) + 1

    def is_recent(self, uid: int) -> bool:
        return uid >= self.recent_from

    @property
    def recent_count(self) -> int:
        return len(self.uids) - bisect_left(self.uids, self.recent_from)

    @property
    def has_updates(self) -> bool:
        last = self.uids[-1] if self.uids else 0
        return bool(self._changed or self._expunged or (self.view.uids and self.view.uids[-1] > last))

    def only_lost(self, uids: Collection[int]) -> bool:
        """Whether these expunged messages are all the client was not told of."""
        last = self.uids[-1] if self.uids else 0
        newer = bool(self.view.uids and self.view.uids[-1] > last)
        return not self._changed and not newer and self._expunged == set(uids)

    def save(self, uids: Iterable[int]) -> None:
        """What "$" stands for from now on, ascending whatever the order given."""
        self.saved = array("I", sorted(uids))

    def forget_saved(self) -> None:
        """ "$" stands for nothing from now on (RFC 5182 §2.1)."""
        self.saved = array("I")

    def is_pending(self, uid: int) -> bool:
        """Whether a change of this message is still to be told."""
        return uid in self._changed

    def told(self, uid: int) -> None:
        """The client knows this message's flags as they are in the view now."""
        self._changed.pop(uid, None)

    def flags_of(self, uid: int) -> bytes | None:
        """The FLAGS list as this session sees it, None when the message is gone."""
        place = self.view.index(uid)
        return None if place is None else self.flags_at(place, uid)

    def modseq_of(self, uid: int) -> int | None:
        """The message's modseq, None when it is gone."""
        place = self.view.index(uid)
        return None if place is None else self.view.modseqs[place]

    def flags_at(self, place: int, uid: int) -> bytes:
        """As `flags_of`, for a message whose place in the view is known."""
        recent = uid >= self.recent_from and not self._modes.rev2
        return self._flag_list((self.view.flags[place], self.view.keywords[place], recent))

    def flags_column(self, places: Sequence[int]) -> list[bytes]:
        """The FLAGS lists of the messages at these places of the view, ascending."""
        flags, keywords, uids = self.view.flags, self.view.keywords, self.view.uids
        if not places or self._modes.rev2 or uids[places[-1]] < self.recent_from:
            keys = [(flags[place], keywords[place], False) for place in places]
        else:
            recent_from = self.recent_from
            keys = [(flags[place], keywords[place], uids[place] >= recent_from) for place in places]
        known = self._flag_lists.get
        return [known(key) or self._flag_list(key) for key in keys]

    def _flag_list(self, key: tuple[int, str, bool]) -> bytes:
        found = self._flag_lists.get(key)
        if found is None:
            if len(self._flag_lists) >= FLAG_LISTS_MAX:
                self._flag_lists.clear()
            found = self._flag_lists[key] = format_flags(key[0], key[1], recent=key[2])
        return found

    def places(self, page: Sequence[tuple[int, Uid]]) -> tuple[Sequence[tuple[int, Uid]], Sequence[int]]:
        """Those of ascending messages that exist, and where each is in the view."""
        uids = self.view.uids
        if page and len(page) == page[-1][0] - page[0][0] + 1 <= len(uids):
            first, last = page[0][0] - 1, page[-1][0] - 1
            # New messages only come to the end: where both ends are in their places, all between are.
            if last < len(uids) and uids[first] == page[0][1] and uids[last] == page[-1][1]:
                return page, range(first, last + 1)
        found = [(pair, place) for pair in page if (place := self.view.index(pair[1])) is not None]
        return [pair for pair, _ in found], [place for _, place in found]

    def fetch_heads(self, page: Sequence[tuple[int, Uid]]) -> tuple[bytes, list[int]]:
        """`fetch_head` of a page as a form and its values."""
        if self._modes.uid_only:
            return b"* %d UIDFETCH", [uid for _, uid in page]
        return b"* %d FETCH", [number for number, _ in page]

    def fetch_line(self, number: int, uid: int, items: Sequence[bytes]) -> bytes:
        """A FETCH response, or UIDFETCH where numbers are not given (RFC 9586 §3.3)."""
        return b"%s (%s)\r\n" % (self.fetch_head(number, uid), b" ".join(items))

    def fetch_head(self, number: int, uid: int) -> bytes:
        """What a FETCH response begins with, up to its list."""
        return b"* %d UIDFETCH" % uid if self._modes.uid_only else b"* %d FETCH" % number

    def change_line(self, number: int, uid: int, *, uid_wanted: bool, flags: bool = True) -> bytes | None:
        """The response for changed flags, None when the message is gone (RFC 7162 §3.1.3, §3.2.4)."""
        place = self.view.index(uid)
        if place is None:
            return None
        items: list[bytes] = []
        if (uid_wanted or self._modes.qresync) and not self._modes.uid_only:
            items.append(b"UID %d" % uid)
        if flags:
            items.append(b"FLAGS " + self.flags_at(place, uid))
        if self._modes.condstore:
            items.append(b"MODSEQ (%d)" % self.view.modseqs[place])
        return self.fetch_line(number, uid, items)

    def flags_line(self) -> bytes:
        """FLAGS response: system flags and the keywords in use."""
        return b"* FLAGS (" + SYSTEM_NAMES + format_keywords(sorted(self._keywords)) + b")\r\n"

    def permanent_flags_line(self) -> bytes:
        """PERMANENTFLAGS; empty in a mailbox that is open read-only (RFC 9051 §7.1), else what the rights allow."""
        if self.read_only:
            return b"* OK [PERMANENTFLAGS ()] Read-only mailbox\r\n"
        if not self.permitted & FLAGGED:
            return b"* OK [PERMANENTFLAGS " + format_flags(self.permitted, "", recent=False) + b"] Flags permitted\r\n"
        names = SYSTEM_NAMES + format_keywords(sorted(self._keywords))
        return b"* OK [PERMANENTFLAGS (" + names + b" \\*)] Flags permitted\r\n"

    def updates(self, *, expunge: bool, flags: bool = True) -> Iterator[bytes]:
        """Untagged responses for what changed since the last call; forgets what it yields, so take all.

        Args:
            expunge: Whether EXPUNGE may be sent now; if not, it waits, and numbers stay as they are.
            flags: Whether changed flags are told now; if not, they wait.
        """
        modseq = self.view.mailbox.modseq
        if expunge and self._expunged:
            yield from self._expunge()
        last = self.uids[-1] if self.uids else 0
        fresh = self.view.uids[bisect_left(self.view.uids, last + 1) :]
        if fresh:
            self.uids.extend(fresh)
            yield self.exists_lines()
        changed: dict[int, ModSeq] = {}
        if flags:
            changed, self._changed = self._changed, {}
        if changed or fresh:
            yield from self._new_keywords([*changed, *fresh])
        for uid in sorted(changed):
            number = self.number(uid)
            line = None if number is None else self.change_line(number, uid, uid_wanted=True)
            if line is not None:
                yield line
        if not self._expunged and not self._changed:
            self.told_modseq = max(self.told_modseq, modseq)

    def exists_lines(self) -> bytes:
        """EXISTS, and RECENT for clients of IMAP4rev1."""
        if self._modes.rev2:
            return b"* %d EXISTS\r\n" % len(self.uids)
        return b"* %d EXISTS\r\n* %d RECENT\r\n" % (len(self.uids), self.recent_count)

    def _expunge(self) -> list[bytes]:
        if self._modes.vanished:
            return self._vanish()
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

    def _vanish(self) -> list[bytes]:
        """One VANISHED for all (RFC 7162 §3.2.10.2)."""
        gone = [uid for uid in self.uids if uid in self._expunged]
        self.uids = array("I", [uid for uid in self.uids if uid not in self._expunged])
        self._expunged.clear()
        return [b"* VANISHED " + format_uid_set(gone) + b"\r\n"] if gone else []

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
