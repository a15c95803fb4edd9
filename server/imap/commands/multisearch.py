"""ESEARCH: search several mailboxes at once (RFC 7377).

- Mailboxes are opened one after the other and left again; the selected one keeps the session's numbers and view.
- Only mailboxes the client may read are searched; one that vanishes meanwhile is left out, as one without a hit is.
"""

from __future__ import annotations

from collections.abc import Sequence

from server.domain.errors import Forbidden, InvalidInput, NotFound
from server.domain.ids import AccountId
from server.domain.mailbox import Mailbox
from server.domain.rights import READ
from server.imap.commands.search import UID_REQUIRED, do_search, uses_numbers
from server.imap.filters import SourceFilter
from server.imap.progress import Progress
from server.imap.session import Result, Session, bad, ok
from server.protocol.imap.format import format_mailbox
from server.protocol.imap.multisearch import MailboxFilter, MailboxSource, MultiSearch
from server.protocol.imap.results import format_esearch, highest, told
from server.protocol.imap.search import Search
from server.protocol.imap.search_keys import ModSeqKey, leaves
from server.services.mailstore.search import SearchScope
from server.services.mailstore.sync import Change, MailboxView


class _Passing:
    """Follows a view no longer than one search."""

    def wake(self) -> None:
        """Nobody waits."""

    def note(self, changes: Sequence[Change]) -> None:
        """Nobody was told of any message."""


async def do_multisearch(session: Session, command: MultiSearch, tag: bytes) -> Result:
    """Tell what was found, an ESEARCH response for each mailbox that has a hit."""
    if session.modes.uid_only and uses_numbers(command.key):
        return UID_REQUIRED
    if command.only_selected:
        if session.selected_mailbox is None:
            return bad("No mailbox is selected")
        await do_search(session, Search(command.key, command.options, uid=True), tag)
        return ok("ESEARCH completed")
    progress = Progress(session, tag)
    for name, account_id, mailbox in await _sources(session, command.sources):
        follower = _Passing()
        try:
            view = await session.mailstore.open(account_id, mailbox.id, follower)
        except NotFound:
            continue
        try:
            await _search_one(session, command, tag, name, view, progress)
        finally:
            session.mailstore.close(view, follower)
    return ok("ESEARCH completed")


async def _search_one(
    session: Session, command: MultiSearch, tag: bytes, name: str, view: MailboxView, progress: Progress
) -> None:
    scope = SearchScope(view=view, uids=tuple(view.uids), recent_from=view.recent_from)
    uids = [uid for _, uid in await session.mailstore.search(scope, command.key, progress.pace)]
    if not uids:
        return
    modseq = None
    if any(isinstance(part, ModSeqKey) for part in leaves(command.key)):
        session.enable_condstore()
        modseqs = dict(zip(view.uids, view.modseqs, strict=True))
        modseq = highest(told(command.options, uids), modseqs.get)
    shown = format_mailbox(name, utf8=session.modes.utf8_names)
    source = b'TAG "%s" MAILBOX %s UIDVALIDITY %d' % (tag, shown, view.mailbox.uidvalidity)
    session.send(format_esearch(source, uids, command.options, uid=True, modseq=modseq))


async def _sources(session: Session, sources: Sequence[MailboxSource]) -> list[tuple[str, AccountId, Mailbox]]:
    """The mailboxes named, each once: the client's name, whose it is, its row."""
    own = await session.mailstore.list_mailboxes(session.account_id)
    found: dict[str, tuple[str, AccountId, Mailbox]] = {}
    for source in sources:
        for name, mailbox in await _of_source(session, source, own):
            found.setdefault(mailbox.id, (name, mailbox.account_id, mailbox))
    return list(found.values())


async def _of_source(session: Session, source: MailboxSource, own: Sequence[Mailbox]) -> list[tuple[str, Mailbox]]:
    match source.filter:
        case MailboxFilter.SELECTED | MailboxFilter.SELECTED_DELAYED:
            if session.selected_mailbox is None:
                return []
            return [(session.selected_name, session.selected.view.mailbox)]
        case MailboxFilter.MAILBOXES:
            return [found for name in source.names if (found := await _named(session, name)) is not None]
        case _:
            meant = SourceFilter(source)
            return [(mailbox.name, mailbox) for mailbox in own if meant.takes(mailbox.name, mailbox)]


async def _named(session: Session, name: str) -> tuple[str, Mailbox] | None:
    """A mailbox of any account that the client may read; None for others (RFC 7377 §2.2)."""
    try:
        place = await session.mailstore.access.place(session.principal, name, READ)
        mailbox = await session.mailstore.mailbox(place.account_id, place.name)
    except (NotFound, Forbidden, InvalidInput):
        return None
    return place.prefix + mailbox.name, mailbox
