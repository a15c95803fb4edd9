"""`mairust job`: long-running work."""

from __future__ import annotations

from typing import Annotated

import typer

from mairust_cli.arguments import each
from mairust_cli.client.api import Client, segment
from mairust_cli.client.lookup import find_id
from mairust_cli.exits import CliError, Exit
from mairust_cli.jobs import follow, tell
from mairust_cli.output.escape import safe
from mairust_cli.output.table import Column
from mairust_cli.runtime import Runtime, expand, runtime
from mairust_cli.shell import noun, verb

app = noun("Long-running work: imports and exports.")

Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="Ids or their tails, or - for stdin.")]
COLUMNS = (
    Column(name="id", kind="id"),
    Column(name="kind"),
    Column(name="status"),
    Column(name="done", kind="number"),
    Column(name="total", kind="number", wide=True),
    Column(name="added", kind="number"),
    Column(name="skipped", kind="number"),
    Column(name="failed", kind="number"),
    Column(name="age", read=lambda row: row.get("created_at"), kind="age"),
    Column(name="place", cut=32, wide=True),
    Column(name="account", read=lambda row: row.get("account_id"), kind="id", wide=True),
)


@verb(app, "list", "mairust job list", "mairust job list --status running")
def list_(
    ctx: typer.Context,
    status: Annotated[
        str | None, typer.Option("--status", help="pending, running, paused, succeeded, failed or cancelled.")
    ] = None,
    kind: Annotated[str | None, typer.Option("--kind", help="Such as import_imap or export_mbox.")] = None,
) -> None:
    """List jobs, newest first."""
    run = runtime(ctx)
    pages = run.client.pages("/jobs", {"status": status, "kind": kind})
    run.out.rows(pages, COLUMNS, empty="no jobs yet")


@verb(app, "show", "mairust job show 5d1e02aa", "mairust job show 5d1e02aa --follow")
def show(
    ctx: typer.Context,
    reference: Annotated[str, typer.Argument(metavar="ID")],
    wait: Annotated[bool, typer.Option("--follow", help="Stay until it ends.")] = False,
) -> None:
    """Show a job, with what it could not take."""
    run = runtime(ctx)
    job_id = job_id_of(run.client, reference)
    if wait:
        tell(run, follow(run, job_id))
    else:
        run.out.record(run.client.get(f"/jobs/{segment(job_id)}"), name="id")


@verb(app, "pause", "mairust job pause 5d1e02aa", "mairust job pause 5d1e02aa -q")
def pause(ctx: typer.Context, references: Ids) -> None:
    """Pause jobs; what they stored stays."""
    _act(runtime(ctx), references, "pause", "paused")


@verb(app, "resume", "mairust job resume 5d1e02aa", "mairust job resume 5d1e02aa -q")
def resume(ctx: typer.Context, references: Ids) -> None:
    """Let paused jobs go on."""
    _act(runtime(ctx), references, "resume", "goes on")


@verb(app, "cancel", "mairust job cancel 5d1e02aa --yes", "mairust job cancel 5d1e02aa -q --yes")
def cancel(ctx: typer.Context, references: Ids) -> None:
    """End jobs for good; what they stored stays."""
    run = runtime(ctx)
    run.confirm(f"Cancel {', '.join(references[:3])}{' ...' if len(references) > 3 else ''}?")
    _act(run, references, "cancel", "cancelled")


def job_id_of(client: Client, reference: str) -> str:
    """The id of a job by its id or tail; names are not looked for. Raises CliError."""
    if not reference.strip():
        raise CliError("a job has an id", code=Exit.USAGE, why="it is empty", hint="mairust job list")
    return find_id(reference, client.pages("/jobs"), kind="job", key="id")


def _act(run: Runtime, references: list[str], action: str, past: str) -> None:
    def act(reference: str) -> None:
        made = run.client.post(f"/jobs/{segment(job_id_of(run.client, reference))}/{action}")
        run.out.made(made, f"{safe(reference)} {past}", name="id")

    each(run, expand(references), act)
