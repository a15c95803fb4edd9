"""Rows of what accounts do with their mail: scripts, rules, vacation, and what these remember.

- `accounts.filter_version` says whether there is anything to run, and changes with every change of it: deliveries read
  it with the account and ask no further where it is 0.
- Administrators' scripts have no account: `place` says when they run, and their names are one space a tenant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, delete, select, update

from server.domain.filters import Place, ScriptRow, VacationRow
from server.domain.ids import AccountId, TenantId, new_id
from server.store.repositories.rows import instant, instant_or_none, number, octets, text, text_or_none
from server.store.schema import accounts, filter_rules, sieve_duplicates, sieve_scripts, vacation_replies, vacations
from server.store.statements import prepared, prepared_insert
from server.store.times import to_us
from server.store.transaction import Row, Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesRow:
    """An account's rules as JSON text."""

    rules: str
    revision: int


_INSERT = prepared_insert(sieve_scripts)
_INSERT_RULES = prepared_insert(filter_rules)
_INSERT_VACATION = prepared_insert(vacations)
_BY_NAME = prepared(
    select(sieve_scripts).where(
        sieve_scripts.c.account_id == bindparam("account_id"), sieve_scripts.c.name == bindparam("name")
    )
)
_OF_ACCOUNT = prepared(
    select(sieve_scripts).where(sieve_scripts.c.account_id == bindparam("account_id")).order_by(sieve_scripts.c.name)
)
_OF_TENANT = prepared(
    select(sieve_scripts)
    .where(sieve_scripts.c.tenant_id == bindparam("tenant_id"), sieve_scripts.c.account_id.is_(None))
    .order_by(sieve_scripts.c.name)
)
_RULES = prepared(select(filter_rules).where(filter_rules.c.account_id == bindparam("account_id")))
_VACATION = prepared(select(vacations).where(vacations.c.account_id == bindparam("account_id")))
_TENANT_OF = prepared(select(accounts.c.tenant_id).where(accounts.c.id == bindparam("account_id")))
_SET_VERSION = prepared(
    update(accounts).where(accounts.c.id == bindparam("b_id")).values(filter_version=bindparam("b_version"))
)
_REPLY = prepared(
    select(vacation_replies.c.until).where(
        vacation_replies.c.account_id == bindparam("account_id"),
        vacation_replies.c.handle == bindparam("handle"),
        vacation_replies.c.sender == bindparam("sender"),
    )
)
_ADD_REPLY = prepared_insert(vacation_replies)
_DUPLICATE = prepared(
    select(sieve_duplicates.c.until).where(
        sieve_duplicates.c.account_id == bindparam("account_id"), sieve_duplicates.c.key == bindparam("key")
    )
)
_ADD_DUPLICATE = prepared_insert(sieve_duplicates)


def _script_from_row(row: Row) -> ScriptRow:
    account_id = text_or_none(row, "account_id")
    return ScriptRow(
        id=text(row, "id"),
        account_id=None if account_id is None else AccountId(account_id),
        place=Place(text(row, "place")),
        name=text(row, "name"),
        octets=octets(row, "octets"),
        active=bool(number(row, "active")),
        updated_at=instant(row, "updated_at"),
    )


async def tenant_of(tx: Transaction, account_id: AccountId) -> TenantId | None:
    row = await tx.fetch_one(_TENANT_OF, {"account_id": account_id})
    return None if row is None else TenantId(text(row, "tenant_id"))


async def scripts(tx: Transaction, account_id: AccountId) -> tuple[ScriptRow, ...]:
    """All scripts of an account, by name."""
    return tuple(_script_from_row(row) for row in await tx.fetch(_OF_ACCOUNT, {"account_id": account_id}))


async def admin_scripts(tx: Transaction, tenant_id: TenantId) -> tuple[ScriptRow, ...]:
    """All scripts of a tenant's administrators, by name: the order in which they run."""
    return tuple(_script_from_row(row) for row in await tx.fetch(_OF_TENANT, {"tenant_id": tenant_id}))


