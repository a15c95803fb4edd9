"""USER, PASS and AUTH (RFC 1939 §7, RFC 5034).

- Never without TLS, whatever was sent (T05). What a client sent is never logged and never quoted back.
- One answer for every wrong credential; [AUTH] says that the credentials are at fault, [SYS/TEMP] that we are
  (RFC 3206).
- The login service counts what it decides; here only what never reached it is counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from server.domain.errors import Forbidden, MaiRustError, RateLimited, Unauthenticated
from server.domain.identity import Principal
from server.pop3.answers import answer_error, err, ok
from server.pop3.session import Session
from server.protocol.lines import LineTooLong
from server.protocol.pop3.commands import Auth, Pass, User
from server.protocol.sasl.messages import (
    SaslSyntaxError,
    decode_base64,
    encode_base64,
    parse_login,
    parse_password,
)
from server.stream import sasl
from server.stream.connection import ConnectionClosed
from server.telemetry.log import get_logger
from server.telemetry.metrics import AUTH_ATTEMPTS

log = get_logger("pop3")

MECHANISMS: dict[str, sasl.Mechanism] = {
    "PLAIN": sasl.plain,
    "LOGIN": sasl.login,
    "SCRAM-SHA-256": sasl.scram,
    "OAUTHBEARER": sasl.oauthbearer,
}
_TLS_FIRST = err("Log in after STLS")


def do_user(session: Session, command: User) -> bytes:
    """Any name is taken: which ones exist is nobody's business (RFC 1939 §7 allows it)."""
    if not session.is_secure:
        return _TLS_FIRST
    session.user = command.name
    return ok("Send PASS")


async def do_pass(session: Session, command: Pass) -> bytes:
    name, session.user = session.user, None
    if not session.is_secure:
        return _TLS_FIRST
    if name is None:
        return err("Send USER first")

    async def check(name: bytes) -> Principal:
        login, password = parse_login(name), parse_password(command.password)
        return await session.services.logins.authenticate(
            login=login, password=password, connection=session.info, mechanism="USER"
        )

    return await _answer(session, lambda: check(name))


async def do_auth(session: Session, command: Auth) -> bytes:
    if not session.is_secure:
        return _TLS_FIRST
    if not command.mechanism:
        # Older clients ask so; RFC 5034 leaves it open.
        return ok("Mechanisms follow") + "".join(f"{name}\r\n" for name in MECHANISMS).encode("ascii") + b".\r\n"
    mechanism = MECHANISMS.get(command.mechanism)
    if mechanism is None:
        return err("Mechanism is not available")

    async def check(mechanism: sasl.Mechanism) -> Principal:
        initial = None if command.initial is None else decode_base64(command.initial)
        ask = partial(_ask, session)
        done = await mechanism(session.services.logins, session.info, initial, ask)
        if done.final and await ask(done.final):
            raise SaslSyntaxError("data after the end")
        return done.principal

    return await _answer(session, lambda: check(mechanism))


async def _answer(session: Session, check: Callable[[], Awaitable[Principal]]) -> bytes:
    try:
        principal = await check()
    except sasl.Cancelled:
        return err("Authentication cancelled")
    except SaslSyntaxError:
        AUTH_ATTEMPTS.labels(session.info.listener, "malformed").inc()
        return err("Malformed credentials")
    except (Unauthenticated, Forbidden):
        await asyncio.sleep(sasl.FAILURE_DELAY_S)
        return err("Login or password is wrong", "AUTH")
    except RateLimited:
        await asyncio.sleep(sasl.FAILURE_DELAY_S)
        return err("Too many failed logins, try later", "SYS/TEMP")
    except MaiRustError as error:
        log.warning("auth.unavailable", error=error.public)
        return err("Logins are not possible now", "SYS/TEMP")
    return await _enter(session, principal)


async def _enter(session: Session, principal: Principal) -> bytes:
    try:
        await session.enter(principal)
    except MaiRustError as error:
        log.info("pop3.not_opened", account_id=principal.account_id, reason=error.public)
        return answer_error(error)
    log.info("pop3.login", account_id=principal.account_id, messages=len(session.drop.uids))
    return ok("Maildrop locked and ready")


async def _ask(session: Session, challenge: bytes) -> bytes:
    """Send a challenge and decode the client's answer; `*` ends the exchange (RFC 5034 §4)."""
    session.send(b"+ " + encode_base64(challenge) + b"\r\n")
    line = await session.next_line(sasl.SASL_LINE_MAX)
    if isinstance(line, LineTooLong) or line.bare:
        raise ConnectionClosed
    if line.text == b"*":
        raise sasl.Cancelled
    return decode_base64(line.text) if line.text else b""
