"""The queue's engine over a real store and real connections (reliability.md §2, Q1-Q7; F08, F14)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from server.domain.envelope import Notify, Ret
from server.domain.errors import OverQuota, Unavailable
from server.domain.queue import Attempt, DeliveryKind, DeliveryStatus, Origin
from server.domain.reply import reply
from server.services.queue.admin import QueueAdmin
from server.services.queue.courier import Claim, begin, same_for_all
from server.services.queue.remote import CREDENTIALS_HOLD
from server.store.repositories import queue
from server.store.times import from_us
from tests.support.clock import FakeClock
from tests.support.fake_mx import DROP, HANG, LOST_250, FakeMx
from tests.support.identity import scope_of
from tests.support.queueing import TENANT, QueueRig, changed, open_rig, running


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[QueueRig]:
    async with open_rig(tmp_path) as opened:
        yield opened


class ScriptedCourier:
    """A Courier that answers with replies in turn, the last for ever, or raises."""

    def __init__(self, rig: QueueRig, *answers: str | Exception) -> None:
        self._clock = rig.clock
        self._answers = list(answers) or ["250 2.0.0 ok"]
        self.claims: list[Claim] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.past_dot = False
        self.notified = False

    def lane(self, recipient: object) -> str:
        return str(recipient.domain)  # type: ignore[attr-defined]

    async def deliver(self, claim: Claim) -> list[Attempt]:
        self.claims.append(claim)
        begun = begin(self._clock)
        claim.progress.past_dot = self.past_dot
        await self.gate.wait()
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        code, enhanced, text = answer.split(" ", 2)
        status = DeliveryStatus.HELD if code == "535" else None
        said = reply(int(code), enhanced, text)
        return same_for_all(
            begun.attempt(said, from_remote=True, status=status, notified=self.notified), claim.recipients
        )

    async def reap(self) -> None: ...

    async def close(self) -> None: ...


async def test_a_queued_message_is_delivered_and_its_attempt_recorded(rig: QueueRig) -> None:
    async with FakeMx() as mx:
        await rig.put("b@there.test")
        async with running(rig.runner(rig.courier(mx.port))):
            await rig.until_settled()
    row = await rig.row("b@there.test")
    assert (row["status"], row["last_reply"], row["last_host"]) == ("sent", "250 2.0.0 taken as 4711", "mx.there.test")
    assert row["finished_at"] is not None
    assert [a["ip"] for a in await rig.attempts()] == ["127.0.0.1"]
    events = await rig.events()
    assert [(e["type"], e["reply"], e["remote_ip"]) for e in events] == [
        ("delivery.sent", "250 2.0.0 taken as 4711", "127.0.0.1")
    ]
    assert mx.messages[0].data.startswith(b"Received: from here\r\nFrom: <a@ours.test>")


async def test_recipients_of_one_domain_share_a_transaction(rig: QueueRig) -> None:
    async with FakeMx() as mx:
        await rig.put("b@there.test", "c@there.test")
        async with running(rig.runner(rig.courier(mx.port))):
            await rig.until_settled()
    assert [len(taken.rcpts) for taken in mx.messages] == [2]


async def test_a_wake_starts_a_delivery_at_once(rig: QueueRig) -> None:
    courier = ScriptedCourier(rig)
    async with running(rig.runner(courier)) as runner:
        await asyncio.sleep(0.05)
        await rig.put("b@there.test")
        runner.wake()
        await rig.until_settled(timeout_s=2)


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data", "body", "dot"])
async def test_a_message_whose_connection_drops_is_sent_later_and_not_lost(rig: QueueRig, stage: str) -> None:
    """F14; FT8."""
    rig.settings = changed(rig.settings, queue={"retry_delays": (0.02,)})
    async with FakeMx(script={stage: [DROP]}) as mx:
        await rig.put("b@there.test")
        async with running(rig.runner(rig.courier(mx.port))):
            await rig.until_settled(attempts=2)
    assert (await rig.row("b@there.test"))["status"] == "sent"
    assert len(mx.messages) == 1


async def test_a_lost_250_makes_the_one_duplicate_that_smtp_knows(rig: QueueRig) -> None:
    """P3, RFC 1047."""
    rig.settings = changed(rig.settings, queue={"retry_delays": (0.02,)})
    async with FakeMx(script={"dot": [LOST_250]}) as mx:
        await rig.put("b@there.test")
        async with running(rig.runner(rig.courier(mx.port))):
            await rig.until_settled(attempts=2)
    assert (await rig.row("b@there.test"))["status"] == "sent"
    assert len(mx.messages) == 2
    assert mx.messages[0].data == mx.messages[1].data


async def test_a_tarpit_takes_its_own_slots_only(rig: QueueRig) -> None:
    """F14: fifty tarpits leave other destinations alone."""
    rig.settings = changed(rig.settings, queue={"per_destination": 2})
    async with FakeMx(script={"connect": HANG}) as tarpit:
        good = FakeMx(host="127.0.0.2")
        good.port = tarpit.port
        async with good:
            for _ in range(50):
                await rig.put("b@there.test")
            for _ in range(10):
                await rig.put("c@other.test")
            async with running(rig.runner(rig.courier(tarpit.port))):

                async def sent() -> bool:
                    return len(good.messages) == 10

                await rig.until(sent, timeout_s=5)
                assert tarpit.open_most <= 2
    assert sum(row["status"] == "queued" for row in await rig.rows()) == 50


async def test_a_full_destination_leaves_room_for_others_beyond_the_claim(rig: QueueRig) -> None:
    rig.settings = changed(rig.settings, queue={"per_destination": 1})
    for _ in range(450):
        await rig.put("b@there.test")
    await rig.put("c@other.test")
    courier = ScriptedCourier(rig)
    courier.gate.clear()
    async with running(rig.runner(courier)):

        async def both() -> bool:
            return {claim.recipients[0].domain for claim in courier.claims} == {"there.test", "other.test"}

        await rig.until(both, timeout_s=5)
        courier.gate.set()
        await rig.until_settled(timeout_s=15)
    assert {row["status"] for row in await rig.rows()} == {"sent"}


async def test_an_error_of_ours_is_a_deferred_attempt(rig: QueueRig) -> None:
    courier = ScriptedCourier(rig, RuntimeError("boom"))
    await rig.put("b@there.test")
    async with running(rig.runner(courier)):
        await rig.until_settled()
    row = await rig.row("b@there.test")
    assert (row["status"], row["last_reply"]) == ("deferred", "451 4.3.0 temporary server error")


async def test_leases_of_a_former_life_are_free_at_the_start(rig: QueueRig) -> None:
    """Q2: leases of our own host's former epoch are free again at the start; another host's are not."""
    await rig.put("b@there.test")
    now_us = 10**17
    await rig.database.write(
        "test.claim", lambda tx: queue.claim(tx, owner="host-1/dead", limit=9, lease_us=10**12, now_us=now_us)
    )
    await rig.put("c@there.test")
    await rig.database.write(
        "test.claim", lambda tx: queue.claim(tx, owner="host-2/alive", limit=9, lease_us=10**12, now_us=now_us)
    )
    courier = ScriptedCourier(rig)
    async with running(rig.runner(courier)):

        async def sent() -> bool:
            return (await rig.row("b@there.test"))["status"] == "sent"

        await rig.until(sent)
    assert (await rig.row("c@there.test"))["status"] == "sending"


async def test_leases_are_renewed_while_a_delivery_takes_long(rig: QueueRig) -> None:
    rig.clock = clock = FakeClock()
    courier = ScriptedCourier(rig)
    courier.gate.clear()
    await rig.put("b@there.test")
    async with running(rig.runner(courier)):

        async def begun() -> bool:
            return bool(courier.claims)

        await rig.until(begun)
        first = (await rig.row("b@there.test"))["lease_until"]

        async def renewed() -> bool:
            await clock.advance(5)
            return bool((await rig.row("b@there.test"))["lease_until"] > first)

        await rig.until(renewed)
        courier.gate.set()
        await rig.until_settled()


async def test_a_stop_abandons_what_is_before_the_dot_and_frees_it(rig: QueueRig) -> None:
    courier = ScriptedCourier(rig)
    courier.gate.clear()
    await rig.put("b@there.test", "c@other.test")
    runner = rig.runner(courier)
    async with running(runner):

        async def begun() -> bool:
            return len(courier.claims) == 2

        await rig.until(begun)
    assert {(row["status"], row["attempts"], row["lease_owner"]) for row in await rig.rows()} == {("queued", 0, None)}


async def test_a_stop_waits_for_what_is_past_the_dot(rig: QueueRig) -> None:
    courier = ScriptedCourier(rig)
    courier.past_dot = True
    courier.gate.clear()
    await rig.put("b@there.test")
    runner = rig.runner(courier)
    async with running(runner):

        async def begun() -> bool:
            return bool(courier.claims)

        await rig.until(begun)
        runner.stop()
        await asyncio.sleep(0.02)
        courier.gate.set()
    assert (await rig.row("b@there.test"))["status"] == "sent"


async def test_a_cancelled_runner_can_run_again(rig: QueueRig) -> None:
    """A crashed loop restarts: what it held is claimed anew, once."""
    courier = ScriptedCourier(rig)
    courier.gate.clear()
    rig.settings = changed(rig.settings, queue={"per_destination": 1})
    for _ in range(3):
        await rig.put("b@there.test")
    runner = rig.runner(courier)
    task = asyncio.create_task(runner.run())

    async def begun() -> bool:
        return bool(courier.claims)

    await rig.until(begun)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    courier.claims.clear()
    courier.gate.set()
    async with running(runner):
        await rig.until_settled()
    assert len(courier.claims) == len(await rig.attempts()) == 3


async def test_paused_destinations_are_not_attempted(rig: QueueRig) -> None:
    courier = ScriptedCourier(rig)
    runner = rig.runner(courier)
    admin = QueueAdmin(database=rig.database, clock=rig.clock, reporter=rig.reporter(), wake=runner.wake)
    scope = scope_of(TENANT)
    pause = await admin.pause(scope, "there.test")
    await rig.put("b@there.test", "c@other.test")
    async with running(runner):

        async def sent() -> bool:
            return (await rig.row("c@other.test"))["status"] == "sent"

        await rig.until(sent)
        assert (await rig.row("b@there.test"))["status"] == "queued"
        await admin.resume(scope, pause.id)
        await rig.until_settled(timeout_s=2)


async def test_held_mail_stays_and_refused_credentials_hold(rig: QueueRig) -> None:
    """Q6; product.md 10: no bounce."""
    courier = ScriptedCourier(rig, "535 5.7.8 wrong password")
    await rig.put("held@there.test", status=DeliveryStatus.HELD)
    await rig.put("b@there.test")
    async with running(rig.runner(courier)):

        async def held() -> bool:
            return (await rig.row("b@there.test"))["status"] == "held"

        await rig.until(held)
    assert (await rig.row("b@there.test"))["hold_reason"] == CREDENTIALS_HOLD
    assert (await rig.row("held@there.test"))["attempts"] == 0
    assert await rig.reports() == []
    assert [(e["verdict"], e["severity"]) for e in await rig.events()] == [("held", "error")]


async def test_deliveries_are_tried_again_by_the_schedule_until_they_expire(rig: QueueRig) -> None:
    """product.md 8: 5, 10, 20, 40 minutes, then hourly, for five days; one DSN of delay, one of failure."""
    rig.clock = clock = FakeClock(chance=0.0)
    courier = ScriptedCourier(rig, "450 4.2.0 busy")
    queued = await rig.put("b@there.test")
    tried: list[float] = []
    async with running(rig.runner(courier)) as runner:
        for _ in range(200):

            async def settled(count: int = len(tried) + 1) -> bool:
                runner.wake()
                row = await rig.row("b@there.test")
                return bool(row["attempts"] >= count and row["status"] != "sending")

            await rig.until(settled)
            tried.append((clock.now() - queued.created_at).total_seconds() / 60)
            row = await rig.row("b@there.test")
            if row["status"] == "expired":
                break
            # A step, for a clock that wakes sleepers on the way would run past those that wait for the store;
            # a little more than the span, for it is rounded to microseconds.
            clock.step((from_us(row["due_at"]) - clock.now()).total_seconds() + 0.001)
    assert [round(minutes) for minutes in tried[:6]] == [0, 5, 15, 35, 75, 135]
    assert round(tried[-1]) == 5 * 24 * 60
    row = await rig.row("b@there.test")
    assert (row["status"], row["last_reply"]) == ("expired", "450 4.2.0 busy")


@pytest.mark.parametrize(
    ("notify", "answer", "action"),
    [
        (frozenset(), "550 5.1.1 no such user", b"failed"),
        (frozenset({Notify.FAILURE}), "550 5.1.1 no such user", b"failed"),
        (frozenset({Notify.SUCCESS}), "250 2.0.0 ok", b"relayed"),
        (frozenset({Notify.NEVER}), "550 5.1.1 no such user", None),
        (frozenset({Notify.SUCCESS}), "550 5.1.1 no such user", None),
        (frozenset({Notify.DELAY}), "550 5.1.1 no such user", None),
        (frozenset(), "250 2.0.0 ok", None),
        (frozenset(), "450 4.2.0 later", None),
    ],
)
async def test_reports_follow_notify(
    rig: QueueRig, notify: frozenset[Notify], answer: str, action: bytes | None
) -> None:
    """RFC 3461 §4.1."""
    courier = ScriptedCourier(rig, answer, "250 2.0.0 ok")
    await rig.put("x@there.test", notify=notify)
    async with running(rig.runner(courier)):
        await rig.until_settled()
    reports = await rig.reports()
    if action is None:
        assert reports == []
        return
    assert len(reports) == 1
    assert b"\r\nAction: " + action + b"\r\n" in reports[0]["octets"]
    assert (reports[0]["sender"], reports[0]["account_id"]) == ("", None)
    row = await rig.row("a@ours.test")
    assert (row["kind"], row["status"]) == ("local", "sent")
    assert rig.mailstore.delivered == ["a@ours.test"]


async def test_success_is_not_reported_twice_when_the_remote_took_the_wish_over(rig: QueueRig) -> None:
    """RFC 3461 §5.2.2."""
    courier = ScriptedCourier(rig)
    courier.notified = True
    await rig.put("x@there.test", notify=frozenset({Notify.SUCCESS}))
    async with running(rig.runner(courier)):
        await rig.until_settled()
    assert await rig.reports() == []


async def test_one_report_names_all_recipients_that_failed_together(rig: QueueRig) -> None:
    """RFC 3464 §2.3."""
    courier = ScriptedCourier(rig, "550 5.1.1 no such user", "250 2.0.0 ok")
    await rig.put("x@there.test", "y@there.test", ret=Ret.FULL)
    async with running(rig.runner(courier)):
        await rig.until_settled()
    (report,) = await rig.reports()
    assert report["octets"].count(b"Final-Recipient:") == 2
    assert b"The body." in report["octets"]


@pytest.mark.parametrize("origin", [Origin.DSN, Origin.SMTP])
async def test_the_null_reverse_path_never_gets_a_report(rig: QueueRig, origin: Origin) -> None:
    """RFC 5321 §4.5.5: no DSN of a DSN, from any failure."""
    courier = ScriptedCourier(rig, "550 5.1.1 no such user")
    await rig.put("x@there.test", sender="", origin=origin)
    async with running(rig.runner(courier)):
        await rig.until_settled()
    assert [row["status"] for row in await rig.rows()] == ["failed"]


async def test_a_failed_report_ends_there(rig: QueueRig) -> None:
    """T17: a message, its report, and nothing more, when both are refused."""
    courier = ScriptedCourier(rig, "550 5.1.1 no such user")
    await rig.put("x@there.test", sender="a@elsewhere.test")
    async with running(rig.runner(courier)):
        await rig.until_settled()

        async def ended() -> bool:
            rows = await rig.rows()
            return len(rows) == 2 and all(row["status"] == "failed" for row in rows)

        await rig.until(ended)
    assert len(await rig.reports()) == 1


async def test_a_delay_is_reported_once_after_four_hours(rig: QueueRig) -> None:
    courier = ScriptedCourier(rig, "450 4.2.0 later")
    rig.settings = changed(rig.settings, queue={"retry_delays": (0.05,)})
    now = rig.clock.now()
    await rig.put("y@there.test", created_at=now - timedelta(hours=5))
    await rig.put("z@there.test", created_at=now - timedelta(hours=3))
    async with running(rig.runner(courier)):
        await rig.until_settled(attempts=1)

        async def again() -> bool:
            return bool((await rig.row("y@there.test"))["attempts"] >= 3)

        await rig.until(again)
    (report,) = await rig.reports()
    assert b"\r\nAction: delayed\r\n" in report["octets"]
    assert b"y@there.test" in report["octets"]


async def test_local_deliveries_are_stored_with_their_attempt(rig: QueueRig) -> None:
    rig.mailstore.refusals["gone@ours.test"] = reply(550, "5.1.1", "no such user here")
    await rig.put("b@ours.test", "gone@ours.test", kind=DeliveryKind.LOCAL)
    async with running(rig.runner(ScriptedCourier(rig))):

        async def settled() -> bool:
            return all(row["status"] in ("sent", "failed") for row in await rig.rows())

        await rig.until(settled)
    assert (await rig.row("b@ours.test"))["status"] == "sent"
    assert (await rig.row("gone@ours.test"))["last_reply"] == "550 5.1.1 no such user here"
    assert rig.mailstore.delivered == ["b@ours.test", "a@ours.test"]
    assert len(await rig.reports()) == 1


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OverQuota("the mailbox is full"), "452 4.2.2 the mailbox is full"),
        (Unavailable(), "451 4.3.0 temporary server error"),
        (RuntimeError("boom"), "451 4.3.0 temporary server error"),
    ],
)
@pytest.mark.parametrize("where", ["prepare", "store"])
async def test_a_local_delivery_that_fails_is_deferred(rig: QueueRig, error: Exception, text: str, where: str) -> None:
    """P4: our own fault is never permanent."""
    setattr(rig.mailstore, f"{where}_error", error)
    await rig.put("b@ours.test", kind=DeliveryKind.LOCAL)
    async with running(rig.runner(ScriptedCourier(rig))):
        await rig.until_settled()
    row = await rig.row("b@ours.test")
    assert (row["status"], row["last_reply"]) == ("deferred", text)
    assert await rig.reports() == []


async def test_a_settlement_the_store_refuses_is_tried_until_it_is_stored(
    rig: QueueRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    courier = ScriptedCourier(rig)
    await rig.put("b@there.test")
    real = rig.database.write
    refused = 0

    async def write(name: str, unit: object) -> object:
        nonlocal refused
        if name == "queue.settle" and refused < 2:
            refused += 1
            raise Unavailable
        return await real(name, unit)  # type: ignore[arg-type]

    monkeypatch.setattr(rig.database, "write", write)
    async with running(rig.runner(courier)):
        await rig.until_settled()
    assert (refused, len(courier.claims), len(await rig.attempts())) == (2, 1, 1)
