"""The SMTP listeners of one process: accept, admit, converse, drain (reliability.md §8, §9).

- Connections, and the work after a final dot, are tasks of one TaskGroup that `serve` owns.
- A connection that fails by our fault ends with 421; it never ends another one.
- Certificates and settings are looked up per connection, so both can be swapped while serving.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace

from server.domain.envelope import ConnectionInfo, TlsInfo
from server.domain.ids import new_id
from server.domain.reply import Reply
from server.protocol.proxyprotocol import ProxySyntaxError, parse_proxy_header
from server.protocol.smtp.limits import BUSY_SHARE, PROXY_HEADER_S
from server.protocol.smtp.replies import format_reply
from server.smtp import replies
from server.smtp.admission import Admission, is_within, normal_ip
from server.smtp.commands import SmtpCommands
from server.smtp.contracts import EdgeServices, Listener
from server.smtp.listener import ListenerProtocol
from server.smtp.replygroup import ReplyGroup
from server.smtp.session import SmtpSession
from server.smtp.settings import SmtpSettings
from server.smtp.wire import Connection, Expired, PeerGone, Phase
from server.telemetry.log import bound, get_logger
from server.telemetry.metrics import SMTP_CONNECTIONS, SMTP_OPEN_CONNECTIONS

log = get_logger("smtp")

BACKLOG = 512
END_LOGIN_S = 2.5
"""Time a connection has to end by itself once its login is no longer valid (security.md §4: 5 s in all)."""


class SmtpServer:
    """Serves a set of listening sockets.

    Args:
        sockets: Bound sockets by listener; the server listens on them and closes them when it drains.
    """

    def __init__(
        self,
        *,
        services: EdgeServices,
        settings: SmtpSettings,
        sockets: Mapping[Listener, Sequence[socket.socket]],
    ) -> None:
        self._services = services
        self._settings = settings
        self._sockets = sockets
        self._admission = Admission()
        self._connections: set[Connection] = set()
        self._servers: list[asyncio.Server] = []
        self._group: asyncio.TaskGroup | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._draining = False
        self._empty = asyncio.Event()
        self._stopped = asyncio.Event()

    @property
    def draining(self) -> bool:
        return self._draining

    @property
    def open_connections(self) -> int:
        return len(self._connections)

    def reconfigure(self, settings: SmtpSettings) -> None:
        """Use other settings for connections from now on."""
        self._settings = settings

    async def serve(self, *, ready: Callable[[], None] = lambda: None) -> None:
        """Accept connections until `drain` is through.

        Args:
            ready: Called once all sockets listen.
        """
        self._loop = loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            self._group = group
            for listener, sockets in self._sockets.items():
                for sock in sockets:
                    self._servers.append(await self._listen(loop, listener, sock))
            ticker = group.create_task(self._tick(loop))
            ready()
            await self._stopped.wait()
            ticker.cancel()

    async def drain(self, grace_s: float) -> None:
        """Stop accepting, send idle peers away with 421 4.3.2, give the others `grace_s` seconds.

        Returns when no connection is left; work after a final dot goes on until `serve` returns.
        """
        self._draining = True
        for server in self._servers:
            server.close()
        for connection in self._connections:
            if connection.phase is Phase.COMMAND:
                connection.expire(replies.SHUTTING_DOWN)
        try:
            async with asyncio.timeout(grace_s):
                while self._connections:
                    self._empty.clear()
                    await self._empty.wait()
        except TimeoutError:
            log.warning("smtp.drain_incomplete", connections=len(self._connections))
            for connection in self._connections:
                connection.abort()
        self._stopped.set()

    def accepted(self, connection: Connection) -> None:
        """Take a connection, or send it away at once (called by the listener)."""
        settings, now = self._settings, self._now()
        proxied = is_within(connection.remote_ip, settings.trusted_proxies)
        SMTP_CONNECTIONS.labels(connection.listener.value).inc()
        if not proxied and self._services.gate.refuses(connection.remote_ip):
            self._turn_away(connection, "smtp.network_refused", replies.NETWORK_REFUSED)
            return
        if (
            self._group is None
            or self._draining
            or len(self._connections) >= settings.max_connections
            or not (proxied or self._admission.admit(connection.remote_ip, now=now, settings=settings))
        ):
            self._turn_away(connection, "smtp.too_many_connections", replies.TOO_MANY_CONNECTIONS)
            return
        self._connections.add(connection)
        self._group.create_task(self._run(connection, settings, proxied=proxied))

    def _turn_away(self, connection: Connection, event: str, last_word: Reply) -> None:
        log.info(event, remote_addr=connection.remote_ip)
        if connection.listener is not Listener.SUBMISSIONS:
            connection.send(format_reply(last_word))
        connection.close()

    def outlive(self, work: Coroutine[object, object, Reply]) -> asyncio.Task[Reply]:
        """Start what follows a final dot; it always ends in a reply."""
        if self._group is None:
            raise RuntimeError("not serving")
        return self._group.create_task(_answered(work))

    async def _listen(self, loop: asyncio.AbstractEventLoop, listener: Listener, sock: socket.socket) -> asyncio.Server:
        return await loop.create_server(lambda: ListenerProtocol(self, listener, loop), sock=sock, backlog=BACKLOG)

    async def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        while True:
            await asyncio.sleep(self._settings.tick_s)
            now = loop.time()
            busy = len(self._connections) > BUSY_SHARE * self._settings.max_connections
            for connection in self._connections:
                connection.check(now, busy=busy)

    async def _run(self, connection: Connection, settings: SmtpSettings, *, proxied: bool) -> None:
        open_now = SMTP_OPEN_CONNECTIONS.labels(connection.listener.value)
        open_now.inc()
        connection_id = new_id()
        admitted = "" if proxied else connection.remote_ip
        lingers = False
        with bound(connection_id=connection_id, remote_addr=connection.remote_ip):
            try:
                if proxied:
                    await self._take_proxy_header(connection)
                    if self._services.gate.refuses(connection.remote_ip):
                        self._turn_away(connection, "smtp.network_refused", replies.NETWORK_REFUSED)
                        raise PeerGone
                    if not self._admission.admit(connection.remote_ip, now=self._now(), settings=settings):
                        raise PeerGone
                    admitted = connection.remote_ip
                lingers = await self._session(connection, settings, connection_id)
            except (PeerGone, Expired):
                log.debug("smtp.closed_early")
            except Exception as error:
                log.exception("smtp.session_failed", error)
                connection.send(format_reply(replies.UNAVAILABLE))
            finally:
                self._services.gate.left(connection_id)
                await connection.finish(lingers=lingers)
                if admitted:
                    self._admission.release(admitted)
                self._connections.discard(connection)
                self._empty.set()
                open_now.dec()

    async def _take_proxy_header(self, connection: Connection) -> None:
        """A trusted proxy says whom it speaks for before anything else; no guessing (PROXY protocol §2)."""
        while True:
            try:
                found = parse_proxy_header(octets := connection.take())
            except ProxySyntaxError:
                log.warning("smtp.proxy_header_missing", remote_addr=connection.remote_ip)
                raise PeerGone from None
            if found is not None:
                break
            connection.give_back(octets)
            await connection.more(PROXY_HEADER_S, Phase.CLOSING)
        header, size = found
        connection.give_back(octets[size:])
        if header.remote_ip:
            connection.remote_ip, connection.remote_port = normal_ip(header.remote_ip), header.remote_port

    async def _session(self, connection: Connection, settings: SmtpSettings, connection_id: str) -> bool:
        tls: TlsInfo | None = None
        if connection.listener is Listener.SUBMISSIONS:
            context = self._services.tls()
            if context is None:
                raise PeerGone
            tls = await connection.start_tls(context)
        if is_within(connection.remote_ip, settings.exempt_networks):
            settings = replace(settings, greeting_pause_s=0.0, unknown_pause_s=0.0)
        info = ConnectionInfo(
            listener=connection.listener.value,
            remote_ip=connection.remote_ip,
            remote_port=connection.remote_port,
            local_port=connection.local_port,
            connection_id=connection_id,
            tls=tls,
        )
        group = ReplyGroup(connection, connection.listener)
        commands = SmtpCommands(
            connection,
            group,
            listener=connection.listener,
            connection=info,
            services=self._services,
            settings=settings,
            host=self,
            end_login=lambda: self._end_login(connection),
        )
        session = SmtpSession(connection, group, commands, listener=connection.listener, settings=settings)
        return await session.run()

    def _end_login(self, connection: Connection) -> None:
        """Say goodbye at the next pause; a client that does not take it is dropped."""
        connection.expire(replies.LOGIN_ENDED)

        def drop() -> None:
            # A message after its final dot still gets its answer; the end comes right behind it.
            if connection.phase is not Phase.DECIDING:
                connection.abort()

        if self._loop is not None:
            self._loop.call_later(END_LOGIN_S, drop)

    def _now(self) -> float:
        return self._loop.time() if self._loop is not None else 0.0


async def _answered(work: Coroutine[object, object, Reply]) -> Reply:
    try:
        return await work
    except Exception as error:
        log.exception("smtp.decision_failed", error)
        return replies.OUR_FAULT
