"""Which mailboxes a filter takes, by the names a client uses (RFC 5465 §6, RFC 7377 §2)."""

from __future__ import annotations

from server.domain.errors import InvalidInput, NotFound
from server.domain.mailbox import DELIMITER, Mailbox
from server.domain.message import SpecialUse
from server.protocol.imap.multisearch import MailboxFilter, MailboxSource
from server.services.mailstore.access import address_key, is_shared, shared_prefix, split_shared
from server.services.mailstore.mailboxes import normalise_name


class SourceFilter:
    """One filter made ready: a mailbox costs a look-up for each of its levels, however many names there are."""

    __slots__ = ("_kind", "names")

    def __init__(self, source: MailboxSource) -> None:
        self._kind = source.filter
        self.names = frozenset(map(one_spelling, source.names))

    def takes(self, name: str, mailbox: Mailbox) -> bool:
        """Whether the mailbox of this name is meant; those of others only where they are named."""
        own = name == mailbox.name
        match self._kind:
            case MailboxFilter.SELECTED | MailboxFilter.SELECTED_DELAYED:
                return False
            case MailboxFilter.INBOXES:
                return own and mailbox.role is SpecialUse.INBOX
            case MailboxFilter.PERSONAL:
                return own
            case MailboxFilter.SUBSCRIBED:
                return own and mailbox.subscribed
            case MailboxFilter.MAILBOXES:
                return name in self.names
            case MailboxFilter.SUBTREE:
                return name in self.names or any(above in self.names for above in levels_above(name))
            case MailboxFilter.SUBTREE_ONE:
                return name in self.names or name.rpartition(DELIMITER)[0] in self.names


def levels_above(name: str) -> list[str]:
    """The names above a mailbox's, from the top."""
    levels = name.split(DELIMITER)
    return [DELIMITER.join(levels[:depth]) for depth in range(1, len(levels))]


def one_spelling(name: str) -> str:
    """A name as listings show it; one that can't be a mailbox's stays as it is."""
    try:
        if not is_shared(name):
            return normalise_name(name)
        owner, inner = split_shared(name)
        return shared_prefix(address_key(owner)) + inner if inner else name
    except (InvalidInput, NotFound):
        return name
