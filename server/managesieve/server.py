"""The ManageSieve listener of one process (RFC 5804)."""

from __future__ import annotations

import socket
import ssl
from collections import Counter
from collections.abc import Callable, Sequence

from server.domain.envelope import ConnectionInfo
from server.domain.ids import AccountId
from server.managesieve.conversation import INTERNAL_ERROR, Conversation
from server.managesieve.services import ManageSieveServices
from server.managesieve.session import Session
from server.protocol.managesieve import format_response
from server.stream.connection import StreamConnection
from server.stream.listening import StreamServer, Visit
from server.telemetry.metrics import MANAGESIEVE_CONNECTIONS

LISTENER = "managesieve"
SESSIONS_PER_ACCOUNT_MAX = 20
"""Each may hold one script in memory (reliability.md §8: as IMAP per account)."""


class ManageSieveServer(StreamServer):
    """Serves listening sockets, with STARTTLS.

    Args:
        tls: The context for the next handshake, None while there is no certificate.
        sockets: Bound sockets; the server listens on them and closes them when it drains.
    """

    def __init__(
        self,
        *,
        services: ManageSieveServices,
        tls: Callable[[], ssl.SSLContext | None],
        sockets: Sequence[socket.socket],
    ) -> None:
        self._services = services
        self._tls = tls
        self._accounts: Counter[AccountId] = Counter()
        super().__init__(
            component="sieve",
            sockets={LISTENER: sockets},
            refusal=lambda _listener, text: format_response(b"BYE", text, b"TRYLATER"),
            failure=INTERNAL_ERROR,
            session=self._conversation,
            gate=services.gate,
            gauge=MANAGESIEVE_CONNECTIONS,
        )

    def _conversation(self, connection: StreamConnection, info: ConnectionInfo, visit: Visit) -> Conversation:
        def admit(account_id: AccountId) -> bool:
            if self._accounts[account_id] >= SESSIONS_PER_ACCOUNT_MAX:
                return False
            self._accounts[account_id] += 1
            return True

        session = Session(
            connection=connection,
            info=info,
            services=self._services,
            tls_context=self._tls,
            admit=admit,
            release=self._release,
            visit=visit,
        )
        return Conversation(session)

    def _release(self, account_id: AccountId) -> None:
        self._accounts[account_id] -= 1
        if self._accounts[account_id] <= 0:
            del self._accounts[account_id]
