"""The maildrop's commands: STAT, LIST, UIDL, RETR, TOP, DELE, RSET and QUIT's update (RFC 1939 §5-7).

- Numbers begin at 1 and stay those of the beginning; a deleted message answers to none of them.
- Sizes are those of the stored octets, as IMAP's RFC822.SIZE has them.
- Mail with UTF-8 in its header is served as it is, also to clients that did not send UTF8 (RFC 6856): refused, it
  would stay in the maildrop for ever.
"""

from __future__ import annotations

from collections.abc import Iterable

from server.domain.errors import MaiRustError
from server.pop3.answers import err, ok
from server.pop3.session import Session
from server.protocol.mime.headers import header_end
from server.protocol.pop3.commands import Listing, OnMessage, Top
from server.protocol.pop3.message import END, DotStuffer, pieces, top_pieces
from server.telemetry.log import get_logger

log = get_logger("pop3")

_NO_SUCH = err("No such message")


def do_stat(session: Session) -> bytes:
    sizes, deleted = session.drop.sizes, session.deleted
    octets = sum(sizes) - sum(sizes[place] for place in deleted)
    return ok(f"{len(sizes) - len(deleted)} {octets}")


async def do_listing(session: Session, command: Listing) -> bytes:
    """LIST and UIDL; of all messages the answer is sent in slices."""
    drop = session.drop
    if command.number is not None:
        place = _place(session, command.number)
        return _NO_SUCH if place is None else ok(_entry(session, command, place))
    session.send(ok(f"{len(drop.uids) - len(session.deleted)} messages"))
    for place in range(len(drop.uids)):
        if place not in session.deleted:
            session.send(f"{_entry(session, command, place)}\r\n".encode("ascii"))
            await session.pace()
    return END


async def do_retr(session: Session, command: OnMessage) -> bytes:
    place = _place(session, command.number)
    if place is None:
        return _NO_SUCH
    octets = await session.drop.octets(place)
    return await _send_message(session, f"{len(octets)} octets", pieces(octets))


async def do_top(session: Session, command: Top) -> bytes:
    place = _place(session, command.number)
    if place is None:
        return _NO_SUCH
    octets = await session.drop.octets(place)
    return await _send_message(session, "Top follows", top_pieces(octets, header_end(octets), command.lines))


def do_dele(session: Session, command: OnMessage) -> bytes:
    place = _place(session, command.number)
    if place is None:
        return _NO_SUCH
    session.deleted.add(place)
    return ok("Marked as deleted")


def do_rset(session: Session) -> bytes:
    session.deleted.clear()
    return ok("Nothing is marked as deleted")


async def update(session: Session) -> bytes:
    """Delete what is marked, in one unit of work; answered after its commit (RFC 1939 §6)."""
    marked = sorted(session.deleted)
    if not marked:
        return ok("Bye")
    try:
        removed = await session.drop.remove(marked)
    except MaiRustError as error:
        log.warning("pop3.update_failed", messages=len(marked), reason=error.public)
        return err("Nothing was deleted, try again later", "SYS/TEMP")
    log.info("pop3.deleted", messages=removed)
    return ok("Bye, deleted messages are gone")


async def _send_message(session: Session, text: str, parts: Iterable[bytes]) -> bytes:
    session.send(ok(text))
    stuffer = DotStuffer()
    for part in parts:
        session.send(stuffer.stuff(part))
        await session.pace()
    return stuffer.end()


def _place(session: Session, number: int) -> int | None:
    place = number - 1
    return place if 0 <= place < len(session.drop.uids) and place not in session.deleted else None


def _entry(session: Session, command: Listing, place: int) -> str:
    drop = session.drop
    if command.verb == "LIST":
        return f"{place + 1} {drop.sizes[place]}"
    return f"{place + 1} {drop.uidvalidity}.{drop.uids[place]}"
