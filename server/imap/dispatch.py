"""Which command is legal in which state, and what runs it (RFC 9051 §3, §6).

- Whatever fails, the client gets a tagged answer without internals; our own fault is NO, never BAD.
- Untagged changes go out before the tagged line; EXPUNGE never during FETCH, STORE or SEARCH by number.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import assert_never

from server.domain.errors import MaiRustError
from server.imap.answers import INTERNAL_ERROR, answer_error
from server.imap.commands.acl import do_on_acl, do_set_acl
from server.imap.commands.auth import do_authenticate, do_login
from server.imap.commands.fetch import do_fetch
from server.imap.commands.greeting import do_capability, do_compress, do_enable, do_id, do_logout, do_starttls
from server.imap.commands.listing import do_list, do_lsub
from server.imap.commands.mailboxes import do_create, do_delete, do_namespace, do_rename, do_status, do_subscribe
from server.imap.commands.metadata import do_get_metadata, do_set_metadata
from server.imap.commands.multisearch import do_multisearch
from server.imap.commands.notify import do_notify
from server.imap.commands.quota import do_get_quota, do_get_quota_root
from server.imap.commands.search import UID_REQUIRED, do_search
from server.imap.commands.select import do_close, do_expunge, do_select, do_unselect
from server.imap.commands.sort import do_sort, do_thread
from server.imap.commands.store import do_copy, do_store
from server.imap.connection import ConnectionClosed
from server.imap.idle import do_idle
from server.imap.session import Result, Session, State, bad, ok
from server.protocol.imap.acl import OnAcl, SetAcl
from server.protocol.imap.commands import (
    Authenticate,
    Copy,
    Enable,
    Fetch,
    Id,
    Login,
    Lsub,
    MailboxVerb,
    OnMailbox,
    Rename,
    Status,
    Store,
    Tagged,
    UidExpunge,
    Word,
)
from server.protocol.imap.compress import Compress
from server.protocol.imap.create import Create
from server.protocol.imap.listing import List
from server.protocol.imap.metadata import GetMetadata, SetMetadata
from server.protocol.imap.multisearch import MultiSearch
from server.protocol.imap.notify import Notify
from server.protocol.imap.quota import GetQuota, GetQuotaRoot
from server.protocol.imap.search import Search
from server.protocol.imap.select import Select
from server.protocol.imap.sort import Sort, Thread
from server.telemetry.log import get_logger

log = get_logger("imap")

_ANY = frozenset({State.NOT_AUTHENTICATED, State.AUTHENTICATED, State.SELECTED})
_BEFORE = frozenset({State.NOT_AUTHENTICATED})
_AFTER = frozenset({State.AUTHENTICATED, State.SELECTED})
_OPEN = frozenset({State.SELECTED})

LEGAL: dict[str, frozenset[State]] = {
    **dict.fromkeys(("CAPABILITY", "NOOP", "LOGOUT", "ID"), _ANY),
    **dict.fromkeys(("STARTTLS", "LOGIN", "AUTHENTICATE"), _BEFORE),
    **dict.fromkeys(("SELECT", "EXAMINE", "CREATE", "DELETE", "RENAME", "SUBSCRIBE", "UNSUBSCRIBE"), _AFTER),
    **dict.fromkeys(("REPLACE", "UID REPLACE"), _OPEN),
    **dict.fromkeys(("COMPRESS", "SETACL", "DELETEACL", "GETACL", "LISTRIGHTS", "MYRIGHTS"), _AFTER),
    **dict.fromkeys(("GETQUOTA", "GETQUOTAROOT", "GETMETADATA", "SETMETADATA"), _AFTER),
    **dict.fromkeys(("LIST", "LSUB", "STATUS", "APPEND", "NAMESPACE", "ENABLE", "IDLE", "ESEARCH"), _AFTER),
    "NOTIFY": _AFTER,
    **dict.fromkeys(("CHECK", "CLOSE", "UNSELECT", "EXPUNGE", "FETCH", "STORE", "COPY", "MOVE", "SEARCH"), _OPEN),
    **dict.fromkeys(("SORT", "UID SORT", "THREAD", "UID THREAD"), _OPEN),
    **dict.fromkeys(("UID FETCH", "UID STORE", "UID COPY", "UID MOVE", "UID SEARCH", "UID EXPUNGE"), _OPEN),
}
_BY_NUMBER = frozenset({"FETCH", "STORE", "COPY", "MOVE", "SEARCH", "SORT", "THREAD"})
_KEEPS_NUMBERS = frozenset({"FETCH", "STORE", "SEARCH", "SORT", "THREAD"})
_OPENS = frozenset({"SELECT", "EXAMINE"})
"""What changes while they run is told by the next command: the client has no numbers before their OK."""


async def execute(session: Session, tagged: Tagged) -> Result | None:
    """Run one command and add the untagged changes; None when its answer has been sent.

    Raises:
        ConnectionClosed, TimeoutError: The session is over.
    """
    if session.state not in LEGAL[tagged.name]:
        return bad(f"{tagged.name} is not possible now")
    if session.modes.uid_only and tagged.name in _BY_NUMBER:
        return UID_REQUIRED
    return await answered(session, tagged.name, lambda: _run(session, tagged))


async def answered(session: Session, name: str, work: Callable[[], Awaitable[Result | None]]) -> Result | None:
    """Run a command's work and turn whatever it raises into an answer."""
    try:
        await session.check_rights()
        result = await work()
    except (ConnectionClosed, TimeoutError):
        raise
    except MaiRustError as error:
        result = answer_error(error)
    except Exception as error:
        log.exception("imap.command_failed", error, command=name)
        result = INTERNAL_ERROR
    if result is not None and name not in _OPENS:
        await session.sync(expunge=name not in _KEEPS_NUMBERS)
    return result


