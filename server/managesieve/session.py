"""A session: its state and its login, how it reads commands and how it speaks (RFC 5804 §1).

- Literals come without asking, so what can't be kept is read and thrown away up to SKIPPED_MAX; beyond it, and where
  the stream can't be followed, the session ends.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import Enum

from server.domain.envelope import ConnectionInfo
from server.domain.identity import Principal
from server.domain.ids import AccountId
from server.managesieve.services import ManageSieveServices
from server.protocol.lines import LineTooLong
from server.protocol.managesieve import LINE_MAX, LITERALS_MAX, announced
from server.stream.connection import PIECE_OCTETS, ConnectionClosed, StreamConnection
from server.stream.listening import Visit
from server.stream.sasl import SASL_LINE_MAX

LOGIN_TIMEOUT_S = 60.0
"""reliability.md §8: before login, in all."""
IDLE_TIMEOUT_S = 30 * 60.0
"""RFC 5804 §1.2 wants 30 minutes at least."""
SKIPPED_MAX = 4 * 1024 * 1024


class State(Enum):
    NOT_AUTHENTICATED = "not authenticated"
    AUTHENTICATED = "authenticated"
    OVER = "over"


class Refused(Exception):
    """A command that was read to its end but not kept.

    Args:
        too_large: A literal was over its limit, which is not the client's syntax error.
    """

    def __init__(self, text: str, *, too_large: bool = False) -> None:
        super().__init__(text)
        self.too_large = too_large


class Unfollowable(Exception):
    """Where the next command begins is unknown; the text is for the client."""


class Session:
    """One client from greeting to LOGOUT.

    Args:
        tls_context: The present TLS context, None when the server has none.
        admit: Called with the account at login; False when it has too many sessions.
        release: Called when a session that was admitted leaves its account.
        visit: Told who is logged in.
    """

    def __init__(
        self,
        *,
        connection: StreamConnection,
        info: ConnectionInfo,
        services: ManageSieveServices,
        tls_context: Callable[[], ssl.SSLContext | None],
        admit: Callable[[AccountId], bool],
        release: Callable[[AccountId], None],
        visit: Visit,
    ) -> None:
        self.connection = connection
        self.info = info
        self.services = services
        self.tls_context = tls_context
        self.state = State.NOT_AUTHENTICATED
        self.principal: Principal | None = None
        self._admit = admit
        self._release = release
        self.visit = visit
        self._out: list[bytes] = []
        self._opened = asyncio.get_running_loop().time()

    @property
    def is_secure(self) -> bool:
        return self.info.tls is not None

    @property
    def account_id(self) -> AccountId:
        if self.principal is None:
            raise RuntimeError("nobody is logged in")
        return self.principal.account_id

    def deadline(self) -> float:
        """When the client must have said something, in the loop's time."""
        if self.state is State.NOT_AUTHENTICATED:
            return self._opened + LOGIN_TIMEOUT_S
        return asyncio.get_running_loop().time() + IDLE_TIMEOUT_S

    def login(self, principal: Principal) -> bool:
        """Become authenticated; False when the account has too many sessions."""
        if not self._admit(principal.account_id):
            return False
        self.principal = principal
        self.state = State.AUTHENTICATED
        self.visit.enter(principal, self.info)
        return True

    def logout(self) -> None:
        """Be nobody again."""
        principal, self.principal = self.principal, None
        if self.state is State.AUTHENTICATED:
            self.state = State.NOT_AUTHENTICATED
            self._opened = asyncio.get_running_loop().time()
        if principal is not None:
            self._release(principal.account_id)
            self.visit.leave()

    async def start_tls(self) -> None:
        """Upgrade the connection. Raises ConnectionClosed."""
        context = self.tls_context()
        if context is None:
            raise ConnectionClosed
        self.info = replace(self.info, tls=await self.connection.start_tls(context))

    # Input.

    async def command(self) -> Sequence[bytes]:
        """The segments of the next command.

        Raises:
            Refused: It is malformed or too large, and over.
            Unfollowable: The session must end.
            TimeoutError, ConnectionClosed, Draining: As the connection has it.
        """
        before = self.state is State.NOT_AUTHENTICATED
        largest = SASL_LINE_MAX if before else self.services.script_octets_max
        return await self._segments(LINE_MAX, largest)

    async def response(self) -> Sequence[bytes]:
        """The segments of an answer to a challenge. Raises as `command`."""
        return await self._segments(SASL_LINE_MAX + 2, SASL_LINE_MAX)

    async def _segments(self, line_max: int, literal_max: int) -> Sequence[bytes]:
        deadline = self.deadline()
        segments: list[bytes] = []
        bare = skipped = False
        while True:
            line = self.connection.line_ready(line_max)
            if line is None:
                await self.flush()
                line = await self.connection.line(line_max, deadline)
            if isinstance(line, LineTooLong):
                raise Unfollowable("Line is too long")
            bare = bare or line.bare
            segments.append(line.text)
            literal = announced(line.text)
            if literal is None:
                break
            if literal.synchronising or len(segments) >= 2 * LITERALS_MAX:
                raise Unfollowable("Literals are sent as {size+}, few in a command")
            if literal.size_octets > literal_max:
                await self._skip(literal.size_octets, deadline)
                skipped = True
                segments.append(b"")
            else:
                segments.append(await self._exactly(literal.size_octets, deadline))
        if bare:
            raise Refused("Lines end in CRLF")
        if skipped:
            raise Refused("Too large", too_large=True)
        return segments

    async def _exactly(self, octets: int, deadline: float) -> bytes:
        found = bytearray()
        while len(found) < octets:
            found += await self.connection.piece(min(PIECE_OCTETS, octets - len(found)), deadline)
        return bytes(found)

    async def _skip(self, octets: int, deadline: float) -> None:
        if self.state is State.NOT_AUTHENTICATED or octets > SKIPPED_MAX:
            raise Unfollowable("Literal is too large")
        while octets > 0:
            octets -= len(await self.connection.piece(min(PIECE_OCTETS, octets), deadline))

    # Output.

    def send(self, data: bytes) -> None:
        """Add to what goes out with the next flush."""
        self._out.append(data)

    async def flush(self) -> None:
        """Write what has gathered, then wait until the client keeps up. Raises ConnectionClosed."""
        if self._out:
            self.connection.write(b"".join(self._out))
            self._out.clear()
        await self.connection.drain()
