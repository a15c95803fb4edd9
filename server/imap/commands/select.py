"""SELECT, EXAMINE, CLOSE, UNSELECT, EXPUNGE (RFC 9051 §6.3.2-3, §6.4.1-3; RFC 3691, RFC 4315)."""

from __future__ import annotations

from server.domain.flags import DELETED, SEEN
from server.imap.selected import SelectedMailbox
from server.imap.session import Result, Session, no, ok
from server.protocol.imap.commands import UidExpunge


async def do_select(session: Session, name: str, *, read_only: bool) -> Result:
    """Open a mailbox; when that fails none is open any more (RFC 9051 §6.3.2)."""
    selected = await session.select(name, read_only=read_only)
    mailbox = selected.view.mailbox
    session.send(selected.flags_line())
    session.send(b"* %d EXISTS\r\n* %d RECENT\r\n" % (len(selected.uids), selected.recent_count))
    first = _first_unseen(selected)
    if first:
        session.send(b"* OK [UNSEEN %d] First unseen message\r\n" % first)
    session.send(b"* OK [UIDVALIDITY %d] UIDs valid\r\n" % mailbox.uidvalidity)
    session.send(b"* OK [UIDNEXT %d] Predicted next UID\r\n" % mailbox.uidnext)
    session.send(selected.permanent_flags_line())
    if read_only:
        return ok("EXAMINE completed", b"READ-ONLY")
    return ok("SELECT completed", b"READ-WRITE")


async def do_close(session: Session) -> Result:
    """Expunge without telling, unless read-only, then leave (RFC 9051 §6.4.1)."""
    selected = session.selected
    if not selected.read_only:
        await session.mailstore.expunge(selected.view, _deleted(selected))
    await session.unselect()
    return ok("CLOSE completed")


async def do_unselect(session: Session) -> Result:
    await session.unselect()
    return ok("UNSELECT completed")


async def do_expunge(session: Session, command: UidExpunge | None) -> Result:
    """EXPUNGE, or UID EXPUNGE of the messages named (RFC 4315 §2.1)."""
    selected = session.selected
    if selected.read_only:
        return no("Mailbox is read-only", b"READ-ONLY")
    uids = _deleted(selected)
    if command is not None:
        named = {uid for _, uid in selected.numbered(command.numbers, uid=True) or []}
        uids = [uid for uid in uids if uid in named]
    await session.mailstore.expunge(selected.view, uids)
    return ok("EXPUNGE completed")


def _deleted(selected: SelectedMailbox) -> list[int]:
    """UIDs this session numbers whose messages are \\Deleted."""
    view = selected.view
    known = set(selected.uids)
    return [uid for uid, flags in zip(view.uids, view.flags, strict=True) if flags & DELETED and uid in known]


def _first_unseen(selected: SelectedMailbox) -> int:
    """Number of the first message without \\Seen, 0 when there is none; right after `attach` both number alike."""
    for place, flags in enumerate(selected.view.flags, 1):
        if not flags & SEEN:
            return place
    return 0
