"""Mailbox names and patterns in commands (RFC 9051 §5.1, §9 "mailbox"; RFC 3501 §5.1.3; RFC 6855 §3).

- From a client that speaks UTF-8 a name is what its octets say; from others it is modified UTF-7, and 8-bit octets are
  taken as UTF-8 all the same, for some send them unasked.
"""

from __future__ import annotations

from server.protocol.imap.cursor import Cursor, ImapSyntaxError
from server.protocol.imap.utf7 import decode_utf7


def parse_mailbox(cursor: Cursor) -> str:
    """mailbox = "INBOX" / astring"""
    return decode_name(cursor.astring(), utf8=cursor.utf8)


def decode_name(data: bytes, *, utf8: bool) -> str:
    """The text of a name or pattern; wildcards are ASCII and stay what they are. Raises ImapSyntaxError."""
    if data.isascii() and not utf8:
        return decode_utf7(data)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise ImapSyntaxError("mailbox name is not text") from None
