"""NOTIFY: begin or end to be told of events (RFC 5465 §3.1)."""

from __future__ import annotations

from server.imap.session import Result, Session, no, ok
from server.imap.watch import MailboxWatch, WatchOverflow
from server.protocol.imap.fetch import FetchAttribute
from server.protocol.imap.notify import Notify, NotifyEvent

_BAD_EVENT = b"BADEVENT (" + " ".join(event.value for event in NotifyEvent).encode("ascii") + b")"


async def do_notify(session: Session, command: Notify) -> Result:
    """Replace what the client is told of; when that fails all stays as it was."""
    if not command.supported:
        return no("Not all of these events are told", _BAD_EVENT)
    watch = MailboxWatch(session, command)
    try:
        await watch.begin(status=command.status)
    except WatchOverflow:
        watch.end()
        return no("There are too many mailboxes", b"NOTIFICATIONOVERFLOW")
    except BaseException:
        watch.end()
        raise
    if command.selected is not None and FetchAttribute.MODSEQ in command.selected.items:
        session.enable_condstore()
    session.replace_watch(watch)
    return ok("NOTIFY completed")
