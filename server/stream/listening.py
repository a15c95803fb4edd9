"""The listeners of an edge of lines: accept, limit, converse, drain (reliability.md §8, §9).

- A connection from a banned network is turned away; a session whose login ends, ends at its next pause.
- Sessions are tasks of the TaskGroup that `serve` owns. One that fails by our fault ends itself and no other.
- The edge says what a session is; certificates are looked up per connection, so they can be swapped while serving.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from prometheus_client import Gauge

from server.domain.access import Gate, Presence
from server.domain.envelope import ConnectionInfo
from server.domain.identity import Principal
from server.domain.ids import new_id
from server.services.identity.networks import place_of
from server.stream.connection import ConnectionClosed, Draining, StreamConnection
from server.telemetry.log import bound, get_logger

BACKLOG = 512
CONNECTIONS_MAX = 2000
"""All connections of one edge together (reliability.md §8)."""
CONNECTIONS_BEFORE_LOGIN_MAX = 30
"""Connections of one IPv4 address or IPv6 /64 that have not logged in (reliability.md §8)."""


END_LOGIN_S = 2.5
"""Time a session has to end by itself once its login is no longer valid (security.md §4: 5 s in all)."""


class Visit:
    """One connection's standing: counted as waiting until it logs in, then known to the gate.

    Args:
        info: As of the connection's beginning.
        waiting_over: Called once, when it waits no longer.
    """

    def __init__(
        self, connection: StreamConnection, info: ConnectionInfo, gate: Gate, waiting_over: Callable[[], None]
    ) -> None:
        self._connection = connection
        self._id = info.connection_id
        self._gate = gate
        self._waiting_over: Callable[[], None] | None = waiting_over
        self._presence: Presence | None = None

    def enter(self, principal: Principal, info: ConnectionInfo) -> None:
        """It has logged in; `info` knows its TLS."""
        self._count_no_more()
        self._presence = self._gate.entered(principal, info, self._end)

    def note(self, command: str) -> None:
        """The command it runs, for those who look at connections."""
        if self._presence is not None:
            self._presence.command = command

    def leave(self) -> None:
        """It is nobody's any more; it may go on."""
        self._presence = None
        self._gate.left(self._id)

    def end(self) -> None:
        """It is closed."""
        self._count_no_more()
        self.leave()

    def _end(self) -> None:
        self._connection.drain_input("Your login has ended, log in again")
        asyncio.get_running_loop().call_later(END_LOGIN_S, self._connection.abort)

    def _count_no_more(self) -> None:
        over, self._waiting_over = self._waiting_over, None
        if over is not None:
            over()


class StreamSession(Protocol):
    """One client's conversation."""

    async def run(self) -> None:
        """From the greeting, or the TLS handshake before it, to the end. May raise ConnectionClosed, Draining."""
        ...


class StreamServer:
    """Serves a set of listening sockets.

    Args:
        component: The edge's name in the log.
        sockets: Bound sockets by listener; the server listens on them and closes them when it drains.
        refusal: What a connection to a listener is told that is not taken; empty where TLS comes first.
        failure: What is said when we fail.
        session: Makes a session.
        gate: Says who is banned, and keeps who is here.
        gauge: Counts open connections.
    """

    def __init__(
        self,
        *,
        component: str,
        sockets: Mapping[str, Sequence[socket.socket]],
        refusal: Callable[[str, str], bytes],
        failure: bytes,
        session: Callable[[StreamConnection, ConnectionInfo, Visit], StreamSession],
        gate: Gate,
        gauge: Gauge,
    ) -> None:
        self._component = component
        self._sockets = sockets
        self._refusal = refusal
        self._failure = failure
        self._session = session
        self._gate = gate
        self._gauge = gauge
        self._log = get_logger(component)
        self._servers: list[asyncio.Server] = []
        self._group: asyncio.TaskGroup | None = None
        self._connections: set[StreamConnection] = set()
        self._waiting: Counter[str] = Counter()
        self._draining = False
        self._changed = asyncio.Event()
        self._stopped = asyncio.Event()

    @property
    def open_connections(self) -> int:
        return len(self._connections)

    async def serve(self, *, ready: Callable[[], None] = lambda: None) -> None:
        """Accept connections until `drain` is through.

        Args:
            ready: Called once all sockets listen.
        """
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            self._group = group
            for listener, sockets in self._sockets.items():
                for sock in sockets:
                    self._servers.append(await self._listen(loop, listener, sock))
            ready()
            await self._stopped.wait()

    async def drain(self, grace_s: float) -> None:
        """Stop accepting, end idle clients, give running commands `grace_s` seconds."""
        self._draining = True
        for server in self._servers:
            server.close()
        for connection in list(self._connections):
            connection.drain_input("Server is shutting down")
        try:
            async with asyncio.timeout(grace_s):
                while self._connections:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            self._log.warning(f"{self._component}.drain_incomplete", connections=len(self._connections))
            for connection in list(self._connections):
                connection.abort()
        self._stopped.set()

    async def _listen(self, loop: asyncio.AbstractEventLoop, listener: str, sock: socket.socket) -> asyncio.Server:
        return await loop.create_server(
            lambda: StreamConnection(lambda connection: self._accepted(connection, listener)),
            sock=sock,
            backlog=BACKLOG,
        )

    def _accepted(self, connection: StreamConnection, listener: str) -> None:
        address = connection.peer[0]
        if self._gate.refuses(address):
            self._refuse(connection, listener, "network_refused", "Your network is refused for now, try again later")
            return
        place = place_of(address)
        full = len(self._connections) >= CONNECTIONS_MAX or self._waiting[place] >= CONNECTIONS_BEFORE_LOGIN_MAX
        if self._group is None or self._draining or full:
            self._refuse(connection, listener, "too_many_connections", "Too many connections")
            return
        self._connections.add(connection)
        self._waiting[place] += 1
        self._group.create_task(self._run(connection, listener, address))

    def _refuse(self, connection: StreamConnection, listener: str, event: str, text: str) -> None:
        self._log.info(f"{self._component}.{event}", remote_addr=connection.peer[0])
        connection.write(self._refusal(listener, text))
        connection.close()

    async def _run(self, connection: StreamConnection, listener: str, address: str) -> None:
        self._gauge.inc()
        info = ConnectionInfo(
            listener=listener,
            remote_ip=address,
            remote_port=connection.peer[1],
            local_port=connection.local_port,
            connection_id=new_id(),
        )
        visit = Visit(connection, info, self._gate, lambda: self._drop(place_of(address)))
        with bound(connection_id=info.connection_id, remote_addr=address):
            try:
                await self._session(connection, info, visit).run()
            except (ConnectionClosed, Draining):
                self._log.debug(f"{self._component}.closed_early", reason=connection.lost_reason)
            except Exception as error:
                self._log.exception(f"{self._component}.session_failed", error)
                connection.write(self._failure)
            finally:
                connection.close()
                visit.end()
                self._connections.discard(connection)
                self._gauge.dec()
                self._changed.set()

    def _drop(self, place: str) -> None:
        self._waiting[place] -= 1
        if self._waiting[place] <= 0:
            del self._waiting[place]
