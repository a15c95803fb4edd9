"""STORE, COPY, MOVE and their UID forms (RFC 9051 §6.4.6-8, §6.4.9; RFC 4315, RFC 6851, RFC 7162).

- A client that asked for silence is still told what others changed about the same message.
"""

from __future__ import annotations

from collections.abc import Sequence

from server.domain.errors import NotFound
from server.domain.ids import ModSeq, Uid
from server.domain.rights import DELETE_MESSAGES, EXPUNGE, INSERT
from server.imap.commands.select import highest_modseq
from server.imap.selected import SelectedMailbox
from server.imap.session import Result, Session, bad, no, ok
from server.protocol.imap.commands import Copy, Store, StoreMode
from server.protocol.imap.sequence import format_uid_set
from server.services.mailstore.access import flag_mask, permitted_flags
from server.services.mailstore.flags import FlagChange, FlagsStored, flags_after

_CHANGES = {StoreMode.REPLACE: FlagChange.SET, StoreMode.ADD: FlagChange.ADD, StoreMode.REMOVE: FlagChange.REMOVE}
BAD_NUMBER = bad("No message of that number")
GONE = b"EXPUNGEISSUED"
PACE_MESSAGES = 200


async def do_store(session: Session, command: Store) -> Result:
    """Change flags; without SILENT answer with the flags of every message named.

    With CONDSTORE a changed message's modseq is told even then (RFC 7162 §3.1.3).
    """
    selected = session.selected
    if command.unchanged_since is not None:
        session.enable_condstore()
    if selected.read_only:
        return no("Mailbox is read-only", b"READ-ONLY")
    named = selected.numbered(command.numbers, uid=command.uid)
    if named is None:
        return BAD_NUMBER
    permitted = flag_mask(session.rights)
    bits, keywords = permitted_flags(session.rights, command.flags.bits, command.flags.keywords)
    asked = bool(command.flags.bits or command.flags.keywords)
    if not permitted or (asked and not bits and not keywords):
        return no("You have no right to change these flags", b"NOPERM")
    expected = _Expected(selected, command)
    if command.silent:
        for number, uid in named:
            expected.note(uid)
            if number % PACE_MESSAGES == 0:
                await session.pace()
    stored = await session.mailstore.store_flags(
        selected.view,
        [uid for _, uid in named],
        _CHANGES[command.mode],
        flags=bits,
        keywords=keywords,
        permitted=permitted,
        unchanged_since=None if command.unchanged_since is None else ModSeq(command.unchanged_since),
    )
    missing = await _tell(session, selected, command, named, stored, expected)
    code = b""
    if stored.modified:
        places = [int(uid) if command.uid else selected.number(uid) or 0 for uid in stored.modified]
        code = b"MODIFIED " + format_uid_set(places)
    elif missing:
        code = GONE
    return ok("STORE completed", code)


async def _tell(
    session: Session,
    selected: SelectedMailbox,
    command: Store,
    named: Sequence[tuple[int, Uid]],
    stored: FlagsStored,
    expected: _Expected,
) -> bool:
    """Send what became of the messages; whether one of them is gone."""
    missing = False
    changed, modified = set(stored.changed), set(stored.modified)
    for number, uid in named:
        if number % PACE_MESSAGES == 0:
            await session.pace()
        place = selected.view.index(uid)
        if place is None:
            missing = True
            continue
        if uid in modified:
            continue
        as_expected = command.silent and expected.holds(uid, place)
        if command.silent and not (session.modes.condstore and uid in changed):
            # With CONDSTORE another's change is to be told even where the flags are as expected: its modseq is news.
            if as_expected and not session.modes.condstore:
                selected.told(uid)
            continue
        if as_expected or not command.silent:
            selected.told(uid)
        line = selected.change_line(number, uid, uid_wanted=command.uid, flags=not command.silent)
        if line is not None:
            session.send(line)
    return missing


class _Expected:
    """What a client that asked for silence takes the flags to be now; anything else it has to be told."""

    def __init__(self, selected: SelectedMailbox, command: Store) -> None:
        self._selected = selected
        self._change = _CHANGES[command.mode]
        self._flags = command.flags
        self._before: dict[int, tuple[int, str]] = {}
        self._after: dict[tuple[int, str], tuple[int, str]] = {}

    def note(self, uid: int) -> None:
        """Remember a message as the client knows it; one with news pending it does not know."""
        place = self._selected.view.index(uid)
        if place is not None and not self._selected.is_pending(uid):
            self._before[uid] = (self._selected.view.flags[place], self._selected.view.keywords[place])

    def holds(self, uid: int, place: int) -> bool:
        """Whether the message is now as the client thinks."""
        before = self._before.get(uid)
        if before is None:
            return False
        after = self._after.get(before)
        if after is None:
            after = self._after[before] = flags_after(
                *before, self._change, flags=self._flags.bits, keywords=self._flags.keywords
            )
        view = self._selected.view
        return after == (view.flags[place], view.keywords[place])


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
    if command.move:
        session.require(DELETE_MESSAGES + EXPUNGE)
    uids = [uid for _, uid in named]
    try:
        place = await session.mailstore.access.place(session.principal, command.mailbox, INSERT)
        copied = await session.mailstore.copy(selected.view, uids, place, move=command.move)
    except NotFound:
        return no("No such mailbox", b"TRYCREATE")
    if not copied.source:
        return ok(f"{word} completed, no messages", GONE)
    code = b"COPYUID %d %s %s" % (copied.uidvalidity, format_uid_set(copied.source), format_uid_set(copied.target))
    if command.move:
        # MOVE's COPYUID goes before the EXPUNGE lines (RFC 6851 §4.3).
        session.send(b"* OK [" + code + b"] Moved\r\n")
        return ok("MOVE completed", highest_modseq(session, selected.view.mailbox.modseq))
    return ok("COPY completed", code)
