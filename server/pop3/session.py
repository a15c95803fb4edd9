"""A session: its state, its login and its maildrop, and how it speaks (RFC 1939 §3-6).

- AUTHORIZATION until a login has locked the maildrop, then TRANSACTION; QUIT makes it UPDATE. Ending in any other way
  deletes nothing.
- Answers gather in one buffer and leave in one write when no further command waits (RFC 2449 §6.6 PIPELINING).
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from dataclasses import replace
from enum import Enum

from server.config.schema import Settings
from server.domain.envelope import ConnectionInfo
from server.domain.identity import Principal
from server.pop3.services import Pop3Services
from server.protocol.lines import Line, LineTooLong
from server.services.mailstore.maildrop import Maildrop
from server.stream.connection import ConnectionClosed, StreamConnection
from server.stream.listening import Visit

SLICE_S = 0.0015
FLUSH_OCTETS = 32 * 1024
LOGIN_TIMEOUT_S = 60.0
"""reliability.md §8: before login, in all."""


class State(Enum):
    AUTHORIZATION = "authorization"
    TRANSACTION = "transaction"
    OVER = "over"


class Session:
    """One client from greeting to QUIT.

    Args:
        tls_context: The present TLS context, None when the server has none.
        visit: Told when the session has its maildrop.
    """

    def __init__(
        self,
        *,
        connection: StreamConnection,
        info: ConnectionInfo,
        services: Pop3Services,
        settings: Settings,
        tls_context: Callable[[], ssl.SSLContext | None],
        visit: Visit,
    ) -> None:
        self.connection = connection
        self.info = info
        self.services = services
        self.settings = settings
        self.tls_context = tls_context
        self.state = State.AUTHORIZATION
        self.user: bytes | None = None
        self.utf8 = False
        self.maildrop: Maildrop | None = None
        self.deleted: set[int] = set()
        self.visit = visit
        self._out: list[bytes] = []
        self._out_octets = 0
        self._slice_started = time.perf_counter()
        self._opened = asyncio.get_running_loop().time()

    @property
    def is_secure(self) -> bool:
        return self.info.tls is not None

    @property
    def drop(self) -> Maildrop:
        """The maildrop of the TRANSACTION state."""
        if self.maildrop is None:
            raise RuntimeError("no maildrop outside the TRANSACTION state")
        return self.maildrop

    def deadline(self) -> float:
        """When the client must have said something, in the loop's time."""
        if self.state is State.AUTHORIZATION:
            return self._opened + LOGIN_TIMEOUT_S
        return asyncio.get_running_loop().time() + self.settings.pop3.idle_timeout

    async def enter(self, principal: Principal) -> None:
        """Lock the account's maildrop and begin the TRANSACTION state. Raises Conflict, Unavailable."""
        self.maildrop = await self.services.maildrops.open(principal.account_id)
        self.state = State.TRANSACTION
        self.visit.enter(principal, self.info)

    async def leave(self) -> None:
        """Give the maildrop back."""
        maildrop, self.maildrop = self.maildrop, None
        if maildrop is not None:
            await maildrop.close()

    async def start_tls(self) -> None:
        """Upgrade the connection and forget what was said in clear. Raises ConnectionClosed."""
        context = self.tls_context()
        if context is None:
            raise ConnectionClosed
        self.info = replace(self.info, tls=await self.connection.start_tls(context))
        self.user = None

    async def next_line(self, limit_octets: int) -> Line | LineTooLong:
        """The next line; what has gathered goes out before a wait. Raises as `StreamConnection.line`."""
        ready = self.connection.line_ready(limit_octets)
        if ready is not None:
            await self.pace()
            return ready
        await self.flush()
        return await self.connection.line(limit_octets, self.deadline())

    def send(self, data: bytes) -> None:
        """Add to what goes out with the next flush."""
        self._out.append(data)
        self._out_octets += len(data)

    async def flush(self) -> None:
        """Write what has gathered, then wait until the client keeps up. Raises ConnectionClosed."""
        if self._out:
            self.connection.write(b"".join(self._out))
            self._out.clear()
            self._out_octets = 0
        await self.connection.drain()

    async def pace(self) -> None:
        """Call often in long answers: flushes when much has gathered, lets others run when the slice is over."""
        if self._out_octets >= FLUSH_OCTETS:
            await self.flush()
        if time.perf_counter() - self._slice_started > SLICE_S:
            await asyncio.sleep(0)
            self._slice_started = time.perf_counter()
