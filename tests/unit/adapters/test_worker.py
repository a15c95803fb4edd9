"""Threads, hints and the clock."""

from __future__ import annotations

import asyncio
import threading

import pytest

from server.adapters.clock import SystemClock
from server.adapters.notify_local import LocalNotifier
from server.adapters.worker import ThreadWorker
from server.domain.changes import StateChange
from server.domain.errors import Unavailable
from server.domain.ids import AccountId, ModSeq
from tests.support.clock import FakeClock, settle

ANNA = AccountId("anna")


async def test_work_runs_in_a_thread_of_its_pool() -> None:
    worker = ThreadWorker("hash", threads=1)
    name = await worker.run(lambda: threading.current_thread().name)
    assert name.startswith("hash")
    worker.close()


async def test_t34_a_full_pool_refuses_and_recovers() -> None:
    worker, gate = ThreadWorker("hash", threads=1, waiting_max=1), threading.Event()
    running, waiting = worker.run(gate.wait), worker.run(gate.wait)
    with pytest.raises(Unavailable):
        worker.run(gate.wait)
    gate.set()
    await asyncio.gather(running, waiting)
    assert await worker.run(lambda: 7) == 7
    worker.close()


async def test_an_error_of_the_work_reaches_the_caller() -> None:
    worker = ThreadWorker("blob", threads=1)
    with pytest.raises(ZeroDivisionError):
        await worker.run(lambda: 1 // 0)
    worker.close()


def test_a_hint_wakes_only_who_waits_for_the_account() -> None:
    notifier, seen = LocalNotifier(), list[StateChange]()
    end = notifier.subscribe(ANNA, seen.append)
    notifier.publish(StateChange(AccountId("bob"), ModSeq(1)))
    notifier.publish(StateChange(ANNA, ModSeq(2)))
    end()
    end()
    notifier.publish(StateChange(ANNA, ModSeq(3)))
    assert seen == [StateChange(ANNA, ModSeq(2))]


def test_a_failing_listener_does_not_keep_the_hint_from_others() -> None:
    notifier, seen = LocalNotifier(), list[StateChange]()

    def fail(_change: StateChange) -> None:
        raise RuntimeError

    notifier.subscribe(ANNA, fail)
    notifier.subscribe(ANNA, seen.append)
    notifier.publish(StateChange(ANNA, ModSeq(1)))
    assert len(seen) == 1


async def test_the_clock_is_aware_and_monotonic() -> None:
    clock = SystemClock()
    before = clock.monotonic()
    await clock.sleep(0)
    assert clock.now().utcoffset() is not None
    assert clock.monotonic() >= before
    assert 0 <= clock.random() < 1


async def test_the_fake_clock_wakes_sleepers_in_order() -> None:
    clock, woken = FakeClock(), list[float]()

    async def nap(seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append(seconds)

    tasks = [asyncio.create_task(nap(seconds)) for seconds in (5, 2, 9)]
    await settle()
    await clock.advance(6)
    assert woken == [2, 5]
    await clock.advance(3)
    assert woken == [2, 5, 9]
    await asyncio.gather(*tasks)
