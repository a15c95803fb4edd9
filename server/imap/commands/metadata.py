"""GETMETADATA and SETMETADATA (RFC 5464 §4), and what LIST RETURN (METADATA) adds (RFC 9590).

- On a mailbox of another: `r` to read, `w` to change what is shared; private entries are one's own everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from server.imap.session import Result, Session, no, ok
from server.protocol.imap.format import format_astring, format_mailbox, format_string
from server.protocol.imap.metadata import GetMetadata, SetMetadata
from server.services.mailstore.access import Place
from server.services.mailstore.annotations import VALUE_MAX, TooLong, TooMany


async def do_get_metadata(session: Session, command: GetMetadata) -> Result:
    place = await _place(session, command.mailbox)
    have = await session.mailstore.annotations.entries(session.principal, place)
    found: dict[str, bytes | None] = {}
    longest = 0
    for entry in _chosen(command, have):
        value = have.get(entry)
        if value is not None and command.max_size is not None and len(value) > command.max_size:
            longest = max(longest, len(value))
        else:
            found[entry] = value
    send_metadata(session, command.mailbox, found)
    return ok("GETMETADATA completed", b"METADATA LONGENTRIES %d" % longest if longest else b"")


async def do_set_metadata(session: Session, command: SetMetadata) -> Result:
    place = await _place(session, command.mailbox)
    try:
        await session.mailstore.annotations.put(session.principal, place, command.values)
    except TooLong:
        return no("A value is too long", b"METADATA MAXSIZE %d" % VALUE_MAX)
    except TooMany:
        return no("Too many entries", b"METADATA TOOMANY")
    return ok("SETMETADATA completed")


def send_metadata(session: Session, mailbox: str, values: Mapping[str, bytes | None]) -> None:
    """The METADATA response with values (RFC 5464 §4.4.1), if there is anything to tell."""
    if not values:
        return
    parts = []
    for entry, value in values.items():
        shown = b"NIL" if value is None else format_string(value)
        parts.append(format_astring(entry.encode("ascii")) + b" " + (b"~" + shown if b"\0" in shown else shown))
    name = format_mailbox(mailbox, utf8=session.modes.utf8_names) if mailbox else b'""'
    session.send(b"* METADATA %s (%s)\r\n" % (name, b" ".join(parts)))


def _chosen(command: GetMetadata, have: Mapping[str, bytes]) -> Iterable[str]:
    """The entries asked for, and those below them down to the depth (RFC 5464 §4.2.2)."""
    chosen: dict[str, None] = {}
    for entry in command.entries:
        if command.depth == 0:
            chosen[entry] = None
            continue
        for other in have:
            below = other.removeprefix(entry + "/")
            if other == entry or (below != other and (command.depth is None or "/" not in below)):
                chosen[other] = None
    return chosen


async def _place(session: Session, mailbox: str) -> Place | None:
    if not mailbox:
        return None
    return await session.mailstore.access.place(session.principal, mailbox, "r")
