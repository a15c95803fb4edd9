"""kill -9 around POP3's QUIT: answered deletions are durable, all others never happened (P1, F01)."""

from __future__ import annotations

import contextlib
import poplib
from pathlib import Path

import pytest

from tests.support.daemon_process import PASSWORD, DaemonProcess
from tests.support.world_mail import compose, deliver, trusting

pytestmark = pytest.mark.timeout(120)
LETTERS = 6


def _opened(daemon: DaemonProcess) -> poplib.POP3_SSL:
    client = poplib.POP3_SSL("localhost", daemon.ports.pop3s, context=trusting(daemon), timeout=30)
    client.user(daemon.addresses[0])
    client.pass_(PASSWORD)
    return client


def _ids(daemon: DaemonProcess) -> list[bytes]:
    """The unique ids of what is there."""
    with contextlib.closing(_opened(daemon)) as client:
        found = [line.split()[1] for line in client.uidl()[1]]
        client.quit()
        return found


def test_only_answered_deletions_survive_a_kill(tmp_path: Path) -> None:
    with DaemonProcess(tmp_path, roles=("smtp", "pop3"), accounts=1) as daemon:
        for _ in range(LETTERS):
            deliver(daemon, compose("x@example.org", daemon.addresses[0]), daemon.addresses[0])
        before = _ids(daemon)
        assert len(before) == LETTERS
        with contextlib.closing(_opened(daemon)) as client:
            for number in range(1, LETTERS + 1):
                client.dele(number)
            daemon.kill()
        daemon.start()
        assert _ids(daemon) == before
        with contextlib.closing(_opened(daemon)) as client:
            client.dele(1)
            client.dele(4)
            client.quit()
            daemon.kill()
        daemon.start()
        assert _ids(daemon) == [before[place] for place in (1, 2, 4, 5)]
