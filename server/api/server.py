"""Serving the application on sockets that are given to us: one uvicorn server for TCP, one for the admin socket.

- Nothing is bound, chmodded or unlinked here; signals are the daemon's.
- The two servers share the application and nothing else: only the Unix one can make a peer (security.md §5).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator, Sequence

import uvicorn
from uvicorn.server import Server

from server.api.gateway import Gateway
from server.api.peercred import HttpProtocol, UnixPeerProtocol

KEEP_ALIVE_S = 65
BACKLOG = 512


class _QuietServer(Server):
    """A server that leaves signals alone and tells when it serves."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.serving = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.serving.set()


class HttpService:
    """The HTTP edge.

    Args:
        app: The ASGI application.
        unix: Listening Unix sockets, TCP ones in `tcp`; they are closed when the service ends.
    """

    def __init__(self, app: Gateway, *, unix: Sequence[socket.socket] = (), tcp: Sequence[socket.socket] = ()) -> None:
        self._app = app
        self._parts = [
            (_server(app, protocol), list(sockets))
            for protocol, sockets in ((UnixPeerProtocol, unix), (HttpProtocol, tcp))
            if sockets
        ]

    async def serve(self) -> None:
        """Serve until `drain`, or until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for server, sockets in self._parts:
                tasks.create_task(server.serve(sockets=sockets), name="http")

    async def started(self) -> None:
        """Wait until every socket is served."""
        for server, _ in self._parts:
            await server.serving.wait()

    async def drain(self, grace_s: float) -> None:
        """Take no more connections; requests that run get `grace_s` seconds."""
        self._app.stop()
        for server, _ in self._parts:
            server.config.timeout_graceful_shutdown = max(1, int(grace_s))
            server.should_exit = True


def _server(app: Gateway, protocol: type[HttpProtocol]) -> _QuietServer:
    return _QuietServer(
        uvicorn.Config(
            app,
            http=protocol,
            ws="none",
            lifespan="off",
            loop="none",
            interface="asgi3",
            proxy_headers=False,
            server_header=False,
            date_header=True,
            access_log=False,
            log_config=None,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=30,
            h11_max_incomplete_event_size=128 * 1024,
        )
    )
