"""The state of one client's dialogue: what has been said, and what may come next (RFC 5321 §4.1.4).

- The table says in which states a verb is in order; everything else about a command is the session's.
- Whatever ends a transaction empties it whole: RSET, EHLO, STARTTLS, and every answer after the final dot.
"""

from __future__ import annotations

from enum import Enum, auto

from server.domain.address import Address
from server.domain.envelope import Envelope, Recipient, ReversePath
from server.protocol.smtp.commands import MailCommand


class State(Enum):
    """CONNECTED before EHLO, GREETED after it, SENDER after MAIL, RECIPIENTS after an accepted RCPT."""

    CONNECTED = auto()
    GREETED = auto()
    SENDER = auto()
    RECIPIENTS = auto()


_ANY = frozenset(State)

IN_ORDER: dict[bytes, frozenset[State]] = {
    b"EHLO": _ANY,
    b"HELO": _ANY,
    b"STARTTLS": frozenset({State.GREETED}),
    b"AUTH": frozenset({State.GREETED}),
    b"MAIL": frozenset({State.GREETED}),
    b"RCPT": frozenset({State.SENDER, State.RECIPIENTS}),
    b"DATA": frozenset({State.RECIPIENTS}),
    b"RSET": _ANY,
    b"NOOP": _ANY,
    b"VRFY": _ANY,
    b"EXPN": _ANY,
    b"HELP": _ANY,
    b"QUIT": _ANY,
    b"BDAT": _ANY,
}
"""Every verb that is known, with the states it may come in."""


class TransactionSession:
    """The dialogue's memory.

    Attributes:
        refused_recipients: Recipients refused since MAIL.
    """

    def __init__(self) -> None:
        self.state = State.CONNECTED
        self.refused_recipients = 0
        self._mail: MailCommand | None = None
        self._recipients: dict[Address, Recipient] = {}

    @property
    def reverse_path(self) -> ReversePath:
        return self._mail.reverse_path if self._mail is not None else None

    @property
    def smtputf8(self) -> bool:
        return self._mail is not None and self._mail.smtputf8

    @property
    def recipient_count(self) -> int:
        return len(self._recipients)

    @property
    def is_sweep(self) -> bool:
        """Whether recipients were named and none of them was known."""
        return self.refused_recipients > 0 and not self._recipients

    def forget(self) -> None:
        """Return to the state before EHLO (RFC 3207 §4.2)."""
        self.reset()
        self.state = State.CONNECTED

    def greet(self) -> None:
        """EHLO or HELO was accepted; it also resets (RFC 5321 §4.1.4)."""
        self.reset()
        self.state = State.GREETED

    def reset(self) -> None:
        """Drop the transaction, keep the greeting (RFC 5321 §4.1.1.5)."""
        self._mail = None
        self._recipients = {}
        self.refused_recipients = 0
        if self.state is not State.CONNECTED:
            self.state = State.GREETED

    def begin(self, mail: MailCommand) -> None:
        self._mail = mail
        self.state = State.SENDER

    def add(self, recipient: Recipient) -> None:
        """Take an accepted recipient; one named twice is one."""
        self._recipients.setdefault(recipient.address, recipient)
        self.state = State.RECIPIENTS

    def envelope(self) -> Envelope:
        """The transaction as a value; only in state RECIPIENTS."""
        mail = self._mail
        if mail is None or not self._recipients:
            raise RuntimeError("no transaction")
        return Envelope(
            reverse_path=mail.reverse_path,
            recipients=tuple(self._recipients.values()),
            smtputf8=mail.smtputf8,
            body_8bit=mail.body_8bit,
            ret=mail.ret,
            envid=mail.envid,
        )
