"""Counters kept in rows: modseqs of accounts, UIDVALIDITY values, all taken inside the transaction that uses them.

- The row stays locked until the commit, so commit order is number order on both databases (architecture.md §4).
"""

from __future__ import annotations

from typing import cast

from sqlalchemy import bindparam, select, update

from server.domain.errors import NotFound
from server.domain.ids import AccountId, ModSeq, UidValidity
from server.store.schema import accounts, counters
from server.store.statements import prepared
from server.store.transaction import Transaction

_NEXT_MODSEQ = prepared(
    update(accounts)
    .where(accounts.c.id == bindparam("b_id"))
    .values(modseq=accounts.c.modseq + 1)
    .returning(accounts.c.modseq),
    beside_inserts=True,
)
_NEXT = prepared(
    update(counters)
    .where(counters.c.name == bindparam("b_name"))
    .values(value=counters.c.value + 1)
    .returning(counters.c.value)
)


_ACCESS = prepared(select(counters.c.value).where(counters.c.name == "access"))


async def next_modseq(tx: Transaction, account_id: AccountId) -> ModSeq:
    """Take the account's next modseq and announce the account's move after the commit (RFC 7162 §3.1)."""
    row = await tx.fetch_one(_NEXT_MODSEQ, {"b_id": account_id})
    if row is None:
        raise NotFound("no such account")
    modseq = ModSeq(cast(int, row[0]))
    tx.touch(account_id, modseq)
    return modseq


async def next_uidvalidity(tx: Transaction) -> UidValidity:
    """Take a UIDVALIDITY no mailbox has had before (RFC 9051 §2.3.1.1)."""
    row = await tx.fetch_one(_NEXT, {"b_name": "uidvalidity"})
    if row is None:
        raise NotFound("the uidvalidity counter is missing")
    return UidValidity(cast(int, row[0]))


async def access_changed(tx: Transaction) -> None:
    """Tell every process that some account's right to log in, or a ban, has changed."""
    await tx.fetch_one(_NEXT, {"b_name": "access"})


async def access_state(tx: Transaction) -> int:
    """A number that differs after each `access_changed`."""
    row = await tx.fetch_one(_ACCESS)
    return 0 if row is None else cast(int, row[0])
