"""`mairust version`: versions of the command and the daemon."""

from __future__ import annotations

import sys

import typer

from mairust_cli.client.api import Json
from mairust_cli.exits import CliError
from mairust_cli.output.table import plain_cell
from mairust_cli.runtime import runtime
from mairust_cli.shell import single, verb

app = single()


@verb(app, "version", "mairust version", "mairust version -o json")
def version(ctx: typer.Context) -> None:
    """Print the version of this command, and of the daemon when it answers."""
    run = runtime(ctx)
    found: Json = {"mairust": own_version(), "python": sys.version.split()[0], "mairustd": None}
    try:
        found["mairustd"] = run.client.get("/system/version").get("version")
    except CliError as error:
        run.out.note(f"mairustd: {error.what}")
    if run.out.for_people and not run.options.quiet:
        daemon = plain_cell(found["mairustd"])
        run.out.data(
            f"mairust {found['mairust']} (Python {found['python']})" + (f"\nmairustd {daemon}" if daemon else "")
        )
    else:
        run.out.record(found, name="mairust")


def own_version() -> str:
    """The installed package's version."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("mairust")
    except PackageNotFoundError:
        return "unknown"
