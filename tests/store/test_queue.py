"""The queue's rows on both databases (reliability.md §2, §6)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from server.domain.envelope import Notify, Ret
from server.domain.ids import DeliveryId, TenantId, new_id
from server.domain.queue import Attempt, DeliveryStatus, QueuedMessage
from server.domain.reply import reply
from server.store.database import Database
from server.store.errors import UniqueViolation
from server.store.repositories import queue, queue_admin
from server.store.repositories.queue import ALL_DOMAINS, ALL_TENANTS, Claimed, Settled
from server.store.repositories.queue_admin import Pause, QueueQuery
from server.store.times import to_us
from tests.support.queueing import TENANT, add_tenant, enqueue, message, recipient

HOUR_US = 3_600_000_000


async def put(store: Database, *addresses: str, tenant: TenantId = TENANT, **changes: Any) -> QueuedMessage:
    queued = message(tenant_id=tenant)
    await enqueue(store, queued, [recipient(queued, address, **changes) for address in addresses])
    return queued


async def claim(store: Database, *, owner: str = "h/1", limit: int = 100, **changes: Any) -> Claimed:
    now_us = changes.pop("now_us", to_us(datetime.now(UTC)))
    return await store.write(
        "test.claim",
        lambda tx: queue.claim(tx, owner=owner, limit=limit, lease_us=HOUR_US, now_us=now_us, **changes),
    )


def names(claimed: Claimed) -> list[str]:
    return [each.recipient for each in claimed.recipients]


def attempt(status: DeliveryStatus = DeliveryStatus.SENT) -> Attempt:
    return Attempt(
        status=status,
        reply=reply(250, "2.0.0", "taken", "twice"),
        from_remote=True,
        host="mx.there.test",
        ip="192.0.2.1",
        tls="TLSv1.3",
        started_at=datetime.now(UTC),
        duration_ms=12,
    )


async def test_a_message_comes_back_as_it_was_queued(store: Database) -> None:
    await add_tenant(store)
    queued = message(ret=Ret.HDRS, envid="e 1", smtputf8=True, body_8bit=True, subject="\u00e4\u4e16")
    wishes = {"notify": frozenset({Notify.SUCCESS, Notify.DELAY}), "orcpt": "rfc822;x@there.test"}
    sent = recipient(queued, "b@there.test", **wishes)
    await enqueue(store, queued, [sent])
    claimed = await claim(store)
    assert claimed.messages == {queued.id: queued}
    (found,) = claimed.recipients
    assert (found.id, found.notify, found.orcpt) == (sent.id, sent.notify, sent.orcpt)
    assert (found.status, found.attempts, found.warned) == (DeliveryStatus.SENDING, 0, False)


async def test_a_claim_takes_what_is_due_once_and_says_what_comes_next(store: Database) -> None:
    await add_tenant(store)
    later = datetime.now(UTC) + timedelta(minutes=5)
    await put(store, "b@there.test")
    await put(store, "later@there.test", due_at=later)
    await put(store, "held@there.test", status=DeliveryStatus.HELD)
    first = await claim(store)
    assert names(first) == ["b@there.test"]
    assert not first.more
    assert first.next_due_at == later
    assert names(await claim(store)) == []


async def test_a_claim_leaves_the_rest_and_full_destinations(store: Database) -> None:
    await add_tenant(store)
    for number in range(5):
        await put(store, f"r{number}@there.test")
    await put(store, "c@other.test")
    part = await claim(store, limit=2)
    assert names(part) == ["r0@there.test", "r1@there.test"]
    assert part.more
    rest = await claim(store, excluded=["there.test"])
    assert names(rest) == ["c@other.test"]
    assert (rest.more, rest.next_due_at) == (False, None)


async def test_deferred_deliveries_get_half_of_the_room(store: Database) -> None:
    await add_tenant(store)
    for number in range(4):
        await put(store, f"new{number}@there.test")
        await put(store, f"old{number}@there.test", status=DeliveryStatus.DEFERRED)
    found = names(await claim(store, limit=4))
    assert sorted(name[:3] for name in found) == ["new", "new", "old", "old"]


async def test_claims_of_two_owners_never_overlap(store: Database) -> None:
    await add_tenant(store)
    for number in range(40):
        await put(store, f"r{number}@there.test")
    claims = await asyncio.gather(*(claim(store, owner=f"h{n}/1", limit=10) for n in range(6)))
    taken = [name for each in claims for name in names(each)]
    assert len(taken) == len(set(taken)) == 40


async def test_pauses_stop_their_tenant_and_their_domain(store: Database) -> None:
    await add_tenant(store)
    other = TenantId("tenant-2")
    await add_tenant(store, other)

    async def pause(tenant: TenantId, domain: str) -> Pause:
        made = Pause(id=new_id(), tenant_id=tenant, domain=domain, created_at=datetime.now(UTC))
        await store.write("test.pause", lambda tx: queue_admin.insert_pause(tx, made))
        return made

    mine = await pause(TENANT, "there.test")
    with pytest.raises(UniqueViolation):
        await pause(TENANT, "there.test")
    await put(store, "b@there.test")
    await put(store, "b2@there.test", tenant=other)
    assert names(await claim(store)) == ["b2@there.test"]
    assert not await store.write("test.resume", lambda tx: queue_admin.delete_pause(tx, other, mine.id))
    everything = await pause(TenantId(ALL_TENANTS), ALL_DOMAINS)
    assert await store.write("test.resume", lambda tx: queue_admin.delete_pause(tx, TENANT, mine.id))
    assert names(await claim(store)) == []
    nobody = TenantId(ALL_TENANTS)
    assert await store.write("test.resume", lambda tx: queue_admin.delete_pause(tx, nobody, everything.id))
    assert names(await claim(store)) == ["b@there.test"]


async def test_leases_are_renewed_and_freed_by_owner_time_and_host(store: Database) -> None:
    await add_tenant(store)
    await put(store, "b@there.test")
    await put(store, "tried@there.test")
    now_us = to_us(datetime.now(UTC))
    await claim(store, owner="host-1/old", limit=1)
    await claim(store, owner="host-10/other", limit=1)
    assert await store.write("t", lambda tx: queue.free_passed_leases(tx, now_us=now_us)) == 0
    assert await store.write("t", lambda tx: queue.free_host_leases(tx, prefix="host-1/")) == 1
    assert names(await claim(store, owner="host-1/new")) == ["b@there.test"]
    far_us = now_us + 10 * HOUR_US
    assert await store.write("t", lambda tx: queue.renew_leases(tx, owner="host-1/new", until_us=far_us)) == 1
    assert await store.write("t", lambda tx: queue.free_passed_leases(tx, now_us=now_us + 2 * HOUR_US)) == 1
    await store.write("t", lambda tx: queue.free_leases(tx, owner="host-1/new"))
    assert len(names(await claim(store))) == 2


async def test_a_settlement_counts_only_under_its_lease(store: Database) -> None:
    await add_tenant(store)
    await put(store, "b@there.test")
    (held,) = (await claim(store, owner="h/1")).recipients
    settled = Settled(
        recipient=held, attempt=attempt(), status=DeliveryStatus.SENT, due_at=datetime.now(UTC), warned=True
    )
    assert not await store.write("t", lambda tx: queue.settle(tx, settled, owner="h/2"))
    assert await store.write("t", lambda tx: queue.settle(tx, settled, owner="h/1"))
    assert not await store.write("t", lambda tx: queue.settle(tx, settled, owner="h/1"))
    found = await store.read("t", lambda tx: queue_admin.get(tx, TENANT, held.id))
    assert found is not None
    assert (found.recipient.status, found.recipient.attempts) == (DeliveryStatus.SENT, 1)
    assert found.recipient.last_reply == "250 2.0.0 taken twice"
    assert found.finished_at is not None
    assert found.last is not None
    assert found.last.reply.lines == ("taken", "twice")
    (only,) = await store.read("t", lambda tx: queue_admin.list_attempts(tx, TENANT, held.id)) or []
    assert (only.host, only.ip, only.tls, only.duration_ms) == ("mx.there.test", "192.0.2.1", "TLSv1.3", 12)


async def test_an_attempt_that_failed_frees_its_lease_for_the_next(store: Database) -> None:
    await add_tenant(store)
    await put(store, "b@there.test")
    for number in (1, 2):
        (held,) = (await claim(store)).recipients
        assert held.attempts == number - 1
        failed = Settled(
            recipient=held,
            attempt=attempt(DeliveryStatus.DEFERRED),
            status=DeliveryStatus.DEFERRED,
            due_at=datetime.now(UTC) - timedelta(seconds=1),
        )
        await store.write("t", lambda tx, failed=failed: queue.settle(tx, failed, owner="h/1"))
    attempts = await store.read("t", lambda tx: queue_admin.list_attempts(tx, TENANT, held.id))
    assert attempts is not None
    assert len(attempts) == 2


async def test_an_administrators_change_needs_the_state_that_was_read(store: Database) -> None:
    await add_tenant(store)
    queued = await put(store, "b@there.test")
    (row,) = await store.read("t", lambda tx: queue_admin.page(tx, TENANT, QueueQuery(), after=None, limit=9))
    assert row.message == queued
    await claim(store)

    async def hold(tx: Any) -> bool:
        return await queue_admin.change(
            tx, row.recipient, status=DeliveryStatus.HELD, hold_reason="x", due_at=datetime.now(UTC)
        )

    assert not await store.write("t", hold)


async def test_statistics_and_lengths_count_what_waits(store: Database) -> None:
    await add_tenant(store)
    await put(store, "b@there.test", "c@there.test")
    await put(store, "d@other.test", status=DeliveryStatus.HELD)
    lengths, oldest = await store.read("t", queue_admin.lengths)
    assert lengths == {DeliveryStatus.QUEUED: 2, DeliveryStatus.HELD: 1}
    stats = await store.read("t", lambda tx: queue_admin.stats(tx, TENANT))
    assert stats.oldest_at == oldest
    assert [(count.value, count.count) for count in stats.by_domain] == [("there.test", 2), ("other.test", 1)]


async def test_ids_without_rows_find_nothing(store: Database) -> None:
    await add_tenant(store)
    missing = DeliveryId(new_id())
    assert await store.read("t", lambda tx: queue_admin.get(tx, TENANT, missing)) is None
    assert await store.read("t", lambda tx: queue_admin.list_attempts(tx, TENANT, missing)) is None
    assert await store.read("t", lambda tx: queue.get_messages(tx, [])) == {}
    assert not await store.read("t", lambda tx: queue.requires_tls(tx, "nowhere.test"))
