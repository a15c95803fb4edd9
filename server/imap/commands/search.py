"""SEARCH and UID SEARCH (RFC 9051 §6.4.4, RFC 3501 §7.2.5, RFC 4731)."""

from __future__ import annotations

from server.imap.session import Result, Session, ok
from server.protocol.imap.search import Search, SearchReturn
from server.protocol.imap.sequence import format_uid_set
from server.services.mailstore.search import SearchScope


async def do_search(session: Session, command: Search, tag: bytes) -> Result:
    selected = session.selected
    scope = SearchScope(view=selected.view, uids=selected.uids, recent_from=selected.recent_from)
    found = await session.mailstore.search(scope, command.key, session.pace)
    numbers = [uid if command.uid else number for number, uid in found]
    if command.options is None:
        session.send(b"* SEARCH" + b"".join([b" %d" % number for number in numbers]) + b"\r\n")
    else:
        session.send(_esearch(command, command.options, numbers, tag))
    return ok("SEARCH completed")


def _esearch(command: Search, options: frozenset[SearchReturn], numbers: list[int], tag: bytes) -> bytes:
    """ESEARCH response; MIN, MAX and ALL are left out when nothing was found (RFC 4731 §3.1)."""
    parts = [b'* ESEARCH (TAG "%s")' % tag]
    if command.uid:
        parts.append(b"UID")
    if numbers:
        if SearchReturn.MIN in options:
            parts.append(b"MIN %d" % numbers[0])
        if SearchReturn.MAX in options:
            parts.append(b"MAX %d" % numbers[-1])
        if SearchReturn.ALL in options:
            parts.append(b"ALL " + format_uid_set(numbers))
    if SearchReturn.COUNT in options:
        parts.append(b"COUNT %d" % len(numbers))
    return b" ".join(parts) + b"\r\n"
