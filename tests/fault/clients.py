"""Clients that send without pause, over every crash of the server, and write the ledger.

- A trial that got no success is sent again until it gets one: that is what real senders do, and what makes duplicates.
- A permanent refusal of anything here is a violation (reliability.md P4), as is any reply that the model excludes.
"""

from __future__ import annotations

import contextlib
import http.client
import imaplib
import json
import random
import smtplib
import ssl
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.support.daemon_process import HOST, PASSWORD, Ports
from tests.support.ledger import Ledger, Trial, make_text, make_trial

TIMEOUT_S = 30.0
RETRY_S = 0.1
OUTSIDE = "remote.test"
_CUT_OFF = (OSError, EOFError, smtplib.SMTPException, imaplib.IMAP4.abort, ssl.SSLError, http.client.HTTPException)


@cache
def unverified() -> ssl.SSLContext:
    """Accepts the daemon's self-signed certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Client(threading.Thread):
    """Works until told to stop; survives the server's deaths.

    Attributes:
        violations: What must never happen, in words.
        acknowledged: Successes so far.
    """

    def __init__(self, name: str, ports: Ports, folder: Path, seed: int) -> None:
        super().__init__(name=name, daemon=True)
        self.ports = ports
        self.ledger = Ledger(folder / f"{name}.jsonl")
        self.rng = random.Random(f"{seed}/{name}")
        self.violations: list[str] = []
        self.acknowledged = 0
        self._halt = threading.Event()

    def stop(self) -> None:
        """Ask it to end after its present command."""
        self._halt.set()

    def run(self) -> None:
        try:
            while not self._halt.is_set():
                with contextlib.suppress(*_CUT_OFF):
                    self.session()
                self._halt.wait(RETRY_S)
        except Exception as error:
            self.violations.append(f"{self.name}: {type(error).__name__}: {error}")
        finally:
            self.ledger.close()

    def session(self) -> None:
        """One connection, until it is cut off or `stopping`."""
        raise NotImplementedError

    @property
    def stopping(self) -> bool:
        return self._halt.is_set()

    def judge(self, trial: Trial, code: int, text: str) -> bool:
        """Write a reply down; whether it was a success."""
        success = 200 <= code < 300
        self.ledger.answered(trial, f"{code} {text}", success=success)
        self.acknowledged += success
        if code >= 500:
            self.violations.append(f"{self.name}: {trial.id} got {code} {text}")
        return success


class SmtpClient(Client):
    """Mail from the world, to one or two accounts; submission with a login when `login` is given."""

    def __init__(
        self, name: str, ports: Ports, folder: Path, seed: int, *, recipients: list[str], login: str | None = None
    ) -> None:
        super().__init__(name, ports, folder, seed)
        self._recipients = recipients
        self._login = login
        self._trial: Trial | None = None

    def session(self) -> None:
        with self._connected() as client:
            while not self.stopping:
                self._trial = trial = self._trial or self._made()
                self.ledger.trying(trial)
                code, text = self._sent(client, trial)
                if self.judge(trial, code, text.decode("ascii", "replace")):
                    self._trial = None

    def _connected(self) -> smtplib.SMTP:
        if self._login is None:
            return smtplib.SMTP(HOST, self.ports.smtp, local_hostname="sender.test", timeout=TIMEOUT_S)
        client = smtplib.SMTP_SSL(
            HOST, self.ports.submissions, local_hostname="desk.test", timeout=TIMEOUT_S, context=unverified()
        )
        try:
            client.login(self._login, PASSWORD)
        except BaseException:
            client.close()
            raise
        return client

    def _made(self) -> Trial:
        count = 2 if self.rng.random() < 0.2 else 1
        places = self.rng.sample(self._recipients, count)
        return make_trial(self.rng, self.name, sender=self._login or f"a@{OUTSIDE}", places=places)

    def _sent(self, client: smtplib.SMTP, trial: Trial) -> tuple[int, bytes]:
        client.ehlo_or_helo_if_needed()
        for code, text in (client.mail(self._login or f"a@{OUTSIDE}"), *(client.rcpt(place) for place in trial.places)):
            if code >= 300:
                client.rset()
                return code, text
        return client.data(trial.octets)


class ApiClient(Client):
    """`POST /api/v1/send` with the key of an account."""

    def __init__(
        self, name: str, ports: Ports, folder: Path, seed: int, *, recipients: list[str], sender: str, key: str
    ) -> None:
        super().__init__(name, ports, folder, seed)
        self._recipients = recipients
        self._sender = sender
        self._key = key
        self._trial: Trial | None = None

    def session(self) -> None:
        with contextlib.closing(http.client.HTTPConnection(HOST, self.ports.api, timeout=TIMEOUT_S)) as client:
            client.connect()
            while not self.stopping:
                places = self.rng.sample(self._recipients, 1)
                self._trial = trial = self._trial or make_text(self.rng, self.name, places=places)
                self.ledger.trying(trial)
                client.request("POST", "/api/v1/send", body=self._body(trial), headers=self._headers())
                response = client.getresponse()
                text = response.read().decode("utf-8", "replace")
                # 429 and 5xx say "later"; any other refusal would lose the message.
                later = response.status == 429 or response.status >= 500
                code = 250 if response.status == 202 else 451 if later else 554
                if self.judge(trial, code, f"HTTP {response.status} {text}"):
                    self._trial = None

    def _body(self, trial: Trial) -> bytes:
        message = {
            "from": self._sender,
            "to": trial.places,
            "subject": f"Trial {trial.id}",
            "text": trial.octets.decode(),
            "headers": {"X-Trial-Id": trial.id},
        }
        return json.dumps(message).encode()

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}


@contextlib.contextmanager
def logged_in(ports: Ports, address: str) -> Iterator[imaplib.IMAP4]:
    """An IMAP connection over TLS; closed in every case, which imaplib's own context manager forgets after an abort."""
    client = imaplib.IMAP4_SSL(HOST, ports.imaps, ssl_context=unverified(), timeout=TIMEOUT_S)
    try:
        client.login(address, PASSWORD)
        yield client
        client.logout()
    finally:
        with contextlib.suppress(OSError):
            client.shutdown()
