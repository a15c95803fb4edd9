"""`python -m tests.differential`: random operations of several IMAP sessions against a model, with kills on demand."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.differential.trial import Run
from tests.support.daemon_process import DaemonProcess

ROLES = ("imap", "pop3", "http", "jobs")
SETTINGS = {"pop3": {"enabled": True}}


def main() -> int:
    """Parse the command line, run, report; 1 when something was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.differential", description=__doc__)
    parser.add_argument("--operations", type=int, default=100_000)
    parser.add_argument("--sessions", type=int, default=6)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--keep", type=Path, help="leave the server's folder here")
    options = parser.parse_args()
    seed = random.randrange(1 << 30) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mairust-differential-") as made:
        daemon = DaemonProcess(options.keep or Path(made), roles=ROLES, settings=SETTINGS)
        with daemon:
            run = Run(daemon, sessions=options.sessions, seed=seed)
            outcome = asyncio.run(run.go(options.operations, kills=options.kills))
    spent = time.monotonic() - began
    print(
        f"{outcome.operations} operations in {outcome.batches} batches by {options.sessions} sessions, "
        f"{outcome.kills} kills, {spent:.0f} s: {len(outcome.faults)} faults"
    )
    for fault in outcome.faults[:20]:
        print(f"  {fault}")
    return 1 if outcome.faults else 0


if __name__ == "__main__":
    sys.exit(main())
