"""One real message through the demo: submitted, delivered, read back, compared.

- The certificate is verified on both connections; nothing is skipped because it is a demo.
- What IMAP gives must end in exactly the octets that were submitted: the server only ever adds fields in front.
"""

from __future__ import annotations

import imaplib
import os
import smtplib
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import TypeVar

from mairust_cli.demo.ports import LOOPBACK
from mairust_cli.exits import CliError, Exit

T = TypeVar("T")

WAIT_S = 30.0
EVERY_S = 0.1
_NETWORK_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundTrip:
    """What came of it.

    Attributes:
        received: The message as IMAP gave it; None when it did not arrive in time.
        delivered_s: From the server's 250 until IMAP had it.
    """

    message_id: str
    sent: bytes
    received: bytes | None
    delivered_s: float

    @property
    def same(self) -> bool:
        """Whether the octets that came out end in the octets that went in."""
        return self.received is not None and self.received.endswith(self.sent)


def round_trip(*, sender: str, recipient: str, password: str, ports: dict[str, int], certificate: Path) -> RoundTrip:
    """Submit by TLS with AUTH PLAIN (RFC 8314, RFC 4954), then read back by IMAP (RFC 9051).

    Raises:
        CliError: The server refused something, with its words (exit 1).
    """
    context = ssl.create_default_context(cafile=str(certificate))
    message_id = f"<{os.urandom(12).hex()}@example.test>"
    message = demo_message(sender, recipient, message_id)
    _told("submission", lambda: _submit(context, ports["submissions_port"], sender, recipient, password, message))
    accepted = time.monotonic()
    received = _told("IMAP", lambda: _read_back(context, ports["imaps_port"], recipient, password, message_id))
    return RoundTrip(message_id=message_id, sent=message, received=received, delivered_s=time.monotonic() - accepted)


def demo_message(sender: str, recipient: str, message_id: str) -> bytes:
    """A message with what is easily spoilt: 8-bit text, a lone dot, long and empty lines, trailing blanks."""
    lines = [
        f"From: Alice <{sender}>",
        f"To: Bob <{recipient}>",
        "Subject: MaiRust demo",
        f"Date: {formatdate()}",
        f"Message-ID: {message_id}",
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=utf-8",
        "Content-Transfer-Encoding: 8bit",
        "",
        "Grüße from the demo, ✓.",
        ".",
        "..two dots, and a line that ends in blanks:   ",
        "",
        "x" * 900,
        "From here on nothing is quoted.",
    ]
    return ("\r\n".join(lines) + "\r\n").encode()


def _submit(context: ssl.SSLContext, port: int, sender: str, recipient: str, password: str, message: bytes) -> None:
    with smtplib.SMTP_SSL(LOOPBACK, port, context=context, timeout=_NETWORK_S) as session:
        session.ehlo("localhost")
        session.user, session.password = sender, password
        session.auth("PLAIN", session.auth_plain)
        session.sendmail(sender, [recipient], message, mail_options=["BODY=8BITMIME"])


def _read_back(context: ssl.SSLContext, port: int, login: str, password: str, message_id: str) -> bytes | None:
    deadline = time.monotonic() + WAIT_S
    with imaplib.IMAP4_SSL(LOOPBACK, port, ssl_context=context, timeout=_NETWORK_S) as session:
        session.login(login, password)
        while True:
            session.select("INBOX", readonly=True)
            found = session.uid("SEARCH", "HEADER", "Message-ID", f'"{message_id}"')[1][0]
            if found:
                parts = session.uid("FETCH", found.split()[0].decode(), "(BODY.PEEK[])")[1]
                return next((bytes(part[1]) for part in parts if isinstance(part, tuple)), None)
            if time.monotonic() > deadline:
                return None
            time.sleep(EVERY_S)


def _told(what: str, step: Callable[[], T]) -> T:
    try:
        return step()
    except (smtplib.SMTPException, imaplib.IMAP4.error, OSError) as error:
        words = error.args[-1] if error.args else error
        text = words.decode("utf-8", "replace") if isinstance(words, bytes) else str(words)
        raise CliError(
            f"the {what} step failed", code=Exit.FAILED, why=text, hint="mairust demo --dir DIR --once"
        ) from None
