"""Leases: a named claim that one holder renews and that survives its holder's death by running out.

- One statement decides, so two holders can't both win on any number of hosts.
"""

from __future__ import annotations

from sqlalchemy import bindparam, delete, or_
from sqlalchemy.dialects import postgresql, sqlite

from server.store.schema import leases
from server.store.statements import prepared
from server.store.transaction import Transaction


def _take(dialect_insert: type[sqlite.Insert] | type[postgresql.Insert]) -> sqlite.Insert | postgresql.Insert:
    statement = dialect_insert(leases).values(
        name=bindparam("b_name"), owner=bindparam("b_owner"), until=bindparam("b_until")
    )
    return statement.on_conflict_do_update(
        index_elements=["name"],
        set_={"owner": statement.excluded.owner, "until": statement.excluded.until},
        where=or_(leases.c.owner == statement.excluded.owner, leases.c.until < bindparam("b_now")),
    )


_TAKE = prepared(_take(sqlite.Insert), postgres=_take(postgresql.Insert))
_DROP = prepared(delete(leases).where(leases.c.name == bindparam("b_name"), leases.c.owner == bindparam("b_owner")))
_DROP_FORMER = prepared(
    delete(leases).where(
        leases.c.name.startswith(bindparam("b_prefix"), autoescape=False),
        leases.c.owner.startswith(bindparam("b_host"), autoescape=False),
        leases.c.owner != bindparam("b_owner"),
    )
)


async def take(tx: Transaction, *, name: str, owner: str, span_us: int) -> bool:
    """Take or renew a lease; False when somebody else holds it."""
    params = {"b_name": name, "b_owner": owner, "b_until": tx.now_us + span_us, "b_now": tx.now_us}
    return await tx.execute(_TAKE, params) > 0


async def drop(tx: Transaction, *, name: str, owner: str) -> None:
    """Give a lease back; nothing happens when it is not ours."""
    await tx.execute(_DROP, {"b_name": name, "b_owner": owner})


async def drop_former(tx: Transaction, *, prefix: str, host: str, owner: str) -> None:
    """Free the leases of one kind that a former life of this host held; owners are `HOST/LIFE`."""
    await tx.execute(_DROP_FORMER, {"b_prefix": prefix, "b_host": f"{host}/", "b_owner": owner})
