"""The client's side of SMTP without I/O: commands out as octets, replies in, events between (RFC 5321 §3, §4).

- `receive_data` takes what arrived, `next_event` says what it means; `phase` names what is waited for.
- One transaction's commands go out together where the remote offers PIPELINING (RFC 2920), else one by one.
- Each recipient gets one result: the remote's own reply, or ours when the remote lacks what the message needs. Nothing
  is converted: 8-bit octets and internationalised addresses go to remotes that take them, or fail with 5.6.x.
- Octets that wait when STARTTLS is granted end the connection: nothing said in clear is believed under TLS (RFC 3207).
- Only `RemoteSyntaxError` comes from what a remote sends.

RFC 1870 SIZE, RFC 6152 8BITMIME, RFC 6531 SMTPUTF8, RFC 3461 DSN, RFC 4954 AUTH.
"""

from __future__ import annotations

import base64
import re
from collections import deque
from dataclasses import dataclass, field
from enum import Enum, auto

from server.domain.envelope import Notify, Ret
from server.domain.reply import Reply, reply
from server.protocol.smtp.client_replies import RemoteSyntaxError, ReplyReader

_UNSAFE = re.compile(r"[\x00-\x1f\x7f]")
_XTEXT_PLAIN = frozenset(
    "!\"#$%&'()*,-./0123456789:;<>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~"
)


class Phase(Enum):
    """What the client waits for; each has its own timeout (RFC 5321 §4.5.3.2)."""

    IDLE = auto()
    GREETING = auto()
    EHLO = auto()
    TLS = auto()
    AUTH = auto()
    RESET = auto()
    MAIL = auto()
    RCPT = auto()
    DATA = auto()
    FINAL_DOT = auto()
    QUIT = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What EHLO offered. `size_max` is 0 when no limit is known; `auth` holds mechanisms in upper case."""

    pipelining: bool = False
    size: bool = False
    size_max: int = 0
    eightbitmime: bool = False
    smtputf8: bool = False
    dsn: bool = False
    starttls: bool = False
    auth: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionRecipient:
    """One forward-path as text, already in the form RCPT takes."""

    address: str
    notify: frozenset[Notify] = frozenset()
    orcpt: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MailTransaction:
    """What MAIL and RCPT need to know of a message.

    Attributes:
        sender: The reverse-path as text; empty = null reverse-path.
        size_octets: Before dot-stuffing.
        has_8bit: Whether the octets need 8BITMIME.
        needs_smtputf8: Whether header fields need SMTPUTF8; addresses are looked at here.
    """

    sender: str
    recipients: tuple[TransactionRecipient, ...]
    size_octets: int
    has_8bit: bool = False
    needs_smtputf8: bool = False
    ret: Ret | None = None
    envid: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One recipient's outcome; `from_remote` tells whether the reply is the remote's own."""

    reply: Reply
    from_remote: bool


@dataclass(frozen=True, slots=True)
class Greeted:
    """The remote's first words; other than 220 it does not serve us."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class Ready:
    """EHLO or HELO was answered; other than 250 the remote refused both."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class TlsAnswer:
    """The answer to STARTTLS; with 220 the handshake begins now."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class AuthAnswer:
    """The outcome of AUTH; 235 is success."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class Send:
    """Octets to write now."""

    data: bytes


@dataclass(frozen=True, slots=True)
class SendBody:
    """The remote waits for the message: write `encode_body(...)`, then call `body_sent`."""


@dataclass(frozen=True, slots=True)
class Done:
    """The transaction is over: a result for each recipient, in order.

    Attributes:
        usable: Whether another transaction may follow on the connection.
        dsn_passed_on: Whether the remote took over the DSN wishes (RFC 3461 §5.2).
    """

    results: tuple[Result, ...]
    usable: bool
    dsn_passed_on: bool


@dataclass(frozen=True, slots=True)
class Closed:
    """The answer to QUIT."""

    reply: Reply


Event = Greeted | Ready | TlsAnswer | AuthAnswer | Send | SendBody | Done | Closed


@dataclass(slots=True)
class _Running:
    """The transaction in progress: `results` and `accepted` by recipient number, `todo` commands not sent yet."""

    transaction: MailTransaction
    dsn: bool
    results: dict[int, Result]
    asked: list[int] = field(default_factory=list)
    accepted: list[int] = field(default_factory=list)
    todo: deque[bytes] = field(default_factory=deque)
    refusal: Reply | None = None
    next_rcpt: int = 0


