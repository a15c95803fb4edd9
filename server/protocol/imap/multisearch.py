"""ESEARCH as a command: a search of several mailboxes (RFC 7377), and the filter that names them (RFC 5465 §6)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from server.protocol.imap.cursor import Cursor, ImapSyntaxError
from server.protocol.imap.names import parse_mailbox
from server.protocol.imap.search import ResultOptions, SearchReturn, parse_criteria, parse_result_options
from server.protocol.imap.search_keys import NumbersKey, SearchKey, leaves

SOURCES_MAX = 50
"""Filters, and mailboxes of one filter."""


class MailboxFilter(StrEnum):
    SELECTED = "SELECTED"
    SELECTED_DELAYED = "SELECTED-DELAYED"
    INBOXES = "INBOXES"
    PERSONAL = "PERSONAL"
    SUBSCRIBED = "SUBSCRIBED"
    SUBTREE = "SUBTREE"
    SUBTREE_ONE = "SUBTREE-ONE"
    MAILBOXES = "MAILBOXES"


_NAMED = frozenset({MailboxFilter.SUBTREE, MailboxFilter.SUBTREE_ONE, MailboxFilter.MAILBOXES})


@dataclass(frozen=True, slots=True)
class MailboxSource:
    """One filter; `names` are those of SUBTREE, SUBTREE-ONE and MAILBOXES."""

    filter: MailboxFilter
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MultiSearch:
    """An ESEARCH command; without IN it searches the selected mailbox."""

    sources: tuple[MailboxSource, ...]
    key: SearchKey
    options: ResultOptions

    @property
    def only_selected(self) -> bool:
        return all(source.filter is MailboxFilter.SELECTED for source in self.sources)


def parse_multisearch(cursor: Cursor) -> MultiSearch:
    """esearch = "ESEARCH" [SP "IN" SP "(" source-mbox ")"] [SP search-return-opts] SP search-program

    Raises:
        ImapSyntaxError: Outside the grammar; message numbers, or SAVE, with other mailboxes than the selected one.
        BadCharset: As SEARCH.
    """
    sources: tuple[MailboxSource, ...] = (MailboxSource(MailboxFilter.SELECTED),)
    if cursor.data[cursor.pos : cursor.pos + 5].upper() == b" IN (":
        cursor.pos += 5
        sources = _sources(cursor)
    options = parse_result_options(cursor) or ResultOptions(frozenset({SearchReturn.ALL}))
    cursor.space()
    command = MultiSearch(sources, parse_criteria(cursor), options)
    if not command.only_selected:
        if SearchReturn.SAVE in options.names:
            raise ImapSyntaxError("results of several mailboxes can't be saved")
        if any(isinstance(part, NumbersKey) and (part.numbers.saved or not part.uid) for part in leaves(command.key)):
            raise ImapSyntaxError("message numbers are of the selected mailbox only")
    return command


def _sources(cursor: Cursor) -> tuple[MailboxSource, ...]:
    found: list[MailboxSource] = []
    for _ in range(SOURCES_MAX):
        found.append(parse_mailbox_filter(cursor))
        if cursor.take_if(b")"):
            return tuple(found)
        cursor.space()
        if cursor.take_if(b"("):
            # scope-options: none is defined (RFC 7377 §3).
            raise ImapSyntaxError("unknown scope option")
    raise ImapSyntaxError("too many sources")


def parse_mailbox_filter(cursor: Cursor) -> MailboxSource:
    """filter-mailboxes (RFC 5465 §8)"""
    try:
        kind = MailboxFilter(cursor.keyword().decode("ascii"))
    except ValueError:
        raise ImapSyntaxError("unknown mailbox filter") from None
    if kind not in _NAMED:
        return MailboxSource(kind)
    cursor.space()
    if not cursor.take_if(b"("):
        return MailboxSource(kind, (parse_mailbox(cursor),))
    names: list[str] = []
    for _ in range(SOURCES_MAX):
        names.append(parse_mailbox(cursor))
        if cursor.take_if(b")"):
            return MailboxSource(kind, tuple(names))
        cursor.space()
    raise ImapSyntaxError("too many mailboxes")
