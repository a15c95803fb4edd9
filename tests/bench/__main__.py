"""`python -m tests.bench`: our server beside Postfix + Dovecot, in turn, in one run; medians and ratios.

- Each round starts a server in an empty folder, measures every case, stops it; then the other one. Only one runs at
  a time. Client and server share the machine: compare figures of one run only.
- Delivered means that IMAP STATUS shows it. Every 250 is durable on both sides.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
from collections import defaultdict
from pathlib import Path

from tests.bench.cli import domain_list_ms
from tests.bench.measure import SENDER, Bench, Case, Figures, idle_memory, median_figures
from tests.bench.processes import Memory
from tests.bench.rival import PostfixDovecot, RivalAbsent
from tests.bench.servers import MaiRust, Server
from tests.bench.signed import signed_mail

SMALL, LARGE = 4 * 1024, 100 * 1024
FULL = (
    Case(1, SMALL, 1000),
    Case(10, SMALL, 4000),
    Case(50, SMALL, 4000),
    Case(1, LARGE, 400),
    Case(10, LARGE, 1500),
    Case(50, LARGE, 1500),
)
QUICK = (Case(10, SMALL, 1500), Case(10, LARGE, 300))
CHECKED = (Case(10, SMALL, 1500), Case(10, LARGE, 300))
OURS, THEIRS = MaiRust.name, PostfixDovecot.name


class Report:
    """What was measured so far."""

    def __init__(self) -> None:
        self.rounds: dict[tuple[str, Case], list[Figures]] = defaultdict(list)
        self.idle: dict[str, Memory] = {}
        self.absent = ""

    def measure(self, server: Server, cases: tuple[Case, ...]) -> None:
        """One round of a running server."""
        if server.name not in self.idle:
            self.idle[server.name] = idle_memory(server)
        bench = Bench(server)
        for case in cases:
            self.rounds[server.name, case].append(bench.run(case))
        bench.close()

    def show(self, cases: tuple[Case, ...]) -> None:
        print(_HEADER)
        for case in cases:
            medians = {
                name: median_figures(self.rounds[name, case]) for name in (OURS, THEIRS) if self.rounds[name, case]
            }
            for name, figures in medians.items():
                print(_line(case.title, name, figures))
            if len(medians) == 2:
                ratio = medians[OURS].delivered / medians[THEIRS].delivered
                each = [
                    ours.delivered / theirs.delivered
                    for ours, theirs in zip(self.rounds[OURS, case], self.rounds[THEIRS, case], strict=True)
                ]
                cpu = medians[THEIRS].cpu_ms / medians[OURS].cpu_ms
                print(
                    f"{'':26}{'ratio':20}{'':>10}{ratio:9.2f}x  ({min(each):.2f} to {max(each):.2f} by round); "
                    f"CPU {cpu:.2f}x less"
                )
        for name, idle in self.idle.items():
            print(f"idle memory, {name}: {idle.pss / 2**20:.0f} MiB (RSS {idle.rss / 2**20:.0f})")
        if self.absent:
            print(f"{THEIRS}: absent ({self.absent})")


_HEADER = f"{'load':26}{'server':20}{'accept/s':>10}{'deliver/s':>10}{'p50 ms':>9}{'p99 ms':>9}{'CPU ms':>8}{'MiB':>6}"


def _line(title: str, name: str, f: Figures) -> str:
    return (
        f"{title:26}{name:20}{f.accepted:10.0f}{f.delivered:10.0f}{f.p50_ms:9.2f}{f.p99_ms:9.2f}"
        f"{f.cpu_ms:8.2f}{f.peak_mib:6.0f}"
    )


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    extent = parser.add_mutually_exclusive_group()
    extent.add_argument("--quick", action="store_true", help="10 connections, one round (half a minute); the default")
    extent.add_argument("--full", action="store_true", help="1, 10 and 50 connections, five rounds")
    parser.add_argument("--rounds", type=int, help="rounds of each server")
    parser.add_argument("--connections", type=int, help="only the cases with so many connections")
    parser.add_argument("--size", type=int, help="only the cases with messages of so many KiB")
    parser.add_argument("--alone", action="store_true", help="leave Postfix + Dovecot out")
    parser.add_argument("--only-load", action="store_true", help="leave out mail authentication and the command line")
    parser.add_argument("--dir", type=Path, help="where the servers' folders are made; the disk that is measured")
    options = parser.parse_args()
    cases = tuple(
        case
        for case in (FULL if options.full or options.connections or options.size else QUICK)
        if options.connections in (None, case.connections) and options.size in (None, case.size_octets // 1024)
    )
    report = Report()
    report.absent = "left out" if options.alone else ""
    print(f"load before: {os.getloadavg()[0]:.2f} on {os.cpu_count()} processors", flush=True)
    with tempfile.TemporaryDirectory(prefix="mairust-bench-", dir=options.dir) as folder:
        for number in range(options.rounds or (5 if options.full else 1)):
            _round(report, Path(folder) / str(number), cases)
        report.show(cases)
        if not options.only_load:
            _checked(Path(folder) / "checked")
            _command_line(Path(folder) / "cli")


def _round(report: Report, folder: Path, cases: tuple[Case, ...]) -> None:
    folder.mkdir()
    # Postfix's users have to reach its folder.
    for path in (folder, folder.parent):
        path.chmod(0o755)
    with MaiRust(folder / "ours") as server:
        report.measure(server, cases)
    if report.absent:
        return
    try:
        with PostfixDovecot(folder / "rival") as rival:
            report.measure(rival, cases)
    except RivalAbsent as absent:
        report.absent = str(absent)


def _checked(folder: Path) -> None:
    """Ours with SPF, DKIM, DMARC and iprev."""
    folder.mkdir()
    print("\nwith SPF, DKIM (RSA-2048), DMARC and iprev\n" + _HEADER)
    with signed_mail(folder, SENDER) as (settings, messages), MaiRust(folder / "ours", settings) as server:
        with contextlib.closing(Bench(server, messages)) as bench:
            for case in CHECKED:
                print(_line(case.title, OURS, bench.run(case)))


def _command_line(folder: Path) -> None:
    with MaiRust(folder) as server:
        print(f"\nmairust domain list: {domain_list_ms(server.daemon):.0f} ms (median)")


if __name__ == "__main__":
    main()
