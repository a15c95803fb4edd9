"""Annotations of mailboxes and of an account (RFC 5464).

- /private entries belong to the one who set them, also on a shared mailbox; /shared ones to the mailbox.
- The account's own place has private entries only: what is shared by all of a server is its administrator's.
"""

from __future__ import annotations

from collections.abc import Sequence

from server.domain.errors import Forbidden, InvalidInput
from server.domain.identity import Principal
from server.domain.ids import AccountId, MailboxId
from server.services.mailstore import mailboxes as boxes
from server.services.mailstore.access import Place
from server.store.database import Database
from server.store.repositories import metadata
from server.store.transaction import Transaction

VALUE_MAX = 64 * 1024
"""Octets of a value."""
ENTRIES_MAX = 1000
"""Entries of one account, over all mailboxes."""
PRIVATE = "/private"


class TooMany(InvalidInput):
    """The account has all the entries it may have (RFC 5464 §4.3 TOOMANY)."""


class TooLong(InvalidInput):
    """A value is larger than VALUE_MAX (RFC 5464 §4.3 MAXSIZE)."""


class Annotations:
    """Reads and sets annotations."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def entries(self, principal: Principal, place: Place | None) -> dict[str, bytes]:
        """All that the caller can see of a mailbox, or of its account when there is no place. Raises NotFound."""

        async def unit(tx: Transaction) -> dict[str, bytes]:
            mailbox_id = await _mailbox(tx, place)
            found = await metadata.entries(tx, principal.account_id, mailbox_id)
            if place is not None and place.account_id != principal.account_id:
                shared = await metadata.entries(tx, place.account_id, mailbox_id)
                found |= {entry: value for entry, value in shared.items() if not entry.startswith(PRIVATE)}
            return found

        return await self._database.read("annotations.entries", unit)

    async def put(self, principal: Principal, place: Place | None, values: Sequence[tuple[str, bytes | None]]) -> None:
        """Set or remove entries, all or none.

        Raises:
            NotFound, Forbidden: No such mailbox; no right to change what is shared.
            TooLong, TooMany: Over a limit.
        """
        if any(value is not None and len(value) > VALUE_MAX for _, value in values):
            raise TooLong("a value is too long", code="limit")
        shared = [entry for entry, _ in values if not entry.startswith(PRIVATE)]
        if shared and (place is None or not place.may("w")):
            raise Forbidden("you have no right to change shared entries here")

        async def unit(tx: Transaction) -> None:
            mailbox_id = await _mailbox(tx, place)
            for entry, value in values:
                owner: AccountId = principal.account_id
                if place is not None and not entry.startswith(PRIVATE):
                    owner = place.account_id
                await metadata.put(tx, owner, mailbox_id, entry, value)
                if value is not None and await metadata.count(tx, owner) > ENTRIES_MAX:
                    raise TooMany("the account has too many entries", code="limit")

        await self._database.write("annotations.put", unit)


async def _mailbox(tx: Transaction, place: Place | None) -> MailboxId | None:
    return None if place is None else (await boxes.find_in(tx, place.account_id, place.name)).id
