"""SEARCH and UID SEARCH (RFC 9051 §6.4.4; RFC 3501 §7.2.5, RFC 4731, RFC 5182, RFC 7162 §3.1.5, RFC 9394).

- IMAP4rev2 clients are answered by ESEARCH whatever they ask (RFC 9051 §6.4.4).
- RETURN (SAVE) fills "$"; a search that fails leaves it empty (RFC 5182 §2.1).
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence

from server.imap.progress import Progress
from server.imap.selected import SelectedMailbox
from server.imap.session import Result, Session, bad, ok
from server.protocol.imap.results import format_esearch, format_search, highest, told
from server.protocol.imap.search import ResultOptions, Search, SearchReturn
from server.protocol.imap.search_keys import ModSeqKey, NumbersKey, SearchKey, leaves
from server.services.mailstore.search import SearchScope

_ALL = ResultOptions(frozenset({SearchReturn.ALL}))
INLINE_NUMBERS = 5000
UID_REQUIRED = bad("Message numbers are switched off", b"UIDREQUIRED")


async def do_search(session: Session, command: Search, tag: bytes) -> Result:
    selected = session.selected
    if session.modes.uid_only and uses_numbers(command.key):
        return UID_REQUIRED
    options = command.options or (_ALL if session.modes.rev2 else None)
    saves = options is not None and SearchReturn.SAVE in options.names
    scope = scope_of(selected)
    if saves:
        selected.forget_saved()
    found = await session.mailstore.search(scope, command.key, Progress(session, tag).pace)
    uids = [uid for _, uid in found]
    if saves:
        selected.save(told(options, uids))
    modseq = modseq_told(session, selected, command.key, options, uids)
    numbers = uids if command.uid else [number for number, _ in found]
    if options is None:
        session.send(await in_worker(session, len(numbers), lambda: format_search(b"SEARCH", numbers, modseq)))
    elif options.names != {SearchReturn.SAVE}:
        session.send(format_esearch(b'TAG "%s"' % tag, numbers, options, uid=command.uid, modseq=modseq))
    return ok("SEARCH completed")


async def in_worker(session: Session, count: int, write: Callable[[], bytes]) -> bytes:
    """Write a response about so many messages: a long one not on the event loop."""
    return write() if count <= INLINE_NUMBERS else await session.mailstore.worker.run(write)


def scope_of(selected: SelectedMailbox) -> SearchScope:
    """The messages as the session numbers them now."""
    return SearchScope(
        view=selected.view, uids=array("I", selected.uids), recent_from=selected.recent_from, saved=selected.saved
    )


def uses_numbers(key: SearchKey) -> bool:
    """Whether a key names messages by number (RFC 9586 §3.2)."""
    return any(isinstance(part, NumbersKey) and not part.uid and not part.numbers.saved for part in leaves(key))


def modseq_told(
    session: Session, selected: SelectedMailbox, key: SearchKey, options: ResultOptions | None, uids: Sequence[int]
) -> int | None:
    """The modseq that belongs in the response, None unless the search asks for modseqs (RFC 7162 §3.1.5)."""
    if not any(isinstance(part, ModSeqKey) for part in leaves(key)):
        return None
    session.enable_condstore()
    return highest(told(options, uids), selected.modseq_of)
