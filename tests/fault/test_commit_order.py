"""Before every reply that promises a message it is on disk; a build without fsync is caught (reliability.md P1)."""

from __future__ import annotations

import random
import smtplib
from pathlib import Path

import pytest

from tests.fault.clients import unverified
from tests.fault.commit_order import SYSCALLS, CommitOrder, Verdict
from tests.fault.tracing import Trace, available
from tests.support.daemon_process import HOST, PASSWORD, DaemonProcess
from tests.support.ledger import make_trial

SIZES = (1_000, 100_000, 1_000, 400_000, 100_000)
IN_FILES = sum(size > 16 * 1024 for size in SIZES)

needs_strace = pytest.mark.skipif(not available(), reason="strace is not installed or may not attach")


@needs_strace
@pytest.mark.timeout(60)
def test_replies_leave_after_the_sync_of_log_blob_and_folder(tmp_path: Path) -> None:
    verdict = _traced(tmp_path, module="server")
    assert verdict.broken == []
    assert verdict.replies >= 2 * len(SIZES)
    assert verdict.renamed == 2 * IN_FILES


@needs_strace
@pytest.mark.timeout(60)
def test_a_build_without_fsync_is_caught_at_every_reply(tmp_path: Path) -> None:
    verdict = _traced(tmp_path, module="tests.fault.unsynced")
    assert verdict.replies >= 2 * len(SIZES)
    caught = {text.partition(":")[0] for text in verdict.broken}
    assert len(caught) == verdict.replies
    assert any("-wal" in text for text in verdict.broken)
    assert any("/mail/" in text for text in verdict.broken)


def _traced(folder: Path, *, module: str) -> Verdict:
    """Five messages from the world and five submissions, one after the other."""
    rng = random.Random(1)
    with DaemonProcess(folder, roles=("smtp", "submission", "imap"), accounts=2, module=module) as daemon:
        sender, recipient = daemon.addresses
        with Trace(daemon.pid, folder / "trace", syscalls=SYSCALLS) as trace:
            with smtplib.SMTP(HOST, daemon.ports.smtp) as client:
                for size in SIZES:
                    trial = make_trial(rng, "t", sender="a@example.org", places=[recipient], size=size)
                    client.sendmail("a@example.org", [recipient], trial.octets)
            with smtplib.SMTP_SSL(HOST, daemon.ports.submissions, context=unverified()) as client:
                client.login(sender, PASSWORD)
                for size in SIZES:
                    trial = make_trial(rng, "t", sender=sender, places=[recipient], size=size)
                    client.sendmail(sender, [recipient], trial.octets)
            trace.stop()
        wal, blob_dir = f"{daemon.database_path}-wal", str(daemon.blob_dir)
        order = CommitOrder(wal=wal, blob_dir=blob_dir, tls_port=daemon.ports.submissions)
        return order.judge(trace.calls())
