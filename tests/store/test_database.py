"""The two entrances of the store, on both databases."""

from __future__ import annotations

import asyncio
import signal
from typing import cast

import pytest
from sqlalchemy import bindparam, insert, select, update

from server.domain.changes import TraceEvent
from server.domain.errors import Unavailable
from server.domain.ids import new_id
from server.store import leases
from server.store.database import Database
from server.store.errors import UniqueViolation
from server.store.schema import events, meta
from server.store.statements import prepared, prepared_insert
from server.store.transaction import Transaction
from tests.support.postgres import PostgresServer, binaries
from tests.support.stores import open_postgres

_PUT = prepared_insert(meta)
_GET = prepared(select(meta.c.value).where(meta.c.key == bindparam("b_key")))


async def _put(tx: Transaction, key: str, value: str) -> None:
    await tx.execute(_PUT, {"key": key, "value": value})


async def _get(store: Database, key: str) -> str | None:
    async def unit(tx: Transaction) -> str | None:
        row = await tx.fetch_one(_GET, {"b_key": key})
        return None if row is None else cast(str, row["value"])

    return await store.read("get", unit)


async def test_a_write_is_read_after_it_returned(store: Database) -> None:
    await store.write("put", lambda tx: _put(tx, "a", "1"))
    assert await _get(store, "a") == "1"


async def test_a_failing_unit_fails_alone(store: Database) -> None:
    async def fail(tx: Transaction) -> None:
        await _put(tx, "half", "done")
        tx.record(TraceEvent(type="test.half", component="test", verdict="never"))
        raise ValueError("on purpose")

    writes = [store.write("put", lambda tx, i=i: _put(tx, f"k{i}", "x")) for i in range(10)]
    results = await asyncio.gather(*writes, store.write("fail", fail), return_exceptions=True)
    assert results[:10] == [None] * 10
    assert isinstance(results[10], ValueError)
    assert await _get(store, "half") is None
    assert await _get(store, "k9") == "x"
    assert await store.read("events", lambda tx: tx.fetch(select(events.c.seq))) == []


async def test_a_taken_key_is_a_unique_violation(store: Database) -> None:
    await store.write("put", lambda tx: _put(tx, "a", "1"))
    with pytest.raises(UniqueViolation):
        await store.write("put", lambda tx: _put(tx, "a", "2"))
    assert await _get(store, "a") == "1"


async def test_a_cancelled_caller_does_not_cancel_its_unit(store: Database) -> None:
    task = asyncio.create_task(store.write("put", lambda tx: _put(tx, "a", "1")))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await store.write("after", lambda tx: _put(tx, "b", "2"))
    assert await _get(store, "a") == "1"


async def test_events_are_numbered_without_gaps_in_commit_order(store: Database) -> None:
    async def unit(tx: Transaction, name: str) -> None:
        for part in ("first", "second"):
            tx.record(TraceEvent(type=f"test.{name}", component="test", verdict=part, data={"n": 1}))

    await asyncio.gather(*(store.write("event", lambda tx, i=i: unit(tx, str(i))) for i in range(50)))
    rows = await store.read("events", lambda tx: tx.fetch(select(events.c.seq, events.c.type).order_by(events.c.seq)))
    assert [row["seq"] for row in rows] == list(range(1, 101))
    assert all(rows[i]["type"] == rows[i + 1]["type"] for i in range(0, 100, 2))


async def test_text_from_peers_is_made_safe_for_the_log(store: Database) -> None:
    async def unit(tx: Transaction) -> None:
        tx.record(TraceEvent(type="t", component="c", verdict="v", detail="a\x00b\udcff", data={"x": "n\x00ul"}))

    await store.write("event", unit)
    row = await store.read("events", lambda tx: tx.fetch_one(select(events.c.detail, events.c.data)))
    assert row is not None
    assert row["detail"] == "a\ufffdb?"


async def test_a_statement_built_on_the_spot_binds_its_values(store: Database) -> None:
    async def unit(tx: Transaction) -> int:
        await tx.execute(insert(meta).values(key="a", value="1"))
        await tx.execute_many(_PUT, [{"key": "b", "value": "2"}, {"key": "c", "value": "3"}])
        return await tx.execute(update(meta).where(meta.c.key.in_(["a", "b"])).values(value="9"))

    assert await store.write("unit", unit) == 2
    assert await _get(store, "b") == "9"
    assert await _get(store, "c") == "3"


async def test_held_back_rows_are_seen_by_what_reads_them(store: Database) -> None:
    async def insert_row(tx: Transaction, key: str) -> None:
        await tx.insert(_PUT, {"key": key, "value": "1"})

    async def count(tx: Transaction) -> int:
        await insert_row(tx, "own")
        return len(await tx.fetch(select(meta.c.key).where(meta.c.key.in_(["a", "b", "own"]))))

    writes = [store.write("insert", lambda tx, key=key: insert_row(tx, key)) for key in ("a", "b")]
    assert (await asyncio.gather(*writes, store.write("count", count)))[2] == 3


