"""One daemon per state folder, and a second one says whose it is (reliability.md F17)."""

from __future__ import annotations

import imaplib
import resource
import smtplib
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from server.daemon.exits import ExitCode
from tests.support.daemon_process import HOST, PASSWORD, REPOSITORY, DaemonProcess


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    with DaemonProcess(tmp_path_factory.mktemp("daemon"), accounts=2) as running:
        yield running


def test_a_message_comes_in_and_is_read(daemon: DaemonProcess) -> None:
    """The fixture itself: a delivery by SMTP is there by IMAP."""
    with smtplib.SMTP(HOST, daemon.ports.smtp) as client:
        client.sendmail("a@example.org", [daemon.addresses[1]], b"From: a@example.org\r\nSubject: One\r\n\r\nHello\r\n")
    assert _count(daemon, daemon.addresses[1]) == 1


def test_second_daemon_exits_75_in_under_a_second_and_names_the_first(daemon: DaemonProcess) -> None:
    """F17: the loser of two daemons on one state folder; a second of its own work, however busy the machine is."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    second = subprocess.run(
        [sys.executable, "-m", "server", "run", "--config", str(daemon.config_path)],
        cwd=REPOSITORY,
        capture_output=True,
        timeout=10,
    )
    took_s, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    assert second.returncode == ExitCode.LOCKED
    assert str(daemon.pid).encode() in second.stderr
    worked_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert worked_s < 1.0
    assert took_s < 5.0
    assert daemon.running


def _count(daemon: DaemonProcess, address: str) -> int:
    with imaplib.IMAP4(HOST, daemon.ports.imap) as client:
        client.starttls()
        client.login(address, PASSWORD)
        _, data = client.select("INBOX", readonly=True)
        client.logout()
    return int(data[0] or b"0")
