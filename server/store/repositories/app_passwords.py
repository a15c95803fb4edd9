"""Rows of `app_passwords`: digests of devices' passwords, never the passwords."""

from __future__ import annotations

from sqlalchemy import bindparam, delete, select, update

from server.domain.access import AppPassword, MailProtocol
from server.domain.ids import AccountId, TenantId
from server.domain.paging import Page, PageRequest
from server.store.repositories.rows import (
    instant,
    instant_or_none,
    number,
    octets,
    page_of,
    strings,
    strings_text,
    text,
    text_or_none,
)
from server.store.schema import app_passwords
from server.store.statements import prepared, prepared_insert
from server.store.times import to_us
from server.store.transaction import Row, Transaction

_INSERT = prepared_insert(app_passwords)
_OF_ACCOUNT = prepared(
    select(app_passwords)
    .where(app_passwords.c.account_id == bindparam("account_id"))
    .order_by(app_passwords.c.id.desc())
)
_BY_DIGEST = prepared(select(app_passwords).where(app_passwords.c.secret_sha256 == bindparam("digest")))
_REVOKE = prepared(
    update(app_passwords).where(app_passwords.c.id == bindparam("b_id")).values(revoked_at=bindparam("b_at"))
)
_FORGET = prepared(
    delete(app_passwords).where(
        app_passwords.c.account_id == bindparam("b_account_id"), app_passwords.c.revoked_at < bindparam("b_before")
    )
)
_USED = prepared(
    update(app_passwords)
    .where(app_passwords.c.id == bindparam("b_id"))
    .values(last_used_at=bindparam("b_at"), last_used_ip=bindparam("b_ip"), last_used_protocol=bindparam("b_protocol"))
)


def from_row(row: Row) -> AppPassword:
    return AppPassword(
        id=text(row, "id"),
        tenant_id=TenantId(text(row, "tenant_id")),
        account_id=AccountId(text(row, "account_id")),
        name=text(row, "name"),
        secret_sha256=text(row, "secret_sha256"),
        scram_salt=octets(row, "scram_salt"),
        scram_iterations=number(row, "scram_iterations"),
        scram_stored_key=octets(row, "scram_stored_key"),
        scram_server_key=octets(row, "scram_server_key"),
        protocols=tuple(MailProtocol(word) for word in strings(row, "protocols")),
        created_at=instant(row, "created_at"),
        expires_at=instant_or_none(row, "expires_at"),
        last_used_at=instant_or_none(row, "last_used_at"),
        last_used_ip=text_or_none(row, "last_used_ip"),
        last_used_protocol=text_or_none(row, "last_used_protocol"),
        revoked_at=instant_or_none(row, "revoked_at"),
    )


async def insert(tx: Transaction, password: AppPassword) -> None:
    await tx.execute(
        _INSERT,
        {
            "id": password.id,
            "tenant_id": password.tenant_id,
            "account_id": password.account_id,
            "name": password.name,
            "secret_sha256": password.secret_sha256,
            "scram_salt": password.scram_salt,
            "scram_iterations": password.scram_iterations,
            "scram_stored_key": password.scram_stored_key,
            "scram_server_key": password.scram_server_key,
            "protocols": strings_text(password.protocols),
            "created_at": to_us(password.created_at),
            "expires_at": to_us(password.expires_at),
            "last_used_at": to_us(password.last_used_at),
            "last_used_ip": password.last_used_ip,
            "last_used_protocol": password.last_used_protocol,
            "revoked_at": to_us(password.revoked_at),
        },
    )


async def of_account(tx: Transaction, account_id: AccountId) -> tuple[AppPassword, ...]:
    """All of an account, revoked and expired ones too, newest first."""
    return tuple(from_row(row) for row in await tx.fetch(_OF_ACCOUNT, {"account_id": account_id}))


async def by_digest(tx: Transaction, digest: str) -> AppPassword | None:
    """Of whichever account: 140 random bits are nobody else's."""
    row = await tx.fetch_one(_BY_DIGEST, {"digest": digest})
    return from_row(row) if row else None


async def page(tx: Transaction, tenant_id: TenantId, account_id: AccountId, request: PageRequest) -> Page[AppPassword]:
    """Those that are not revoked, newest first."""
    query = select(app_passwords).where(
        app_passwords.c.tenant_id == tenant_id,
        app_passwords.c.account_id == account_id,
        app_passwords.c.revoked_at.is_(None),
    )
    if request.after is not None:
        query = query.where(app_passwords.c.id < request.after)
    query = query.order_by(app_passwords.c.id.desc()).limit(request.limit + 1)
    return page_of(await tx.fetch(query), request, from_row)


async def revoke(tx: Transaction, password: AppPassword) -> None:
    """End it; the row stays for a while, so that a device that still sends it is told from one that guesses."""
    await tx.execute(_REVOKE, {"b_id": password.id, "b_at": tx.now_us})


async def forget_revoked(tx: Transaction, account_id: AccountId, *, before_us: int) -> None:
    await tx.execute(_FORGET, {"b_account_id": account_id, "b_before": before_us})


async def used(tx: Transaction, password_id: str, *, ip: str, protocol: str) -> None:
    await tx.execute(_USED, {"b_id": password_id, "b_at": tx.now_us, "b_ip": ip, "b_protocol": protocol})


async def live_ids(tx: Transaction, ids: list[str], *, now_us: int) -> set[str]:
    """Those of the ids that can still be used."""
    query = select(app_passwords.c.id).where(
        app_passwords.c.id.in_(ids),
        app_passwords.c.revoked_at.is_(None),
        (app_passwords.c.expires_at.is_(None)) | (app_passwords.c.expires_at > now_us),
    )
    return {text(row, "id") for row in await tx.fetch(query)}
