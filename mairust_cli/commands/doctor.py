"""`mairust doctor`: checks, and what to mend.

The daemon runs them; while it is down, what can be seen from outside is checked here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from typing import Annotated

import typer

from mairust_cli.arguments import split_list
from mairust_cli.checks import report_checks, report_nagios
from mairust_cli.client.api import Json, items_of
from mairust_cli.config_file import check_file, config_path
from mairust_cli.exits import CliError, Exit
from mairust_cli.runtime import Runtime, runtime
from mairust_cli.shell import single, verb

app = single()
SYSTEMCTL_S = 10


@verb(app, "doctor", "mairust doctor", "mairust doctor --all -o json", "mairust doctor --nagios")
def doctor(
    ctx: typer.Context,
    only: Annotated[list[str] | None, typer.Option("--only", metavar="ID,...", help="Only these checks.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Also show what passed.")] = False,
    nagios: Annotated[bool, typer.Option("--nagios", help="One line and exit 0, 1, 2 or 3.")] = False,
) -> None:
    """Run the checks; exit 10 with warnings, 11 with errors."""
    run = runtime(ctx)
    started = time.monotonic()
    try:
        wanted = split_list(only)
        checks = items_of(run.client.post("/doctor", {"only": wanted} if wanted else {}))
    except CliError as error:
        if error.code is not Exit.UNREACHABLE:
            raise
        checks = local_checks(run, error)
    seconds = time.monotonic() - started
    if nagios:
        raise typer.Exit(report_nagios(run, checks))
    report_checks(run, checks, every=every, seconds=seconds)


def local_checks(run: Runtime, cause: CliError) -> list[Json]:
    """What is wrong when the daemon does not answer: its socket, its service, its configuration."""
    found: list[Json] = []
    endpoint = run.client.endpoint
    if not endpoint.url:
        there = os.path.exists(endpoint.socket)
        state = "there, but nobody answers" if there else "missing"
        found.append(
            _check(
                "SOCKET", "error", endpoint.socket, state, "mairustd listening", "sudo systemctl start mairust.target"
            )
        )
    else:
        found.append(_check("DAEMON", "error", endpoint.url, cause.what, "an answer", ""))
    if systemctl := shutil.which("systemctl"):
        state = _service_state(systemctl)
        severity = "ok" if state == "active" else "error"
        found.append(_check("SERVICE", severity, "mairustd.service", state, "active", "journalctl -u mairustd -n 30"))
    path = config_path(None, run.environment)
    if path is not None:
        faults = check_file(path)
        severity, state = ("error", "; ".join(faults[:3])) if faults else ("ok", "valid")
        found.append(_check("CONFIG", severity, str(path), state, "valid", "mairust config validate"))
    return found


def _service_state(systemctl: str) -> str:
    try:
        done = subprocess.run(
            [systemctl, "is-active", "mairustd.service"],
            capture_output=True,
            text=True,
            timeout=SYSTEMCTL_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.strip() or "unknown"


def _check(ident: str, severity: str, subject: str, found: str, wanted: str, fix: str) -> Json:
    return {
        "id": ident,
        "severity": severity,
        "subject": subject,
        "found": found,
        "wanted": wanted,
        "fix_by": "you",
        "fix": fix,
    }
