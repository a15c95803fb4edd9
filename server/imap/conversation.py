"""A session's course: greeting, commands one after the other, BYE.

- Commands run in the order they came; the next is looked at when the last is answered. What a client sends ahead
  waits in the connection's bounded buffer.
- A malformed command is answered and stepped over; ERRORS_MAX of them without a good one in between end the session.
"""

from __future__ import annotations

import re

from server.domain.errors import MaiRustError
from server.imap.answers import INTERNAL_ERROR
from server.imap.capabilities import capabilities
from server.imap.commands.append import do_append
from server.imap.connection import ConnectionClosed
from server.imap.dispatch import LEGAL, answered, execute
from server.imap.session import Result, Session, State, bad, no
from server.protocol.imap.append import Append
from server.protocol.imap.commands import Tagged
from server.protocol.imap.format import format_status_line
from server.protocol.imap.fragments import CommandText, LineTooLong, LiteralAnnounced, LiteralChunk
from server.protocol.imap.parse import CommandSyntaxError, parse_append, parse_command, tag_of
from server.protocol.imap.search import BadCharset
from server.telemetry.log import get_logger
from server.telemetry.metrics import IMAP_COMMANDS

log = get_logger("imap")

ERRORS_MAX = 20
_OTHER_PROTOCOL = re.compile(rb"(?:GET|HEAD|POST|PUT|DELETE|OPTIONS|PATCH|CONNECT|TRACE) \S|\x16\x03")


class Conversation:
    """Drives one session until it ends."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._errors = 0

    async def run(self) -> None:
        """Greet and serve; returns or raises ConnectionClosed when the session is over."""
        session = self._session
        session.send(b"* OK [CAPABILITY " + capabilities(session) + b"] IMAP ready\r\n")
        try:
            while session.state is not State.LOGOUT and not session.draining:
                await session.flush()
                await self._next()
            if session.draining:
                session.send(session.last_word)
            await session.flush()
        except TimeoutError:
            await self._bye("Idle for too long")
        except MaiRustError as error:
            # Outside any command only the selected mailbox can fail: it was deleted, or can't be read any more.
            log.info("imap.session_ended", reason=error.public)
            await self._bye(error.public)
        finally:
            await self._leave()

    async def _next(self) -> None:
        session = self._session
        deadline = session.deadline()
        while (event := session.connection.event_ready()) is None:
            if session.draining:
                return
            await session.pause(deadline)
        match event:
            case CommandText(text, bare):
                await self._command(text, bare=bare)
            case LiteralAnnounced():
                await self._literal(event)
            case LineTooLong(text):
                self._answer(tag_of(text), "", bad("Line is too long"))
                await self._bye("Line is too long")
                raise ConnectionClosed
            case LiteralChunk():
                raise RuntimeError("a literal is streamed only by its command")

    async def _command(self, text: bytes, *, bare: bool) -> None:
        session = self._session
        if session.state is State.NOT_AUTHENTICATED and _OTHER_PROTOCOL.match(text):
            log.info("imap.other_protocol")
            raise ConnectionClosed
        if bare:
            self._malformed(tag_of(text), "", bad("Lines end in CRLF"))
            return
        try:
            tagged = parse_command(text, utf8=session.modes.utf8_names)
        except CommandSyntaxError as error:
            self._malformed(error.tag, error.name, bad(_sentence(error.text)))
            return
        except BadCharset as error:
            if error.saves and session.selected_mailbox is not None:
                session.selected_mailbox.forget_saved()
            self._answer(tag_of(text), "SEARCH", no("Charset is not known", b"BADCHARSET (US-ASCII UTF-8)"))
            return
        self._errors = 0
        if session.presence is not None:
            session.presence.command = tagged.name
        result = await execute(session, tagged)
        if result is None:
            self._count(tagged, b"OK")
        else:
            self._answer(tagged.tag, tagged.name, result)

    async def _literal(self, announced: LiteralAnnounced) -> None:
        session = self._session
        try:
            append = parse_append(announced.text, utf8=session.modes.utf8_names)
        except CommandSyntaxError as error:
            self._refuse(announced, error.tag, bad(_sentence(error.text)))
            return
        if append is not None:
            tag, command = append
            if session.state not in LEGAL[command.name]:
                self._refuse(announced, tag, bad(f"{command.name} is not possible now"))
                return
            if session.modes.uid_only and command.name == "REPLACE":
                self._refuse(announced, tag, bad("Use UIDs", b"UIDREQUIRED"))
                return
            await self._append(tag, command, announced)
        elif not session.connection.accept_literal():
            self._refuse(announced, tag_of(announced.text), no("Literal is too large", b"TOOBIG"))
        elif announced.synchronising:
            session.send(b"+ OK\r\n")

    async def _append(self, tag: bytes, command: Append, announced: LiteralAnnounced) -> None:
        session = self._session
        result = await answered(session, command.name, lambda: do_append(session, command, announced))
        if result is INTERNAL_ERROR:
            # How far the message was read is unknown: the stream can't be followed any more.
            self._answer(tag, command.name, result)
            await self._bye("Internal error")
            raise ConnectionClosed
        if result is not None:
            self._answer(tag, command.name, result)

    def _refuse(self, announced: LiteralAnnounced, tag: bytes, result: Result) -> None:
        """Answer instead of taking a literal; one that is sent without waiting ends the session."""
        if not announced.synchronising:
            raise ConnectionClosed
        self._session.connection.refuse_literal()
        self._malformed(tag, "", result)

    def _malformed(self, tag: bytes, name: str, result: Result) -> None:
        self._errors += 1
        self._answer(tag, name, result)
        if self._errors >= ERRORS_MAX:
            self._session.send(b"* BYE Too many errors\r\n")
            self._session.state = State.LOGOUT

    def _answer(self, tag: bytes, name: str, result: Result) -> None:
        self._session.send(format_status_line(tag, result.status, result.text, result.code))
        IMAP_COMMANDS.labels(name or "unknown", result.status.decode("ascii")).inc()

    def _count(self, tagged: Tagged, status: bytes) -> None:
        IMAP_COMMANDS.labels(tagged.name, status.decode("ascii")).inc()

    async def _bye(self, text: str) -> None:
        self._session.send(format_status_line(b"*", b"BYE", _sentence(text)))
        await self._session.flush()

    async def _leave(self) -> None:
        """Give the selected mailbox back, and end what is watched."""
        self._session.replace_watch(None)
        try:
            await self._session.unselect()
        except MaiRustError as error:
            log.info("imap.leave_failed", reason=error.public)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
