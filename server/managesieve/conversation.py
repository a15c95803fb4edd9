"""A session's course: capabilities, commands one after the other, LOGOUT or the end (RFC 5804 §1.7, §2).

- A malformed command is answered and stepped over; ERRORS_MAX failures without a success in between end the session.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import assert_never

from server.domain.errors import MaiRustError
from server.managesieve.login import MECHANISMS, do_authenticate
from server.managesieve.scripts import TOO_LARGE, do_list, do_script
from server.managesieve.session import Refused, Session, State, Unfollowable
from server.protocol.managesieve import (
    PRODUCT,
    Authenticate,
    Command,
    ManageSieveSyntaxError,
    Noop,
    Verb,
    format_capability,
    format_response,
    format_string,
    parse_command,
)
from server.stream.connection import ConnectionClosed, Draining
from server.telemetry.log import get_logger

log = get_logger("sieve")

ERRORS_MAX = 20
_OTHER_PROTOCOL = re.compile(rb"(?:GET|HEAD|POST|PUT|DELETE|OPTIONS|PATCH|CONNECT|TRACE) \S|\x16\x03")
INTERNAL_ERROR = format_response(b"BYE", "Internal error, try again later", b"TRYLATER")


class Conversation:
    """Drives one session until it ends."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._errors = 0

    async def run(self) -> None:
        """Greet and serve; may raise ConnectionClosed."""
        session = self._session
        session.send(self._capabilities("ManageSieve ready"))
        try:
            while session.state is not State.OVER:
                await self._next()
        except TimeoutError:
            self._bye("Idle for too long")
        except Unfollowable as error:
            self._bye(str(error))
        except Draining as draining:
            session.send(format_response(b"BYE", str(draining), b"TRYLATER"))
        finally:
            session.logout()
        await session.flush()

    async def _next(self) -> None:
        session = self._session
        try:
            segments = await session.command()
        except Refused as refused:
            answer = TOO_LARGE if refused.too_large else format_response(b"NO", str(refused))
        else:
            if session.state is State.NOT_AUTHENTICATED and _OTHER_PROTOCOL.match(segments[0]):
                log.info("sieve.other_protocol")
                raise ConnectionClosed
            answer = await self._answer(segments)
        session.send(answer)
        self._errors = self._errors + 1 if answer.startswith(b"NO") else 0
        if self._errors >= ERRORS_MAX:
            self._bye("Too many errors")

    async def _answer(self, segments: Sequence[bytes]) -> bytes:
        try:
            command = parse_command(segments)
            self._session.visit.note(segments[0].partition(b" ")[0].decode("ascii", "replace").upper())
            return await self._run(command)
        except ManageSieveSyntaxError as error:
            text = str(error)
            return format_response(b"NO", text[:1].upper() + text[1:])
        except MaiRustError as error:
            return format_response(b"NO", error.public, b"TRYLATER" if error.temporary else b"")

    async def _run(self, command: Command) -> bytes:
        session = self._session
        known = session.state is State.AUTHENTICATED
        match command:
            case Noop(tag):
                code = b"" if tag is None else b"TAG " + format_string(tag)
                return format_response(b"OK", "Done", code)
            case Authenticate():
                return _not_now() if known else await do_authenticate(session, command)
            case Verb.CAPABILITY | Verb.LOGOUT | Verb.STARTTLS:
                return await self._in_any_state(command)
            case Verb.LISTSCRIPTS:
                return await do_list(session) if known else _not_now()
            case Verb.UNAUTHENTICATE:
                return self._unauthenticate() if known else _not_now()
            case Verb():
                assert_never(command)
            case _:
                return await do_script(session, command) if known else _not_now()

    async def _in_any_state(self, verb: Verb) -> bytes:
        session = self._session
        if verb is Verb.CAPABILITY:
            return self._capabilities("That is all")
        if verb is Verb.LOGOUT:
            session.logout()
            session.state = State.OVER
            return format_response(b"OK", "Bye")
        return await self._starttls()

    async def _starttls(self) -> bytes:
        """Upgrade, and tell the capabilities anew (RFC 5804 §2.2).

        Raises:
            ConnectionClosed: Octets came behind the command: none of them may be used (CVE-2011-0411).
        """
        session = self._session
        if session.is_secure:
            return format_response(b"NO", "TLS is active already")
        if session.tls_context() is None:
            return format_response(b"NO", "TLS is not available")
        if not session.connection.stop_reading_for_tls():
            raise ConnectionClosed
        session.send(format_response(b"OK", "Begin TLS negotiation now"))
        await session.flush()
        await session.start_tls()
        return self._capabilities("TLS is active")

    def _unauthenticate(self) -> bytes:
        """RFC 5804 §2.14.1."""
        self._session.logout()
        return format_response(b"OK", "Nobody is logged in")

    def _capabilities(self, text: str) -> bytes:
        """RFC 5804 §1.7; logins are announced only where they may be used."""
        session, services = self._session, self._session.services
        lines = [
            format_capability("IMPLEMENTATION", PRODUCT),
            format_capability("VERSION", "1.0"),
            format_capability("SASL", " ".join(MECHANISMS) if session.is_secure else ""),
            format_capability("SIEVE", " ".join(services.extensions)),
            format_capability("MAXREDIRECTS", str(services.redirects_max)),
            format_capability("UNAUTHENTICATE"),
        ]
        if services.notify_methods:
            lines.append(format_capability("NOTIFY", " ".join(services.notify_methods)))
        if not session.is_secure and session.tls_context() is not None:
            lines.append(format_capability("STARTTLS"))
        if session.principal is not None:
            lines.append(format_capability("OWNER", session.principal.address))
        return b"".join(lines) + format_response(b"OK", text)

    def _bye(self, text: str) -> None:
        self._session.send(format_response(b"BYE", text))
        self._session.state = State.OVER


def _not_now() -> bytes:
    return format_response(b"NO", "This command is not possible now")
