"""LOGIN and AUTHENTICATE (RFC 9051 §6.2.2, §6.2.3; RFC 4616, RFC 7628, RFC 7677).

- Never without TLS: [PRIVACYREQUIRED], whatever was sent with the command (T05).
- One answer for every wrong credential. What a client sent is never logged and never quoted back.
- The login service counts what it decides; here only what never reached it is counted.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable

from server.domain.errors import Forbidden, MaiRustError, RateLimited, Unauthenticated
from server.domain.identity import Principal
from server.imap.capabilities import capabilities, end_point
from server.imap.connection import ConnectionClosed
from server.imap.session import Result, Session, bad, no, ok
from server.protocol.imap.commands import Authenticate, Login
from server.protocol.imap.fragments import LineTooLong
from server.protocol.sasl.messages import (
    LOGIN_PASSWORD_CHALLENGE,
    LOGIN_USERNAME_CHALLENGE,
    SaslSyntaxError,
    decode_base64,
    encode_base64,
    parse_login,
    parse_password,
    parse_plain,
)
from server.protocol.sasl.oauthbearer import REFUSAL, REFUSAL_TAKEN, parse_oauthbearer
from server.protocol.sasl.scram import ScramServer
from server.telemetry.log import get_logger
from server.telemetry.metrics import AUTH_ATTEMPTS

log = get_logger("imap")

SASL_LINE_MAX = 12_288
"""RFC 4954 §4's figure, which IMAP gives none for."""
FAILURE_DELAY_S = 1.0
_NONCE_OCTETS = 18


class _Cancelled(Exception):
    """The client sent `*` (RFC 9051 §6.2.2)."""


async def do_login(session: Session, command: Login) -> Result:
    if not session.is_secure:
        return no("Log in after STARTTLS", b"PRIVACYREQUIRED")

    async def check() -> Principal:
        login, password = parse_login(command.login), parse_password(command.password)
        return await _authenticate(session, login, password, "LOGIN")

    return await _answer(session, check)


async def do_authenticate(session: Session, command: Authenticate) -> Result:
    if not session.is_secure:
        return no("Log in after STARTTLS", b"PRIVACYREQUIRED")
    mechanisms = {
        "SCRAM-SHA-256-PLUS": _scram_plus,
        "PLAIN": _plain,
        "LOGIN": _login,
        "SCRAM-SHA-256": _scram,
        "OAUTHBEARER": _bearer,
    }
    mechanism = mechanisms.get(command.mechanism)
    if mechanism is None:
        return no("Mechanism is not available", b"CANNOT")
    return await _answer(session, lambda: mechanism(session, command.initial))


async def _answer(session: Session, check: Callable[[], Awaitable[Principal]]) -> Result:
    try:
        principal = await check()
    except _Cancelled:
        return bad("Authentication cancelled")
    except SaslSyntaxError:
        AUTH_ATTEMPTS.labels(session.info.listener, "malformed").inc()
        return bad("Malformed credentials")
    except (Unauthenticated, Forbidden):
        await asyncio.sleep(FAILURE_DELAY_S)
        return no("Login or password is wrong", b"AUTHENTICATIONFAILED")
    except RateLimited:
        await asyncio.sleep(FAILURE_DELAY_S)
        return no("Too many failed logins, try later", b"LIMIT")
    except MaiRustError as error:
        log.warning("auth.unavailable", error=error.public)
        return no("Logins are not possible now", b"UNAVAILABLE")
    if not session.login(principal):
        return no("Too many sessions of this account from this address", b"LIMIT")
    log.info("imap.login", account_id=principal.account_id)
    return ok("Logged in", b"CAPABILITY " + capabilities(session))


async def _plain(session: Session, initial: bytes | None) -> Principal:
    """RFC 4616; asking for another identity than one's own fails like a wrong password."""
    message = parse_plain(await _response(session, b"", initial))
    if message.authorization and message.authorization.casefold() != message.login.casefold():
        raise Unauthenticated("another identity is not available")
    return await _authenticate(session, message.login, message.password, "PLAIN")


async def _login(session: Session, initial: bytes | None) -> Principal:
    """draft-murchison-sasl-login: two prompts."""
    login = parse_login(await _response(session, LOGIN_USERNAME_CHALLENGE, initial))
    password = parse_password(await _response(session, LOGIN_PASSWORD_CHALLENGE, None))
    return await _authenticate(session, login, password, "LOGIN")


async def _scram_plus(session: Session, initial: bytes | None) -> Principal:
    """SCRAM bound to the TLS channel by our certificate (RFC 5802 §6, RFC 5929 §4)."""
    if not end_point(session):
        raise SaslSyntaxError("channel binding is not available")
    return await _scram(session, initial, bound=True)


async def _scram(session: Session, initial: bytes | None, *, bound: bool = False) -> Principal:
    """RFC 5802 §5; the server's signature travels in a last challenge (RFC 9051 §6.2.2)."""
    logins = session.services.logins
    nonce = secrets.token_urlsafe(_NONCE_OCTETS).encode("ascii")
    server = ScramServer(nonce, end_point=end_point(session), bound=bound)
    login = server.client_first(await _response(session, b"", initial))
    challenge = server.server_first(await logins.scram(login, app_passwords=True))
    signature = server.client_final(await _response(session, challenge, None))
    principal = await logins.scram_result(
        login=login, ok=signature is not None, connection=session.info, matched=server.matched
    )
    if signature is None:
        raise Unauthenticated("wrong password")
    if await _response(session, signature, None):
        raise SaslSyntaxError("data after the end")
    return principal


async def _bearer(session: Session, initial: bytes | None) -> Principal:
    """RFC 7628 §3.2.3: a refused token is told why, and the client's answer to that ends the exchange."""
    message = parse_oauthbearer(await _response(session, b"", initial))
    try:
        return await session.services.logins.bearer(token=message.token, login=message.login, connection=session.info)
    except Unauthenticated:
        if await _response(session, REFUSAL, None) != REFUSAL_TAKEN:
            raise SaslSyntaxError("data after the refusal") from None
        raise


async def _authenticate(session: Session, login: str, password: bytes, mechanism: str) -> Principal:
    return await session.services.logins.authenticate(
        login=login, password=password, connection=session.info, mechanism=mechanism
    )


async def _response(session: Session, challenge: bytes, initial: bytes | None) -> bytes:
    """The client's answer to a challenge, or its initial response, decoded."""
    line = initial
    if line is None:
        session.send(b"+ " + encode_base64(challenge) + b"\r\n")
        await session.flush()
        answer = await session.connection.next_line(SASL_LINE_MAX, session.deadline())
        if isinstance(answer, LineTooLong):
            raise ConnectionClosed
        line = answer
    if line == b"*":
        raise _Cancelled
    return decode_base64(line)
