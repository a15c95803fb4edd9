"""SELECT and EXAMINE with their parameters (RFC 9051 §6.3.2, RFC 4466 §2.1, RFC 7162 §3.1.8, §3.2.5)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from server.protocol.imap.cursor import Cursor, ImapSyntaxError
from server.protocol.imap.sequence import SequenceSet, parse_sequence_set


@dataclass(frozen=True, slots=True)
class Qresync:
    """What a client knows of the mailbox (RFC 7162 §3.2.5).

    Attributes:
        known: The UIDs it knows, None for all of them.
        match: Sequence numbers and the UIDs they had, for servers that forgot what was expunged.
    """

    uidvalidity: int
    modseq: int
    known: SequenceSet | None = None
    match: tuple[SequenceSet, SequenceSet] | None = None

    def pairs(self) -> Iterator[tuple[int, int]]:
        """Sequence number and UID of the match data, as the client numbered them."""
        if self.match is not None:
            yield from zip(_numbers(self.match[0]), _numbers(self.match[1]), strict=False)


@dataclass(frozen=True, slots=True)
class Select:
    """SELECT, or EXAMINE when `read_only`."""

    mailbox: str
    read_only: bool
    condstore: bool = False
    qresync: Qresync | None = None


def parse_select(cursor: Cursor, mailbox: str, *, read_only: bool) -> Select:
    """[SP "(" select-param *(SP select-param) ")"] behind the mailbox."""
    condstore, qresync = False, None
    if cursor.take_if(b" "):
        cursor.expect(b"(")
        while True:
            word = cursor.keyword()
            if word == b"CONDSTORE":
                condstore = True
            elif word == b"QRESYNC":
                cursor.space()
                qresync = _qresync(cursor)
            else:
                raise ImapSyntaxError("unknown select parameter")
            if cursor.take_if(b")"):
                break
            cursor.space()
    return Select(mailbox, read_only, condstore, qresync)


def _qresync(cursor: Cursor) -> Qresync:
    """ "(" uidvalidity SP mod-sequence-value [SP known-uids] [SP seq-match-data] ")" """
    cursor.expect(b"(")
    uidvalidity = cursor.nz_number()
    cursor.space()
    modseq = cursor.number64()
    known = match = None
    if cursor.take_if(b" "):
        if cursor.peek() != b"(":
            known = _plain_set(cursor)
            if cursor.take_if(b" "):
                match = _match(cursor)
        else:
            match = _match(cursor)
    cursor.expect(b")")
    return Qresync(uidvalidity, modseq, known, match)


def _match(cursor: Cursor) -> tuple[SequenceSet, SequenceSet]:
    """seq-match-data = "(" known-sequence-set SP known-uid-set ")" """
    cursor.expect(b"(")
    numbers = _plain_set(cursor)
    cursor.space()
    uids = _plain_set(cursor)
    cursor.expect(b")")
    return numbers, uids


def _plain_set(cursor: Cursor) -> SequenceSet:
    """A sequence-set in which "*" and "$" are not allowed (RFC 7162 §7)."""
    found = parse_sequence_set(cursor)
    if found.saved or any(not first or not last for first, last in found.ranges):
        raise ImapSyntaxError("neither * nor $ is possible here")
    return found


def _numbers(numbers: SequenceSet) -> Iterator[int]:
    for first, last in numbers.ranges:
        yield from range(min(first, last), max(first, last) + 1)
