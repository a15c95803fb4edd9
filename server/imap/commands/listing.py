"""LIST and LSUB (RFC 9051 §6.3.9, RFC 3501 §6.3.9; RFC 5258, RFC 5819, RFC 6154, RFC 3348).

- Names that only lead to others, without a mailbox of their own, are shown as \\NonExistent and \\Noselect.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from server.domain.mailbox import DELIMITER, Mailbox
from server.domain.message import SpecialUse
from server.imap.commands.mailboxes import status_line
from server.imap.session import Result, Session, ok
from server.protocol.imap.commands import Lsub
from server.protocol.imap.format import format_mailbox
from server.protocol.imap.listing import List, ListReturn, ListSelect, Pattern

_USES = {
    SpecialUse.DRAFTS: b"\\Drafts",
    SpecialUse.SENT: b"\\Sent",
    SpecialUse.JUNK: b"\\Junk",
    SpecialUse.TRASH: b"\\Trash",
    SpecialUse.ARCHIVE: b"\\Archive",
}


class _Tree:
    """All names of an account: mailboxes, and the names above them."""

    def __init__(self, mailboxes: Sequence[Mailbox]) -> None:
        self.by_name = {mailbox.name: mailbox for mailbox in mailboxes}
        self.parents = {above for name in self.by_name for above in _above(name)}
        self.names = sorted(self.by_name.keys() | self.parents)
        self.above_subscribed = {above for mailbox in mailboxes if mailbox.subscribed for above in _above(mailbox.name)}


async def do_list(session: Session, command: List) -> Result:
    if command.patterns == ("",) and not command.extended:
        # An empty pattern asks for the delimiter and the root of the reference (RFC 9051 §6.3.9).
        session.send(b'* LIST (\\Noselect) "/" ""\r\n')
        return ok("LIST completed")
    tree = _Tree(await session.mailstore.list_mailboxes(session.account_id))
    for name in _matching(command, tree.names):
        attributes = _attributes(command, tree, name)
        if attributes is None:
            continue
        children = _child_info(command, tree, name)
        session.send(b'* LIST (%s) "/" %s%s\r\n' % (b" ".join(attributes), format_mailbox(name), children))
        if command.status and name in tree.by_name:
            session.send(await status_line(session, tree.by_name[name], command.status))
        await session.pace()
    return ok("LIST completed")


async def do_lsub(session: Session, command: Lsub) -> Result:
    """Subscribed names; a parent of one that "%" hides is shown as \\Noselect (RFC 3501 §6.3.9)."""
    tree = _Tree(await session.mailstore.list_mailboxes(session.account_id))
    for name in _matching(command.query, tree.names):
        mailbox = tree.by_name.get(name)
        if mailbox is not None and mailbox.subscribed:
            session.send(b'* LSUB () "/" %s\r\n' % format_mailbox(name))
        elif name in tree.above_subscribed and any("%" in pattern for pattern in command.query.patterns):
            session.send(b'* LSUB (\\Noselect) "/" %s\r\n' % format_mailbox(name))
        await session.pace()
    return ok("LSUB completed")


def _matching(command: List, names: Iterable[str]) -> list[str]:
    patterns = [Pattern(command.reference + pattern) for pattern in command.patterns]
    return [name for name in names if any(pattern.matches(name) for pattern in patterns)]


def _attributes(command: List, tree: _Tree, name: str) -> list[bytes] | None:
    """Attributes of a name, None when the selection options leave it out."""
    mailbox = tree.by_name.get(name)
    use = _USES.get(mailbox.role) if mailbox is not None and mailbox.role is not None else None
    subscribed = mailbox is not None and mailbox.subscribed
    recursive = ListSelect.RECURSIVEMATCH in command.select and name in tree.above_subscribed
    if ListSelect.SUBSCRIBED in command.select and not (subscribed or recursive):
        return None
    if ListSelect.SPECIAL_USE in command.select and use is None:
        return None
    found: list[bytes] = []
    if mailbox is None:
        found += [b"\\NonExistent", b"\\Noselect"]
    if subscribed and (ListSelect.SUBSCRIBED in command.select or ListReturn.SUBSCRIBED in command.returns):
        found.append(b"\\Subscribed")
    found.append(b"\\HasChildren" if name in tree.parents else b"\\HasNoChildren")
    if use is not None:
        found.append(use)
    return found


def _child_info(command: List, tree: _Tree, name: str) -> bytes:
    """CHILDINFO: a subscribed name lies below (RFC 5258 §3.5)."""
    if ListSelect.RECURSIVEMATCH in command.select and name in tree.above_subscribed:
        return b' ("CHILDINFO" ("SUBSCRIBED"))'
    return b""


def _above(name: str) -> list[str]:
    levels = name.split(DELIMITER)
    return [DELIMITER.join(levels[:depth]) for depth in range(1, len(levels))]