async def test_a_taken_key_among_held_back_rows_fails_its_unit_alone(store: Database) -> None:
    async def insert_row(tx: Transaction, key: str) -> str:
        await tx.insert(_PUT, {"key": key, "value": "1"})
        tx.record(TraceEvent(type="test.insert", component="test", verdict=key))
        return key

    keys = [f"k{number}" for number in range(40)] + ["k7"]
    writes = [store.write("insert", lambda tx, key=key: insert_row(tx, key)) for key in keys]
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert results[:40] == keys[:40]
    assert isinstance(results[40], UniqueViolation)
    assert len(await store.read("events", lambda tx: tx.fetch(select(events.c.seq)))) == 40


async def test_a_lease_has_one_holder_until_it_runs_out(store: Database) -> None:
    async def take(tx: Transaction, owner: str, span_us: int) -> bool:
        return await leases.take(tx, name="job", owner=owner, span_us=span_us)

    assert await store.write("take", lambda tx: take(tx, "a", 60_000_000))
    assert not await store.write("take", lambda tx: take(tx, "b", 60_000_000))
    assert await store.write("renew", lambda tx: take(tx, "a", -1))
    assert await store.write("take", lambda tx: take(tx, "b", 60_000_000))
    await store.write("drop", lambda tx: leases.drop(tx, name="job", owner="b"))
    assert await store.write("take", lambda tx: take(tx, "a", 1))


async def test_a_unit_that_waits_for_something_else_is_refused_on_sqlite(tmp_path: object, store: Database) -> None:
    async def unit(tx: Transaction) -> None:
        await _put(tx, "slow", "1")
        if tx.dialect == "sqlite":
            await asyncio.sleep(0)

    if (await store.read("dialect", lambda tx: _dialect(tx))) == "sqlite":
        with pytest.raises(RuntimeError, match="awaited something other"):
            await store.write("unit", unit)
        assert await _get(store, "slow") is None


async def _dialect(tx: Transaction) -> str:
    return tx.dialect.value


async def test_a_closed_store_refuses_writes_as_temporary(store: Database) -> None:
    await store.close()
    with pytest.raises(Unavailable):
        await store.write("put", lambda tx: _put(tx, "a", "1"))
    await store.open()
    assert await _get(store, "a") is None


@pytest.mark.timeout(90)
async def test_postgres_restart_fails_units_and_heals_by_itself() -> None:
    """F06: what was answered stays, what failed is temporary, the pool is well again by itself."""
    if binaries() is None:
        pytest.skip("PostgreSQL is not installed")
    server = await asyncio.to_thread(PostgresServer)
    try:
        async with open_postgres(server.dsn()) as store:
            await store.write("put", lambda tx: _put(tx, "before", "1"))
            await asyncio.to_thread(server.stop, signal.SIGQUIT)
            with pytest.raises(Unavailable):
                await store.write("put", lambda tx: _put(tx, "during", "1"))
            await asyncio.to_thread(server.start)
            for attempt in range(100):
                try:
                    await store.write("put", lambda tx, n=attempt: _put(tx, f"after{n}{new_id()}", "1"))
                    break
                except Unavailable:
                    await asyncio.sleep(0.1)
            assert await _get(store, "before") == "1"
            assert await _get(store, "during") is None
    finally:
        await asyncio.to_thread(server.close)


async def test_an_in_list_and_a_parameter_still_to_come_share_a_statement(store: Database) -> None:
    statement = prepared(select(meta.c.key).where(meta.c.key.in_(["a", "b"]), meta.c.value >= bindparam("b_least")))
    for key, value in (("a", "1"), ("b", "2"), ("c", "3")):
        await store.write("put", lambda tx, key=key, value=value: _put(tx, key, value))
    rows = await store.read("in", lambda tx: tx.fetch(statement, {"b_least": "2"}))
    assert [row["key"] for row in rows] == ["b"]


async def test_failing_housekeeping_does_not_end_the_committer(
    store: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken() -> None:
        raise RuntimeError("on purpose")

    monkeypatch.setattr(store._backend, "settle", broken)
    for key in ("a", "b"):
        await store.write("put", lambda tx, key=key: _put(tx, key, "1"))
    assert store.alive


async def test_writes_do_not_wait_for_a_committer_that_is_gone(store: Database) -> None:
    assert store._task is not None
    waiting = asyncio.create_task(store.write("put", lambda tx: _put(tx, "a", "1")))
    store._task.cancel()
    with pytest.raises(Unavailable):
        await waiting
    with pytest.raises(Unavailable):
        await store.write("put", lambda tx: _put(tx, "b", "1"))
    await store._backend.close()
    await store.open()
