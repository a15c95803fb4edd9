"""CREATE with the use of the new mailbox (RFC 9051 §6.3.4, RFC 6154 §3)."""

from __future__ import annotations

from dataclasses import dataclass

from server.protocol.imap.cursor import Cursor, ImapSyntaxError
from server.protocol.imap.names import parse_mailbox

USES_MAX = 10


@dataclass(frozen=True, slots=True)
class Create:
    """`uses` are special-use attributes in lower case, without the backslash."""

    mailbox: str
    uses: tuple[str, ...] = ()


def parse_create(cursor: Cursor) -> Create:
    """create = "CREATE" SP mailbox [SP "(" "USE" SP "(" [use-attr *(SP use-attr)] ")" ")"]"""
    cursor.space()
    mailbox = parse_mailbox(cursor)
    if not cursor.take_if(b" "):
        return Create(mailbox)
    cursor.expect(b"(")
    if cursor.keyword() != b"USE":
        raise ImapSyntaxError("unknown create parameter")
    cursor.space()
    cursor.expect(b"(")
    uses: list[str] = []
    while not cursor.take_if(b")"):
        if uses:
            cursor.space()
        cursor.expect(b"\\")
        uses.append(cursor.atom().decode("ascii").lower())
        if len(uses) > USES_MAX:
            raise ImapSyntaxError("too many uses")
    cursor.expect(b")")
    return Create(mailbox, tuple(uses))
