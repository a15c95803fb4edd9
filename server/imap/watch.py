"""What a session is told while it asks for nothing: NOTIFY at work (RFC 5465 §4-6).

- The truth is a difference of the mailboxes' rows, taken when the notifier hints and every REREAD_S: a lost hint costs
  latency. Hints that come close together are one look, at most one in PAUSE_S.
- The selected mailbox is told from the session's own view. What the rows say of it waits until it is left, so that
  nothing is lost between the two.
- Bounded: MAILBOXES_MAX watched, LINES_MAX responses of one look, NEW_MAX new messages fetched at once; beyond it the
  client is told NOTIFICATIONOVERFLOW and nothing more.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from server.domain.errors import Unavailable
from server.domain.ids import AccountId, MailboxId, Uid
from server.domain.mailbox import Mailbox
from server.domain.rights import ALL_RIGHTS, READ
from server.imap.commands.fetch import send_items
from server.imap.filters import SourceFilter, levels_above
from server.imap.session import Session
from server.protocol.imap.format import format_mailbox
from server.protocol.imap.multisearch import MailboxFilter
from server.protocol.imap.notify import SELECTED_FILTERS, Notify, NotifyEvent
from server.services.mailstore.access import OTHERS, is_shared, shared_prefix
from server.services.mailstore.sync import REREAD_S
from server.telemetry.log import get_logger

PAUSE_S = 0.2
MAILBOXES_MAX = 10_000
LINES_MAX = 1000
NEW_MAX = 500
PAGE_MAILBOXES = 100
"""Mailboxes compared between two turns of the loop."""
NOTHING: frozenset[NotifyEvent] = frozenset()
_OF_NAMES = frozenset({NotifyEvent.MAILBOX_NAME, NotifyEvent.SUBSCRIPTION_CHANGE})
_OVERFLOW = b"* OK [NOTIFICATIONOVERFLOW] Too much to tell, nothing more is told\r\n"
log = get_logger("imap")


class WatchOverflow(Exception):
    """There is more than a session may watch, or be told."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """A mailbox as the client knows it; `name` is the one it uses."""

    name: str
    mailbox: Mailbox
    events: frozenset[NotifyEvent]
    readable: bool

    @property
    def subscribed(self) -> bool:
        """Subscriptions are of own mailboxes."""
        return self.mailbox.subscribed and self.name == self.mailbox.name

    @property
    def told_of_messages(self) -> bool:
        return self.readable and NotifyEvent.MESSAGE_NEW in self.events


_Look = Mapping[MailboxId, _Seen]


class MailboxWatch:
    """One session's NOTIFY; `begin` reads where the mailboxes stand, `end` must follow."""

    def __init__(self, session: Session, wanted: Notify) -> None:
        self._session = session
        self._selected = wanted.selected
        self._groups = [
            (SourceFilter(group.source), group.events)
            for group in wanted.groups
            if group.source.filter not in SELECTED_FILTERS
        ]
        names = [name for filter_, _ in self._groups for name in filter_.names]
        self._shared = any(is_shared(name) or name == OTHERS for name in names)
        self._seen: _Look = {}
        self._subscriptions: dict[AccountId, Callable[[], None]] = {}
        self._hinted = False
        self._looked_at = -math.inf
        self._selected_id: MailboxId | None = None

    async def begin(self, *, status: bool) -> None:
        """Take the mailboxes as they are; with `status` the client is told of them (RFC 5465 §3.1).

        Raises:
            WatchOverflow: They are too many.
        """
        if not self._groups:
            return
        self._follow(self._session.account_id)
        self._seen = await self._look()
        for seen in self._seen.values():
            if not seen.readable and NotifyEvent.MESSAGE_NEW in seen.events:
                self._session.send(self._list_line(seen.name, [b"\\NoAccess"]))
            elif status and seen.told_of_messages and not self._is_selected(seen.mailbox.id):
                self._session.send(self._status_line(seen))
            await self._session.pace()

    def end(self) -> None:
        for unsubscribe in self._subscriptions.values():
            unsubscribe()
        self._subscriptions.clear()

    @property
    def due_at(self) -> float:
        """When to look next if nothing comes before, in the loop's time."""
        if self._groups:
            return self._looked_at + (PAUSE_S if self._hinted else REREAD_S)
        selected = self._selected is not None and self._session.selected_mailbox is not None
        return asyncio.get_running_loop().time() + REREAD_S if selected else math.inf

    async def tell(self, *, idle: bool) -> None:
        """Add responses for what changed, as far as the client wants to know.

        Args:
            idle: Whether the client waits in IDLE, where any mailbox may be told of its expunged messages.

        Raises:
            NotFound: The selected mailbox is gone.
        """
        selected = self._session.selected_mailbox
        selected_id = None if selected is None else selected.view.mailbox_id
        if selected_id != self._selected_id:
            # What the mailbox that was left has to tell has waited.
            self._selected_id, self._hinted = selected_id, True
        try:
            await self._tell_selected(idle=idle)
            if self._groups and asyncio.get_running_loop().time() >= self.due_at:
                await self._tell_others()
        except Unavailable as error:
            log.warning("imap.notify_failed", reason=error.public)
        except WatchOverflow:
            self._overflow()

    async def told_new(self, first: int) -> None:
        """Send what is wanted of the new messages of the selected mailbox, numbered from `first` (RFC 5465 §5.2)."""
        if self._selected is None or not self._selected.items:
            return
        uids = self._session.selected.uids
        if len(uids) - first + 1 > NEW_MAX:
            self._overflow()
            return
        numbers = [(number, Uid(uid)) for number, uid in enumerate(uids[first - 1 :], first)]
        try:
            await send_items(self._session, self._selected.items, numbers)
        except Unavailable as error:
            log.warning("imap.notify_failed", reason=error.public)

    async def _tell_selected(self, *, idle: bool) -> None:
        group = self._selected
        if group is None or not group.events or self._session.selected_mailbox is None:
            return
        at_once = group.source.filter is MailboxFilter.SELECTED
        await self._session.sync(expunge=at_once or idle, flags=NotifyEvent.FLAG_CHANGE in group.events)

    async def _tell_others(self) -> None:
        before, now = self._seen, await self._look()
        lines: list[bytes] = []
        for mailbox_id, old in before.items():
            if mailbox_id not in now and NotifyEvent.MAILBOX_NAME in old.events:
                lines.append(self._list_line(old.name, [b"\\NonExistent"]))
        kept: dict[MailboxId, _Seen] = {}
        parents: set[str] | None = None
        for count, (mailbox_id, seen) in enumerate(now.items(), 1):
            earlier = before.get(mailbox_id)
            known = kept[mailbox_id] = self._known(earlier, seen)
            if known is not earlier and (earlier is None or known != earlier):
                if parents is None and self._names_changed(earlier, seen):
                    parents = {above for one in now.values() for above in levels_above(one.name)}
                lines += self._lines(earlier, known, parents or set())
            if len(lines) > LINES_MAX:
                raise WatchOverflow
            if count % PAGE_MAILBOXES == 0:
                await asyncio.sleep(0)
        self._seen = kept
        for line in lines:
            self._session.send(line)
            await self._session.pace()

    def _known(self, earlier: _Seen | None, seen: _Seen) -> _Seen:
        """What is compared next time: of the selected mailbox, whose messages are told otherwise, the old counts."""
        if earlier is None or not self._is_selected(seen.mailbox.id):
            return seen
        old = earlier.mailbox
        row = replace(seen.mailbox, uidnext=old.uidnext, total=old.total, unseen=old.unseen, modseq=old.modseq)
        return replace(seen, mailbox=row)

    @staticmethod
    def _names_changed(earlier: _Seen | None, seen: _Seen) -> bool:
        return (
            earlier is None
            or earlier.name != seen.name
            or earlier.readable != seen.readable
            or earlier.subscribed != seen.subscribed
        )

    def _lines(self, earlier: _Seen | None, seen: _Seen, parents: set[str]) -> list[bytes]:
        """Responses for one mailbox: LIST for its name and subscription, STATUS for its messages (RFC 5465 §5)."""
        lines: list[bytes] = []
        events = seen.events | (earlier.events if earlier is not None else NOTHING)
        if self._names_changed(earlier, seen) and events & _OF_NAMES:
            renamed = earlier is not None and earlier.name != seen.name
            subscribed = earlier is not None and earlier.subscribed != seen.subscribed
            if (NotifyEvent.MAILBOX_NAME in events and (earlier is None or renamed)) or (
                NotifyEvent.SUBSCRIPTION_CHANGE in events and subscribed
            ):
                attributes = [b"\\Subscribed"] if seen.subscribed else []
                attributes.append(b"\\HasChildren" if seen.name in parents else b"\\HasNoChildren")
                old = earlier.name if earlier is not None and renamed else None
                lines.append(self._list_line(seen.name, attributes, old))
        if NotifyEvent.MESSAGE_NEW in seen.events and not seen.readable and (earlier is None or earlier.readable):
            lines.append(self._list_line(seen.name, [b"\\NoAccess"]))
        if seen.told_of_messages and not self._is_selected(seen.mailbox.id) and _messages_changed(earlier, seen):
            lines.append(self._status_line(seen))
        return lines

    async def _look(self) -> _Look:
        """All mailboxes the client can see, with what is wanted of each. Raises WatchOverflow."""
        session = self._session
        self._hinted = False
        self._looked_at = asyncio.get_running_loop().time()
        own = await session.mailstore.list_mailboxes(session.account_id)
        rows = [(mailbox.name, mailbox, ALL_RIGHTS) for mailbox in own]
        if self._shared:
            others = await session.mailstore.access.visible(session.principal)
            rows += [(shared_prefix(one.owner) + one.mailbox.name, one.mailbox, one.rights) for one in others]
        if len(rows) > MAILBOXES_MAX:
            raise WatchOverflow
        found: dict[MailboxId, _Seen] = {}
        for count, (name, mailbox, rights) in enumerate(rows, 1):
            found[mailbox.id] = _Seen(name, mailbox, self._events(name, mailbox), READ in rights)
            if count % PAGE_MAILBOXES == 0:
                await asyncio.sleep(0)
        for owner in {seen.mailbox.account_id for seen in found.values() if seen.events}:
            self._follow(owner)
        return found

    def _events(self, name: str, mailbox: Mailbox) -> frozenset[NotifyEvent]:
        """What is wanted of a mailbox: the first group that takes it says (RFC 5465 §3.1)."""
        earlier = self._seen.get(mailbox.id)
        if earlier is not None and earlier.name == name and earlier.mailbox.subscribed == mailbox.subscribed:
            return earlier.events
        return next((events for filter_, events in self._groups if filter_.takes(name, mailbox)), NOTHING)

    def _follow(self, account_id: AccountId) -> None:
        if account_id not in self._subscriptions:
            self._subscriptions[account_id] = self._session.mailstore.on_change(account_id, self._hint)

    def _hint(self) -> None:
        self._hinted = True
        self._session.connection.poke()

    def _is_selected(self, mailbox_id: MailboxId) -> bool:
        selected = self._session.selected_mailbox
        return selected is not None and selected.view.mailbox_id == mailbox_id

    def _overflow(self) -> None:
        """From here on as after NOTIFY NONE (RFC 5465 §5.8)."""
        self.end()
        self._groups, self._selected, self._seen = [], None, {}
        self._session.send(_OVERFLOW)

    def _list_line(self, name: str, attributes: list[bytes], old: str | None = None) -> bytes:
        utf8 = self._session.modes.utf8_names
        shown = format_mailbox(name, utf8=utf8)
        was = b"" if old is None else b' ("OLDNAME" (%s))' % format_mailbox(old, utf8=utf8)
        return b'* LIST (%s) "/" %s%s\r\n' % (b" ".join(attributes), shown, was)

    def _status_line(self, seen: _Seen) -> bytes:
        """STATUS with all that any event of messages calls for (RFC 5465 §3.1, §5.1-3)."""
        row = seen.mailbox
        items = b"MESSAGES %d UIDNEXT %d UIDVALIDITY %d" % (row.total, row.uidnext, row.uidvalidity)
        if NotifyEvent.FLAG_CHANGE in seen.events:
            items += b" UNSEEN %d" % row.unseen
        if NotifyEvent.FLAG_CHANGE in seen.events or self._session.modes.condstore:
            items += b" HIGHESTMODSEQ %d" % row.modseq
        return b"* STATUS %s (%s)\r\n" % (format_mailbox(seen.name, utf8=self._session.modes.utf8_names), items)


def _messages_changed(earlier: _Seen | None, seen: _Seen) -> bool:
    """Whether there is news of its messages; of a mailbox that was not watched before there always is."""
    if earlier is None or not earlier.told_of_messages:
        return True
    old, new = earlier.mailbox, seen.mailbox
    if NotifyEvent.FLAG_CHANGE in seen.events and old.modseq != new.modseq:
        return True
    return (old.uidnext, old.total) != (new.uidnext, new.total)