class SmtpClient:
    """One connection's state; it begins by waiting for the greeting."""

    def __init__(self) -> None:
        self.capabilities = Capabilities()
        self._replies = ReplyReader()
        self._expected: deque[Phase] = deque([Phase.GREETING])
        self._events: deque[Event] = deque()
        self._running: _Running | None = None
        self._helo = b""
        self._esmtp = True
        self._auth_lines: deque[bytes] = deque()
        self._needs_reset = False
        self._broken = False

    @property
    def phase(self) -> Phase:
        """What is waited for now."""
        return self._expected[0] if self._expected else Phase.IDLE

    @property
    def usable(self) -> bool:
        """Whether a transaction may begin: nothing is owed, nothing unasked has arrived."""
        return not (self._broken or self._expected or self._replies.pending)

    def receive_data(self, data: bytes) -> None:
        """Take octets from the remote. Raises RemoteSyntaxError."""
        self._replies.feed(data)

    def next_event(self) -> Event | None:
        """The next event; None = the remote must say more. Raises RemoteSyntaxError."""
        while not self._events:
            if not self._expected:
                return None
            answer = self._replies.next_reply()
            if answer is None:
                return None
            self._answered(self._expected.popleft(), answer)
        return self._events.popleft()

    def hello(self, name: str) -> bytes:
        """Say EHLO; where it is refused the client itself falls back to HELO (RFC 5321 §4.1.1.1)."""
        self._helo, self._esmtp = name.encode("ascii"), True
        return self._command(Phase.EHLO, b"EHLO " + self._helo)

    def start_tls(self) -> bytes:
        """Ask for TLS; after a `TlsAnswer` of 220 and the handshake, `hello` comes again (RFC 3207 §4.2)."""
        return self._command(Phase.TLS, b"STARTTLS")

    def login(self, username: str, password: str) -> bytes | None:
        """Begin AUTH by PLAIN (RFC 4616), else LOGIN; None when the remote offers neither."""
        user, secret = username.encode(), password.encode()
        if "PLAIN" in self.capabilities.auth:
            self._auth_lines.clear()
            initial = base64.b64encode(b"\0" + user + b"\0" + secret)
            return self._command(Phase.AUTH, b"AUTH PLAIN " + initial)
        if "LOGIN" in self.capabilities.auth:
            self._auth_lines = deque([base64.b64encode(user), base64.b64encode(secret)])
            return self._command(Phase.AUTH, b"AUTH LOGIN")
        return None

    def begin(self, transaction: MailTransaction) -> bytes:
        """Begin a transaction; the connection must be `usable`. Empty when nothing is to be asked: `Done` follows."""
        obstacle = self._obstacle(transaction)
        running = _Running(transaction=transaction, dsn=self.capabilities.dsn, results={})
        utf8 = transaction.needs_smtputf8 or not transaction.sender.isascii()
        for number, recipient in enumerate(transaction.recipients):
            refusal = obstacle or self._recipient_obstacle(recipient)
            if refusal is not None:
                running.results[number] = Result(reply=refusal, from_remote=False)
                continue
            utf8 = utf8 or not recipient.address.isascii()
            running.asked.append(number)
        self._running = running
        if not running.asked:
            self._finish()
            return b""
        self._plan(running, utf8=utf8)
        if self.capabilities.pipelining:
            group = b"".join(running.todo)
            running.todo.clear()
            return group
        return running.todo.popleft()

    def body_sent(self) -> None:
        """The final dot was written."""
        self._expected.append(Phase.FINAL_DOT)

    def quit(self) -> bytes:
        """Say goodbye."""
        return self._command(Phase.QUIT, b"QUIT")

    def _command(self, phase: Phase, line: bytes) -> bytes:
        self._expected.append(phase)
        return line + b"\r\n"

    def _plan(self, running: _Running, *, utf8: bool) -> None:
        steps: list[tuple[Phase, bytes]] = [(Phase.RESET, b"RSET")] if self._needs_reset else []
        steps.append((Phase.MAIL, _mail_line(running.transaction, self.capabilities, utf8=utf8)))
        for number in running.asked:
            recipient = running.transaction.recipients[number]
            steps.append((Phase.RCPT, _rcpt_line(recipient, dsn=running.dsn, utf8=utf8)))
        steps.append((Phase.DATA, b"DATA"))
        for phase, line in steps:
            running.todo.append(self._command(phase, line))

    def _obstacle(self, transaction: MailTransaction) -> Reply | None:
        """Why the remote can't take the message at all; a reply of ours."""
        offered = self.capabilities
        if _UNSAFE.search(transaction.sender):
            return reply(553, "5.1.7", "the sender's address can't be sent")
        if offered.size_max and transaction.size_octets > offered.size_max:
            return reply(552, "5.3.4", f"the message is larger than the {offered.size_max} octets the remote takes")
        if not offered.smtputf8 and not transaction.sender.isascii():
            return reply(550, "5.6.7", "the remote does not take internationalised addresses")
        if not offered.smtputf8 and transaction.needs_smtputf8:
            return reply(550, "5.6.7", "the remote does not take internationalised header fields")
        if transaction.has_8bit and not offered.eightbitmime:
            return reply(554, "5.6.3", "the remote does not take 8-bit messages, and conversion would break them")
        return None

    def _recipient_obstacle(self, recipient: TransactionRecipient) -> Reply | None:
        if _UNSAFE.search(recipient.address):
            return reply(553, "5.1.3", "the recipient's address can't be sent")
        if not self.capabilities.smtputf8 and not recipient.address.isascii():
            return reply(550, "5.6.7", "the remote does not take internationalised addresses")
        return None

    def _answered(self, phase: Phase, answer: Reply) -> None:
        match phase:
            case Phase.GREETING:
                self._events.append(Greeted(answer))
            case Phase.EHLO:
                self._hello_answered(answer)
            case Phase.TLS:
                self._tls_answered(answer)
            case Phase.AUTH:
                self._auth_answered(answer)
            case Phase.QUIT:
                self._events.append(Closed(answer))
            case _:
                self._transaction_answered(phase, answer)

    def _hello_answered(self, answer: Reply) -> None:
        if answer.is_permanent and self._esmtp:
            self._esmtp = False
            self._events.append(Send(self._command(Phase.EHLO, b"HELO " + self._helo)))
            return
        self.capabilities = parse_capabilities(answer.lines) if self._esmtp else Capabilities()
        self._events.append(Ready(answer))

    def _tls_answered(self, answer: Reply) -> None:
        if answer.code == 220:
            if self._replies.pending:
                raise RemoteSyntaxError("the remote sent more than its answer to STARTTLS")
            self.capabilities = Capabilities()
        self._events.append(TlsAnswer(answer))

    def _auth_answered(self, answer: Reply) -> None:
        if answer.code == 334:
            line = self._auth_lines.popleft() if self._auth_lines else b"*"
            self._events.append(Send(self._command(Phase.AUTH, line)))
            return
        self._auth_lines.clear()
        self._events.append(AuthAnswer(answer))

    def _transaction_answered(self, phase: Phase, answer: Reply) -> None:
        running = self._running
        if running is None:
            raise RemoteSyntaxError("the remote answered without a question")
        if answer.code == 421:
            self._broken = True
            running.refusal = running.refusal or answer
            self._expected.clear()
            self._finish()
            return
        if 300 <= answer.code < 400 and phase is not Phase.DATA:
            raise RemoteSyntaxError(f"the remote answered {answer.code} where it makes no sense")
        match phase:
            case Phase.RESET:
                self._needs_reset = not answer.is_success
            case Phase.MAIL:
                if not answer.is_success:
                    running.refusal = answer
            case Phase.RCPT:
                self._recipient_answered(running, answer)
            case Phase.DATA:
                self._data_answered(running, answer)
                return
            case _:
                self._dot_answered(running, answer)
                return
        self._go_on(running)

    def _go_on(self, running: _Running) -> None:
        """Without PIPELINING: send the next command, or stop where nothing is left to send for."""
        if not running.todo:
            return
        unanswered = len(running.asked) - running.next_rcpt
        if running.refusal is not None or (not unanswered and not running.accepted):
            running.todo.clear()
            self._expected.clear()
            self._needs_reset = running.refusal is None
            self._finish()
            return
        self._events.append(Send(running.todo.popleft()))

    def _recipient_answered(self, running: _Running, answer: Reply) -> None:
        number = running.asked[running.next_rcpt]
        running.next_rcpt += 1
        if answer.is_success and running.refusal is None:
            running.accepted.append(number)
        else:
            running.results[number] = Result(reply=running.refusal or answer, from_remote=True)

    def _data_answered(self, running: _Running, answer: Reply) -> None:
        if answer.code == 354 and running.accepted:
            self._events.append(SendBody())
            return
        if answer.code == 354:
            # Pipelined DATA after refusals only: an empty message ends it, its answer means nothing (RFC 2920 §3.1).
            self._needs_reset = True
            self._events.append(Send(b".\r\n"))
            self._expected.append(Phase.FINAL_DOT)
            return
        if answer.is_success:
            raise RemoteSyntaxError(f"the remote answered {answer.code} to DATA")
        self._needs_reset = True
        running.refusal = running.refusal or answer
        self._finish()

    def _dot_answered(self, running: _Running, answer: Reply) -> None:
        for number in running.accepted:
            running.results[number] = Result(reply=answer, from_remote=True)
        running.accepted.clear()
        self._finish()

    def _finish(self) -> None:
        """Give every recipient that has no result the refusal of all, and report."""
        running = self._running
        if running is None:
            return
        self._running = None
        refusal = running.refusal or reply(451, "4.5.0", "the remote gave no answer")
        rest = Result(reply=refusal, from_remote=running.refusal is not None)
        results = tuple(running.results.get(number, rest) for number in range(len(running.transaction.recipients)))
        self._events.append(Done(results, usable=not self._broken, dsn_passed_on=running.dsn))


