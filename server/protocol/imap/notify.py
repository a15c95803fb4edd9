"""NOTIFY: what a client wants to be told of, and of which mailboxes (RFC 5465 §8).

- Which events must come together, and which go with which filter, is checked here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from server.protocol.imap.cursor import Cursor, ImapSyntaxError
from server.protocol.imap.fetch import FetchItem, parse_fetch_items
from server.protocol.imap.multisearch import MailboxFilter, MailboxSource, parse_mailbox_filter

GROUPS_MAX = 50
EVENTS_MAX = 20
"""Events of one group."""


class NotifyEvent(StrEnum):
    """The events the server tells of."""

    MESSAGE_NEW = "MessageNew"
    MESSAGE_EXPUNGE = "MessageExpunge"
    FLAG_CHANGE = "FlagChange"
    MAILBOX_NAME = "MailboxName"
    SUBSCRIPTION_CHANGE = "SubscriptionChange"


SELECTED_FILTERS = frozenset({MailboxFilter.SELECTED, MailboxFilter.SELECTED_DELAYED})
_EVENTS = {event.value.upper().encode("ascii"): event for event in NotifyEvent}
_PAIR = frozenset({NotifyEvent.MESSAGE_NEW, NotifyEvent.MESSAGE_EXPUNGE})
_OF_MESSAGES = _PAIR | {NotifyEvent.FLAG_CHANGE}


@dataclass(frozen=True, slots=True)
class EventGroup:
    """Mailboxes and the events wanted of them, none for NONE; `items` are fetched of new messages."""

    source: MailboxSource
    events: frozenset[NotifyEvent]
    items: tuple[FetchItem, ...] = ()


@dataclass(frozen=True, slots=True)
class Notify:
    """A NOTIFY command; NOTIFY NONE has no groups.

    Attributes:
        status: Whether STATUS responses shall tell where the mailboxes stand now.
        supported: False when an event is asked for that the server does not know.
    """

    groups: tuple[EventGroup, ...] = ()
    status: bool = False
    supported: bool = True

    @property
    def selected(self) -> EventGroup | None:
        """The group of the selected mailbox."""
        return next((group for group in self.groups if group.source.filter in SELECTED_FILTERS), None)


def parse_notify(cursor: Cursor) -> Notify:
    """notify = "NOTIFY" SP ("SET" [SP "STATUS"] SP event-group *(SP event-group) / "NONE")

    Raises:
        ImapSyntaxError: Outside the grammar, or events that can't come so (RFC 5465 §5, §6.1).
    """
    cursor.space()
    word = cursor.keyword()
    if word == b"NONE":
        return Notify()
    if word != b"SET":
        raise ImapSyntaxError("expected SET or NONE")
    cursor.space()
    status = cursor.peek() != b"("
    if status:
        if cursor.keyword() != b"STATUS":
            raise ImapSyntaxError("expected STATUS or an event group")
        cursor.space()
    groups: list[EventGroup] = []
    supported = True
    for _ in range(GROUPS_MAX):
        group, known = _group(cursor)
        groups.append(group)
        supported = supported and known
        if cursor.at_end:
            break
        cursor.space()
    if sum(group.source.filter in SELECTED_FILTERS for group in groups) > 1:
        raise ImapSyntaxError("the selected mailbox has one event group")
    return Notify(tuple(groups), status, supported)


def _group(cursor: Cursor) -> tuple[EventGroup, bool]:
    """event-group = "(" filter-mailboxes SP events ")"; and whether all its events are known"""
    cursor.expect(b"(")
    source = parse_mailbox_filter(cursor)
    cursor.space()
    events, items, known = _events(cursor)
    cursor.expect(b")")
    if known:
        _check(source, events, items)
    return EventGroup(source, events, items), known


def _events(cursor: Cursor) -> tuple[frozenset[NotifyEvent], tuple[FetchItem, ...], bool]:
    """events = "(" event *(SP event) ")" / "NONE" """
    found: set[NotifyEvent] = set()
    items: tuple[FetchItem, ...] = ()
    known = True
    if not cursor.take_if(b"("):
        if cursor.keyword() != b"NONE":
            raise ImapSyntaxError("expected events or NONE")
        return frozenset(), items, known
    for _ in range(EVENTS_MAX):
        event = _EVENTS.get(cursor.keyword())
        if event is None:
            known = False
        else:
            found.add(event)
        if event is NotifyEvent.MESSAGE_NEW and cursor.take_if(b" ("):
            cursor.pos -= 1
            items = parse_fetch_items(cursor)
        if cursor.take_if(b")"):
            return frozenset(found), items, known
        cursor.space()
    raise ImapSyntaxError("too many events")


def _check(source: MailboxSource, events: frozenset[NotifyEvent], items: tuple[FetchItem, ...]) -> None:
    """RFC 5465 §5: which events need others; §6.1, §8: what goes with the selected mailbox only, or not with it."""
    if events & _OF_MESSAGES and not events >= _PAIR:
        raise ImapSyntaxError("MessageNew and MessageExpunge go together, and with FlagChange")
    if source.filter in SELECTED_FILTERS:
        if events - _OF_MESSAGES:
            raise ImapSyntaxError("the selected mailbox has events of messages only")
    elif items:
        raise ImapSyntaxError("only messages of the selected mailbox are fetched")
