"""`python -m tests.fuzz`: all targets in turn for so many seconds each; what breaks is kept as a regression test.

With the package `atheris` installed, `--atheris TARGET` lets coverage guide the inputs of one target.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.engine import breaks, inputs, keep, kept, smaller
from tests.fuzz.targets import TARGETS, Target
from tests.fuzz.whole import LAG_MAX_S, ROLES, SETTINGS, Watch, WholeServer
from tests.support.daemon_process import PASSWORD, DaemonProcess


def main() -> int:
    """Parse the command line, run, report; 1 when something broke."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target and each door of the server")
    parser.add_argument("--target", choices=(*TARGETS, "server"), help="only this one")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--atheris", metavar="TARGET", choices=TARGETS, help="guided by coverage, until interrupted")
    options = parser.parse_args()
    if options.atheris:
        _guided(TARGETS[options.atheris])
    seed = random.randrange(1 << 30) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    broken = 0
    for target in TARGETS.values():
        if options.target in (None, target.name):
            broken += _alone(target, seed, options.seconds)
    if options.target in (None, "server"):
        broken += _server(seed, options.seconds)
    return 1 if broken else 0


def _alone(target: Target, seed: int, seconds: float) -> int:
    broken = [path for path in kept(target) if breaks(target, path.read_bytes())]
    count = 0
    deadline = time.monotonic() + seconds
    for data in inputs(target, seed):
        if time.monotonic() > deadline:
            break
        count += 1
        if fault := breaks(target, data):
            path = keep(target, smaller(target, data))
            print(f"  {target.name}: {fault}: {path}", flush=True)
            broken.append(path)
    print(f"{target.name}: {count} inputs, {len(broken)} broken", flush=True)
    return len(broken)


def _server(seed: int, seconds: float) -> int:
    faults = []
    with tempfile.TemporaryDirectory(prefix="mairust-fuzz-") as folder:
        with DaemonProcess(Path(folder), roles=ROLES, settings=SETTINGS) as daemon:
            whole = WholeServer(daemon, seed)
            watch = Watch(daemon.ports.imaps, (daemon.addresses[0], PASSWORD))
            watch.start()
            for door in ("imap", "pop3", "managesieve", "smtp"):
                count = 0
                deadline = time.monotonic() + seconds
                while time.monotonic() < deadline and daemon.running:
                    count += 1
                    if fault := whole.once(door):
                        faults.append(fault)
                        print(f"  {fault[:600]}", flush=True)
                print(f"server, {door}: {count} streams", flush=True)
            watch.stop()
    print(f"server: {len(faults)} faults, longest wait of another client {watch.worst_s * 1000:.0f} ms")
    if watch.worst_s > LAG_MAX_S:
        faults.append(f"another client waited {watch.worst_s:.2f} s")
    return len(faults)


def _guided(target: Target) -> None:
    import atheris

    atheris.instrument_all()

    def one(data: bytes) -> None:
        fault = breaks(target, data)
        if fault:
            keep(target, data)
            raise AssertionError(fault)

    atheris.Setup([sys.argv[0]], one)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
