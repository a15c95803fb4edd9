"""FT1: SIGKILL at every system call of one operation (reliability.md §10).

- A first run on a fresh daemon lists (syscall, k); then one run for each pair kills the daemon as it enters that call.
- Every run is the first one after a start. What got no success is sent again after the last run, as real clients do;
  then the ledger and the checker judge all of it.
- Calls whose number depends on timing alone (epoll, futex) are no boundaries.
"""

from __future__ import annotations

import contextlib
import imaplib
import random
import smtplib
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.fault.checker import Findings, check, live_findings
from tests.fault.clients import logged_in
from tests.fault.tracing import Trace
from tests.support.daemon_process import HOST, DaemonProcess, NotReady
from tests.support.ledger import Ledger, Trial, make_trial, read_ledgers

BOUNDARIES = (
    "accept4",
    "close",
    "fcntl",
    "fdatasync",
    "fsync",
    "ftruncate",
    "mkdir",
    "newfstatat",
    "openat",
    "pread64",
    "pwrite64",
    "read",
    "rename",
    "sendto",
    "unlink",
    "write",
    "writev",
)
DURABLE = frozenset({"fdatasync", "fsync", "mkdir", "rename"})
"""Always part of a sample."""
SENDER = "a@example.org"
CUT_OFF = "cut off"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """Something that is acknowledged: `send` returns whether it was, and the reply or `CUT_OFF`."""

    name: str
    size: int
    send: Callable[[DaemonProcess, Trial], tuple[bool, str]]


@dataclass(frozen=True, slots=True, order=True)
class Point:
    """Kill at the k-th call of a syscall in any one thread."""

    operation: str
    syscall: str
    k: int


@dataclass(slots=True)
class SweepReport:
    kills: int = 0
    missed: int = 0
    acknowledged_before_kill: int = 0
    slowest_start_s: float = 0.0
    took_s: float = 0.0
    findings: Findings = field(default_factory=Findings)
    violations: list[str] = field(default_factory=list)

    @property
    def bad(self) -> list[str]:
        return [*self.violations, *self.findings.bad]


def smtp_in(daemon: DaemonProcess, trial: Trial) -> tuple[bool, str]:
    """One delivery from the world."""
    try:
        with smtplib.SMTP(HOST, daemon.ports.smtp, local_hostname="sender.test", timeout=20) as client:
            client.ehlo()
            for code, text in (client.mail(SENDER), client.rcpt(trial.places[0])):
                if code >= 300:
                    return False, f"{code} {text!r}"
            code, text = client.data(trial.octets)
            return 200 <= code < 300, f"{code} {text!r}"
    except (OSError, smtplib.SMTPException):
        return False, CUT_OFF


def append(daemon: DaemonProcess, trial: Trial) -> tuple[bool, str]:
    """One IMAP APPEND."""
    success, text = False, CUT_OFF
    with (
        contextlib.suppress(OSError, EOFError, imaplib.IMAP4.abort),
        logged_in(daemon.ports, trial.places[0]) as client,
    ):
        status, data = client.append("INBOX", "(\\Seen)", "", trial.octets)
        success, text = status == "OK", f"{status} {data!r}"
    return success, text


OPERATIONS = (
    Operation(name="SMTP, in the row", size=1_000, send=smtp_in),
    Operation(name="SMTP, in a file", size=100_000, send=smtp_in),
    Operation(name="APPEND, in the row", size=1_000, send=append),
)


def sweep(
    folder: Path, *, seed: int, kills: int | None = None, operations: Sequence[Operation] = OPERATIONS
) -> SweepReport:
    """Kill at every point, or at `kills` sampled ones, in an empty folder."""
    began = time.monotonic()
    run = _Sweep(folder, seed)
    with run.daemon:
        points = [point for operation in operations for point in run.points(operation)]
        by_name = {operation.name: operation for operation in operations}
        try:
            for point in points if kills is None else _sample(points, kills, random.Random(seed)):
                run.kill_at(point, by_name[point.operation])
            run.send_again()
            run.ledger.close()
            run.report.findings = check(run.daemon, read_ledgers([run.ledger_path]))
        except NotReady as error:
            run.report.violations.append(str(error))
    run.report.took_s = time.monotonic() - began
    return run.report


def _sample(points: Sequence[Point], count: int, rng: random.Random) -> list[Point]:
    chosen = [point for point in points if point.syscall in DURABLE]
    others = [point for point in points if point.syscall not in DURABLE]
    return (chosen + rng.sample(others, max(0, min(len(others), count - len(chosen)))))[:count]


class _Sweep:
    """One daemon that is killed again and again."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.daemon = DaemonProcess(folder / "daemon", roles=("smtp", "imap"), accounts=1)
        self.ledger_path = folder / "sweep.jsonl"
        self.ledger = Ledger(self.ledger_path)
        self.report = SweepReport()
        self._trace = folder / "trace"
        self._rng = random.Random(seed)
        self._unanswered: list[tuple[Operation, Trial]] = []

    def points(self, operation: Operation) -> list[Point]:
        """Every boundary of the operation, on a fresh daemon, which it leaves fresh."""
        with Trace(self.daemon.pid, self._trace, syscalls=BOUNDARIES) as trace:
            success, text = self._attempt(operation, self._trial(operation))
            trace.stop()
        assert success, text
        self._restart()
        most: dict[str, int] = {}
        for (_, syscall), count in Counter((call.pid, call.name) for call in trace.calls()).items():
            most[syscall] = max(count, most.get(syscall, 0))
        return [Point(operation.name, syscall, k + 1) for syscall in sorted(most) for k in range(most[syscall])]

    def kill_at(self, point: Point, operation: Operation) -> None:
        """One run: the operation under a kill, and a restart."""
        trial = self._trial(operation)
        inject = f"{point.syscall}:signal=SIGKILL:when={point.k}"
        with Trace(self.daemon.pid, self._trace, syscalls=[point.syscall], inject=[inject]):
            success, text = self._attempt(operation, trial)
            killed = self._ended()
        if killed:
            self.report.kills += 1
            self.report.acknowledged_before_kill += success
        else:
            self.report.missed += 1
        if not success and text != CUT_OFF:
            self.report.violations.append(f"{point}: {text}")
        self._restart()
        assert self.daemon.database_path is not None
        self.report.violations += [f"{point}: {finding}" for finding in live_findings(self.daemon)]
        if not success:
            self._unanswered.append((operation, trial))

    def send_again(self) -> None:
        """Give what got no success its second attempt."""
        for operation, trial in self._unanswered:
            success, text = self._attempt(operation, trial)
            if not success:
                self.report.violations.append(f"{operation.name}, second attempt: {text}")

    def _attempt(self, operation: Operation, trial: Trial) -> tuple[bool, str]:
        self.ledger.trying(trial)
        success, text = operation.send(self.daemon, trial)
        if text != CUT_OFF:
            self.ledger.answered(trial, text, success=success)
        return success, text

    def _trial(self, operation: Operation) -> Trial:
        return make_trial(self._rng, "sweep", sender=SENDER, places=self.daemon.addresses, size=operation.size)

    def _ended(self) -> bool:
        """Whether the kill struck: the last calls may come a moment after the reply."""
        deadline = time.monotonic() + 0.2
        while self.daemon.running and time.monotonic() < deadline:
            time.sleep(0.01)
        return not self.daemon.running

    def _restart(self) -> None:
        self.daemon.kill()
        self.report.slowest_start_s = max(self.report.slowest_start_s, self.daemon.start())
