"""The IMAP listeners of one process: accept, admit, converse, drain (reliability.md §8, §9).

- Sessions are tasks of the TaskGroup that `serve` owns. One that fails by our fault ends with BYE and ends no other.
- Certificates and settings are looked up per connection, so both can be swapped while serving.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum

from server.config.schema import Settings
from server.domain.envelope import ConnectionInfo
from server.domain.identity import Principal
from server.domain.ids import AccountId, new_id
from server.imap.connection import ConnectionClosed, ImapConnection
from server.imap.conversation import Conversation
from server.imap.services import ImapServices
from server.imap.session import Session
from server.telemetry.log import bound, get_logger
from server.telemetry.metrics import IMAP_CONNECTIONS

log = get_logger("imap")

BACKLOG = 512
END_LOGIN_S = 2.5
"""Time a session has to end by itself once its login is no longer valid (security.md §4: 5 s in all)."""
CONNECTIONS_MAX = 2000
"""All IMAP connections together (reliability.md §8)."""
CONNECTIONS_BEFORE_LOGIN_MAX = 30
"""Connections of one address that have not logged in (reliability.md §8: per IP)."""


class Listener(StrEnum):
    """143 with STARTTLS, 993 with TLS from the first octet."""

    IMAP = "imap"
    IMAPS = "imaps"


class ImapServer:
    """Serves a set of listening sockets.

    Args:
        tls: The context for the next handshake, None while there is no certificate.
        sockets: Bound sockets by listener; the server listens on them and closes them when it drains.
    """

    def __init__(
        self,
        *,
        services: ImapServices,
        settings: Settings,
        tls: Callable[[], ssl.SSLContext | None],
        sockets: Mapping[Listener, Sequence[socket.socket]],
    ) -> None:
        self._services = services
        self._settings = settings
        self._tls = tls
        self._sockets = sockets
        self._servers: list[asyncio.Server] = []
        self._group: asyncio.TaskGroup | None = None
        self._connections: set[ImapConnection] = set()
        self._sessions: set[Session] = set()
        self._waiting: Counter[str] = Counter()
        self._logged_in: Counter[tuple[AccountId, str]] = Counter()
        self._draining = False
        self._changed = asyncio.Event()
        self._stopped = asyncio.Event()

    @property
    def open_connections(self) -> int:
        return len(self._connections)

    def reconfigure(self, settings: Settings) -> None:
        """Use other settings for connections from now on."""
        self._settings = settings

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
        """Stop accepting, say BYE to idle clients, give running commands `grace_s` seconds."""
        self._draining = True
        for server in self._servers:
            server.close()
        for session in self._sessions:
            session.draining = True
            session.connection.poke()
        try:
            async with asyncio.timeout(grace_s):
                while self._connections:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            log.warning("imap.drain_incomplete", connections=len(self._connections))
            for connection in self._connections:
                connection.abort()
        self._stopped.set()

    async def _listen(self, loop: asyncio.AbstractEventLoop, listener: Listener, sock: socket.socket) -> asyncio.Server:
        return await loop.create_server(
            lambda: ImapConnection(lambda connection: self._accepted(connection, listener)), sock=sock, backlog=BACKLOG
        )

    def _accepted(self, connection: ImapConnection, listener: Listener) -> None:
        address = connection.peer[0]
        if self._services.gate.refuses(address):
            log.info("imap.network_refused", remote_addr=address)
            if listener is Listener.IMAP:
                connection.write(b"* BYE [UNAVAILABLE] Your network is refused for now, try again later\r\n")
            connection.close()
            return
        full = len(self._connections) >= CONNECTIONS_MAX or self._waiting[address] >= CONNECTIONS_BEFORE_LOGIN_MAX
        if self._group is None or self._draining or full:
            log.info("imap.too_many_connections", remote_addr=address)
            if listener is Listener.IMAP:
                connection.write(b"* BYE [UNAVAILABLE] Too many connections\r\n")
            connection.close()
            return
        self._connections.add(connection)
        self._waiting[address] += 1
        self._group.create_task(self._run(connection, listener, address))

    async def _run(self, connection: ImapConnection, listener: Listener, address: str) -> None:
        IMAP_CONNECTIONS.inc()
        info = ConnectionInfo(
            listener=listener.value,
            remote_ip=address,
            remote_port=connection.peer[1],
            local_port=connection.local_port,
            connection_id=new_id(),
        )
        session = Session(
            connection=connection,
            info=info,
            services=self._services,
            settings=self._settings,
            tls_context=self._tls,
            admit=lambda principal: self._admit(session, principal, address),
        )
        self._sessions.add(session)
        with bound(connection_id=info.connection_id, remote_addr=address):
            try:
                if listener is Listener.IMAPS:
                    await session.start_tls()
                await Conversation(session).run()
            except ConnectionClosed:
                log.debug("imap.closed_early", reason=connection.lost_reason)
            except Exception as error:
                log.exception("imap.session_failed", error)
                connection.write(b"* BYE Internal error, try again later\r\n")
            finally:
                connection.close()
                self._left(session, connection, address)

    def _admit(self, session: Session, principal: Principal, address: str) -> bool:
        key = (principal.account_id, address)
        if self._logged_in[key] >= self._settings.imap.max_per_account:
            return False
        self._logged_in[key] += 1
        self._drop(self._waiting, address)
        session.presence = self._services.gate.entered(principal, session.info, lambda: _end_login(session))
        return True

    def _left(self, session: Session, connection: ImapConnection, address: str) -> None:
        self._services.gate.left(session.info.connection_id)
        self._sessions.discard(session)
        self._connections.discard(connection)
        account_id = session.logged_in_account
        if account_id is None:
            self._drop(self._waiting, address)
        else:
            key = (account_id, address)
            self._logged_in[key] -= 1
            if self._logged_in[key] <= 0:
                del self._logged_in[key]
        IMAP_CONNECTIONS.dec()
        self._changed.set()

    @staticmethod
    def _drop(counts: Counter[str], key: str) -> None:
        counts[key] -= 1
        if counts[key] <= 0:
            del counts[key]


def _end_login(session: Session) -> None:
    """Say BYE at the next pause; a client that does not take it is dropped."""
    session.end(b"* BYE Your login has ended, log in again\r\n")
    asyncio.get_running_loop().call_later(END_LOGIN_S, session.connection.abort)
