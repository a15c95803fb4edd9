"""FETCH items beside the classic ones: EMAILID, THREADID, SAVEDATE, PREVIEW (RFC 8474, RFC 8514, RFC 8970)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from server.protocol.imap.dates import format_date_time
from server.protocol.imap.fetch import FetchAttribute
from server.protocol.imap.format import format_string
from server.services.mailstore.store import Details

DETAILS = frozenset({FetchAttribute.EMAILID, FetchAttribute.THREADID, FetchAttribute.SAVEDATE, FetchAttribute.PREVIEW})
PREVIEW_MAX = 200
"""Characters of a PREVIEW (RFC 8970 §3.1: at most 256, better 200)."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def format_detail(item: FetchAttribute, details: Details) -> bytes:
    """Name and value of one such item."""
    match item:
        case FetchAttribute.EMAILID:
            return b"EMAILID (%s)" % details.email_id.encode("ascii")
        case FetchAttribute.THREADID:
            if details.thread_id is None:
                return b"THREADID NIL"
            return b"THREADID (%s)" % details.thread_id.encode("ascii")
        case FetchAttribute.SAVEDATE:
            return b"SAVEDATE " + format_date_time(_EPOCH + timedelta(microseconds=details.saved_at_us))
        case _:
            return b"PREVIEW " + format_string(details.preview[:PREVIEW_MAX].encode("utf-8", "replace"))
