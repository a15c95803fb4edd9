"""AUTH dialogues over the SASL mechanisms (RFC 4954, RFC 4616, RFC 7628, RFC 7677).

- One answer for every wrong credential; what a client sent is never logged and never quoted back.
- A response that is not base64 fails this attempt alone and is never taken as a login or password.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable

from server.domain.envelope import ConnectionInfo
from server.domain.errors import Forbidden, MaiRustError, RateLimited, Unauthenticated
from server.domain.identity import Principal
from server.domain.reply import Reply
from server.protocol.sasl.messages import (
    LOGIN_PASSWORD_CHALLENGE,
    LOGIN_USERNAME_CHALLENGE,
    SaslSyntaxError,
    decode_base64,
    parse_login,
    parse_password,
    parse_plain,
)
from server.protocol.sasl.oauthbearer import REFUSAL, parse_oauthbearer
from server.protocol.sasl.scram import ScramServer
from server.protocol.smtp.commands import AuthCommand
from server.smtp import replies
from server.smtp.contracts import Logins
from server.telemetry.log import get_logger
from server.telemetry.metrics import AUTH_ATTEMPTS

log = get_logger("submission")

Ask = Callable[[bytes], Awaitable[bytes]]
"""Send a challenge, return the client's line without its CRLF, still base64."""

_NONCE_OCTETS = 18


class _Cancelled(Exception):
    """The client sent `*` (RFC 4954 §4)."""


class AuthDialogue:
    """One AUTH command from its first line to its reply.

    Attributes:
        principal: Who logged in, after a success.
    """

    def __init__(self, *, logins: Logins, connection: ConnectionInfo, ask: Ask) -> None:
        self.principal: Principal | None = None
        self._logins = logins
        self._connection = connection
        self._ask = ask

    async def run(self, command: AuthCommand) -> Reply:
        """Speak the mechanism and return the reply that ends the command."""
        mechanisms = {
            "PLAIN": self._plain,
            "LOGIN": self._login,
            "SCRAM-SHA-256": self._scram,
            "OAUTHBEARER": self._bearer,
        }
        mechanism = mechanisms.get(command.mechanism)
        if mechanism is None:
            return replies.NO_MECHANISM
        try:
            self.principal = await mechanism(command.initial)
        except _Cancelled:
            return self._unasked("cancelled", replies.LOGIN_CANCELLED)
        except SaslSyntaxError:
            return self._unasked("malformed", replies.LOGIN_MALFORMED)
        except (Unauthenticated, Forbidden):
            return replies.LOGIN_FAILED
        except RateLimited:
            return replies.LOGIN_LIMITED
        except MaiRustError as error:
            log.warning("auth.unavailable", error=error.public)
            return replies.LOGIN_UNAVAILABLE
        return replies.LOGGED_IN

    async def _plain(self, initial: bytes | None) -> Principal:
        """RFC 4616; asking for another identity than one's own fails like a wrong password."""
        message = parse_plain(await self._response(b"", initial))
        if message.authorization and message.authorization.casefold() != message.login.casefold():
            raise Unauthenticated("another identity is not available")
        return await self._check(message.login, message.password, "PLAIN")

    async def _login(self, initial: bytes | None) -> Principal:
        """draft-murchison-sasl-login: two prompts."""
        login = parse_login(await self._response(LOGIN_USERNAME_CHALLENGE, initial))
        password = parse_password(await self._response(LOGIN_PASSWORD_CHALLENGE, None))
        return await self._check(login, password, "LOGIN")

    async def _scram(self, initial: bytes | None) -> Principal:
        """RFC 5802 §5 in SMTP's clothes: the server's signature travels in a last challenge (RFC 4954 §4)."""
        server = ScramServer(secrets.token_urlsafe(_NONCE_OCTETS).encode("ascii"))
        login = server.client_first(await self._response(b"", initial))
        challenge = server.server_first(await self._logins.scram(login, app_passwords=True))
        signature = server.client_final(await self._response(challenge, None))
        principal = await self._logins.scram_result(
            login=login, ok=signature is not None, connection=self._connection, matched=server.matched
        )
        if signature is None:
            raise Unauthenticated("wrong password")
        if await self._response(signature, None):
            raise SaslSyntaxError("data after the end")
        return principal

    async def _bearer(self, initial: bytes | None) -> Principal:
        """RFC 7628 §3.2.3: a refused token is told why, and the client's answer to that ends the exchange."""
        message = parse_oauthbearer(await self._response(b"", initial))
        try:
            return await self._logins.bearer(token=message.token, login=message.login, connection=self._connection)
        except Unauthenticated:
            await self._ask(REFUSAL)
            raise

    async def _check(self, login: str, password: bytes, mechanism: str) -> Principal:
        return await self._logins.authenticate(
            login=login, password=password, connection=self._connection, mechanism=mechanism
        )

    async def _response(self, challenge: bytes, initial: bytes | None) -> bytes:
        line = initial if initial is not None else await self._ask(challenge)
        if line == b"*":
            raise _Cancelled
        return decode_base64(line)

    def _unasked(self, result: str, answer: Reply) -> Reply:
        """Count an attempt the login service never heard of; it counts the others itself."""
        AUTH_ATTEMPTS.labels(self._connection.listener, result).inc()
        return answer