async def _run(session: Session, tagged: Tagged) -> Result | None:
    command = tagged.command
    match command:
        case Word():
            return await _word(session, command, tagged.tag)
        case OnMailbox():
            return await _on_mailbox(session, command)
        case Select():
            return await do_select(session, command)
        case Login():
            return await do_login(session, command)
        case Authenticate():
            return await do_authenticate(session, command)
        case Rename():
            return await do_rename(session, command)
        case List():
            return await do_list(session, command)
        case Lsub():
            return await do_lsub(session, command)
        case Status():
            return await do_status(session, command)
        case Fetch():
            return await do_fetch(session, command)
        case Store():
            return await do_store(session, command)
        case Copy():
            return await do_copy(session, command)
        case Search():
            return await do_search(session, command, tagged.tag)
        case MultiSearch():
            return await do_multisearch(session, command, tagged.tag)
        case Notify():
            return await do_notify(session, command)
        case Sort():
            return await do_sort(session, command, tagged.tag)
        case Thread():
            return await do_thread(session, command, tagged.tag)
        case UidExpunge():
            return await do_expunge(session, command)
        case Create():
            return await do_create(session, command)
        case GetMetadata():
            return await do_get_metadata(session, command)
        case SetMetadata():
            return await do_set_metadata(session, command)
        case SetAcl():
            return await do_set_acl(session, command)
        case OnAcl():
            return await do_on_acl(session, command)
        case Compress():
            return await do_compress(session, command, tagged.tag)
        case GetQuota():
            return await do_get_quota(session, command)
        case GetQuotaRoot():
            return await do_get_quota_root(session, command)
        case Id():
            return do_id(session)
        case Enable():
            return do_enable(session, command)
        case _:
            assert_never(command)


async def _word(session: Session, word: Word, tag: bytes) -> Result | None:
    match word:
        case Word.CAPABILITY:
            return do_capability(session)
        case Word.NOOP:
            return ok("NOOP completed")
        case Word.CHECK:
            return ok("CHECK completed")
        case Word.LOGOUT:
            return do_logout(session)
        case Word.STARTTLS:
            return await do_starttls(session, tag)
        case Word.NAMESPACE:
            return do_namespace(session)
        case Word.CLOSE:
            return await do_close(session)
        case Word.UNSELECT:
            return await do_unselect(session)
        case Word.EXPUNGE:
            return await do_expunge(session, None)
        case Word.IDLE:
            return await do_idle(session)
        case _:
            assert_never(word)


async def _on_mailbox(session: Session, command: OnMailbox) -> Result:
    match command.verb:
        case MailboxVerb.DELETE:
            return await do_delete(session, command.mailbox)
        case MailboxVerb.SUBSCRIBE:
            return await do_subscribe(session, command.mailbox, subscribed=True)
        case MailboxVerb.UNSUBSCRIBE:
            return await do_subscribe(session, command.mailbox, subscribed=False)
        case _:
            assert_never(command.verb)
