"""LIST and LSUB (RFC 9051 §6.3.9, RFC 3501 §6.3.9; RFC 5258, RFC 5819, RFC 6154, RFC 3348, RFC 8440, RFC 9590).

- Names that only lead to others, without a mailbox of their own, are shown as \\NonExistent and \\Noselect.
- Mailboxes of others are listed with the right `l` only, under `Other Users`, and so are the names above them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from server.domain.mailbox import DELIMITER, Mailbox
from server.domain.message import SpecialUse
from server.domain.rights import ALL_RIGHTS, READ, SharedMailbox
from server.domain.rights import shown as shown_rights
from server.imap.commands.mailboxes import status_line
from server.imap.commands.metadata import send_metadata
from server.imap.session import Result, Session, ok
from server.protocol.imap.commands import Lsub
from server.protocol.imap.format import format_mailbox
from server.protocol.imap.listing import List, ListReturn, ListSelect, Pattern
from server.services.mailstore.access import Place, shared_prefix

_USES = {
    SpecialUse.DRAFTS: b"\\Drafts",
    SpecialUse.SENT: b"\\Sent",
    SpecialUse.JUNK: b"\\Junk",
    SpecialUse.TRASH: b"\\Trash",
    SpecialUse.ARCHIVE: b"\\Archive",
}


@dataclass(frozen=True, slots=True)
class _Entry:
    """A mailbox under the name this client uses."""

    mailbox: Mailbox
    prefix: str
    rights: str

    @property
    def subscribed(self) -> bool:
        return self.mailbox.subscribed and not self.prefix

    @property
    def use(self) -> bytes | None:
        """A use is the owner's (RFC 6154 §2)."""
        role = self.mailbox.role
        return _USES.get(role) if role is not None and not self.prefix else None


class _Tree:
    """All names a client can see: mailboxes, and the names above them."""

    def __init__(self, own: Sequence[Mailbox], shared: Sequence[SharedMailbox]) -> None:
        self.by_name = {mailbox.name: _Entry(mailbox, "", ALL_RIGHTS) for mailbox in own}
        for other in shared:
            prefix = shared_prefix(other.owner)
            self.by_name[prefix + other.mailbox.name] = _Entry(other.mailbox, prefix, other.rights)
        self.parents = {above for name in self.by_name for above in _above(name)}
        self.names = sorted(self.by_name.keys() | self.parents)

    def above(self, wanted: Callable[[_Entry], bool]) -> set[str]:
        """Names above those of entries that are wanted."""
        return {above for name, entry in self.by_name.items() if wanted(entry) for above in _above(name)}


async def do_list(session: Session, command: List) -> Result:
    if command.patterns == ("",) and not command.extended:
        # An empty pattern asks for the delimiter and the root of the reference (RFC 9051 §6.3.9).
        session.send(b'* LIST (\\Noselect) "/" ""\r\n')
        return ok("LIST completed")
    access = session.mailstore.access
    own = await session.mailstore.list_mailboxes(session.account_id)
    tree = _Tree(own, await access.visible(session.principal))
    listing = _Listing(command, tree)
    for name in _matching(command, tree.names):
        attributes = listing.attributes(name)
        if attributes is None:
            continue
        shown = format_mailbox(name, utf8=session.modes.utf8_names)
        session.send(b'* LIST (%s) "/" %s%s\r\n' % (b" ".join(attributes), shown, listing.child_info(name)))
        entry = tree.by_name.get(name)
        if entry is not None:
            await _send_more(session, command, entry, shown)
        await session.pace()
    return ok("LIST completed")


async def _send_more(session: Session, command: List, entry: _Entry, shown: bytes) -> None:
    """What RETURN asks beside the LIST response itself, of mailboxes the client may read (RFC 5819 §2)."""
    if ListReturn.MYRIGHTS in command.returns:
        session.send(b"* MYRIGHTS %s %s\r\n" % (shown, shown_rights(entry.rights).encode("ascii")))
    if command.metadata and READ in entry.rights:
        place = Place(account_id=entry.mailbox.account_id, name=entry.mailbox.name, prefix=entry.prefix)
        have = await session.mailstore.annotations.entries(session.principal, place)
        values = {wanted: have.get(wanted) for wanted in command.metadata}
        send_metadata(session, entry.prefix + entry.mailbox.name, values)
    if command.status and READ in entry.rights:
        session.send(await status_line(session, entry.mailbox, command.status, prefix=entry.prefix))


async def do_lsub(session: Session, command: Lsub) -> Result:
    """Subscribed names; a parent of one that "%" hides is shown as \\Noselect (RFC 3501 §6.3.9)."""
    tree = _Tree(await session.mailstore.list_mailboxes(session.account_id), ())
    above = tree.above(lambda entry: entry.subscribed)
    for name in _matching(command.query, tree.names):
        entry = tree.by_name.get(name)
        shown = format_mailbox(name, utf8=session.modes.utf8_names)
        if entry is not None and entry.subscribed:
            session.send(b'* LSUB () "/" %s\r\n' % shown)
        elif name in above and any("%" in pattern for pattern in command.query.patterns):
            session.send(b'* LSUB (\\Noselect) "/" %s\r\n' % shown)
        await session.pace()
    return ok("LSUB completed")


def _matching(command: List, names: Iterable[str]) -> list[str]:
    patterns = [Pattern(command.reference + pattern) for pattern in command.patterns]
    return [name for name in names if any(pattern.matches(name) for pattern in patterns)]


class _Listing:
    """What one LIST selects and shows."""

    def __init__(self, command: List, tree: _Tree) -> None:
        self._command = command
        self._tree = tree
        self._above: dict[bytes, set[str]] = {}
        if ListSelect.RECURSIVEMATCH in command.select:
            if ListSelect.SUBSCRIBED in command.select:
                self._above[b"SUBSCRIBED"] = tree.above(lambda entry: entry.subscribed)
            if ListSelect.SPECIAL_USE in command.select:
                self._above[b"SPECIAL-USE"] = tree.above(lambda entry: entry.use is not None)

    def attributes(self, name: str) -> list[bytes] | None:
        """Attributes of a name, None when the selection options leave it out."""
        command, entry = self._command, self._tree.by_name.get(name)
        subscribed = entry is not None and entry.subscribed
        use = entry.use if entry is not None else None
        selected = (subscribed or ListSelect.SUBSCRIBED not in command.select) and (
            use is not None or ListSelect.SPECIAL_USE not in command.select
        )
        if not selected and not self._criteria(name):
            return None
        found: list[bytes] = []
        if entry is None:
            found += [b"\\NonExistent", b"\\Noselect"]
        if subscribed and (ListSelect.SUBSCRIBED in command.select or ListReturn.SUBSCRIBED in command.returns):
            found.append(b"\\Subscribed")
        found.append(b"\\HasChildren" if name in self._tree.parents else b"\\HasNoChildren")
        if use is not None:
            found.append(use)
        return found

    def child_info(self, name: str) -> bytes:
        """CHILDINFO: names that fit the selection lie below (RFC 5258 §3.5)."""
        criteria = self._criteria(name)
        return b' ("CHILDINFO" (%s))' % b" ".join(b'"%s"' % word for word in criteria) if criteria else b""

    def _criteria(self, name: str) -> list[bytes]:
        return [word for word, names in self._above.items() if name in names]


def _above(name: str) -> list[str]:
    levels = name.split(DELIMITER)
    return [DELIMITER.join(levels[:depth]) for depth in range(1, len(levels))]
