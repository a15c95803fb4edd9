"""Who may do what with whose mailbox: names of shared mailboxes and the rights on them (RFC 4314, RFC 2342).

- Every command of a session goes through `place`: it turns the name a client uses into the owner's account and the
  name there, after the rights were looked up. Rights are read anew each time: one taken back ends at the next command.
- A mailbox on which the caller has neither the right nor `l` does not exist, and neither do the mailboxes it has not
  been given, the accounts that share nothing and the names nobody has: all are the same NotFound.
- Shared mailboxes are named `Other Users/<owner's address>/<name>`. \\Seen and all other flags are the mailbox's own,
  shared by all who use it. Quota is the owner's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from server.domain import flags as flag_bits
from server.domain.errors import Forbidden, InvalidInput, NotFound
from server.domain.identity import Principal
from server.domain.ids import AccountId
from server.domain.mailbox import DELIMITER, Mailbox
from server.domain.rights import ALL_RIGHTS, ANYONE, DELETE_MESSAGES, LOOKUP, SEEN, WRITE, Grant, SharedMailbox
from server.protocol.smtp.address import parse_address
from server.services.mailstore import mailboxes as boxes
from server.store.database import Database
from server.store.repositories import grants
from server.store.repositories import mailboxes as mailbox_rows
from server.store.transaction import Transaction

OTHERS = boxes.RESERVED
OTHERS_PREFIX = OTHERS + DELIMITER
IDENTIFIERS_MAX = 200
"""Lines of one mailbox's access control list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A mailbox name resolved.

    Attributes:
        account_id: Whose it is: what the mailstore is called with.
        name: Its name in that account.
        prefix: What the caller's names begin with there, empty in the own account.
        rights: Letters of RFC 4314.
    """

    account_id: AccountId
    name: str
    prefix: str = ""
    rights: str = ALL_RIGHTS

    def may(self, rights: str) -> bool:
        """Whether all these rights are there."""
        return all(right in self.rights for right in rights)


class Access:
    """Looks up rights."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def place(self, principal: Principal, name: str, needed: str) -> Place:
        """Resolve a name for a use that needs all of these rights.

        A name that no mailbox has is resolved in the own account, where the use will fail; elsewhere it is NotFound.

        Raises:
            NotFound: Nothing that the caller may know of.
            Forbidden: The caller may see the mailbox, but not use it so.
        """
        if not is_shared(name):
            return Place(account_id=principal.account_id, name=name)
        owner, inner = split_shared(name)
        for shared in await self._shared(principal.account_id, owner):
            if shared.mailbox.name == inner:
                return _allowed(_place(shared), needed)
        raise NotFound("no such mailbox")

    async def parent(self, principal: Principal, name: str, needed: str = "k") -> Place:
        """Resolve a name that shall be made: the rights are needed on the mailbox above it. Raises as `place`."""
        if not is_shared(name):
            return Place(account_id=principal.account_id, name=name)
        owner, inner = split_shared(name.removesuffix(DELIMITER))
        by_name = {shared.mailbox.name: shared for shared in await self._shared(principal.account_id, owner)}
        above = await self._nearest(by_name, inner)
        if above is None:
            raise NotFound("no such mailbox")
        place = _allowed(_place(above), needed)
        return Place(account_id=place.account_id, name=inner, prefix=place.prefix, rights=place.rights)

    async def require_below(self, principal: Principal, place: Place, needed: str) -> None:
        """Check rights on all mailboxes below one of another account, which would move with it.

        Raises:
            Forbidden: Some of them are not the caller's to move.
        """
        if place.account_id == principal.account_id:
            return
        owner = owner_of(place, principal)
        granted = {
            shared.mailbox.id for shared in await self._shared(principal.account_id, owner) if needed in shared.rights
        }
        every = await self._database.read("access.below", lambda tx: mailbox_rows.list_all(tx, place.account_id))
        below = [mailbox.id for mailbox in every if mailbox.name.startswith(place.name + DELIMITER)]
        if place.name == boxes.INBOX or any(mailbox_id not in granted for mailbox_id in below):
            raise Forbidden("you have no right to do that with all of these mailboxes")

    async def rights_now(self, principal: Principal, mailbox: Mailbox) -> str:
        """The caller's rights on a mailbox that is open; empty when it has none any more."""
        if mailbox.account_id == principal.account_id:
            return ALL_RIGHTS
        found = await self._database.read("access.shared", lambda tx: grants.shared_with(tx, principal.account_id))
        return next((shared.rights for shared in found if shared.mailbox.id == mailbox.id), "")

    async def visible(self, principal: Principal) -> list[SharedMailbox]:
        """Mailboxes of others that may be listed, by owner and name."""
        found = await self._database.read("access.shared", lambda tx: grants.shared_with(tx, principal.account_id))
        return [shared for shared in found if LOOKUP in shared.rights]

    async def grants(self, place: Place) -> list[Grant]:
        """The access control list of a mailbox, without its owner. Raises NotFound."""

        async def unit(tx: Transaction) -> list[Grant]:
            mailbox = await boxes.find_in(tx, place.account_id, place.name)
            return await grants.of_mailbox(tx, place.account_id, mailbox.id)

        return await self._database.read("access.grants", unit)

    async def all_grants(self, account_id: AccountId) -> list[Grant]:
        """All grants an account has given."""
        return await self._database.read("access.all_grants", lambda tx: grants.of_account(tx, account_id))

    async def set_rights(self, place: Place, grantee: str, rights: str) -> None:
        """Give an address of the same tenant, or `anyone`, exactly these rights; none takes all back.

        Raises:
            NotFound: No such mailbox, or no such account in the tenant.
            InvalidInput: The owner's own rights, which are fixed; too many lines.
        """
        address = grantee if grantee == ANYONE else address_key(grantee)

        async def unit(tx: Transaction) -> None:
            mailbox = await boxes.find_in(tx, place.account_id, place.name)
            await set_rights_in(tx, place.account_id, mailbox, address, rights)

        await self._database.write("access.set_rights", unit)

    async def _nearest(self, granted: Mapping[str, SharedMailbox], name: str) -> SharedMailbox | None:
        """The mailbox right above a name, None when that is one the caller has not been given."""
        levels = name.split(DELIMITER)
        above = [DELIMITER.join(levels[:depth]) for depth in range(len(levels) - 1, 0, -1)]
        first = next((place for place, one in enumerate(above) if one in granted), None)
        if first is None:
            return None
        found = granted[above[first]]

        async def hidden(tx: Transaction) -> bool:
            rows = [await mailbox_rows.by_name(tx, found.mailbox.account_id, one) for one in above[:first]]
            return any(row is not None for row in rows)

        return None if await self._database.read("access.hidden", hidden) else found

    async def _shared(self, asker: AccountId, owner: str) -> list[SharedMailbox]:
        try:
            address = address_key(owner)
        except NotFound:
            return []
        return await self._database.read("access.shared", lambda tx: grants.shared_with(tx, asker, owner=address))


