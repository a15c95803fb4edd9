"""Search on a running server: found within seconds of the delivery, right after a kill -9."""

from __future__ import annotations

import imaplib
import smtplib
import time
from collections.abc import Iterator

import pytest

from tests.support.daemon_process import MAIL_ROLES, PASSWORD, DaemonProcess
from tests.support.searching import MAILS
from tests.support.smtp_edge import client_context
from tests.support.world_cli import mairust, mairust_json
from tests.support.world_mail import wait_for

pytestmark = pytest.mark.timeout(120)

WAIT_S = 30.0
SENT = MAILS[:5]
"""Those that a sender may send: with a From field."""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    with DaemonProcess(tmp_path_factory.mktemp("search"), roles=(*MAIL_ROLES, "http"), accounts=1) as daemon:
        mairust(daemon, "wait", "--for", "ready")
        yield daemon


def _deliver(daemon: DaemonProcess, mails: tuple[bytes, ...]) -> None:
    with smtplib.SMTP(daemon.host, daemon.ports.smtp, timeout=WAIT_S) as client:
        for octets in mails:
            client.sendmail("alice@outside.example", [daemon.addresses[0]], octets)


def _mails(word: str) -> tuple[bytes, ...]:
    """The mails, one of them with a word of the test's own."""
    return tuple(octets.replace(b"Raclette", word.encode()) for octets in SENT)


def _indexed(daemon: DaemonProcess) -> bool:
    state = mairust_json(daemon, "mailbox", "index")
    return bool(state["indexed"] == state["total"] and not state["pending"])


def _by_imap(daemon: DaemonProcess, *criteria: str) -> list[bytes]:
    with imaplib.IMAP4_SSL(daemon.host, daemon.ports.imaps, ssl_context=client_context()) as client:
        client.login(daemon.addresses[0], PASSWORD)
        client.select("INBOX", readonly=True)
        client.literal = criteria[-1].encode()
        _, data = client.search("UTF-8", *criteria[:-1])
        return (data[0] or b"").split()


def test_delivered_mail_is_indexed_and_found_by_imap_and_command(daemon: DaemonProcess) -> None:
    _deliver(daemon, SENT)
    wait_for("the index", lambda: _indexed(daemon), timeout_s=WAIT_S)
    assert len(_by_imap(daemon, "BODY", "raclette")) == 1
    assert len(_by_imap(daemon, "BODY", "\u6771\u4eac\u90fd")) == 1
    assert len(_by_imap(daemon, "TEXT", "umsatz\u00fcbersicht")) == 1
    assert len(_by_imap(daemon, "SUBJECT", "gr\u00fc\u00dfe aus")) == 1
    found = mairust_json(
        daemon, "mailbox", "search", daemon.addresses[0], "quarterly has:attachment", "--reason", "test"
    )
    assert [one["subject"] for one in found] == ["Report"]


def test_a_kill_in_the_middle_of_indexing_loses_nothing(daemon: DaemonProcess) -> None:
    _deliver(daemon, _mails("fondue") * 20)
    daemon.kill()
    daemon.start()
    mairust(daemon, "wait", "--for", "ready")
    wait_for("the index", lambda: _indexed(daemon), timeout_s=WAIT_S)
    assert len(_by_imap(daemon, "BODY", "fondue")) == 20
    assert mairust_json(daemon, "mailbox", "reindex", "--verify")["damaged"] is False


def test_an_index_is_made_anew_while_it_is_searched(daemon: DaemonProcess) -> None:
    _deliver(daemon, _mails("roesti") * 10)
    wait_for("the index", lambda: _indexed(daemon), timeout_s=WAIT_S)
    assert mairust_json(daemon, "mailbox", "reindex")["pending"] > 0
    deadline = time.monotonic() + WAIT_S
    while True:
        assert len(_by_imap(daemon, "BODY", "roesti")) == 10
        if _indexed(daemon):
            break
        assert time.monotonic() < deadline
    assert len(_by_imap(daemon, "BODY", "roesti")) == 10
