"""Results of checks: for people, for machines, for Nagios.

- The exit code is 10 with warnings and 11 with errors, whatever the format.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from mairust_cli.client.api import Json
from mairust_cli.exits import Exit
from mairust_cli.output.escape import safe
from mairust_cli.output.table import cut_middle, plain_cell, table_lines

if TYPE_CHECKING:
    from mairust_cli.runtime import Runtime

VALUE_WIDTH = 60
_NAGIOS = ("OK", "WARNING", "CRITICAL")


def report_checks(run: Runtime, checks: Sequence[Json], *, every: bool, seconds: float) -> None:
    """Print checks and end with their exit code.

    Args:
        every: Show also what passed.

    Raises:
        typer.Exit: There are warnings (10) or errors (11).
    """
    worst = max((_rank(check) for check in checks), default=0)
    if run.out.for_people and not run.options.quiet:
        _print(run, checks, every, seconds)
    else:
        run.out.rows(checks, (), name="id")
    if worst:
        raise typer.Exit(int(Exit.WARNINGS if worst == 1 else Exit.ERRORS))


def report_nagios(run: Runtime, checks: Sequence[Json]) -> int:
    """Print one line for a monitoring plug-in and return its code: 0, 1 or 2."""
    worst = max((_rank(check) for check in checks), default=0)
    first = next((check for check in checks if _rank(check) == worst), {})
    detail = f"{len(checks)} checks passed" if worst == 0 else _words(first)
    run.out.data(f"MAIRUST {_NAGIOS[worst]} - {detail}")
    return worst


def _rank(check: Json) -> int:
    severity = check.get("severity")
    return {"ok": 0, "warning": 1}.get(str(severity), 2)


def _words(check: Json) -> str:
    subject = plain_cell(check.get("subject"))
    wanted = plain_cell(check.get("wanted"))
    found = plain_cell(check.get("found"))
    return f"{plain_cell(check.get('id'))}: {found or '-'}" + (f", wanted {wanted}" if wanted else "") + f" ({subject})"


def _line(check: Json, width: int) -> str:
    """Subject, what was found, and what is wanted when that differs; long values are cut unless `width` is 0."""
    found, wanted = plain_cell(check.get("found")) or "-", plain_cell(check.get("wanted"))
    if width:
        found, wanted = cut_middle(found, width), cut_middle(wanted, width)
    return f"{plain_cell(check.get('subject'))}: {found}" + (f", wanted {wanted}" if _rank(check) and wanted else "")


def _print(run: Runtime, checks: Sequence[Json], every: bool, seconds: float) -> None:
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
            _line(check, 0 if run.out.format == "wide" else VALUE_WIDTH),
        ]
        for check in shown
    ]
    for check, line in zip(shown, table_lines((), cells), strict=True):
        run.out.data(line)
        if _rank(check) and (check.get("fix_by") or check.get("fix")):
            run.out.data(
                f"    who: {safe(str(check.get('fix_by') or '-'))}    try: {safe(str(check.get('fix') or '-'))}"
            )
