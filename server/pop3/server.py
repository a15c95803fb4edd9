"""The POP3 listeners of one process (RFC 1939, RFC 8314 §3.3)."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum

from server.config.schema import Settings
from server.domain.envelope import ConnectionInfo
from server.pop3.answers import INTERNAL_ERROR, err
from server.pop3.conversation import Conversation
from server.pop3.services import Pop3Services
from server.pop3.session import Session
from server.stream.connection import StreamConnection
from server.stream.listening import StreamServer, Visit
from server.telemetry.metrics import POP3_CONNECTIONS


class Listener(StrEnum):
    """110 with STLS, 995 with TLS from the first octet."""

    POP3 = "pop3"
    POP3S = "pop3s"


class Pop3Server(StreamServer):
    """Serves a set of listening sockets.

    Args:
        tls: The context for the next handshake, None while there is no certificate.
        sockets: Bound sockets by listener; the server listens on them and closes them when it drains.
    """

    def __init__(
        self,
        *,
        services: Pop3Services,
        settings: Settings,
        tls: Callable[[], ssl.SSLContext | None],
        sockets: Mapping[Listener, Sequence[socket.socket]],
    ) -> None:
        self._services = services
        self._settings = settings
        self._tls = tls
        super().__init__(
            component="pop3",
            sockets={listener.value: bound for listener, bound in sockets.items()},
            refusal=_refusal,
            failure=INTERNAL_ERROR,
            session=self._conversation,
            gate=services.gate,
            gauge=POP3_CONNECTIONS,
        )

    def reconfigure(self, settings: Settings) -> None:
        """Use other settings for connections from now on."""
        self._settings = settings

    def _conversation(self, connection: StreamConnection, info: ConnectionInfo, visit: Visit) -> Conversation:
        session = Session(
            connection=connection,
            info=info,
            services=self._services,
            settings=self._settings,
            tls_context=self._tls,
            visit=visit,
        )
        return Conversation(session, implicit_tls=info.listener == Listener.POP3S)


def _refusal(listener: str, text: str) -> bytes:
    return err(text, "SYS/TEMP") if listener == Listener.POP3 else b""
