"""AUTHENTICATE (RFC 5804 §2.1; RFC 4616, RFC 7677).

- Never without TLS: (ENCRYPT-NEEDED), whatever was sent with the command (T05).
- One answer for every wrong credential. What a client sent is never logged and never quoted back.
"""

from __future__ import annotations

import asyncio
from functools import partial

from server.domain.errors import Forbidden, MaiRustError, RateLimited, Unauthenticated
from server.managesieve.session import Refused, Session
from server.protocol.managesieve import (
    Authenticate,
    ManageSieveSyntaxError,
    format_response,
    format_string,
    parse_string,
)
from server.protocol.sasl.messages import SaslSyntaxError, decode_base64, encode_base64
from server.stream import sasl
from server.telemetry.log import get_logger
from server.telemetry.metrics import AUTH_ATTEMPTS

log = get_logger("sieve")

MECHANISMS: dict[str, sasl.Mechanism] = {
    "PLAIN": sasl.plain,
    "SCRAM-SHA-256": sasl.scram,
    "OAUTHBEARER": sasl.oauthbearer,
}


async def do_authenticate(session: Session, command: Authenticate) -> bytes:
    if not session.is_secure:
        return format_response(b"NO", "Log in after STARTTLS", b"ENCRYPT-NEEDED")
    mechanism = MECHANISMS.get(command.mechanism)
    if mechanism is None:
        return format_response(b"NO", "Mechanism is not available")
    try:
        initial = None if command.initial is None else _decoded(command.initial)
        done = await mechanism(session.services.logins, session.info, initial, partial(_ask, session))
    except sasl.Cancelled:
        return format_response(b"NO", "Authentication cancelled")
    except (SaslSyntaxError, ManageSieveSyntaxError, Refused):
        AUTH_ATTEMPTS.labels(session.info.listener, "malformed").inc()
        return format_response(b"NO", "Malformed credentials")
    except (Unauthenticated, Forbidden):
        await asyncio.sleep(sasl.FAILURE_DELAY_S)
        return format_response(b"NO", "Login or password is wrong")
    except RateLimited:
        await asyncio.sleep(sasl.FAILURE_DELAY_S)
        return format_response(b"NO", "Too many failed logins, try later", b"TRYLATER")
    except MaiRustError as error:
        log.warning("auth.unavailable", error=error.public)
        return format_response(b"NO", "Logins are not possible now", b"TRYLATER")
    if not session.login(done.principal):
        return format_response(b"NO", "Too many sessions of this account", b"TRYLATER")
    log.info("sieve.login", account_id=done.principal.account_id)
    code = b"SASL " + format_string(encode_base64(done.final)) if done.final else b""
    return format_response(b"OK", "Logged in", code)


async def _ask(session: Session, challenge: bytes) -> bytes:
    """Send a challenge as a string and decode the client's string; `*` ends the exchange."""
    session.send(format_string(encode_base64(challenge)) + b"\r\n")
    await session.flush()
    answer = parse_string(await session.response())
    if answer == b"*":
        raise sasl.Cancelled
    return _decoded(answer)


def _decoded(text: bytes) -> bytes:
    return decode_base64(text) if text else b""