async def set_rights_in(tx: Transaction, account_id: AccountId, mailbox: Mailbox, address: str, rights: str) -> str:
    """Give an address, or `anyone`, exactly these rights; its identifier. Raises as `Access.set_rights`."""
    identifier: str | None = ANYONE
    if address != ANYONE:
        identifier = await grants.account_in_tenant(tx, account_id, address)
    if identifier is None:
        raise NotFound("no such account")
    if identifier == account_id:
        raise InvalidInput("the owner has all rights always")
    have = await grants.of_mailbox(tx, account_id, mailbox.id)
    if len(have) >= IDENTIFIERS_MAX and all(grant.identifier != identifier for grant in have):
        raise InvalidInput("the mailbox is shared with too many", code="limit")
    await grants.put(tx, account_id, mailbox.id, identifier, rights)
    return identifier


def is_shared(name: str) -> bool:
    """Whether a name lies in the namespace of other users' mailboxes."""
    return name == OTHERS or name.startswith(OTHERS_PREFIX)


def split_shared(name: str) -> tuple[str, str]:
    """Owner's address and name in a shared mailbox's name; the name is empty when there is none.

    An address may hold the delimiter before its "@" (RFC 5321 §4.1.2 "Atom"), never behind it.
    """
    rest = name[len(OTHERS_PREFIX) :]
    at = rest.find("@")
    end = rest.find(DELIMITER, at) if at >= 0 else -1
    if end < 0:
        return rest, ""
    try:
        return rest[:end], boxes.normalise_name(rest[end + 1 :])
    except InvalidInput:
        return rest[:end], ""


def permitted_flags(rights: str, flags: int, keywords: Sequence[str]) -> tuple[int, tuple[str, ...]]:
    """Those of the flags that one with these rights may set: `s` for \\Seen, `t` for \\Deleted, `w` for the rest."""
    return flags & flag_mask(rights), tuple(keywords) if WRITE in rights else ()


def flag_mask(rights: str) -> int:
    """The bits of `domain.flags` that one with these rights may change (RFC 4314 §4, "STORE")."""
    mask = flag_bits.SEEN if SEEN in rights else 0
    if DELETE_MESSAGES in rights:
        mask |= flag_bits.DELETED
    if WRITE in rights:
        mask |= flag_bits.ALL_FLAGS & ~(flag_bits.SEEN | flag_bits.DELETED)
    return mask


def owner_of(place: Place, principal: Principal) -> str:
    """The address of a place's owner."""
    return place.prefix[len(OTHERS_PREFIX) :].removesuffix(DELIMITER) if place.prefix else principal.address


def shared_prefix(owner: str) -> str:
    """What names of an owner's mailboxes begin with for others."""
    return f"{OTHERS_PREFIX}{owner}{DELIMITER}"


def address_key(text: str) -> str:
    """The form in which addresses are kept. Raises NotFound for what is none: such an account does not exist."""
    try:
        return parse_address(text[:320]).key
    except InvalidInput:
        raise NotFound("no such account") from None


def _place(shared: SharedMailbox) -> Place:
    return Place(
        account_id=shared.mailbox.account_id,
        name=shared.mailbox.name,
        prefix=shared_prefix(shared.owner),
        rights=shared.rights,
    )


def _allowed(place: Place, needed: str) -> Place:
    if place.may(needed):
        return place
    if LOOKUP in place.rights:
        raise Forbidden("you have no right to do that with this mailbox")
    raise NotFound("no such mailbox")
