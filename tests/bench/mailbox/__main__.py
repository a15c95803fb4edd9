"""`python -m tests.bench.mailbox`: a mailbox of 100,000 messages over IMAP, ours beside Dovecot's, as ratios.

- Both get the same messages, ours by APPEND, Dovecot as Maildir files, and are started anew for each round; one runs
  and is measured, then the other. Ours is measured once its full-text index has all.
- Dovecot is measured as it comes: no full-text index. Its index of headers is warm from the round before.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sqlite3
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from tests.bench.mailbox.cases import BOX, CASES, Case, fill, measure
from tests.bench.mailbox.corpus import make_mail
from tests.bench.rival import PostfixDovecot, RivalAbsent
from tests.bench.servers import MaiRust, Server

OURS, THEIRS = MaiRust.name, PostfixDovecot.name
MANY = {"imap": {"max_per_account": 1000}}
Rounds = dict[tuple[str, Case], list[float]]


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.mailbox", description=__doc__)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--idle", type=int, default=0, help="idle connections to weigh; 0 = none, 2000 = a full house")
    parser.add_argument("--alone", action="store_true", help="leave Dovecot out")
    parser.add_argument("--dir", type=Path, help="where the servers' folders are made; the disk that is measured")
    options = parser.parse_args()
    print(f"load before: {os.getloadavg()[0]:.2f} on {os.cpu_count()} processors", flush=True)
    rounds: Rounds = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="mairust-mailbox-", dir=options.dir) as made:
        folder = Path(made)
        folder.chmod(0o755)
        servers: list[Server] = [MaiRust(folder / "ours", MANY)]
        if not options.alone:
            servers.append(PostfixDovecot(folder / "rival"))
        servers = [server for server in servers if _filled(server, options.messages)]
        for _ in range(options.rounds):
            for server in servers:
                with server:
                    for case, figure in measure(server, server.imaps_port, connections=options.idle):
                        rounds[server.name, case].append(figure)
                        print(f"  {server.name}: {case.title}: {figure:.2f} {case.unit}", flush=True)
    _show(rounds)


def _filled(server: Server, count: int) -> bool:
    try:
        with server:
            if server.name == OURS:
                fill(server, server.imaps_port, count)
                _wait_for_index(server, count)
        if isinstance(server, PostfixDovecot):
            server.put(BOX, map(make_mail, range(1, count + 1)))
    except RivalAbsent as absent:
        print(f"{server.name}: absent ({absent})")
        return False
    return True


def _wait_for_index(server: Server, count: int) -> None:
    assert isinstance(server, MaiRust)
    while True:
        with contextlib.closing(sqlite3.connect(server.daemon.database_path)) as database:
            (indexed,) = database.execute("SELECT count(*) FROM search_documents").fetchone()
        if indexed >= count:
            return
        time.sleep(0.5)


def _show(rounds: Rounds) -> None:
    print(f"\n{'case':36}{OURS:>14}{THEIRS:>20}   ratio (above 1: ours is better)")
    for case in CASES:
        ours, theirs = rounds[OURS, case], rounds[THEIRS, case]
        line = f"{case.title + ', ' + case.unit:36}"
        line += f"{statistics.median(ours):14.2f}" if ours else f"{'-':>14}"
        line += f"{statistics.median(theirs):20.2f}" if theirs else f"{'-':>20}"
        if ours and theirs:
            each = [_ratio(case, a, b) for a, b in zip(ours, theirs, strict=True)]
            line += f"   {statistics.median(each):.2f}x ({min(each):.2f} to {max(each):.2f})"
        print(line)


def _ratio(case: Case, ours: float, theirs: float) -> float:
    return ours / theirs if case.more_is_better else theirs / ours


if __name__ == "__main__":
    main()
