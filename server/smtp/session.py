"""One client's SMTP session: lines in, replies out, within the limits of a connection (RFC 5321, RFC 2920).

- Replies to a pipelined group leave in one write, in order, when no further whole command waits (RFC 2920 §3.2).
- Lines end in CRLF; a bare LF is refused, never taken as a line end (RFC 5321 §2.3.8).
- Every refused command counts; a peer's input causes replies or an end, never an error of ours.
"""

from __future__ import annotations

import asyncio

from server.domain.reply import Reply
from server.protocol.smtp.commands import CommandSyntaxError, split_command
from server.protocol.smtp.limits import (
    AUTH_LINE_MAX,
    COMMAND_LINE_MAX,
    ERRORS_MAX,
    IDLE_COMMANDS_MAX,
)
from server.smtp import replies
from server.smtp.commands import SmtpCommands
from server.smtp.contracts import Listener
from server.smtp.replygroup import ReplyGroup
from server.smtp.settings import SmtpSettings
from server.smtp.wire import Expired, HangUp, LineTooLong, PeerGone, Phase, Wire
from server.telemetry.log import get_logger

log = get_logger("smtp")

GROUP_MAX = 100
"""Replies gathered before they are written, however long the pipelined group is."""

_TLS_HELLO = b"\x16\x03"


class SmtpSession:
    """Speaks with one client until the end."""

    def __init__(
        self, wire: Wire, group: ReplyGroup, commands: SmtpCommands, *, listener: Listener, settings: SmtpSettings
    ) -> None:
        self._wire = wire
        self._group = group
        self._commands = commands
        self._settings = settings
        self._line_max = COMMAND_LINE_MAX if listener is Listener.SMTP else AUTH_LINE_MAX
        self._errors = 0
        self._since_mail = 0

    async def run(self) -> bool:
        """Greet, converse, say the last word; returns when the connection is to be closed.

        Returns:
            Whether the client may still be sending.
        """
        lingers = True
        try:
            if await self._greet():
                await self._converse()
                lingers = self._wire.has_input
        except Expired as end:
            lingers = self._commands.receiving
            self._group.add(end.reply)
        except LineTooLong:
            self._group.add(replies.LINE_TOO_LONG)
        except HangUp:
            self._group.drop()
        except PeerGone:
            lingers = False
            log.debug("smtp.peer_gone")
        self._group.flush()
        return lingers

    async def _greet(self) -> bool:
        """220, unless the peer is refused or spoke first (RFC 5321 §3.1, §4.3.1)."""
        refusal = await self._commands.begin()
        if refusal is not None:
            self._group.add(refusal)
            return False
        await asyncio.sleep(self._settings.greeting_pause_s)
        if self._wire.has_input:
            self._hang_up_on_tls()
            log.info("smtp.talked_first")
            self._group.add(replies.TALKED_FIRST)
            return False
        self._group.add(Reply(code=220, lines=(f"{self._settings.hostname} ESMTP MaiRust",)))
        return True

    async def _converse(self) -> None:
        wire, group, commands = self._wire, self._group, self._commands
        while not commands.ending:
            line = wire.next_line(self._line_max)
            if line is not None:
                if len(line) > COMMAND_LINE_MAX and line[:5].upper() != b"AUTH ":
                    raise LineTooLong
                answer = await self._execute(line)
                if answer is not None:
                    group.add(answer)
                if len(group) < GROUP_MAX:
                    continue
            if group:
                group.flush()
                await wire.drained()
            if line is None:
                await self._wait()
            else:
                # A buffer full of short commands must not hold up everyone else.
                await asyncio.sleep(0)

    async def _wait(self) -> None:
        """Wait for the next octets of a command."""
        if self._commands.host.draining:
            raise Expired(replies.SHUTTING_DOWN)
        if self._wire.has_input:
            self._hang_up_on_tls()
        await self._wire.more(self._commands.patience_s(), Phase.COMMAND)

    def _hang_up_on_tls(self) -> None:
        """A TLS handshake on a port that begins in clear ends without an answer."""
        if self._wire.starts_with(_TLS_HELLO):
            raise HangUp

    async def _execute(self, line: bytes) -> Reply | None:
        """Run one command line and count it; None where the command has said all itself."""
        commands = self._commands
        delivered = commands.messages
        try:
            if line[-2:] != b"\r\n":
                raise CommandSyntaxError(500, "5.5.2", "Lines must end in CR LF")
            verb, argument = split_command(line[:-2])
            answer = await commands.execute(verb, argument)
        except CommandSyntaxError as error:
            answer = error.reply
        if commands.messages != delivered:
            self._since_mail = 0
            return answer
        if answer is None or answer.code < 400:
            self._since_mail += not commands.grew
        elif not commands.spared:
            self._errors += 1
        if self._errors > ERRORS_MAX:
            return self._enough(answer, replies.TOO_MANY_ERRORS)
        if self._since_mail > IDLE_COMMANDS_MAX:
            return self._enough(None, replies.TOO_MANY_COMMANDS)
        return answer

    def _enough(self, answer: Reply | None, last_word: Reply) -> Reply:
        if answer is not None:
            self._group.add(answer)
        self._commands.ending = True
        return last_word
