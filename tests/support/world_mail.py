"""Mail as the tests of whole servers see it: made, read back over IMAP, and looked up in the store's events and queue.

- `compose` gives complete messages (Date, Message-ID), so that what is stored must end with the very octets sent.
- Rows are read beside the running daemon, read-only; only committed facts are seen.
"""

from __future__ import annotations

import contextlib
import imaplib
import itertools
import json
import random
import smtplib
import socket
import sqlite3
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from tests.support.daemon_process import PASSWORD, DaemonProcess

T = TypeVar("T")

CLIENT_S = 10.0
_numbers = itertools.count(1)


def trust_file(daemon: DaemonProcess) -> Path:
    """The certificate that clients trust: the daemon's own, self-signed."""
    return daemon.state_dir / "tls" / "cert.pem"


def trusting(daemon: DaemonProcess) -> ssl.SSLContext:
    """Verifies the daemon's certificate and its name, `localhost`."""
    return ssl.create_default_context(cafile=str(trust_file(daemon)))


def compose(sender: str, to: str, *, subject: str = "", lines: int = 12, extra: bytes = b"") -> bytes:
    """A complete message with CRLF, lines that begin with dots, and 8-bit text in the body."""
    number = next(_numbers)
    noise = random.Random(number)
    head = (
        f"From: {sender}\r\nTo: {to}\r\nSubject: {subject or f'Letter {number}'}\r\n"
        f"Date: Sun, 22 Nov 2026 12:00:{number % 60:02d} +0000\r\n"
        f"Message-ID: <{number}.{noise.getrandbits(64)}@test>\r\n"
        "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"
    )
    body = ["Grüße, 你好", ".", "..two dots", "From here on", ""]
    body += ["".join(noise.choices("abcdefghij ", k=noise.randrange(1, 78))).strip() for _ in range(lines)]
    return head.encode() + extra + b"\r\n" + "\r\n".join(body).encode() + b"\r\n"


def deliver(daemon: DaemonProcess, octets: bytes, to: str, *, sender: str = "someone@example.org") -> None:
    """Send to the reception port as another server does. Raises smtplib's errors."""
    with smtplib.SMTP(daemon.host, daemon.ports.smtp, local_hostname="sender.example.org", timeout=CLIENT_S) as client:
        client.sendmail(sender, [to], octets, mail_options=["BODY=8BITMIME"])


def submit(daemon: DaemonProcess, octets: bytes, sender: str, *to: str) -> None:
    """Send as a logged-in user on the submission port with STARTTLS. Raises smtplib's errors."""
    with smtplib.SMTP(daemon.host, daemon.ports.submission, local_hostname="desk.test", timeout=CLIENT_S) as client:
        client.starttls(context=_loose())
        client.login(sender, PASSWORD)
        client.sendmail(sender, list(to), octets, mail_options=["BODY=8BITMIME"])


@contextlib.contextmanager
def mailbox_of(daemon: DaemonProcess, address: str) -> Iterator[imaplib.IMAP4]:
    """A logged-in IMAP connection over TLS."""
    client = imaplib.IMAP4_SSL(daemon.host, daemon.ports.imaps, ssl_context=_loose(), timeout=CLIENT_S)
    try:
        client.login(address, PASSWORD)
        yield client
        client.logout()
    except BaseException:
        # A logout closes the socket itself; a second time would be an error of its own.
        with contextlib.suppress(OSError):
            client.shutdown()
        raise


def read_mailbox(daemon: DaemonProcess, address: str, name: str = "INBOX") -> list[bytes]:
    """All messages of a mailbox, whole, in the order of their UIDs; nothing is marked as read."""
    with mailbox_of(daemon, address) as client:
        status, count = client.select(name, readonly=True)
        assert status == "OK", count
        if count == [b"0"]:
            return []
        _, lines = client.fetch("1:*", "(UID BODY.PEEK[])")
    return [line[1] for line in lines if isinstance(line, tuple)]


def wait_for(what: str, probe: Callable[[], T | None], *, timeout_s: float = 10.0) -> T:
    """Ask until the answer is true; fails with `what` after the time."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = probe()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"no {what} after {timeout_s:g} s")
        time.sleep(0.03)


def wait_for_mail(
    daemon: DaemonProcess, address: str, mark: bytes, *, name: str = "INBOX", timeout_s: float = 10.0
) -> bytes:
    """The first message of the mailbox that holds `mark`, as soon as it is there."""

    def probe() -> bytes | None:
        return next((octets for octets in read_mailbox(daemon, address, name) if mark in octets), None)

    try:
        return wait_for(f"mail with {mark[:80]!r} for {address}", probe, timeout_s=timeout_s)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{daemon.log_tail()}") from None


def rows(daemon: DaemonProcess, sql: str, *values: object) -> list[dict[str, Any]]:
    """Rows of the daemon's SQLite database."""
    assert daemon.database_path is not None
    with contextlib.closing(sqlite3.connect(f"file:{daemon.database_path}?mode=ro", uri=True, timeout=5)) as database:
        database.row_factory = sqlite3.Row
        return [dict(row) for row in database.execute(sql, values)]


def events(daemon: DaemonProcess, **equal: str) -> list[dict[str, Any]]:
    """Events in order, those whose columns equal the given values; `data` is decoded."""
    where = " AND ".join(f"{column} = ?" for column in equal) or "1"
    found = rows(daemon, f"SELECT * FROM events WHERE {where} ORDER BY seq", *equal.values())
    return [row | {"data": json.loads(row["data"])} for row in found]


def deliveries(daemon: DaemonProcess, recipient: str) -> list[dict[str, Any]]:
    """Queue rows of one recipient, in order."""
    return rows(daemon, "SELECT * FROM queued_recipients WHERE recipient = ? ORDER BY created_at", recipient)


def greeting_of(host: str, port: int) -> bytes:
    """The first line a server says."""
    with socket.create_connection((host, port), timeout=CLIENT_S) as peer:
        return peer.makefile("rb").readline()


def _loose() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
