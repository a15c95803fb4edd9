"""Rows of access control lists: who else may use a mailbox, and how (RFC 4314).

- An identifier is an account's id, or `anyone`: all accounts of the owner's tenant. Grants never cross tenants.
- What a grantee may see is joined from the accounts' rows at each look: an account moved or deleted loses it at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from sqlalchemy import bindparam, delete, or_, select

from server.domain.ids import AccountId, MailboxId
from server.domain.rights import ANYONE, Grant, SharedMailbox, ordered
from server.store.repositories.mailboxes import mailbox_from_row
from server.store.schema import accounts, mailbox_grants, mailboxes
from server.store.statements import prepared, prepared_insert
from server.store.transaction import Row, Transaction

g = mailbox_grants
_asker = accounts.alias("asker")
_owner = accounts.alias("owner")

_INSERT = prepared_insert(g)
_DELETE = prepared(
    delete(g).where(
        g.c.mailbox_id == bindparam("b_mailbox"),
        g.c.identifier == bindparam("b_identifier"),
        g.c.account_id == bindparam("b_account"),
    )
)
_DELETE_ALL = prepared(
    delete(g).where(g.c.mailbox_id == bindparam("b_mailbox"), g.c.account_id == bindparam("b_account"))
)
_OF_MAILBOX = prepared(
    select(g.c.identifier, g.c.rights, accounts.c.address)
    .outerjoin(accounts, accounts.c.id == g.c.identifier)
    .where(g.c.mailbox_id == bindparam("b_mailbox"), g.c.account_id == bindparam("b_account"))
    .order_by(g.c.identifier)
)
_OF_ACCOUNT = prepared(
    select(mailboxes.c.name, g.c.identifier, g.c.rights, accounts.c.address)
    .join(mailboxes, mailboxes.c.id == g.c.mailbox_id)
    .outerjoin(accounts, accounts.c.id == g.c.identifier)
    .where(g.c.account_id == bindparam("b_account"), mailboxes.c.deleted_at.is_(None))
    .order_by(mailboxes.c.name, g.c.identifier)
)
_SHARED = (
    select(mailboxes, g.c.rights, _owner.c.address)
    .join(mailboxes, mailboxes.c.id == g.c.mailbox_id)
    .join(_owner, _owner.c.id == mailboxes.c.account_id)
    .join(_asker, _asker.c.tenant_id == _owner.c.tenant_id)
    .where(
        _asker.c.id == bindparam("b_asker"),
        _owner.c.id != bindparam("b_asker"),
        or_(g.c.identifier == bindparam("b_asker"), g.c.identifier == ANYONE),
        mailboxes.c.deleted_at.is_(None),
        _owner.c.deleted_at.is_(None),
    )
    .order_by(_owner.c.address, mailboxes.c.name)
)
_SHARED_WITH = prepared(_SHARED)
_SHARED_OF = prepared(_SHARED.where(_owner.c.address == bindparam("b_owner")))
_IN_TENANT = prepared(
    select(accounts.c.id)
    .join(_asker, _asker.c.tenant_id == accounts.c.tenant_id)
    .where(
        _asker.c.id == bindparam("b_asker"),
        accounts.c.address == bindparam("b_address"),
        accounts.c.deleted_at.is_(None),
    )
)


async def put(tx: Transaction, account_id: AccountId, mailbox_id: MailboxId, identifier: str, rights: str) -> None:
    """Give exactly these rights; none removes the line."""
    await tx.execute(_DELETE, {"b_mailbox": mailbox_id, "b_identifier": identifier, "b_account": account_id})
    if rights:
        row = {"mailbox_id": mailbox_id, "identifier": identifier, "account_id": account_id, "rights": rights}
        await tx.execute(_INSERT, row | {"created_at": tx.now_us})


async def remove_all(tx: Transaction, account_id: AccountId, mailbox_id: MailboxId) -> None:
    """Take back all grants of a mailbox, which is deleted."""
    await tx.execute(_DELETE_ALL, {"b_mailbox": mailbox_id, "b_account": account_id})


async def of_mailbox(tx: Transaction, account_id: AccountId, mailbox_id: MailboxId) -> list[Grant]:
    """The list of a mailbox; grants of accounts that are gone are left out."""
    rows = await tx.fetch(_OF_MAILBOX, {"b_mailbox": mailbox_id, "b_account": account_id})
    return [grant for row in rows if (grant := _grant(row, "")) is not None]


async def of_account(tx: Transaction, account_id: AccountId) -> list[Grant]:
    """All grants on an account's mailboxes, by mailbox."""
    rows = await tx.fetch(_OF_ACCOUNT, {"b_account": account_id})
    return [grant for row in rows if (grant := _grant(row, cast(str, row["name"]))) is not None]


async def shared_with(tx: Transaction, asker: AccountId, *, owner: str | None = None) -> list[SharedMailbox]:
    """Mailboxes of other accounts that this one may use in any way, by owner and name; only one owner's if given."""
    if owner is None:
        rows = await tx.fetch(_SHARED_WITH, {"b_asker": asker})
    else:
        rows = await tx.fetch(_SHARED_OF, {"b_asker": asker, "b_owner": owner})
    return _merged(rows)


async def account_in_tenant(tx: Transaction, asker: AccountId, address: str) -> AccountId | None:
    """The account of this address if it is of the asker's tenant."""
    row = await tx.fetch_one(_IN_TENANT, {"b_asker": asker, "b_address": address})
    return None if row is None else AccountId(cast(str, row[0]))


def _merged(rows: Sequence[Row]) -> list[SharedMailbox]:
    """One line a mailbox: its own grant and the one for anyone count together (RFC 4314 §2)."""
    found: dict[str, SharedMailbox] = {}
    for row in rows:
        mailbox, rights = mailbox_from_row(row), cast(str, row["rights"])
        before = found.get(mailbox.id)
        rights = ordered(rights + (before.rights if before is not None else ""))
        found[mailbox.id] = SharedMailbox(owner=cast(str, row["address"]), mailbox=mailbox, rights=rights)
    return list(found.values())


def _grant(row: Row, mailbox: str) -> Grant | None:
    identifier = cast(str, row["identifier"])
    name = ANYONE if identifier == ANYONE else cast("str | None", row["address"])
    if name is None:
        return None
    return Grant(identifier=identifier, name=name, rights=cast(str, row["rights"]), mailbox=mailbox)
