"""Makes changes of access felt everywhere: bans and ended rights reach every process within seconds.

- One counter row tells that something changed; only then bans and open connections are looked at.
- What ends by time alone, an app password or a ban, is looked at once a minute.
"""

from __future__ import annotations

from server.domain.errors import MaiRustError
from server.domain.ports import Clock
from server.services.identity.bans import Bans
from server.services.identity.connections import Connections
from server.store.counters import access_state
from server.store.database import Database
from server.telemetry.log import get_logger

log = get_logger("auth")

LOOK_S = 2.0
LOOK_ANYWAY_S = 60.0
CLEAN_S = 6 * 3600.0


class AccessWatch:
    """Looks for changes while it runs."""

    def __init__(self, database: Database, clock: Clock, *, bans: Bans, connections: Connections) -> None:
        self._database = database
        self._clock = clock
        self._bans = bans
        self._connections = connections
        self._state = -1
        self._looked_at = float("-inf")
        self._cleaned_at = float("-inf")

    async def run(self) -> None:
        while True:
            try:
                await self.look()
            except MaiRustError as error:
                log.warning("access.look_failed", error=error.public)
            await self._clock.sleep(LOOK_S)

    async def look(self) -> None:
        """Take over what changed since the last time. Raises Unavailable."""
        now = self._clock.monotonic()
        state = await self._database.read("access.state", access_state)
        if state != self._state or now - self._looked_at >= LOOK_ANYWAY_S:
            await self._bans.load()
            await self._connections.recheck()
            self._state, self._looked_at = state, now
        else:
            await self._connections.recheck(fresh=True)
        if now - self._cleaned_at >= CLEAN_S:
            await self._bans.clean()
            self._cleaned_at = now
