"""An account's INBOX as one POP3 session has it: locked, numbered once, its deletions made together (RFC 1939 §4-6).

- One session at a time per account, also among processes on one database: there the lock is a lease, renewed while the
  session lives, and free again LEASE_S after its process died, or when that host starts.
- The numbering is that of the beginning; what others expunge meanwhile is missing when it is asked for.
- Deletions are one unit of work, with a trace line each; nothing is deleted by losing a connection.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from functools import partial

from server.domain.errors import Conflict, MaiRustError, NotFound
from server.domain.ids import AccountId, UidValidity, new_id
from server.domain.ports import Clock
from server.services.mailstore.mailboxes import INBOX
from server.services.mailstore.store import MailStore
from server.services.mailstore.sync import Change, MailboxView
from server.store import leases
from server.store.database import Database
from server.store.transaction import Transaction
from server.telemetry.log import get_logger

log = get_logger("storage")

LEASE_S = 120.0
RENEW_S = 30.0
_PREFIX = "maildrop:"


class _Follower:
    """Keeps the view open; a session with frozen numbers wants to hear nothing."""

    def wake(self) -> None:
        return

    def note(self, changes: Sequence[Change]) -> None:
        return


class Maildrop:
    """One locked INBOX; message numbers are the places in `uids` and `sizes`, from 0."""

    def __init__(self, mailstore: MailStore, view: MailboxView, follower: _Follower, lock: _Lock) -> None:
        self._mailstore = mailstore
        self._view = view
        self._follower = follower
        self._lock = lock
        self.uids = array("I", view.uids)
        self.sizes = array("Q", view.sizes)
        self.uidvalidity: UidValidity = view.mailbox.uidvalidity

    async def octets(self, place: int) -> bytes:
        """A message's octets.

        Raises:
            NotFound: It was expunged meanwhile.
            Unavailable: It can't be read now.
        """
        async for _, octets in self._mailstore.octets(self._view, [self.uids[place]]):
            if octets is None:
                raise NotFound("the message can't be read", code="damaged")
            return octets
        raise NotFound("the message was deleted meanwhile")

    async def remove(self, places: Sequence[int]) -> int:
        """Expunge these messages (ascending places), all or none; how many were still there."""
        removed = await self._mailstore.remove(self._view, [self.uids[place] for place in places])
        return len(removed.uids)

    async def close(self) -> None:
        """Give the INBOX back; call it once, whatever happened."""
        self._mailstore.close(self._view, self._follower)
        await self._lock.release()


class _Lock:
    def __init__(self, locks: Maildrops, account_id: AccountId) -> None:
        self._locks = locks
        self._account_id = account_id

    async def release(self) -> None:
        await self._locks.release(self._account_id)


class Maildrops:
    """Opens maildrops, one per account at a time.

    Args:
        owner: This process's host: leases of its former lives are freed by `run`.
        shared: Whether other processes use the same database; else no lease is written.
    """

    def __init__(self, *, mailstore: MailStore, database: Database, clock: Clock, owner: str, shared: bool) -> None:
        self._mailstore = mailstore
        self._database = database
        self._clock = clock
        self._shared = shared
        self._host = owner
        self.owner = f"{owner}/{new_id()}"
        self._held: set[AccountId] = set()

    async def open(self, account_id: AccountId) -> Maildrop:
        """Lock and number the INBOX; `close` must follow.

        Raises:
            Conflict: Another session has it.
            Unavailable: The store can't answer now.
        """
        if account_id in self._held:
            raise Conflict("the mailbox is in use by another session", code="in_use")
        self._held.add(account_id)
        try:
            if self._shared and not await self._take(account_id):
                raise Conflict("the mailbox is in use by another session", code="in_use")
            return await self._open(account_id)
        except Conflict:
            self._held.discard(account_id)
            raise
        except BaseException:
            await self.release(account_id)
            raise

    async def release(self, account_id: AccountId) -> None:
        """Free an account's lock; a lease that can't be dropped now runs out."""
        self._held.discard(account_id)
        if not self._shared:
            return
        name = _PREFIX + account_id
        try:
            await self._database.write("maildrop.release", lambda tx: leases.drop(tx, name=name, owner=self.owner))
        except MaiRustError as error:
            log.warning("maildrop.release_failed", reason=error.public)

    async def run(self) -> None:
        """Free what this host's former life held, then renew what is held, for ever."""
        await self._database.write(
            "maildrop.free", lambda tx: leases.drop_former(tx, prefix=_PREFIX, host=self._host, owner=self.owner)
        )
        while True:
            await self._clock.sleep(RENEW_S)
            held = sorted(self._held)
            if held:
                await self._database.write("maildrop.renew", partial(self._renew, held=held))

    async def _open(self, account_id: AccountId) -> Maildrop:
        mailbox = await self._mailstore.mailbox(account_id, INBOX)
        follower = _Follower()
        view = await self._mailstore.open(account_id, mailbox.id, follower)
        return Maildrop(self._mailstore, view, follower, _Lock(self, account_id))

    async def _take(self, account_id: AccountId) -> bool:
        return await self._database.write("maildrop.lock", lambda tx: self._take_in(tx, account_id))

    async def _take_in(self, tx: Transaction, account_id: AccountId) -> bool:
        return await leases.take(tx, name=_PREFIX + account_id, owner=self.owner, span_us=int(LEASE_S * 1e6))

    async def _renew(self, tx: Transaction, *, held: Sequence[AccountId]) -> None:
        for account_id in held:
            await self._take_in(tx, account_id)
