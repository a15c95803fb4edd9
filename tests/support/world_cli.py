"""`mairust` as a person types it: a process of its own, against a daemon's socket."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.daemon_process import REPOSITORY, DaemonProcess
from tests.support.world_programs import environment

CLI_S = 20.0


def command(*words: str) -> list[str]:
    """What to execute."""
    return [sys.executable, "-m", "mairust_cli", *words]


def cli_environment(home: Path) -> dict[str, str]:
    """Finds the package in this tree, and `mairustd` beside the interpreter."""
    clean = environment(home)
    return clean | {
        "PATH": f"{Path(sys.executable).parent}:{clean['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
        "TMPDIR": str(home),
    }


def mairust(daemon: DaemonProcess, *words: str, code: int = 0) -> str:
    """Run a command to its end and return its output; its exit code must be `code`."""
    return run_cli(("--socket", str(daemon.admin_socket), *words), daemon.folder, code=code).stdout


def mairust_json(daemon: DaemonProcess, *words: str) -> Any:
    """The same with `--json`, decoded."""
    return json.loads(mairust(daemon, "--json", *words))


def run_cli(
    words: Sequence[str], home: Path, *, code: int | None = 0, timeout_s: float = CLI_S
) -> subprocess.CompletedProcess[str]:
    """Any command; never a traceback."""
    done = subprocess.run(
        command(*words),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env=cli_environment(home),
        stdin=subprocess.DEVNULL,
    )
    assert "Traceback" not in done.stderr, done.stderr
    if code is not None and done.returncode != code:
        raise AssertionError(f"mairust {' '.join(words)}: {done.returncode}, not {code}\n{done.stdout}\n{done.stderr}")
    return done
