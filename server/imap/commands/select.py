"""SELECT, EXAMINE, CLOSE, UNSELECT, EXPUNGE (RFC 9051 §6.3.2-3, §6.4.1-3; RFC 3691, RFC 4315, RFC 7162)."""

from __future__ import annotations

from server.domain.flags import DELETED, SEEN
from server.domain.ids import ModSeq
from server.domain.rights import EXPUNGE
from server.imap.commands.resync import resynchronise
from server.imap.selected import SelectedMailbox
from server.imap.session import Result, Session, bad, no, ok
from server.protocol.imap.commands import UidExpunge
from server.protocol.imap.format import format_mailbox
from server.protocol.imap.select import Select
from server.services.mailstore.access import is_shared


async def do_select(session: Session, command: Select) -> Result:
    """Open a mailbox; when that fails none is open any more (RFC 9051 §6.3.2)."""
    if command.qresync is not None and not session.modes.qresync:
        return bad("Enable QRESYNC first")
    if command.condstore:
        session.enable_condstore()
    selected = await session.select(command.mailbox, read_only=command.read_only)
    mailbox = selected.view.mailbox
    session.send(selected.flags_line())
    session.send(selected.exists_lines())
    if session.modes.rev2:
        name = command.mailbox if is_shared(command.mailbox) else mailbox.name
        session.send(b'* LIST () "/" ' + format_mailbox(name, utf8=True) + b"\r\n")
    elif not session.modes.uid_only and (first := _first_unseen(selected)):
        session.send(b"* OK [UNSEEN %d] First unseen message\r\n" % first)
    session.send(b"* OK [UIDVALIDITY %d] UIDs valid\r\n" % mailbox.uidvalidity)
    session.send(b"* OK [UIDNEXT %d] Predicted next UID\r\n" % mailbox.uidnext)
    session.send(b"* OK [HIGHESTMODSEQ %d] Highest modseq\r\n" % mailbox.modseq)
    session.send(b"* OK [MAILBOXID (%s)] Its id\r\n" % mailbox.id.encode("ascii"))
    session.send(selected.permanent_flags_line())
    if command.qresync is not None and command.qresync.uidvalidity == mailbox.uidvalidity:
        await resynchronise(session, selected, command.qresync)
    if command.read_only:
        return ok("EXAMINE completed", b"READ-ONLY")
    if selected.read_only:
        return ok("SELECT completed", b"READ-ONLY")
    return ok("SELECT completed", b"READ-WRITE")


async def do_close(session: Session) -> Result:
    """Expunge without telling, unless read-only, then leave (RFC 9051 §6.4.1, RFC 7162 §3.2.8)."""
    selected = session.selected
    code = b""
    if not selected.read_only and EXPUNGE in session.rights:
        await selected.view.refresh()
        settled = not selected.has_updates
        expunged = await session.mailstore.expunge(selected.view, _deleted(selected))
        # A client keeps this number as what it knows all changes up to: only when that is so.
        if session.modes.qresync and expunged.modseq is not None and settled and selected.only_lost(expunged.uids):
            code = b"HIGHESTMODSEQ %d" % expunged.modseq
    await session.unselect()
    return ok("CLOSE completed", code)


async def do_unselect(session: Session) -> Result:
    await session.unselect()
    return ok("UNSELECT completed")


async def do_expunge(session: Session, command: UidExpunge | None) -> Result:
    """EXPUNGE, or UID EXPUNGE of the messages named (RFC 4315 §2.1)."""
    selected = session.selected
    if selected.read_only:
        return no("Mailbox is read-only", b"READ-ONLY")
    session.require(EXPUNGE)
    uids = _deleted(selected)
    if command is not None:
        named = {uid for _, uid in selected.numbered(command.numbers, uid=True) or []}
        uids = [uid for uid in uids if uid in named]
    expunged = await session.mailstore.expunge(selected.view, uids)
    return ok("EXPUNGE completed", highest_modseq(session, expunged.modseq))


def highest_modseq(session: Session, modseq: ModSeq | None) -> bytes:
    """The code behind a command that expunged, for clients with QRESYNC (RFC 7162 §3.2.7)."""
    return b"HIGHESTMODSEQ %d" % modseq if session.modes.qresync and modseq is not None else b""


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
