"""What each SMTP command does (RFC 5321 §4.1.1, RFC 3207, RFC 4954).

- Order is checked against the table of `transaction`; answers come from the services or stand in `replies`.
- Input that arrives before a reply it had to wait for (354, STARTTLS) is never interpreted: the session ends.
- What follows the final dot runs in a task of its own that no connection can cancel (reliability.md §4).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Protocol

from server.domain.access import Presence
from server.domain.address import Address
from server.domain.envelope import ConnectionInfo
from server.domain.errors import MaiRustError
from server.domain.identity import Principal
from server.domain.inbound import Inbound
from server.domain.message import Content
from server.domain.reply import Reply
from server.protocol.sasl.messages import encode_base64
from server.protocol.smtp.commands import (
    CommandSyntaxError,
    parse_auth,
    parse_hello,
    parse_mail,
    parse_no_argument,
    parse_rcpt,
)
from server.protocol.smtp.limits import AUTH_LINE_MAX, BEFORE_AUTH_S, FINAL_DOT_S
from server.smtp import replies
from server.smtp.auth import AuthDialogue
from server.smtp.contracts import EdgeServices, Listener
from server.smtp.extensions import auth_offered, ehlo_reply
from server.smtp.receiving import Refused, read_message
from server.smtp.replygroup import ReplyGroup
from server.smtp.settings import SmtpSettings
from server.smtp.transaction import IN_ORDER, State, TransactionSession
from server.smtp.wire import HangUp, Phase, Wire
from server.telemetry.log import get_logger
from server.telemetry.metrics import SMTP_DURATION, SMTP_MESSAGES

log = get_logger("smtp")

_HTTP_VERBS = frozenset(
    {b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"DELETE", b"CONNECT", b"PATCH", b"TRACE", b"PRI"}
)
_SWEEP_ENDS = frozenset({b"DATA", b"RSET", b"MAIL", b"EHLO", b"HELO"})
_TRACED = frozenset({b"MAIL", b"RCPT"})
_OWN_ORDER = frozenset({b"STARTTLS", b"AUTH", b"DATA"})
"""Verbs that have other reasons to be refused, which come before the order."""
TRACED_RECIPIENTS = 50
"""How many recipients of a refused message are traced by name."""

_DOT_TO_REPLY = SMTP_DURATION.labels("reception")
_VERDICTS = {
    listener: {word: SMTP_MESSAGES.labels(listener.value, word) for word in ("accepted", "deferred", "refused")}
    for listener in Listener
}


class Host(Protocol):
    """The server a session runs in."""

    @property
    def draining(self) -> bool: ...

    def outlive(self, work: Coroutine[object, object, Reply]) -> asyncio.Task[Reply]:
        """Start work that ends on its own, whatever becomes of the connection."""
        ...


class SmtpCommands:
    """The commands of one connection and what they remember.

    Args:
        end_login: Ends the connection because its login is no longer valid.

    Attributes:
        connection: Who speaks; grows with EHLO and TLS.
        principal: Who logged in.
        ending: Set when the connection is to be closed after the last reply.
        messages: Transactions that ended with an accepted message.
        receiving: Whether a message is on its way in.
        grew: Whether the last command was an accepted recipient.
        spared: Whether the last refusal is no error of the client's: one recipient of several, or our own fault.
    """

    def __init__(
        self,
        wire: Wire,
        group: ReplyGroup,
        *,
        listener: Listener,
        connection: ConnectionInfo,
        services: EdgeServices,
        settings: SmtpSettings,
        host: Host,
        end_login: Callable[[], None],
    ) -> None:
        self.connection = connection
        self.principal: Principal | None = None
        self.host = host
        self.ending = False
        self.messages = 0
        self.grew = False
        self.spared = False
        self.receiving = False
        self._wire = wire
        self._group = group
        self._listener = listener
        self._services = services
        self._settings = settings
        self._end_login = end_login
        self._presence: Presence | None = None
        self._transaction = TransactionSession()
        self._born = services.clock.monotonic()
        self._verdicts = _VERDICTS[listener]
        self._verbs: dict[bytes, Callable[[bytes], Awaitable[Reply | None]]] = {
            b"EHLO": self._ehlo,
            b"HELO": self._helo,
            b"STARTTLS": self._starttls,
            b"AUTH": self._auth,
            b"MAIL": self._mail,
            b"RCPT": self._rcpt,
            b"DATA": self._data,
            b"BDAT": self._bdat,
            b"RSET": self._rset,
            b"QUIT": self._quit,
        }

    async def begin(self) -> Reply | None:
        """Ask reception whether the connection is welcome; None = yes."""
        return await self._services.reception.begin(self.connection)

    async def execute(self, verb: bytes, argument: bytes) -> Reply | None:
        """Run one command.

        Returns:
            The reply, or None where everything was said already.

        Raises:
            CommandSyntaxError: Outside the grammar.
            HangUp, PeerGone, Expired: The connection ends.
        """
        self.grew = self.spared = False
        states = IN_ORDER.get(verb)
        if states is None:
            if verb in _HTTP_VERBS:
                raise HangUp
            return replies.UNKNOWN_COMMAND
        if self._presence is not None:
            self._presence.command = verb.decode("ascii", "replace")
        transaction = self._transaction
        if transaction.is_sweep and verb in _SWEEP_ENDS:
            await asyncio.sleep(self._settings.unknown_pause_s)
        if transaction.state not in states and verb not in _OWN_ORDER:
            return self._out_of_order()
        constant = replies.CONSTANT.get(verb)
        if constant is not None:
            return constant
        try:
            return await self._verbs[verb](argument)
        except CommandSyntaxError as error:
            if verb in _TRACED:
                self.trace(verb.decode("ascii"), error.reply)
            raise
        except MaiRustError as error:
            log.warning("smtp.unavailable", verb=verb.decode("ascii"), error=error.public)
            self.spared = True
            return replies.error_reply(error)

    def patience_s(self) -> float:
        """How long the next line may take; until a submission client is logged in, all lines together."""
        timeout_s = self._settings.command_timeout_s
        if self._listener is Listener.SMTP or self.principal is not None:
            return timeout_s
        left_s = self._born + BEFORE_AUTH_S - self._services.clock.monotonic()
        return min(timeout_s, max(left_s, 0.0))

    def trace(self, stage: str, reply: Reply, recipient: Address | None = None) -> None:
        """Have a refusal of ours traced, once a transaction is under way or about to be."""
        if self._transaction.state is not State.CONNECTED:
            self._services.reception.refused(
                self.connection,
                stage=stage,
                reply=reply,
                reverse_path=self._transaction.reverse_path,
                recipient=recipient,
            )

    def _out_of_order(self) -> Reply:
        return replies.HELLO_FIRST if self._transaction.state is State.CONNECTED else replies.BAD_SEQUENCE

    async def _ehlo(self, argument: bytes) -> Reply:
        self._hello(argument, esmtp=True)
        return ehlo_reply(
            self._listener,
            self._settings,
            helo=self.connection.helo,
            tls=self.connection.tls is not None,
            tls_available=self._services.tls() is not None,
            logged_in=self.principal is not None,
        )

    async def _helo(self, argument: bytes) -> Reply:
        self._hello(argument, esmtp=False)
        return Reply(code=250, lines=(self._settings.hostname,))

    def _hello(self, argument: bytes, *, esmtp: bool) -> None:
        self.connection = replace(self.connection, helo=parse_hello(argument), esmtp=esmtp)
        self._transaction.greet()

    async def _starttls(self, argument: bytes) -> Reply | None:
        """RFC 3207; octets that came with the command end the session unanswered (CVE-2011-0411)."""
        self._wire.pause_reading()
        if self._wire.has_input:
            log.info("smtp.starttls_injection")
            raise HangUp
        parse_no_argument(argument)
        if self.connection.tls is not None:
            return replies.TLS_ACTIVE
        if self._transaction.state not in IN_ORDER[b"STARTTLS"]:
            return self._out_of_order()
        context = self._services.tls()
        if context is None:
            return replies.TLS_UNAVAILABLE
        self._group.add(replies.READY_FOR_TLS)
        self._group.flush()
        tls = await self._wire.start_tls(context)
        self.connection = replace(self.connection, tls=tls, helo="", esmtp=True)
        self.principal = None
        self._transaction.forget()
        return None

    async def _auth(self, argument: bytes) -> Reply:
        """RFC 4954 §4."""
        if self._listener is Listener.SMTP:
            return replies.NOT_IMPLEMENTED
        if not auth_offered(self._listener, tls=self.connection.tls is not None):
            return replies.LOGIN_NEEDS_TLS
        if self.principal is not None:
            return replies.LOGGED_IN_ALREADY
        if self._transaction.state not in IN_ORDER[b"AUTH"]:
            return self._out_of_order()
        dialogue = AuthDialogue(logins=self._services.logins, connection=self.connection, ask=self._ask)
        answer = await dialogue.run(parse_auth(argument))
        self.principal = dialogue.principal
        if self.principal is not None:
            self._presence = self._services.gate.entered(self.principal, self.connection, self._end_login)
        return answer

    async def _ask(self, challenge: bytes) -> bytes:
        """Send a challenge and take the client's line without its CRLF (RFC 4954 §4)."""
        self._group.add(Reply(code=334, lines=(encode_base64(challenge).decode("ascii"),)))
        self._group.flush()
        while (line := self._wire.next_line(AUTH_LINE_MAX)) is None:
            await self._wire.more(self.patience_s(), Phase.COMMAND)
        if line[-2:] != b"\r\n":
            raise HangUp
        return line[:-2]

    async def _mail(self, argument: bytes) -> Reply:
        """RFC 5321 §4.1.1.2; on submission ports only after a login, and only from one's own addresses (RFC 6409)."""
        submission = self._listener is not Listener.SMTP
        if self.connection.tls is None and (submission or self._settings.require_tls):
            return replies.TLS_NEEDED
        if submission and self.principal is None:
            return replies.LOGIN_NEEDED
        mail = parse_mail(argument, auth_offered=submission)
        refusal = None
        if mail.size_octets > self._settings.max_message_size:
            refusal = replies.too_large(self._settings.max_message_size)
        elif self.principal is not None and not await self._services.submissions.sender_allowed(
            self.principal, mail.reverse_path
        ):
            refusal = replies.SENDER_REFUSED
        if refusal is not None:
            self._services.reception.refused(
                self.connection, stage="MAIL", reply=refusal, reverse_path=mail.reverse_path
            )
            return refusal
        self._transaction.begin(mail)
        return replies.SENDER_OK

    async def _rcpt(self, argument: bytes) -> Reply:
        """RFC 5321 §4.1.1.3; who is known is decided here, never after the message."""
        transaction, services = self._transaction, self._services
        recipient = parse_rcpt(argument, smtputf8=transaction.smtputf8, postmaster_domain=self._settings.hostname)
        if transaction.recipient_count >= self._settings.max_recipients:
            self.spared = True
            self.trace("RCPT", replies.TOO_MANY_RECIPIENTS, recipient.address)
            return replies.TOO_MANY_RECIPIENTS
        if self.principal is not None:
            refusal = await services.submissions.recipient(
                self.connection, self.principal, transaction.reverse_path, recipient.address
            )
        else:
            refusal = await services.reception.recipient(self.connection, transaction.reverse_path, recipient.address)
        if refusal is not None:
            transaction.refused_recipients += 1
            self.spared = transaction.recipient_count > 0
            return refusal
        transaction.add(recipient)
        self.grew = True
        return replies.RECIPIENT_OK

    async def _data(self, argument: bytes) -> Reply:
        """RFC 5321 §4.1.1.4."""
        wire, transaction = self._wire, self._transaction
        if wire.has_input:
            # A message that did not wait for 354 must not be read as commands.
            self.ending = True
            return replies.EARLY_INPUT
        parse_no_argument(argument)
        if transaction.state is not State.RECIPIENTS:
            return replies.NO_VALID_RECIPIENTS if transaction.is_sweep else self._out_of_order()
        writer = self._services.writer()
        self._group.add(replies.START_DATA)
        self._group.flush()
        self.receiving = True
        outcome = await read_message(
            wire,
            writer,
            settings=self._settings,
            normalise=self.principal is not None and self._settings.normalise_newlines,
        )
        self.receiving = False
        if isinstance(outcome, Refused):
            answer = outcome.reply
            self.spared = answer.is_temporary
            for recipient in transaction.envelope().recipients[:TRACED_RECIPIENTS]:
                self.trace("DATA", answer, recipient.address)
        else:
            answer = await self._decided(outcome)
        transaction.reset()
        self._count(answer)
        return answer

    async def _decided(self, content: Content) -> Reply:
        """Hand the message over and wait for the answer; the connection's end doesn't end the work."""
        inbound = Inbound(
            connection=self.connection,
            envelope=self._transaction.envelope(),
            content=content,
            received_at=self._services.clock.now(),
        )
        services, principal = self._services, self.principal
        started = services.clock.monotonic()
        if principal is not None:
            task = self.host.outlive(services.submissions.accept(inbound, principal))
        else:
            task = self.host.outlive(services.reception.receive(inbound))
        in_time = await self._wire.settled(task, FINAL_DOT_S)
        _DOT_TO_REPLY.observe(services.clock.monotonic() - started)
        if not in_time:
            log.warning("smtp.decision_late", timeout_s=FINAL_DOT_S)
            return replies.OUR_FAULT
        answer = task.result()
        if answer.is_success:
            self.messages += 1
            self._wire.expect_ack(answer)
        return answer

    def _count(self, answer: Reply) -> None:
        verdict = "accepted" if answer.is_success else "deferred" if answer.is_temporary else "refused"
        self._verdicts[verdict].inc()

    async def _bdat(self, argument: bytes) -> Reply:
        """Not offered (RFC 3030); its octets would be read as commands, so the session ends."""
        self.ending = True
        return replies.UNKNOWN_COMMAND

    async def _rset(self, argument: bytes) -> Reply:
        parse_no_argument(argument)
        self._transaction.reset()
        return replies.OK

    async def _quit(self, argument: bytes) -> Reply:
        """Whatever comes after it is ignored (RFC 5321 §4.1.1.10)."""
        parse_no_argument(argument)
        self.ending = True
        return replies.BYE
