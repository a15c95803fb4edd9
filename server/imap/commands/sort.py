"""SORT, THREAD and their UID forms (RFC 5256, RFC 5957; RFC 5267 §3 for RETURN)."""

from __future__ import annotations

from server.imap.commands.search import UID_REQUIRED, in_worker, modseq_told, scope_of, uses_numbers
from server.imap.progress import Progress
from server.imap.session import Result, Session, ok
from server.protocol.imap.results import format_esearch, format_search
from server.protocol.imap.search import SearchReturn
from server.protocol.imap.sort import Sort, Thread
from server.protocol.imap.threads import format_threads


async def do_sort(session: Session, command: Sort, tag: bytes) -> Result:
    """Search, then tell what was found in the order asked for."""
    selected = session.selected
    if session.modes.uid_only and uses_numbers(command.key):
        return UID_REQUIRED
    options = command.options
    saves = options is not None and SearchReturn.SAVE in options.names
    if saves:
        selected.forget_saved()
    found = await session.mailstore.sort(scope_of(selected), command.key, command.criteria, Progress(session, tag).pace)
    uids = [uid for _, uid in found]
    if saves:
        selected.save(uids)
    modseq = modseq_told(session, selected, command.key, options, uids)
    numbers = uids if command.uid else [number for number, _ in found]
    if options is None:
        session.send(await in_worker(session, len(numbers), lambda: format_search(b"SORT", numbers, modseq)))
    elif options.names != {SearchReturn.SAVE}:
        source = b'TAG "%s"' % tag
        session.send(format_esearch(source, numbers, options, uid=command.uid, modseq=modseq))
    return ok("SORT completed")


async def do_thread(session: Session, command: Thread, tag: bytes) -> Result:
    """Search, then tell what was found as trees."""
    selected = session.selected
    if session.modes.uid_only and uses_numbers(command.key):
        return UID_REQUIRED
    scope = scope_of(selected)
    numbers = {} if command.uid else {uid: number for number, uid in enumerate(scope.uids, 1)}
    line = await session.mailstore.threads(
        scope,
        command.key,
        command.algorithm,
        Progress(session, tag).pace,
        lambda threads: format_threads(threads, lambda uid: numbers.get(uid, uid)),
    )
    session.send(line)
    return ok("THREAD completed")
