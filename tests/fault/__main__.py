"""The full tier: `python -m tests.fault full [--kills N] [--postgres-kills N] [--seed S] [--only NAME]`.

- Prints every batch as it ends and one summary table; exit 0 only when nothing was lost, doubled or damaged.
- A batch is named by its seed: `--seed S --kills K` runs it again. A missing tool fails here, it is never skipped.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.fault.crash import Report, crash
from tests.fault.sweep import sweep
from tests.support.postgres import PostgresServer

KILLS_A_BATCH = 25


@dataclass(slots=True)
class Row:
    """One line of the summary."""

    name: str
    trials: int = 0
    acknowledged: int = 0
    took_s: float = 0.0
    notes: list[str] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; the exit code."""
    options = _parser().parse_args(arguments)
    parts: dict[str, Callable[[], Row]] = {
        "sqlite": lambda: crashes(options.kills, options.seed, postgres=False),
        "postgres": lambda: crashes(options.postgres_kills, options.seed, postgres=True),
        "sweep": lambda: swept(options.seed),
    }
    rows = [part() for name, part in parts.items() if options.only in (None, name)]
    print(f"\n{'test':<28}{'trials':>8}{'acknowledged':>14}{'seconds':>9}{'failures':>10}  notes")
    for row in rows:
        notes = ", ".join(row.notes)
        print(f"{row.name:<28}{row.trials:>8}{row.acknowledged:>14}{row.took_s:>9.0f}{len(row.bad):>10}  {notes}")
    return 1 if any(row.bad for row in rows) else 0


def crashes(kills: int, first_seed: int, *, postgres: bool) -> Row:
    """FT2 in batches of `KILLS_A_BATCH`."""
    row = Row("FT2 kill -9, " + ("PostgreSQL" if postgres else "SQLite"))
    slowest = duplicates = tries = early = 0.0
    server = PostgresServer() if postgres else None
    try:
        for number in range(-(-kills // KILLS_A_BATCH)):
            wanted = min(KILLS_A_BATCH, kills - row.trials)
            with scratch() as folder:
                url = server.dsn() if server else None
                report = crash(folder, kills=wanted, seed=first_seed + number, database_url=url)
                _tell(report)
                if report.bad:
                    print(f"  kept: {shutil.copytree(folder, f'{folder}-failed', ignore=_no_sockets)}", flush=True)
            row.trials += report.kills
            row.acknowledged += report.findings.acknowledged
            row.took_s += report.took_s
            row.bad += report.bad
            slowest = max(slowest, report.slowest_start_s)
            duplicates += report.findings.allowed_duplicates
            tries += report.findings.tries
            early += report.early_kills
    finally:
        if server is not None:
            server.close()
    row.notes = [
        f"{tries:.0f} attempts",
        f"{duplicates:.0f} copies of unanswered attempts",
        f"{early:.0f} kills during the start",
        f"slowest start {slowest:.1f} s",
    ]
    return row


def swept(seed: int) -> Row:
    """FT1: every point of every operation."""
    row = Row("FT1 kill at system calls")
    with scratch() as folder:
        report = sweep(folder, seed=seed)
    row.trials, row.acknowledged = report.kills, report.findings.acknowledged
    row.took_s, row.bad = report.took_s, report.bad
    row.notes = [
        f"{report.findings.tries} attempts",
        f"{report.acknowledged_before_kill} killed after the reply",
        f"{report.missed} points not reached",
        f"{report.findings.allowed_duplicates} copies of unanswered attempts",
        f"slowest start {report.slowest_start_s:.1f} s",
    ]
    for text in row.bad[:20]:
        print(f"  {text}", flush=True)
    return row


def _tell(report: Report) -> None:
    findings = report.findings
    print(
        f"{report.database} seed {report.seed}: {report.kills} kills, {findings.acknowledged} acknowledged of "
        f"{findings.tries} attempts, {findings.copies} copies, lost {len(findings.lost)}, dup {len(findings.dup)}, "
        f"corrupt {len(findings.corrupt)}, phantom {len(findings.phantom)}, inconsistent "
        f"{len(findings.inconsistent)}, other {len(report.violations)}, slowest start {report.slowest_start_s:.1f} s, "
        f"{report.took_s:.0f} s",
        flush=True,
    )
    for text in report.bad[:20]:
        print(f"  {text}", flush=True)


def _no_sockets(_folder: str, names: list[str]) -> list[str]:
    return [name for name in names if name.endswith(".sock")]


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder on the disk that holds temporary files."""
    folder = Path(tempfile.mkdtemp(prefix="mairust-fault-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.fault", description="Fault tests, full tier.")
    full = parser.add_subparsers(required=True, metavar="TIER").add_parser("full")
    full.add_argument("--kills", type=int, default=1000, help="kill -9 on SQLite")
    full.add_argument("--postgres-kills", type=int, default=250, help="kill -9 on PostgreSQL")
    full.add_argument("--seed", type=int, default=1, help="seed of the first batch; the next ones count up")
    full.add_argument("--only", help="run one part only")
    return parser


if __name__ == "__main__":
    sys.exit(main())
