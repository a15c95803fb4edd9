"""SASL as the edges of lines share it: mechanisms over an exchange of octets (RFC 4422, 4616, 5802, 7628).

- The edge carries challenges and responses in its own syntax; here they are plain octets.
- One outcome for every wrong credential. What a client sent is never logged and never quoted back.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from server.domain.envelope import ConnectionInfo
from server.domain.errors import Unauthenticated
from server.domain.identity import Principal
from server.protocol.sasl.messages import (
    LOGIN_PASSWORD_CHALLENGE,
    LOGIN_USERNAME_CHALLENGE,
    parse_login,
    parse_password,
    parse_plain,
)
from server.protocol.sasl.oauthbearer import REFUSAL, parse_oauthbearer
from server.protocol.sasl.scram import ScramCredential, ScramServer

SASL_LINE_MAX = 12_288
"""RFC 4954 §4's figure, which neither POP3 nor ManageSieve gives."""
FAILURE_DELAY_S = 1.0
_NONCE_OCTETS = 18

Ask = Callable[[bytes], Awaitable[bytes]]
"""Sends a challenge and returns the decoded response."""


class Cancelled(Exception):
    """The client sent `*` instead of a response."""


class LoginService(Protocol):
    """Checks credentials; the same text and time whatever was wrong with them."""

    async def authenticate(
        self, *, login: str, password: bytes, connection: ConnectionInfo, mechanism: str
    ) -> Principal:
        """Raises Unauthenticated, RateLimited or Unavailable."""
        ...

    async def bearer(self, *, token: str, login: str, connection: ConnectionInfo) -> Principal:
        """A login by token; an empty `login` leaves the identity to it. Raises as `authenticate`."""
        ...

    async def scram(self, login: str, *, app_passwords: bool = False) -> ScramCredential:
        """What SCRAM needs of an account; a stable fake for one that does not exist."""
        ...

    async def scram_result(self, *, login: str, ok: bool, connection: ConnectionInfo, matched: str = "") -> Principal:
        """End a SCRAM exchange. Raises as `authenticate`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Authenticated:
    """Who it is, and what the mechanism sends along with the success; empty for most."""

    principal: Principal
    final: bytes = b""


async def plain(logins: LoginService, info: ConnectionInfo, initial: bytes | None, ask: Ask) -> Authenticated:
    """RFC 4616; asking for another identity than one's own fails like a wrong password."""
    message = parse_plain(initial if initial is not None else await ask(b""))
    if message.authorization and message.authorization.casefold() != message.login.casefold():
        raise Unauthenticated("another identity is not available")
    return await _check(logins, info, message.login, message.password, "PLAIN")


async def login(logins: LoginService, info: ConnectionInfo, initial: bytes | None, ask: Ask) -> Authenticated:
    """draft-murchison-sasl-login: two prompts."""
    name = parse_login(initial if initial is not None else await ask(LOGIN_USERNAME_CHALLENGE))
    password = parse_password(await ask(LOGIN_PASSWORD_CHALLENGE))
    return await _check(logins, info, name, password, "LOGIN")


async def scram(logins: LoginService, info: ConnectionInfo, initial: bytes | None, ask: Ask) -> Authenticated:
    """RFC 5802 §5, RFC 7677; the server's signature is the final data."""
    server = ScramServer(secrets.token_urlsafe(_NONCE_OCTETS).encode("ascii"))
    name = server.client_first(initial if initial is not None else await ask(b""))
    challenge = server.server_first(await logins.scram(name, app_passwords=True))
    signature = server.client_final(await ask(challenge))
    principal = await logins.scram_result(login=name, ok=signature is not None, connection=info, matched=server.matched)
    if signature is None:
        raise Unauthenticated("wrong password")
    return Authenticated(principal=principal, final=signature)


async def oauthbearer(logins: LoginService, info: ConnectionInfo, initial: bytes | None, ask: Ask) -> Authenticated:
    """RFC 7628; a refused token is told so before the exchange fails (§3.2.3)."""
    message = parse_oauthbearer(initial if initial is not None else await ask(b""))
    try:
        principal = await logins.bearer(token=message.token, login=message.login, connection=info)
    except Unauthenticated:
        await ask(REFUSAL)
        raise
    return Authenticated(principal=principal)


Mechanism = Callable[[LoginService, ConnectionInfo, bytes | None, Ask], Awaitable[Authenticated]]


async def _check(
    logins: LoginService, info: ConnectionInfo, name: str, password: bytes, mechanism: str
) -> Authenticated:
    principal = await logins.authenticate(login=name, password=password, connection=info, mechanism=mechanism)
    return Authenticated(principal=principal)
