"""The queue for administrators (api.md §5, product.md 8, R8, R9)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from server.domain.envelope import Notify
from server.domain.errors import Conflict, Forbidden, InvalidInput, NotFound
from server.domain.ids import DeliveryId, TenantId
from server.domain.paging import PageRequest
from server.domain.queue import DeliveryStatus
from server.services.queue.admin import DeliveryFilter, QueueAction, QueueAdmin
from server.services.queue.reason import ReasonPattern
from server.store.schema import audit
from tests.support.identity import scope_of
from tests.support.queueing import TENANT, QueueRig, add_tenant, open_rig

OTHER = TenantId("tenant-2")
SCOPE = scope_of(TENANT)
ALL = PageRequest(limit=50)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[QueueRig]:
    async with open_rig(tmp_path) as opened:
        yield opened


@pytest.fixture
def woken() -> list[str]:
    return []


@pytest.fixture
def admin(rig: QueueRig, woken: list[str]) -> QueueAdmin:
    return QueueAdmin(
        database=rig.database, clock=rig.clock, reporter=rig.reporter(), wake=lambda: woken.append("wake")
    )


async def addresses(admin: QueueAdmin, **wanted: object) -> list[str]:
    found = await admin.list(SCOPE, DeliveryFilter(**wanted), ALL)  # type: ignore[arg-type]
    return [delivery.recipient.recipient for delivery in found.items]


async def only(rig: QueueRig) -> DeliveryId:
    rows = await rig.rows()
    return DeliveryId(rows[0]["id"])


async def audited(rig: QueueRig) -> list[str]:
    rows = await rig.database.read("test.audit", lambda tx: tx.fetch(select(audit.c.type).order_by(audit.c.seq)))
    return [str(row["type"]) for row in rows]


async def test_lists_are_narrowed_by_every_filter(rig: QueueRig, admin: QueueAdmin) -> None:
    old = datetime.now(UTC) - timedelta(hours=3)
    await rig.put("old@there.test", created_at=old, due_at=old)
    await rig.put("b@there.test", sender="")
    await rig.put("c@other.test", status=DeliveryStatus.HELD)
    await rig.put("d@other.test", last_reply="421 4.7.28 Rate Limited", attempts=0)
    assert await addresses(admin) == ["d@other.test", "c@other.test", "b@there.test", "old@there.test"]
    assert await addresses(admin, domain="OTHER.test") == ["d@other.test", "c@other.test"]
    assert await addresses(admin, status=DeliveryStatus.HELD) == ["c@other.test"]
    assert await addresses(admin, sender="") == ["b@there.test"]
    assert await addresses(admin, recipient="B@there.test") == ["b@there.test"]
    assert await addresses(admin, reason="^421.*rate") == ["d@other.test"]
    assert await addresses(admin, tries=1) == []


async def test_pages_follow_each_other(rig: QueueRig, admin: QueueAdmin) -> None:
    for number in range(5):
        await rig.put(f"r{number}@there.test")
    first = await admin.list(SCOPE, DeliveryFilter(), PageRequest(limit=3))
    second = await admin.list(SCOPE, DeliveryFilter(), PageRequest(limit=3, after=first.next_after))
    seen = [delivery.recipient.recipient for page in (first, second) for delivery in page.items]
    assert seen == [f"r{number}@there.test" for number in (4, 3, 2, 1, 0)]
    assert second.next_after is None


async def test_deliveries_of_another_tenant_do_not_exist(rig: QueueRig, admin: QueueAdmin) -> None:
    """R8: any other id answers 404."""
    await add_tenant(rig.database, OTHER)
    await rig.put("b@there.test")
    foreign, key = scope_of(OTHER), await only(rig)
    assert (await admin.list(foreign, DeliveryFilter(), ALL)).items == ()
    assert (await admin.stats(foreign)).by_status == ()
    with pytest.raises(NotFound):
        await admin.get(foreign, key)
    with pytest.raises(NotFound):
        await admin.attempts(foreign, key)
    for action in QueueAction:
        with pytest.raises(NotFound):
            await admin.act(foreign, key, action)
        assert (await admin.act_on_all(foreign, DeliveryFilter(), action, dry_run=False)).matched == 0
    pause = await admin.pause(SCOPE, "there.test")
    with pytest.raises(NotFound):
        await admin.resume(foreign, pause.id)


async def test_a_caller_without_the_scope_is_refused(rig: QueueRig, admin: QueueAdmin) -> None:
    await rig.put("b@there.test")
    reader = scope_of(TENANT, scopes=frozenset({"queue:read"}))
    assert (await admin.list(reader, DeliveryFilter(), ALL)).items
    with pytest.raises(Forbidden):
        await admin.act(reader, await only(rig), QueueAction.DELETE)
    with pytest.raises(Forbidden):
        await admin.list(scope_of(TENANT, scopes=frozenset()), DeliveryFilter(), ALL)


async def test_hold_and_release_are_audited_and_traced(rig: QueueRig, admin: QueueAdmin, woken: list[str]) -> None:
    await rig.put("b@there.test")
    key = await only(rig)
    held = await admin.act(SCOPE, key, QueueAction.HOLD, reason="looks odd")
    assert (held.recipient.status, held.recipient.hold_reason) == (DeliveryStatus.HELD, "looks odd")
    with pytest.raises(Conflict):
        await admin.act(SCOPE, key, QueueAction.RETRY)
    released = await admin.act(SCOPE, key, QueueAction.RELEASE)
    assert (released.recipient.status, released.recipient.hold_reason) == (DeliveryStatus.QUEUED, "")
    assert await audited(rig) == ["queue.hold", "queue.release"]
    traced = [event for event in await rig.events() if event["component"] == "queue"]
    assert [event["type"] for event in traced] == ["submission.held", "delivery.released"]
    assert all(event["trace_id"] == held.message.trace_id for event in traced)
    assert woken


async def test_retry_makes_a_deferred_delivery_due_now(rig: QueueRig, admin: QueueAdmin) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    await rig.put("b@there.test", due_at=later)
    retried = await admin.act(SCOPE, await only(rig), QueueAction.RETRY)
    assert retried.recipient.due_at <= datetime.now(UTC)


async def test_bounce_tells_the_sender_and_delete_does_not(rig: QueueRig, admin: QueueAdmin) -> None:
    await rig.put("b@there.test")
    await rig.put("c@there.test")
    first, second = [DeliveryId(row["id"]) for row in await rig.rows()]
    assert (await admin.act(SCOPE, first, QueueAction.BOUNCE)).recipient.status is DeliveryStatus.FAILED
    assert (await admin.act(SCOPE, second, QueueAction.DELETE)).recipient.status is DeliveryStatus.CANCELLED
    assert len(await rig.reports()) == 1
    assert [attempt["enhanced"] for attempt in await rig.attempts()] == ["5.7.0"]
    for key in (first, second):
        with pytest.raises(Conflict):
            await admin.act(SCOPE, key, QueueAction.DELETE)


async def test_bounce_with_notify_never_sends_nothing(rig: QueueRig, admin: QueueAdmin) -> None:
    await rig.put("b@there.test", notify=frozenset({Notify.NEVER}))
    await admin.act(SCOPE, await only(rig), QueueAction.BOUNCE)
    assert await rig.reports() == []


async def test_what_is_being_sent_is_left_alone(rig: QueueRig, admin: QueueAdmin) -> None:
    await rig.put("b@there.test", status=DeliveryStatus.SENDING)
    for action in QueueAction:
        with pytest.raises(Conflict):
            await admin.act(SCOPE, await only(rig), action)
    assert (await admin.act_on_all(SCOPE, DeliveryFilter(), QueueAction.DELETE, dry_run=False)).matched == 0


async def test_bulk_changes_what_matches_after_a_dry_run(rig: QueueRig, admin: QueueAdmin) -> None:
    for number in range(5):
        await rig.put(f"r{number}@there.test")
    await rig.put("c@other.test")
    wanted = DeliveryFilter(domain="there.test")
    plan = await admin.act_on_all(SCOPE, wanted, QueueAction.HOLD, dry_run=True)
    assert (plan.matched, plan.done, len(plan.samples)) == (5, 0, 3)
    assert {row["status"] for row in await rig.rows()} == {"queued"}
    done = await admin.act_on_all(SCOPE, wanted, QueueAction.HOLD, dry_run=False)
    assert (done.matched, done.done, done.failed) == (5, 5, 0)
    assert [row["status"] for row in await rig.rows()] == ["held"] * 5 + ["queued"]


async def test_stats_count_by_status_domain_and_reason(rig: QueueRig, admin: QueueAdmin) -> None:
    await rig.put("b@there.test", "c@there.test", last_reply="450 later")
    await rig.put("d@other.test", status=DeliveryStatus.HELD)
    stats = await admin.stats(SCOPE)
    assert [(c.value, c.count) for c in stats.by_status] == [("queued", 2), ("held", 1)]
    assert [(c.value, c.count) for c in stats.by_domain] == [("there.test", 2), ("other.test", 1)]
    assert [(c.value, c.count) for c in stats.by_reason] == [("450 later", 2)]
    assert stats.oldest_at is not None


async def test_pauses_are_made_once_listed_and_ended(rig: QueueRig, admin: QueueAdmin) -> None:
    pause = await admin.pause(SCOPE, "There.test")
    assert pause.domain == "there.test"
    with pytest.raises(Conflict):
        await admin.pause(SCOPE, "there.test")
    with pytest.raises(InvalidInput):
        await admin.pause(SCOPE, "not a domain")
    everything = await admin.pause(SCOPE, None)
    assert [p.domain for p in await admin.pauses(SCOPE)] == ["*", "there.test"]
    await admin.resume(SCOPE, pause.id)
    await admin.resume(SCOPE, everything.id)
    assert await admin.pauses(SCOPE) == ()
    assert await audited(rig) == ["queue.pause", "queue.pause", "queue.resume", "queue.resume"]


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("rate limit", "421 4.7.28 Rate Limited", True),
        ("^421", "421 x", True),
        ("^421", "x 421", False),
        ("full$", "mailbox full", True),
        ("full$", "full mailbox", False),
        ("4[0-9]1.*later", "451 try later", True),
        ("greylist|later", "come back later", True),
        (r"4\.7\.1", "450 4.7.1 no", True),
        (r"4\.7\.1", "450 4x7x1 no", False),
        ("^a.*b$", "ab", True),
        ("^ab$", "aab", False),
        ("a|", "zzz", True),
    ],
)
def test_reason_patterns_search_like_regular_expressions(pattern: str, text: str, matches: bool) -> None:
    assert ReasonPattern(pattern).matches(text) is matches


@pytest.mark.parametrize("pattern", ["(a+)+$", "a*", "a+", "x{3}", "[z-a]", "a^b", r"\d", "x" * 501, "["])
def test_patterns_that_could_be_slow_are_refused(pattern: str) -> None:
    """O-H10, Y15: refused, never evaluated."""
    with pytest.raises(InvalidInput):
        ReasonPattern(pattern)