async def script(tx: Transaction, account_id: AccountId, name: str) -> ScriptRow | None:
    row = await tx.fetch_one(_BY_NAME, {"account_id": account_id, "name": name})
    return _script_from_row(row) if row else None


async def put_script(
    tx: Transaction,
    *,
    tenant_id: TenantId,
    account_id: AccountId | None,
    place: Place,
    name: str,
    content: bytes,
    old: ScriptRow | None,
) -> None:
    """Write a script, in place of `old` where there is one."""
    if old is not None:
        await tx.execute(
            update(sieve_scripts)
            .where(sieve_scripts.c.id == old.id)
            .values(octets=content, place=place.value, updated_at=tx.now_us)
        )
        return
    await tx.execute(
        _INSERT,
        {
            "id": new_id(),
            "tenant_id": tenant_id,
            "account_id": account_id,
            "place": place.value,
            "name": name,
            "octets": content,
            "active": 0,
            "created_at": tx.now_us,
            "updated_at": tx.now_us,
        },
    )


async def rename_script(tx: Transaction, script_id: str, name: str) -> None:
    """Raises UniqueViolation when the name is taken."""
    await tx.execute(
        update(sieve_scripts).where(sieve_scripts.c.id == script_id).values(name=name, updated_at=tx.now_us)
    )


async def remove_script(tx: Transaction, script_id: str) -> None:
    await tx.execute(delete(sieve_scripts).where(sieve_scripts.c.id == script_id))


async def activate(tx: Transaction, account_id: AccountId, script_id: str | None) -> None:
    """Make one script of the account the active one, or none."""
    own = sieve_scripts.c.account_id == account_id
    await tx.execute(update(sieve_scripts).where(own, sieve_scripts.c.active == 1).values(active=0))
    if script_id is not None:
        await tx.execute(update(sieve_scripts).where(own, sieve_scripts.c.id == script_id).values(active=1))


async def rules(tx: Transaction, account_id: AccountId) -> RulesRow | None:
    row = await tx.fetch_one(_RULES, {"account_id": account_id})
    return None if row is None else RulesRow(rules=text(row, "rules"), revision=number(row, "revision"))


async def put_rules(tx: Transaction, account_id: AccountId, content: str, revision: int) -> None:
    await tx.execute(delete(filter_rules).where(filter_rules.c.account_id == account_id))
    await tx.execute(
        _INSERT_RULES,
        {"account_id": account_id, "rules": content, "revision": revision, "updated_at": tx.now_us},
    )


async def remove_rules(tx: Transaction, account_id: AccountId) -> int:
    return await tx.execute(delete(filter_rules).where(filter_rules.c.account_id == account_id))


async def vacation(tx: Transaction, account_id: AccountId) -> VacationRow | None:
    row = await tx.fetch_one(_VACATION, {"account_id": account_id})
    if row is None:
        return None
    return VacationRow(
        enabled=bool(number(row, "enabled")),
        starts_at=instant_or_none(row, "starts_at"),
        ends_at=instant_or_none(row, "ends_at"),
        subject=text(row, "subject"),
        text=text(row, "text"),
        html=text_or_none(row, "html"),
        days=number(row, "days"),
        revision=number(row, "revision"),
        updated_at=instant(row, "updated_at"),
    )


async def put_vacation(tx: Transaction, account_id: AccountId, value: VacationRow) -> None:
    """Write it in place of the one before; who had the old answer may get the new one."""
    await remove_vacation(tx, account_id)
    await tx.execute(
        _INSERT_VACATION,
        {
            "account_id": account_id,
            "enabled": int(value.enabled),
            "starts_at": to_us(value.starts_at),
            "ends_at": to_us(value.ends_at),
            "subject": value.subject,
            "text": value.text,
            "html": value.html,
            "days": value.days,
            "revision": value.revision,
            "updated_at": tx.now_us,
        },
    )


