"""STORE, COPY, MOVE and their UID forms (RFC 9051 §6.4.6-8, §6.4.9; RFC 4315, RFC 6851)."""

from __future__ import annotations

from server.domain.errors import NotFound
from server.imap.session import Result, Session, bad, no, ok
from server.protocol.imap.commands import Copy, Store, StoreMode
from server.protocol.imap.sequence import format_uid_set
from server.services.mailstore.flags import FlagChange

_CHANGES = {StoreMode.REPLACE: FlagChange.SET, StoreMode.ADD: FlagChange.ADD, StoreMode.REMOVE: FlagChange.REMOVE}
BAD_NUMBER = bad("No message of that number")
GONE = b"EXPUNGEISSUED"
PACE_MESSAGES = 200


async def do_store(session: Session, command: Store) -> Result:
    """Change flags; without SILENT answer with the flags of every message named."""
    selected = session.selected
    if selected.read_only:
        return no("Mailbox is read-only", b"READ-ONLY")
    named = selected.numbered(command.numbers, uid=command.uid)
    if named is None:
        return BAD_NUMBER
    stored = await session.mailstore.store_flags(
        selected.view,
        [uid for _, uid in named],
        _CHANGES[command.mode],
        flags=command.flags.bits,
        keywords=command.flags.keywords,
    )
    selected.told(stored.changed, stored.modseq)
    missing = False
    for number, uid in named:
        if number % PACE_MESSAGES == 0:
            await session.pace()
        flags = selected.flags_of(uid)
        missing = missing or flags is None
        if flags is None or command.silent:
            continue
        if command.uid:
            session.send(b"* %d FETCH (UID %d FLAGS %s)\r\n" % (number, uid, flags))
        else:
            session.send(b"* %d FETCH (FLAGS %s)\r\n" % (number, flags))
    return ok("STORE completed", GONE if missing else b"")


async def do_copy(session: Session, command: Copy) -> Result:
    """Copy or move; COPYUID tells what became what (RFC 4315 §3, RFC 6851 §4.3)."""
    selected = session.selected
    word = "MOVE" if command.move else "COPY"
    if command.move and selected.read_only:
        return no("Mailbox is read-only", b"READ-ONLY")
    named = selected.numbered(command.numbers, uid=command.uid)
    if named is None:
        return BAD_NUMBER
    if not named:
        return ok(f"{word} completed, no messages")
    uids = [uid for _, uid in named]
    try:
        copied = await session.mailstore.copy(selected.view, uids, command.mailbox, move=command.move)
    except NotFound:
        return no("No such mailbox", b"TRYCREATE")
    if not copied.source:
        return ok(f"{word} completed, no messages", GONE)
    code = b"COPYUID %d %s %s" % (copied.uidvalidity, format_uid_set(copied.source), format_uid_set(copied.target))
    if command.move:
        # MOVE's COPYUID goes before the EXPUNGE lines (RFC 6851 §4.3).
        session.send(b"* OK [" + code + b"] Moved\r\n")
        return ok("MOVE completed")
    return ok("COPY completed", code)
