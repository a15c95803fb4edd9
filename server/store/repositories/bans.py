"""Rows of `bans`, and of `login_places`: the networks that are refused, and those that accounts come from."""

from __future__ import annotations

from sqlalchemy import bindparam, delete, or_, select, update

from server.domain.access import Ban
from server.domain.ids import AccountId
from server.domain.paging import Page, PageRequest
from server.store.repositories.rows import instant, instant_or_none, number, page_of, text, text_or_none
from server.store.schema import bans, login_places
from server.store.statements import prepared, prepared_insert
from server.store.times import to_us
from server.store.transaction import Row, Transaction

_INSERT = prepared_insert(bans)
_ACTIVE = prepared(
    select(bans)
    .where(or_(bans.c.expires_at.is_(None), bans.c.expires_at > bindparam("now")), bans.c.id < bindparam("before"))
    .order_by(bans.c.id.desc())
    .limit(bindparam("count"))
)
_BY_ID = prepared(select(bans).where(bans.c.id == bindparam("ban_id")))
_SAME = prepared(select(bans).where(bans.c.network == bindparam("network")).order_by(bans.c.id.desc()))
_REMOVE = prepared(delete(bans).where(bans.c.id == bindparam("b_id")))
_REMOVE_OLD = prepared(delete(bans).where(bans.c.expires_at < bindparam("b_before")))

_INSERT_PLACE = prepared_insert(login_places)
_PLACES = prepared(
    select(login_places.c.place, login_places.c.last_at)
    .where(login_places.c.account_id == bindparam("account_id"))
    .order_by(login_places.c.last_at.desc())
)
_SEEN_AT = prepared(
    select(login_places.c.last_at).where(
        login_places.c.account_id == bindparam("account_id"), login_places.c.place == bindparam("place")
    )
)
_SEEN = prepared(
    update(login_places)
    .where(login_places.c.account_id == bindparam("b_account_id"), login_places.c.place == bindparam("b_place"))
    .values(last_at=bindparam("b_at"))
)
_FORGET_PLACE = prepared(
    delete(login_places).where(
        login_places.c.account_id == bindparam("b_account_id"), login_places.c.place == bindparam("b_place")
    )
)
_FORGET_OLD_PLACES = prepared(delete(login_places).where(login_places.c.last_at < bindparam("b_before")))
_ANY_PLACE = prepared(
    select(login_places.c.place)
    .where(
        login_places.c.place >= bindparam("low"),
        login_places.c.place <= bindparam("high"),
        login_places.c.last_at > bindparam("since"),
    )
    .limit(1)
)


def from_row(row: Row) -> Ban:
    account_id = text_or_none(row, "account_id")
    return Ban(
        id=text(row, "id"),
        network=text(row, "network"),
        account_id=AccountId(account_id) if account_id is not None else None,
        reason=text(row, "reason"),
        made_by=text(row, "made_by"),
        spares_known=bool(number(row, "spares_known")),
        strikes=number(row, "strikes"),
        created_at=instant(row, "created_at"),
        expires_at=instant_or_none(row, "expires_at"),
    )


async def insert(tx: Transaction, ban: Ban) -> None:
    await tx.execute(
        _INSERT,
        {
            "id": ban.id,
            "network": ban.network,
            "account_id": ban.account_id,
            "reason": ban.reason,
            "made_by": ban.made_by,
            "spares_known": int(ban.spares_known),
            "strikes": ban.strikes,
            "created_at": to_us(ban.created_at),
            "expires_at": to_us(ban.expires_at),
        },
    )


async def active(tx: Transaction, *, now_us: int, before: str, count: int) -> tuple[Ban, ...]:
    """Bans that are in force and whose id is below `before`, newest first."""
    rows = await tx.fetch(_ACTIVE, {"now": now_us, "before": before, "count": count})
    return tuple(from_row(row) for row in rows)


async def get(tx: Transaction, ban_id: str) -> Ban | None:
    row = await tx.fetch_one(_BY_ID, {"ban_id": ban_id})
    return from_row(row) if row else None


async def same(tx: Transaction, network: str, account_id: AccountId | None) -> tuple[Ban, ...]:
    """Bans of a network for the same account, or for all; ended ones too, newest first."""
    rows = await tx.fetch(_SAME, {"network": network})
    return tuple(ban for row in rows if (ban := from_row(row)).account_id == account_id)


async def page(tx: Transaction, request: PageRequest, *, now_us: int) -> Page[Ban]:
    """Bans that are in force, newest first."""
    query = select(bans).where(or_(bans.c.expires_at.is_(None), bans.c.expires_at > now_us))
    if request.after is not None:
        query = query.where(bans.c.id < request.after)
    query = query.order_by(bans.c.id.desc()).limit(request.limit + 1)
    return page_of(await tx.fetch(query), request, from_row)


async def remove(tx: Transaction, ban_id: str) -> None:
    await tx.execute(_REMOVE, {"b_id": ban_id})


async def remove_ended(tx: Transaction, *, before_us: int) -> None:
    await tx.execute(_REMOVE_OLD, {"b_before": before_us})


async def places(tx: Transaction, account_id: AccountId) -> dict[str, int]:
    """Where an account has logged in well, with the last time in microseconds, latest first."""
    rows = await tx.fetch(_PLACES, {"account_id": account_id})
    return {text(row, "place"): number(row, "last_at") for row in rows}


async def seen_at(tx: Transaction, account_id: AccountId, place: str) -> int | None:
    """When an account last logged in well from a place, in microseconds; None = never."""
    row = await tx.fetch_one(_SEEN_AT, {"account_id": account_id, "place": place})
    return None if row is None else number(row, "last_at")


async def note_place(tx: Transaction, account_id: AccountId, place: str, *, now_us: int) -> None:
    if not await tx.execute(_SEEN, {"b_account_id": account_id, "b_place": place, "b_at": now_us}):
        values = {"account_id": account_id, "place": place, "first_at": now_us, "last_at": now_us}
        await tx.execute(_INSERT_PLACE, values)


async def forget_place(tx: Transaction, account_id: AccountId, place: str) -> None:
    await tx.execute(_FORGET_PLACE, {"b_account_id": account_id, "b_place": place})


async def forget_places(tx: Transaction, *, before_us: int) -> None:
    await tx.execute(_FORGET_OLD_PLACES, {"b_before": before_us})


async def anybody_from(tx: Transaction, low: str, high: str, *, since_us: int) -> bool:
    """Whether any account has logged in well from between two places."""
    return await tx.fetch_one(_ANY_PLACE, {"low": low, "high": high, "since": since_us}) is not None
