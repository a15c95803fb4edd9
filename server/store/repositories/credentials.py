"""Rows of `credentials`: what an account's password is checked against, never the password."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import bindparam, delete, select, update

from server.domain.ids import AccountId
from server.store.repositories.rows import number, octets, text
from server.store.schema import credentials
from server.store.statements import prepared, prepared_insert
from server.store.transaction import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCredential:
    """An Argon2id hash in PHC form, and the SCRAM-SHA-256 keys of the same password (RFC 5802 §3)."""

    argon2: str
    scram_salt: bytes
    scram_iterations: int
    scram_stored_key: bytes
    scram_server_key: bytes


_INSERT = prepared_insert(credentials)
_DELETE = prepared(delete(credentials).where(credentials.c.account_id == bindparam("b_account_id")))
_BY_ACCOUNT = prepared(select(credentials).where(credentials.c.account_id == bindparam("account_id")))
_REHASH = prepared(
    update(credentials)
    .where(credentials.c.account_id == bindparam("b_account_id"), credentials.c.argon2 == bindparam("b_old"))
    .values(argon2=bindparam("b_new"))
)


async def put(tx: Transaction, account_id: AccountId, credential: StoredCredential) -> None:
    """Replace the account's password."""
    await tx.execute(_DELETE, {"b_account_id": account_id})
    await tx.execute(
        _INSERT,
        {
            "account_id": account_id,
            "argon2": credential.argon2,
            "scram_salt": credential.scram_salt,
            "scram_iterations": credential.scram_iterations,
            "scram_stored_key": credential.scram_stored_key,
            "scram_server_key": credential.scram_server_key,
            "changed_at": tx.now_us,
        },
    )


async def get(tx: Transaction, account_id: AccountId) -> StoredCredential | None:
    row = await tx.fetch_one(_BY_ACCOUNT, {"account_id": account_id})
    if row is None:
        return None
    return StoredCredential(
        argon2=text(row, "argon2"),
        scram_salt=octets(row, "scram_salt"),
        scram_iterations=number(row, "scram_iterations"),
        scram_stored_key=octets(row, "scram_stored_key"),
        scram_server_key=octets(row, "scram_server_key"),
    )


async def rehash(tx: Transaction, account_id: AccountId, *, old: str, new: str) -> None:
    """Replace the hash of an unchanged password; nothing happens when it was changed meanwhile."""
    await tx.execute(_REHASH, {"b_account_id": account_id, "b_old": old, "b_new": new})
