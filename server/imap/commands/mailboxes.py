"""CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE, NAMESPACE, STATUS (RFC 9051 §6.3; RFC 8438)."""

from __future__ import annotations

from server.domain.mailbox import Mailbox
from server.imap.session import Result, Session, ok
from server.protocol.imap.commands import Rename, Status
from server.protocol.imap.format import format_mailbox
from server.protocol.imap.listing import StatusItem


async def do_create(session: Session, name: str) -> Result:
    await session.mailstore.create(session.account_id, name)
    return ok("CREATE completed")


async def do_delete(session: Session, name: str) -> Result:
    selected = session.selected_mailbox
    if selected is not None and selected.view.mailbox.name == name:
        await session.unselect()
    await session.mailstore.delete(session.account_id, name)
    return ok("DELETE completed")


async def do_rename(session: Session, command: Rename) -> Result:
    await session.mailstore.rename(session.account_id, command.mailbox, command.to)
    return ok("RENAME completed")


async def do_subscribe(session: Session, name: str, *, subscribed: bool) -> Result:
    await session.mailstore.subscribe(session.account_id, name, subscribed=subscribed)
    return ok("SUBSCRIBE completed" if subscribed else "UNSUBSCRIBE completed")


def do_namespace(session: Session) -> Result:
    """One personal namespace, no others (RFC 2342 §5)."""
    session.send(b'* NAMESPACE (("" "/")) NIL NIL\r\n')
    return ok("NAMESPACE completed")


async def do_status(session: Session, command: Status) -> Result:
    mailbox = await session.mailstore.mailbox(session.account_id, command.mailbox)
    session.send(await status_line(session, mailbox, command.items))
    return ok("STATUS completed")


async def status_line(session: Session, mailbox: Mailbox, items: tuple[StatusItem, ...]) -> bytes:
    """The STATUS response of a mailbox (RFC 9051 §7.3.4); HIGHESTMODSEQ enables CONDSTORE (RFC 7162 §3.1.7)."""
    if StatusItem.HIGHESTMODSEQ in items:
        session.enable_condstore()
    deleted = 0
    if StatusItem.DELETED in items:
        deleted = await session.mailstore.deleted_count(mailbox.account_id, mailbox.id)
    values = {
        StatusItem.MESSAGES: mailbox.total,
        StatusItem.RECENT: min(mailbox.total, mailbox.uidnext - mailbox.recent_uid),
        StatusItem.UIDNEXT: mailbox.uidnext,
        StatusItem.UIDVALIDITY: mailbox.uidvalidity,
        StatusItem.UNSEEN: mailbox.unseen,
        StatusItem.SIZE: mailbox.size_octets,
        StatusItem.APPENDLIMIT: session.settings.smtp.max_message_size,
        StatusItem.HIGHESTMODSEQ: mailbox.modseq,
        StatusItem.DELETED: deleted,
    }
    pairs = b" ".join(b"%s %d" % (item.value.encode("ascii"), values[item]) for item in items)
    return b"* STATUS %s (%s)\r\n" % (format_mailbox(mailbox.name), pairs)
