"""FT3 and FT7, quick tier: a full disk defers, and nothing acknowledged is lost (reliability.md F03, F04; P4).

RFC 5321 §4.2.2, §4.5.3.1.10; RFC 3463 §3.4 (X.3.1).
"""

from __future__ import annotations

import asyncio
import random
import smtplib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from server.daemon.exits import ExitCode
from server.store.schema import events
from server.store.transaction import Transaction
from tests.fault.checker import check, read
from tests.fault.clients import logged_in, unverified
from tests.fault.sweep import CUT_OFF, SENDER, append, smtp_in
from tests.fault.tracing import Trace, available
from tests.support.daemon_process import HOST, PASSWORD, DaemonProcess
from tests.support.ledger import Ledger, Trial, make_trial, read_ledgers
from tests.support.small_disk import empty, fill, small_disk

MIB = 1024 * 1024
SIZES = (1_000, 30_000, 100_000, 400_000)
RECOVERY_S = 5.0
"""Healthy this long after the fault ended (reliability.md §10, FT3)."""
EXIT_S = 2.5
"""One second (F04), and what strace and a busy machine add to it."""

pytestmark = pytest.mark.timeout(60)


class Bench:
    """A daemon on a small disk with a ledger elsewhere."""

    def __init__(self, daemon: DaemonProcess, disk: Path, ledger: Path) -> None:
        self.daemon = daemon
        self.disk = disk
        self.ledger_path = ledger
        self.ledger = Ledger(ledger)
        self._rng = random.Random(7)

    def trial(self, size: int) -> Trial:
        return make_trial(self._rng, "disk", sender=SENDER, places=self.daemon.addresses[:1], size=size)

    def deliver(self, size: int) -> str:
        """One delivery from the world, in the ledger; the reply."""
        return self._recorded(self.trial(size), smtp_in)

    def append(self, size: int) -> str:
        return self._recorded(self.trial(size), append)

    def submit(self, size: int) -> str:
        """One submission; the reply."""
        address = self.daemon.addresses[0]
        with smtplib.SMTP_SSL(HOST, self.daemon.ports.submissions, context=unverified(), timeout=20) as client:
            client.login(address, PASSWORD)
            client.mail(address)
            code, text = client.rcpt(address)
            if code == 250:
                code, text = client.data(self.trial(size).octets)
        return f"{code} {text.decode()}"

    def healthy(self) -> bool:
        """Whether mail is accepted again soon."""
        deadline = time.monotonic() + RECOVERY_S
        while time.monotonic() < deadline:
            if all(self.deliver(size).startswith("250") for size in SIZES):
                return True
            time.sleep(0.1)
        return False

    def findings(self) -> list[str]:
        return check(self.daemon, read_ledgers([self.ledger_path])).bad

    def traced_refusals(self) -> list[str]:
        """Replies of the refusals that the trace knows; stops the daemon."""

        async def unit(tx: Transaction) -> list[str]:
            rows = await tx.fetch(select(events.c.reply).where(events.c.type == "message.refused"))
            return [str(row[0]) for row in rows]

        assert self.daemon.terminate() == ExitCode.STOPPED
        return asyncio.run(read(self.daemon, unit))

    def _recorded(self, trial: Trial, send: object) -> str:
        assert callable(send)
        self.ledger.trying(trial)
        success, text = send(self.daemon, trial)
        self.ledger.answered(trial, text, success=success)
        return str(text)


