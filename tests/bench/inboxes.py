"""How many messages the accounts' inboxes show, asked by IMAP STATUS: what "delivered" means here."""

from __future__ import annotations

import imaplib
import re
import ssl
import time
from collections.abc import Sequence

POLL_S = 0.01
WAIT_S = 120.0


class Inboxes:
    """Logged-in connections, one an account; not to be used during the load, which they would slow down."""

    def __init__(self, port: int, logins: Sequence[tuple[str, str]], *, starttls: bool) -> None:
        self._connections = []
        for name, password in logins:
            connection = imaplib.IMAP4("127.0.0.1", port)
            if starttls:
                connection.starttls(_unverified())
            connection.login(name, password)
            self._connections.append(connection)

    def counts(self) -> list[int]:
        """Messages in each INBOX."""
        return [_count(connection) for connection in self._connections]

    def wait_for(self, wanted: Sequence[int]) -> bool:
        """Wait until every INBOX holds at least so many messages; False when the time is up."""
        deadline = time.monotonic() + WAIT_S
        for connection, least in zip(self._connections, wanted, strict=True):
            while _count(connection) < least:
                if time.monotonic() > deadline:
                    return False
                time.sleep(POLL_S)
        return True

    def close(self) -> None:
        for connection in self._connections:
            connection.logout()


def _unverified() -> ssl.SSLContext:
    """The certificate is one that the server made itself."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _count(connection: imaplib.IMAP4) -> int:
    _, answer = connection.status("INBOX", "(MESSAGES)")
    found = re.search(rb"MESSAGES (\d+)", answer[0] or b"")
    assert found is not None, answer
    return int(found[1])
