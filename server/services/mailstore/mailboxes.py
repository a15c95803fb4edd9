"""Create, delete, rename and list mailboxes; names and their rules (product.md 70).

- A name is Unicode in NFC, levels joined by "/", at most NAME_OCTETS_MAX octets and LEVELS_MAX levels; INBOX, alone or
  as the first level, has one spelling. It is data in the database, never a path.
- A mailbox with a role can't be deleted. Deleting one with children leaves them; its name then only leads to them.
- Renaming INBOX moves its messages and leaves it empty (RFC 9051 §6.3.6).
"""

from __future__ import annotations

import unicodedata

from server.domain.errors import Conflict, Forbidden, InvalidInput, NotFound
from server.domain.ids import AccountId, MailboxId, ModSeq, Uid, new_id
from server.domain.mailbox import DELIMITER, Mailbox
from server.domain.message import SpecialUse
from server.domain.rights import Grant
from server.services.mailstore.copy_move import copy_in, expunge_states
from server.store import counters
from server.store.repositories import grants, mailboxes, messages, metadata
from server.store.transaction import Transaction

NAME_OCTETS_MAX = 255
LEVELS_MAX = 20
MAILBOXES_MAX = 5000
"""Mailboxes of one account: a LIST of all stays a few milliseconds."""
INBOX = "INBOX"
RESERVED = "Other Users"
"""The first level of names of others' mailboxes (RFC 2342 §5)."""
_REFUSED = frozenset("*%\\\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Wildcards of LIST, the backslash, and controls that make a name look like another."""
EVERY_UID = range(1, 2**32)
DEFAULTS: tuple[tuple[str, SpecialUse], ...] = (
    (INBOX, SpecialUse.INBOX),
    ("Drafts", SpecialUse.DRAFTS),
    ("Sent", SpecialUse.SENT),
    ("Junk", SpecialUse.JUNK),
    ("Trash", SpecialUse.TRASH),
    ("Archive", SpecialUse.ARCHIVE),
)


def normalise_name(name: str) -> str:
    """Return the one spelling of a mailbox name. Raises InvalidInput when it can't be one."""
    name = unicodedata.normalize("NFC", name)
    levels = name.split(DELIMITER)
    if levels[0].upper() == INBOX:
        levels[0] = INBOX
    name = DELIMITER.join(levels)
    try:
        octets = len(name.encode("utf-8"))
    except UnicodeEncodeError:
        raise InvalidInput("mailbox name is not text") from None
    if octets > NAME_OCTETS_MAX or len(levels) > LEVELS_MAX:
        raise InvalidInput("mailbox name is too long or too deep")
    if not all(level.strip() for level in levels):
        raise InvalidInput("mailbox name has an empty level")
    if any(char in _REFUSED or unicodedata.category(char) in ("Cc", "Cs", "Co", "Cn", "Zl", "Zp") for char in name):
        raise InvalidInput("mailbox name holds characters it can't have")
    return name


async def create_default_mailboxes(tx: Transaction, account_id: AccountId) -> None:
    """Make the mailboxes every account has, all subscribed; part of making the account."""
    modseq = await counters.next_modseq(tx, account_id)
    for name, role in DEFAULTS:
        await _insert(tx, account_id, name, role, modseq, subscribed=True)


async def find_in(tx: Transaction, account_id: AccountId, name: str) -> Mailbox:
    """The mailbox of this name. Raises NotFound."""
    found = await mailboxes.by_name(tx, account_id, normalise_name(name))
    if found is None:
        raise NotFound("no such mailbox")
    return found


async def create_in(tx: Transaction, account_id: AccountId, name: str, role: SpecialUse | None = None) -> Mailbox:
    """Create a mailbox and those above it that are missing (RFC 9051 §6.3.4); a trailing delimiter means nothing.

    What is made inherits the grants of the nearest mailbox above it (RFC 4314 §4, "CREATE").

    Args:
        role: Its use (RFC 6154 §3); the mailbox that had it keeps its messages and loses the role.

    Raises:
        InvalidInput: Not a possible name, or too many mailboxes.
        Conflict: It exists.
    """
    name = normalise_name(name.removesuffix(DELIMITER))
    if name.split(DELIMITER)[0] == RESERVED:
        raise InvalidInput("this name is for mailboxes of others")
    have = {mailbox.name: mailbox for mailbox in await mailboxes.list_all(tx, account_id)}
    if name in have:
        raise Conflict("the mailbox exists already")
    levels = name.split(DELIMITER)
    missing = [DELIMITER.join(levels[:depth]) for depth in range(1, len(levels) + 1)]
    missing = [above for above in missing if above not in have]
    if len(have) + len(missing) > MAILBOXES_MAX:
        raise InvalidInput("the account has too many mailboxes", code="limit")
    modseq = await counters.next_modseq(tx, account_id)
    if role is not None:
        await mailboxes.clear_role(tx, account_id, role, modseq)
    inherited = await _inherited(tx, account_id, levels, have)
    for above in missing:
        made = await _insert(
            tx, account_id, above, role if above == name else None, modseq, subscribed=role is not None
        )
        for grant in inherited:
            await grants.put(tx, account_id, made.id, grant.identifier, grant.rights)
    return made


async def delete_in(tx: Transaction, account_id: AccountId, name: str) -> None:
    """Delete a mailbox; its messages stay restorable.

    Raises:
        NotFound, Forbidden: It doesn't exist; it has a role.
    """
    mailbox = await find_in(tx, account_id, name)
    if mailbox.role is not None:
        raise Forbidden("this mailbox can't be deleted")
    states = await messages.states(tx, account_id, mailbox.id, EVERY_UID)
    await expunge_states(tx, account_id, mailbox.id, states)
    await grants.remove_all(tx, account_id, mailbox.id)
    await metadata.remove_mailbox(tx, mailbox.id)
    modseq = await counters.next_modseq(tx, account_id)
    await mailboxes.mark_deleted(tx, account_id, mailbox.id, modseq)


async def rename_in(tx: Transaction, account_id: AccountId, name: str, to: str) -> None:
    """Rename a mailbox and all below it.

    Raises:
        NotFound, Conflict: The old name doesn't exist; a new one does.
        InvalidInput: Not a possible name, or a name below the mailbox itself.
    """
    name, to = normalise_name(name), normalise_name(to.removesuffix(DELIMITER))
    have = {mailbox.name: mailbox for mailbox in await mailboxes.list_all(tx, account_id)}
    below = [mailbox for mailbox in have.values() if mailbox.name.startswith(name + DELIMITER)]
    if name not in have and not below:
        raise NotFound("no such mailbox")
    if to in have:
        raise Conflict("the mailbox exists already")
    if to.split(DELIMITER)[0] == RESERVED:
        raise InvalidInput("this name is for mailboxes of others")
    if name == INBOX:
        await _rename_inbox(tx, account_id, have[INBOX], to)
        return
    if to.startswith(name + DELIMITER):
        raise InvalidInput("a mailbox can't become its own child")
    moved = [*([have[name]] if name in have else []), *below]
    names = [(mailbox.id, normalise_name(to + mailbox.name[len(name) :])) for mailbox in moved]
    if any(new in have for _, new in names):
        raise Conflict("a mailbox of the new name exists already")
    if DELIMITER in to and (parent := to.rpartition(DELIMITER)[0]) not in have:
        await create_in(tx, account_id, parent)
    modseq = await counters.next_modseq(tx, account_id)
    await mailboxes.rename(tx, account_id, names, modseq)


async def subscribe_in(tx: Transaction, account_id: AccountId, name: str, *, subscribed: bool) -> None:
    """Raises NotFound when there is no such mailbox."""
    mailbox = await find_in(tx, account_id, name)
    await set_subscribed_in(tx, account_id, mailbox.id, subscribed=subscribed)


async def set_subscribed_in(tx: Transaction, account_id: AccountId, mailbox_id: MailboxId, *, subscribed: bool) -> None:
    """Subscribe to a mailbox that is there, or no longer; the account moves, so that who watches it is told."""
    await counters.next_modseq(tx, account_id)
    await mailboxes.subscribe(tx, account_id, mailbox_id, subscribed=subscribed)


async def _inherited(
    tx: Transaction, account_id: AccountId, levels: list[str], have: dict[str, Mailbox]
) -> list[Grant]:
    """The grants of the nearest mailbox above a new one."""
    for depth in range(len(levels) - 1, 0, -1):
        above = have.get(DELIMITER.join(levels[:depth]))
        if above is not None:
            return await grants.of_mailbox(tx, account_id, above.id)
    return []


async def _rename_inbox(tx: Transaction, account_id: AccountId, inbox: Mailbox, to: str) -> None:
    await create_in(tx, account_id, to)
    await copy_in(tx, account_id=account_id, mailbox_id=inbox.id, uids=EVERY_UID, to=to, move=True)


async def _insert(
    tx: Transaction, account_id: AccountId, name: str, role: SpecialUse | None, modseq: ModSeq, *, subscribed: bool
) -> Mailbox:
    mailbox = Mailbox(
        id=MailboxId(new_id()),
        account_id=account_id,
        name=name,
        role=role,
        subscribed=subscribed,
        uidvalidity=await counters.next_uidvalidity(tx),
        uidnext=Uid(1),
        recent_uid=Uid(1),
        total=0,
        unseen=0,
        size_octets=0,
        modseq=modseq,
    )
    await mailboxes.insert(tx, mailbox)
    return mailbox
