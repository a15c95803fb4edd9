"""Idle connections kept for the next message to the same destination.

- A connection serves `MESSAGES_MAX` messages and lives `LIFE_S` at most; idle ones are closed after `IDLE_S`.
- At most `IDLE_MAX` wait in all; the oldest is closed for a newer one.
"""

from __future__ import annotations

import asyncio
from collections import deque

from server.domain.ports import Clock
from server.services.queue.session import Session

IDLE_S = 10.0
MESSAGES_MAX = 100
LIFE_S = 2 * 3600.0
"""Life of a connection (reliability.md §8)."""

IDLE_MAX = 200


class SessionPool:
    """Sessions by key; the newest idle one is taken first."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._idle: dict[str, deque[Session]] = {}
        self._count = 0

    def take(self, key: str) -> Session | None:
        """An idle session that can take a message, or None."""
        waiting = self._idle.get(key)
        while waiting:
            session = waiting.pop()
            self._count -= 1
            if not waiting:
                del self._idle[key]
            if self._fresh(session):
                return session
            session.abort()
        return None

    def give(self, key: str, session: Session) -> bool:
        """Keep a session for later; False when it is spent and the caller must end it."""
        spent = session.messages >= MESSAGES_MAX or self._clock.monotonic() - session.opened_s > LIFE_S
        if spent or not session.client.usable or self._count >= IDLE_MAX:
            return False
        self._idle.setdefault(key, deque()).append(session)
        self._count += 1
        return True

    async def reap(self, *, everything: bool = False) -> None:
        """Say goodbye to sessions that were idle too long, or to all."""
        leaving: list[Session] = []
        for key, waiting in list(self._idle.items()):
            while waiting and (everything or not self._fresh(waiting[0])):
                leaving.append(waiting.popleft())
                self._count -= 1
            if not waiting:
                del self._idle[key]
        await asyncio.gather(*(session.quit() for session in leaving))

    def _fresh(self, session: Session) -> bool:
        return session.client.usable and self._clock.monotonic() - session.idle_since_s < IDLE_S
