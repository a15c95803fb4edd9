"""A session's course: greeting, commands one after the other, QUIT or the end (RFC 1939 §3).

- A malformed line is answered and stepped over; ERRORS_MAX failures without a success in between end the session.
- A session that is silent for too long is closed without a word and deletes nothing (RFC 1939 §3).
"""

from __future__ import annotations

import re
from typing import assert_never

from server.domain.errors import MaiRustError
from server.pop3.answers import answer_error, err, ok
from server.pop3.login import MECHANISMS, do_auth, do_pass, do_user
from server.pop3.session import Session, State
from server.pop3.transaction import do_dele, do_listing, do_retr, do_rset, do_stat, do_top, update
from server.protocol.lines import LineTooLong
from server.protocol.pop3.commands import (
    LINE_MAX,
    Auth,
    Command,
    Listing,
    OnMessage,
    Pass,
    Pop3SyntaxError,
    Top,
    User,
    Word,
    name_of,
    parse_command,
)
from server.protocol.pop3.message import END
from server.stream.connection import ConnectionClosed
from server.telemetry.log import get_logger

log = get_logger("pop3")

ERRORS_MAX = 20
_OTHER_PROTOCOL = re.compile(rb"(?:GET|HEAD|POST|PUT|DELETE|OPTIONS|PATCH|CONNECT|TRACE) \S|\x16\x03")
_ANY_STATE = frozenset({Word.CAPA, Word.QUIT})
_BEFORE_LOGIN = frozenset({Word.STLS, Word.UTF8})
_CAPABILITIES = ("TOP", "UIDL", "PIPELINING", "RESP-CODES", "AUTH-RESP-CODE", "EXPIRE NEVER", "UTF8 USER")
"""Of every state. Those for logging in come and go; IMPLEMENTATION would help nobody but an attacker."""


class Conversation:
    """Drives one session until it ends."""

    def __init__(self, session: Session, *, implicit_tls: bool) -> None:
        self._session = session
        self._implicit_tls = implicit_tls
        self._errors = 0

    async def run(self) -> None:
        """Greet and serve; raises ConnectionClosed or Draining when the session ends in another way than QUIT."""
        session = self._session
        if self._implicit_tls:
            await session.start_tls()
        session.send(ok("POP3 ready"))
        try:
            while session.state is not State.OVER:
                await self._next()
            await session.flush()
        except TimeoutError:
            raise ConnectionClosed from None
        finally:
            await session.leave()

    async def _next(self) -> None:
        session = self._session
        line = await session.next_line(LINE_MAX)
        if isinstance(line, LineTooLong):
            session.send(err("Line is too long"))
            session.state = State.OVER
            return
        if session.state is State.AUTHORIZATION and _OTHER_PROTOCOL.match(line.text):
            log.info("pop3.other_protocol")
            raise ConnectionClosed
        answer = err("Lines end in CRLF") if line.bare else await self._answer(line.text)
        session.send(answer)
        self._errors = self._errors + 1 if answer.startswith(b"-ERR") else 0
        if self._errors >= ERRORS_MAX and session.state is not State.OVER:
            session.send(err("Too many errors"))
            session.state = State.OVER

    async def _answer(self, line: bytes) -> bytes:
        """The last part of the response; what came before it has been sent."""
        try:
            command = parse_command(line)
            self._session.visit.note(name_of(command))
            return await self._run(command)
        except Pop3SyntaxError as error:
            text = str(error)
            return err(text[:1].upper() + text[1:])
        except TimeoutError:
            raise
        except MaiRustError as error:
            return answer_error(error)

    async def _run(self, command: Command) -> bytes:
        session = self._session
        before = session.state is State.AUTHORIZATION
        match command:
            case Word():
                legal = command in _ANY_STATE or before is (command in _BEFORE_LOGIN)
                return await self._word(command) if legal else _wrong_state(command.value)
            case User() if before:
                return do_user(session, command)
            case Pass() if before:
                return await do_pass(session, command)
            case Auth() if before:
                return await do_auth(session, command)
            case Listing() if not before:
                return await do_listing(session, command)
            case OnMessage() if not before:
                return await do_retr(session, command) if command.verb == "RETR" else do_dele(session, command)
            case Top() if not before:
                return await do_top(session, command)
            case _:
                return _wrong_state("This command")

    async def _word(self, word: Word) -> bytes:
        session = self._session
        match word:
            case Word.CAPA:
                return self._capabilities()
            case Word.NOOP:
                return ok()
            case Word.STAT:
                return do_stat(session)
            case Word.RSET:
                return do_rset(session)
            case Word.UTF8:
                session.utf8 = True
                return ok("UTF-8 is on")
            case Word.STLS:
                return await self._stls()
            case Word.QUIT:
                answer = await update(session) if session.state is State.TRANSACTION else ok("Bye")
                session.state = State.OVER
                return answer
            case _:
                assert_never(word)

    def _capabilities(self) -> bytes:
        """CAPA (RFC 2449 §5); logins are announced only where they may be used."""
        session = self._session
        lines = [*_CAPABILITIES]
        if session.is_secure:
            lines += ["USER", "SASL " + " ".join(MECHANISMS)]
        elif session.tls_context() is not None:
            lines.append("STLS")
        return ok("Capabilities follow") + "".join(f"{line}\r\n" for line in lines).encode("ascii") + END

    async def _stls(self) -> bytes:
        """Upgrade (RFC 2595 §4); not after UTF8 (RFC 6856 §2.1).

        Raises:
            ConnectionClosed: Octets came behind the command: none of them may be used (CVE-2011-0411).
        """
        session = self._session
        if session.is_secure:
            return err("TLS is active already")
        if session.tls_context() is None:
            return err("TLS is not available")
        if session.utf8:
            return err("STLS comes before UTF8")
        if not session.connection.stop_reading_for_tls():
            raise ConnectionClosed
        session.send(ok("Begin TLS negotiation now"))
        await session.flush()
        await session.start_tls()
        return b""


def _wrong_state(name: str) -> bytes:
    return err(f"{name} is not possible now")