def parse_capabilities(lines: tuple[str, ...]) -> Capabilities:
    """Read the lines of an EHLO answer; the first is the greeting (RFC 5321 §4.1.1.1 "ehlo-line")."""
    offered: dict[str, list[str]] = {}
    for line in lines[1:]:
        # AUTH=LOGIN is an old form still seen beside the right one.
        words = line.upper().replace("AUTH=", "AUTH ", 1).split()
        if words:
            offered.setdefault(words[0], []).extend(words[1:])
    size = offered.get("SIZE", [])
    digits = size[0] if size and size[0].isascii() and size[0].isdigit() and len(size[0]) <= 20 else "0"
    return Capabilities(
        pipelining="PIPELINING" in offered,
        size="SIZE" in offered,
        size_max=int(digits),
        eightbitmime="8BITMIME" in offered,
        smtputf8="SMTPUTF8" in offered,
        dsn="DSN" in offered,
        starttls="STARTTLS" in offered,
        auth=frozenset(offered.get("AUTH", [])),
    )


def _mail_line(transaction: MailTransaction, offered: Capabilities, *, utf8: bool) -> bytes:
    parts = [f"MAIL FROM:<{transaction.sender}>"]
    if offered.size:
        parts.append(f"SIZE={transaction.size_octets}")
    if offered.eightbitmime and transaction.has_8bit:
        parts.append("BODY=8BITMIME")
    if utf8:
        parts.append("SMTPUTF8")
    if offered.dsn and transaction.ret is not None:
        parts.append(f"RET={transaction.ret.value}")
    if offered.dsn and transaction.envid:
        parts.append(f"ENVID={encode_xtext(transaction.envid)}")
    return " ".join(parts).encode()


