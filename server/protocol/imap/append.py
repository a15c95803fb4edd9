"""APPEND, MULTIAPPEND, REPLACE up to each message (RFC 9051 §6.3.12, RFC 3502, RFC 3516 §4.4, RFC 8508, RFC 6855 §4).

- A message never enters the parser: what stands before it and what stands behind it come as separate texts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from server.protocol.imap.cursor import LITERAL, Cursor, ImapSyntaxError
from server.protocol.imap.dates import parse_date_time
from server.protocol.imap.flags import FlagSet, parse_flag_list
from server.protocol.imap.names import parse_mailbox
from server.protocol.imap.sequence import SequenceSet, parse_sequence_set


@dataclass(frozen=True, slots=True)
class MessageHead:
    """What stands before one message; `internal_date` is None when the server shall choose it.

    Attributes:
        binary: The message is a literal8.
        wrapped: It stands in UTF8 (...): a parenthesis follows it.
    """

    flags: FlagSet = field(default_factory=FlagSet)
    internal_date: datetime | None = None
    binary: bool = False
    wrapped: bool = False


@dataclass(frozen=True, slots=True)
class Append:
    """An APPEND up to its first message, or a REPLACE: `replaced` is the message that goes, by UID when `uid`."""

    mailbox: str
    head: MessageHead
    replaced: SequenceSet | None = None
    uid: bool = False

    @property
    def name(self) -> str:
        if self.replaced is None:
            return "APPEND"
        return "UID REPLACE" if self.uid else "REPLACE"


def parse_append_arguments(cursor: Cursor, name: str) -> Append | None:
    """append = "APPEND" SP mailbox 1*append-message; replace = "REPLACE" SP seq-number SP mailbox append-message

    Args:
        cursor: Behind the command's name; its text ends in the announcement of a literal.

    Returns:
        None when the literal at the end is the mailbox, not the message.

    Raises:
        ImapSyntaxError: Outside the grammar.
    """
    replaced = None
    cursor.space()
    if name != "APPEND":
        replaced = parse_sequence_set(cursor)
        first, last = replaced.ranges[0] if replaced.ranges else (1, 2)
        if replaced.saved or len(replaced.ranges) != 1 or first != last:
            raise ImapSyntaxError("exactly one message is replaced")
        cursor.space()
    if _ends_in_literal(cursor):
        return None
    mailbox = parse_mailbox(cursor)
    return Append(mailbox, parse_head(cursor), replaced, name.startswith("UID "))


def parse_head(cursor: Cursor) -> MessageHead:
    """append-message = [SP flag-list] [SP date-time] SP append-data, up to the octets (RFC 3502 §6)"""
    cursor.space()
    flags = FlagSet()
    if cursor.peek() == b"(":
        flags = parse_flag_list(cursor)
        cursor.space()
    date = None
    if cursor.peek() == b'"':
        date = parse_date_time(cursor)
        cursor.space()
    wrapped = False
    if cursor.peek() in (b"U", b"u"):
        if cursor.keyword() != b"UTF8":
            raise ImapSyntaxError("unknown form of message")
        cursor.space()
        cursor.expect(b"(")
        wrapped = True
    binary = cursor.take_if(b"~")
    if not _ends_in_literal(cursor) or wrapped > binary:
        raise ImapSyntaxError("expected the message as a literal")
    return MessageHead(flags, date, binary, wrapped)


def parse_behind(text: bytes, head: MessageHead, *, utf8: bool = False) -> MessageHead | None:
    """What stands behind a message: the next one's head, None at the end. Raises ImapSyntaxError."""
    cursor = Cursor(text, utf8=utf8)
    if head.wrapped:
        cursor.expect(b")")
    if cursor.at_end:
        return None
    return parse_head(cursor)


def _ends_in_literal(cursor: Cursor) -> bool:
    return LITERAL.fullmatch(cursor.data, cursor.pos) is not None