async def remove_vacation(tx: Transaction, account_id: AccountId) -> int:
    return await tx.execute(delete(vacations).where(vacations.c.account_id == account_id))


async def refresh_version(tx: Transaction, account_id: AccountId, tenant_id: TenantId) -> None:
    """Say in the account's row whether anything is to be run, and that it changed."""
    await tx.execute(
        _SET_VERSION, {"b_id": account_id, "b_version": tx.now_us if await _has_any(tx, account_id, tenant_id) else 0}
    )


async def refresh_tenant(tx: Transaction, tenant_id: TenantId) -> None:
    """The same for every account of a tenant: an administrator's script changed."""
    rows = await tx.fetch(select(accounts.c.id).where(accounts.c.tenant_id == tenant_id))
    for row in rows:
        await refresh_version(tx, AccountId(text(row, "id")), tenant_id)


async def first_version(tx: Transaction, tenant_id: TenantId) -> int:
    """The version of an account that is just made: administrators' scripts run for it too."""
    return tx.now_us if await _admin_runs(tx, tenant_id) else 0


async def _has_any(tx: Transaction, account_id: AccountId, tenant_id: TenantId) -> bool:
    if any(one.active for one in await scripts(tx, account_id)):
        return True
    away = await vacation(tx, account_id)
    if away is not None and away.enabled:
        return True
    own = await rules(tx, account_id)
    return (own is not None and own.rules != "[]") or await _admin_runs(tx, tenant_id)


async def _admin_runs(tx: Transaction, tenant_id: TenantId) -> bool:
    return any(one.place is not Place.INCLUDED for one in await admin_scripts(tx, tenant_id))


# --- what runs remember


async def claim_reply(tx: Transaction, account_id: AccountId, handle: str, sender: str, until_us: int) -> bool:
    """Whether `sender` may have this answer now; if so it is remembered until then (RFC 5230 §4.2)."""
    row = await tx.fetch_one(_REPLY, {"account_id": account_id, "handle": handle, "sender": sender})
    if row is not None:
        if number(row, "until") > tx.now_us:
            return False
        await tx.execute(
            delete(vacation_replies).where(
                vacation_replies.c.account_id == account_id,
                vacation_replies.c.handle == handle,
                vacation_replies.c.sender == sender,
            )
        )
    await tx.execute(_ADD_REPLY, {"account_id": account_id, "handle": handle, "sender": sender, "until": until_us})
    return True


async def forget_replies(tx: Transaction, account_id: AccountId, handle: str) -> None:
    """Let everybody hear an answer anew."""
    await tx.execute(
        delete(vacation_replies).where(vacation_replies.c.account_id == account_id, vacation_replies.c.handle == handle)
    )


async def was_seen(tx: Transaction, account_id: AccountId, key: str) -> bool:
    """Whether a unique id is remembered now (RFC 7352 §3)."""
    row = await tx.fetch_one(_DUPLICATE, {"account_id": account_id, "key": key})
    return row is not None and number(row, "until") > tx.now_us


async def remember(tx: Transaction, account_id: AccountId, keys: Sequence[tuple[str, int]]) -> None:
    """Remember unique ids, each with the time until which."""
    for key, until_us in keys:
        await tx.execute(
            delete(sieve_duplicates).where(sieve_duplicates.c.account_id == account_id, sieve_duplicates.c.key == key)
        )
        await tx.execute(_ADD_DUPLICATE, {"account_id": account_id, "key": key, "until": until_us})


async def forget_past(tx: Transaction) -> int:
    """Drop answers and unique ids that have run out; returns the rows dropped."""
    gone = await tx.execute(delete(vacation_replies).where(vacation_replies.c.until <= tx.now_us))
    return gone + await tx.execute(delete(sieve_duplicates).where(sieve_duplicates.c.until <= tx.now_us))