def _rcpt_line(recipient: TransactionRecipient, *, dsn: bool, utf8: bool) -> bytes:
    parts = [f"RCPT TO:<{recipient.address}>"]
    if dsn and recipient.notify:
        parts.append("NOTIFY=" + ",".join(sorted(word.value for word in recipient.notify)))
    orcpt = _orcpt(recipient.orcpt) if dsn and recipient.orcpt else None
    if orcpt is not None:
        parts.append(f"ORCPT={orcpt}")
    return " ".join(parts).encode()


def _orcpt(original: str) -> str | None:
    """`addr-type;address` in the form of RCPT; None when it has none (RFC 3461 §4.2, RFC 6533 §3)."""
    kind, _, address = original.partition(";")
    if not kind.isascii() or not kind.isprintable() or " " in kind or not address:
        return None
    if address.isascii():
        return f"{kind};{encode_xtext(address)}"
    if kind.lower() != "utf-8":
        return None
    plain = (c if c in _XTEXT_PLAIN and c != "\\" else f"\\x{{{ord(c):02X}}}" for c in address)
    return f"{kind};{''.join(plain)}"


def encode_xtext(text: str) -> str:
    """Encode ASCII text as xtext (RFC 3461 §4); other characters become `?`."""
    octets = text.encode("ascii", "replace")
    return "".join(chr(o) if chr(o) in _XTEXT_PLAIN else f"+{o:02X}" for o in octets)
