"""How long a command takes from its start to its end, with the daemon running."""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import time

from tests.support.daemon_process import REPOSITORY, DaemonProcess

RUNS = 10
API_S = 30.0


def domain_list_ms(daemon: DaemonProcess) -> float:
    """Median wall time of `mairust domain list`, in milliseconds."""
    command = [sys.executable, "-m", "mairust_cli", "domain", "list"]
    environment = dict(os.environ) | {"MAIRUST_SOCKET": str(daemon.admin_socket)}
    deadline = time.monotonic() + API_S
    while (result := _run(command, environment)).returncode:
        if time.monotonic() > deadline:
            raise RuntimeError(f"mairust domain list: {result.stderr.strip()[-300:]}")
        time.sleep(0.2)
    times = []
    for _ in range(RUNS):
        began = time.perf_counter()
        _run(command, environment)
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000


def _run(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    with contextlib.chdir(REPOSITORY):
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