@pytest.fixture
def bench(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Parametrised with `storage.reserve`; the submission account's own copy of a test mail counts for nothing."""
    with small_disk(tmp_path) as disk:
        settings = {"storage": {"reserve": request.param}}
        with DaemonProcess(disk, accounts=1, settings=settings) as daemon:
            made = Bench(daemon, disk, tmp_path / "ledger.jsonl")
            yield made
            made.ledger.close()


@pytest.mark.parametrize("bench", ["16MiB"], indirect=True)
def test_below_the_reserve_mail_is_deferred_before_data_and_users_go_on(bench: Bench) -> None:
    """452 4.3.1 at RCPT, NO [OVERQUOTA] to APPEND; login, reading and deleting work; all is well afterwards."""
    assert bench.deliver(1_000).startswith("250")
    assert bench.deliver(100_000).startswith("250")
    fill(bench.disk, leave=8 * MIB)
    time.sleep(1.1)  # The daemon looks at the disk once a second.
    with smtplib.SMTP(HOST, bench.daemon.ports.smtp) as client:
        client.ehlo()
        assert client.mail(SENDER)[0] == 250
        code, text = client.rcpt(bench.daemon.addresses[0])
    assert (code, text[:5]) == (452, b"4.3.1")
    assert bench.submit(1_000).startswith("452 4.3.1")
    assert bench.append(1_000).startswith("NO [b'[OVERQUOTA]")
    with logged_in(bench.daemon.ports, bench.daemon.addresses[0]) as imap:
        assert imap.select("INBOX")[1] == [b"2"]
        assert len(imap.fetch("1:2", "(BODY.PEEK[])")[1]) == 4
        assert imap.store("2", "+FLAGS", "(\\Deleted)")[0] == "OK"
        assert imap.expunge() == ("OK", [b"2"])
        assert imap.create("Made")[0] == "OK"
    empty(bench.disk)
    assert bench.healthy()
    assert any(reply.startswith("452 4.3.1") for reply in bench.traced_refusals())


@pytest.mark.parametrize("bench", ["0"], indirect=True)
def test_full_to_the_last_octet_only_temporary_replies_and_nothing_lost(bench: Bench) -> None:
    """With no reserve every write fails somewhere; the database, the blobs and the log are on the full disk."""
    assert bench.deliver(1_000).startswith("250")
    assert bench.append(100_000).startswith("OK")
    for leave in (0, 40_000, 300_000):
        fill(bench.disk, leave=leave)
        replies = [bench.deliver(size) for size in SIZES for _ in range(3)]
        assert {reply[:3] for reply in replies} <= {"250", "451", "452"}, replies
        # The ballast may be given back at any moment: that much more fits, once.
        wait_for(lambda: bench.deliver(400_000).startswith("452"))
        assert bench.append(8 * MIB).startswith("NO [b'[OVERQUOTA]")
        with logged_in(bench.daemon.ports, bench.daemon.addresses[0]) as imap:
            assert int(imap.select("INBOX", readonly=True)[1][0] or b"0") >= 2
            assert imap.fetch("1:2", "(BODY.PEEK[])")[0] == "OK"
        empty(bench.disk)
        assert bench.healthy()
    assert bench.findings() == []


@pytest.mark.parametrize("bench", ["16MiB"], indirect=True)
def test_full_to_the_last_octet_users_still_log_in_read_and_delete(bench: Bench) -> None:
    """F03: the ballast is given back to them; mail stays refused, as the reserve is larger than the ballast."""
    for _ in range(3):
        assert bench.deliver(100_000).startswith("250")
    ballast = bench.daemon.state_dir / "db" / "ballast"
    wait_for(ballast.exists)
    fill(bench.disk)
    wait_for(lambda: not ballast.exists())
    wait_for(lambda: bench.deliver(1_000).startswith("452 b'4.3.1"))
    with logged_in(bench.daemon.ports, bench.daemon.addresses[0]) as imap:
        count = int(imap.select("INBOX")[1][0] or b"0")
        for left in (count - 1, count - 2):
            assert imap.fetch("1", "(BODY.PEEK[])")[0] == "OK"
            assert imap.store("1", "+FLAGS", "(\\Deleted)")[0] == "OK"
            assert imap.expunge() == ("OK", [b"1"])
            assert imap.select("INBOX")[1] == [str(left).encode()]
    assert bench.deliver(1_000).startswith("452 b'4.3.1")
    empty(bench.disk)
    assert bench.healthy()
    wait_for(ballast.exists)


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait for what the daemon does once a second."""
    deadline = time.monotonic() + RECOVERY_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.skipif(not available(), reason="strace is not installed or may not attach")
@pytest.mark.parametrize("size", [1_000, 100_000], ids=["the log", "the blob"])
def test_fsync_error_ends_the_process_with_74_and_nothing_acknowledged_is_lost(tmp_path: Path, size: int) -> None:
    """F04: no second fsync after EIO, 451 or a closed connection for who waits, exit code 74 within a second."""
    with DaemonProcess(tmp_path / "daemon", accounts=1) as daemon:
        bench = Bench(daemon, tmp_path, tmp_path / "ledger.jsonl")
        assert bench.deliver(size).startswith("250")
        inject = ["fsync:error=EIO", "fdatasync:error=EIO"]
        with Trace(daemon.pid, tmp_path / "trace", syscalls=["fsync", "fdatasync"], inject=inject) as trace:
            reply = bench.deliver(size)
            began = time.monotonic()
            assert daemon.wait(5) == ExitCode.STORAGE
            ended_s = time.monotonic() - began
            trace.stop()
        assert reply == CUT_OFF or reply[:3] in ("451", "421"), reply
        assert ended_s < EXIT_S
        failed = [path for call in trace.calls() for path in call.paths if call.result < 0]
        assert len(failed) == len(set(failed)), "a file was synced again after its error"
        daemon.start()
        assert bench.healthy()
        bench.ledger.close()
        assert bench.findings() == []
