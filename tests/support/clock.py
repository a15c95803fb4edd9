"""A `Clock` that stands still until a test moves it."""

from __future__ import annotations

import asyncio
import heapq
from datetime import UTC, datetime, timedelta

START = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)


class FakeClock:
    """Implements `domain.ports.Clock`; `random()` is always `chance`.

    `sleep` returns when `advance` has passed its time; sleepers wake in the order of their time.
    """

    def __init__(self, start: datetime = START, *, chance: float = 0.5) -> None:
        self._now = start
        self._monotonic_s = 1000.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0
        self.chance = chance

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic_s

    def random(self) -> float:
        return self.chance

    async def sleep(self, seconds: float) -> None:
        future = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._sleepers, (self._monotonic_s + seconds, self._count, future))
        await future

    @property
    def sleepers(self) -> int:
        """How many tasks sleep."""
        return sum(not future.done() for _, _, future in self._sleepers)

    def step(self, seconds: float) -> None:
        """Move both clocks and wake nobody: for code that only looks at the time."""
        self._now += timedelta(seconds=seconds)
        self._monotonic_s += seconds

    def jump(self, seconds: float) -> None:
        """Move the wall clock alone, as an administrator or NTP does (F11)."""
        self._now += timedelta(seconds=seconds)

    async def advance(self, seconds: float) -> None:
        """Move both clocks, waking each sleeper at its time and letting it run before the next."""
        end = self._monotonic_s + seconds
        while self._sleepers and self._sleepers[0][0] <= end:
            due, _, future = heapq.heappop(self._sleepers)
            self.step(max(0.0, due - self._monotonic_s))
            if not future.done():
                future.set_result(None)
            await settle()
        self.step(end - self._monotonic_s)
        await settle()


async def settle(rounds: int = 20) -> None:
    """Let ready tasks run."""
    for _ in range(rounds):
        await asyncio.sleep(0)
