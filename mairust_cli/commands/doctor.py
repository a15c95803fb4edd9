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
from mairust_cli.client.api import Json, items_of
from mairust_cli.config_file import check_file, config_path
from mairust_cli.exits import CliError, Exit
from mairust_cli.output.escape import safe
from mairust_cli.output.table import plain_cell, table_lines
from mairust_cli.runtime import Runtime, runtime
from mairust_cli.shell import single, verb

app = single()
SYSTEMCTL_S = 10
_NAGIOS = {"ok": (0, "OK"), "warning": (1, "WARNING"), "error": (2, "CRITICAL")}


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
    worst = max((_rank(check) for check in checks), default=0)
    if nagios:
        code, word = _NAGIOS[("ok", "warning", "error")[worst]]
        first = next((check for check in checks if _rank(check) == worst), {})
        detail = f"{len(checks)} checks passed" if worst == 0 else _words(first)
        run.out.data(f"MAIRUST {word} - {detail}")
        raise typer.Exit(code)
    if run.out.for_people and not run.options.quiet:
        _print(run, checks, every=every, seconds=time.monotonic() - started)
    else:
        run.out.rows(checks, (), name="id")
    if worst:
        raise typer.Exit(int(Exit.WARNINGS if worst == 1 else Exit.ERRORS))


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


def _rank(check: Json) -> int:
    severity = check.get("severity")
    return {"ok": 0, "warning": 1}.get(str(severity), 2)


def _words(check: Json) -> str:
    subject = plain_cell(check.get("subject"))
    wanted = plain_cell(check.get("wanted"))
    found = plain_cell(check.get("found"))
    return f"{plain_cell(check.get('id'))}: {found or '-'}" + (f", wanted {wanted}" if wanted else "") + f" ({subject})"


def _print(run: Runtime, checks: list[Json], *, every: bool, seconds: float) -> None:
    counts = [sum(1 for check in checks if _rank(check) == rank) for rank in range(3)]
    signs = [run.out.symbol(name) for name in ("ok", "warning", "error")]
    words = [f"{signs[0]} {counts[0]} passed"]
    if counts[1]:
        words.append(f"{signs[1]} {counts[1]} warning{'s' if counts[1] > 1 else ''}")
    if counts[2]:
        words.append(f"{signs[2]} {counts[2]} error{'s' if counts[2] > 1 else ''}")
    more = "" if every or not counts[0] else "; all: mairust doctor --all"
    run.out.data(f"{'  '.join(words)}   ({seconds:.1f} s{more})")
    shown = sorted((check for check in checks if every or _rank(check)), key=_rank, reverse=True)
    cells = [
        [
            f"{run.out.sign(('ok', 'warning', 'error')[_rank(check)])} {plain_cell(check.get('id'))}",
            f"{plain_cell(check.get('subject'))}: {plain_cell(check.get('found')) or '-'}"
            + (f", wanted {plain_cell(check.get('wanted'))}" if _rank(check) and check.get("wanted") else ""),
        ]
        for check in shown
    ]
    for check, line in zip(shown, table_lines((), cells), strict=True):
        run.out.data(line)
        if _rank(check) and (check.get("fix_by") or check.get("fix")):
            run.out.data(
                f"    who: {safe(str(check.get('fix_by') or '-'))}    try: {safe(str(check.get('fix') or '-'))}"
            )
