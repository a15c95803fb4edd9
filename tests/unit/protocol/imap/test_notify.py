"""NOTIFY's grammar (RFC 5465 §8) and which events go together (§5)."""

from __future__ import annotations

import pytest

from server.protocol.imap.fetch import FetchAttribute
from server.protocol.imap.multisearch import MailboxFilter, MailboxSource
from server.protocol.imap.notify import EVENTS_MAX, GROUPS_MAX, EventGroup, Notify, NotifyEvent
from server.protocol.imap.parse import CommandSyntaxError, parse_command

PAIR = frozenset({NotifyEvent.MESSAGE_NEW, NotifyEvent.MESSAGE_EXPUNGE})


def _parsed(text: bytes) -> Notify:
    command = parse_command(b"a NOTIFY " + text).command
    assert isinstance(command, Notify)
    return command


def test_groups_with_filters_and_events() -> None:
    command = _parsed(
        b"set Status (selected-delayed (messagenew (uid flags) MessageExpunge FlagChange)) "
        b"(subtree (Lists INBOX) (MailboxName SubscriptionChange)) (mailboxes misc NONE)"
    )
    assert command.status
    assert command.supported
    selected = EventGroup(
        MailboxSource(MailboxFilter.SELECTED_DELAYED),
        PAIR | {NotifyEvent.FLAG_CHANGE},
        (FetchAttribute.UID, FetchAttribute.FLAGS),
    )
    assert command.groups == (
        selected,
        EventGroup(
            MailboxSource(MailboxFilter.SUBTREE, ("Lists", "INBOX")),
            frozenset({NotifyEvent.MAILBOX_NAME, NotifyEvent.SUBSCRIPTION_CHANGE}),
        ),
        EventGroup(MailboxSource(MailboxFilter.MAILBOXES, ("misc",)), frozenset()),
    )
    assert command.selected == selected
    assert _parsed(b"NONE") == Notify()


@pytest.mark.parametrize("event", [b"AnnotationChange", b"MailboxMetadataChange", b"ServerMetadataChange", b"Other"])
def test_events_that_are_not_told(event: bytes) -> None:
    """RFC 5465 §3.1: they are refused by NO, so they are no error of the grammar."""
    assert not _parsed(b"SET (personal (" + event + b")) (inboxes NONE)").supported


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"SET",
        b"OTHER",
        b"NONE (personal NONE)",
        b"SET NOW (personal NONE)",
        b"SET personal NONE",
        b"SET (personal)",
        b"SET (personal ())",
        b"SET (personal MessageNew)",
        b"SET (bogus NONE)",
        b"SET (personal NONE)(inboxes NONE)",
        b"SET (personal (MessageNew))",
        b"SET (personal (MessageExpunge))",
        b"SET (personal (FlagChange))",
        b"SET (personal (FlagChange MailboxName))",
        b"SET (personal (MessageNew (uid) MessageExpunge))",
        b"SET (selected (MessageNew () MessageExpunge))",
        b"SET (selected (MessageNew MessageExpunge MailboxName))",
        b"SET (selected (SubscriptionChange))",
        b"SET (selected NONE) (selected-delayed NONE)",
        b"SET (selected NONE) (personal NONE) (selected NONE)",
    ],
)
def test_what_is_no_notify(text: bytes) -> None:
    """RFC 5465 §5, §6.1: BAD."""
    with pytest.raises(CommandSyntaxError):
        _parsed(text)


def test_limits() -> None:
    def groups(count: int) -> bytes:
        return b"SET" + b" (personal NONE)" * count

    def events(count: int) -> bytes:
        return b"SET (personal (" + b" ".join([b"MailboxName"] * count) + b"))"

    assert len(_parsed(groups(GROUPS_MAX)).groups) == GROUPS_MAX
    assert _parsed(events(EVENTS_MAX)).supported
    for text in (groups(GROUPS_MAX + 1), events(EVENTS_MAX + 1)):
        with pytest.raises(CommandSyntaxError):
            _parsed(text)
