"""CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE, NAMESPACE, STATUS (RFC 9051 §6.3; RFC 6154, RFC 8438, RFC 8474).

- Every name is resolved by the access service, which looks up the rights the command needs (RFC 4314 §4).
"""

from __future__ import annotations

from server.domain.errors import InvalidInput
from server.domain.mailbox import Mailbox
from server.domain.message import SpecialUse
from server.imap.session import Result, Session, no, ok
from server.protocol.imap.commands import Rename, Status
from server.protocol.imap.create import Create
from server.protocol.imap.format import format_mailbox
from server.protocol.imap.listing import StatusItem
from server.services.mailstore.access import is_shared

_USES = {use.value: use for use in SpecialUse if use is not SpecialUse.INBOX}


async def do_create(session: Session, command: Create) -> Result:
    """Create; MAILBOXID tells the new id (RFC 8474 §4.1)."""
    if len(command.uses) > 1 or any(use not in _USES for use in command.uses):
        return no("A mailbox can't have this use here", b"USEATTR")
    if command.uses and is_shared(command.mailbox):
        return no("Only own mailboxes have a use", b"USEATTR")
    place = await session.mailstore.access.parent(session.principal, command.mailbox)
    role = _USES[command.uses[0]] if command.uses else None
    mailbox = await session.mailstore.create(place.account_id, place.name, role)
    return ok("CREATE completed", b"MAILBOXID (%s)" % mailbox.id.encode("ascii"))


async def do_delete(session: Session, name: str) -> Result:
    place = await session.mailstore.access.place(session.principal, name, "x")
    selected = session.selected_mailbox
    if selected is not None:
        mailbox = selected.view.mailbox
        if mailbox.account_id == place.account_id and mailbox.name == place.name:
            await session.unselect()
    await session.mailstore.delete(place.account_id, place.name)
    return ok("DELETE completed")


async def do_rename(session: Session, command: Rename) -> Result:
    """Rename within one account: moving mail to another is COPY's and MOVE's work."""
    source = await session.mailstore.access.place(session.principal, command.mailbox, "x")
    target = await session.mailstore.access.parent(session.principal, command.to)
    if source.account_id != target.account_id:
        raise InvalidInput("a mailbox can't be renamed into another account")
    await session.mailstore.access.require_below(session.principal, source, "x")
    await session.mailstore.rename(source.account_id, source.name, target.name)
    return ok("RENAME completed")


async def do_subscribe(session: Session, name: str, *, subscribed: bool) -> Result:
    """Subscriptions are of own mailboxes; those of others are listed as long as they are shared."""
    place = await session.mailstore.access.place(session.principal, name, "l")
    if place.prefix:
        return no("Subscriptions of others' mailboxes are not kept", b"CANNOT")
    await session.mailstore.subscribe(place.account_id, place.name, subscribed=subscribed)
    return ok("SUBSCRIBE completed" if subscribed else "UNSUBSCRIBE completed")


def do_namespace(session: Session) -> Result:
    """The personal namespace and that of other users (RFC 2342 §5)."""
    session.send(b'* NAMESPACE (("" "/")) (("Other Users/" "/")) NIL\r\n')
    return ok("NAMESPACE completed")


async def do_status(session: Session, command: Status) -> Result:
    place = await session.mailstore.access.place(session.principal, command.mailbox, "r")
    mailbox = await session.mailstore.mailbox(place.account_id, place.name)
    session.send(await status_line(session, mailbox, command.items, prefix=place.prefix))
    return ok("STATUS completed")


async def status_line(session: Session, mailbox: Mailbox, items: tuple[StatusItem, ...], *, prefix: str = "") -> bytes:
    """The STATUS response of a mailbox (RFC 9051 §7.3.4); HIGHESTMODSEQ enables CONDSTORE (RFC 7162 §3.1.7).

    Args:
        prefix: What the client's name of the mailbox begins with, when it is another account's.
    """
    if StatusItem.HIGHESTMODSEQ in items:
        session.enable_condstore()
    deleted = deleted_octets = 0
    if StatusItem.DELETED in items or StatusItem.DELETED_STORAGE in items:
        deleted, deleted_octets = await session.mailstore.deleted(mailbox.account_id, mailbox.id)
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
        StatusItem.DELETED_STORAGE: deleted_octets,
        StatusItem.MAILBOXID: f"({mailbox.id})",
    }
    pairs = " ".join(f"{item.value} {values[item]}" for item in items).encode("ascii")
    name = format_mailbox(prefix + mailbox.name, utf8=session.modes.utf8_names)
    return b"* STATUS %s (%s)\r\n" % (name, pairs)
