"""`mairust status`: one screen of health."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from mairust_cli.health import status_lines
from mairust_cli.output import times
from mairust_cli.runtime import Runtime, runtime
from mairust_cli.shell import single, verb

app = single()


@verb(app, "status", "mairust status", "mairust status --watch 5", "mairust status -o json")
def status(
    ctx: typer.Context,
    watch: Annotated[float | None, typer.Option("--watch", metavar="S", min=0.5, help="Again every S seconds.")] = None,
) -> None:
    """Tell how the server is: mail of today, queue, ports, disk, certificate, warnings."""
    run = runtime(ctx)
    _print(run)
    while watch is not None:
        run.out.flush()
        time.sleep(watch)
        run.out.data("")
        _print(run)


def _print(run: Runtime) -> None:
    answer = run.client.get("/system/status")
    if run.out.for_people and not run.options.quiet:
        run.out.data("\n".join(status_lines(answer, times.now(), sign=run.out.symbol)))
    else:
        run.out.record(answer, name="hostname")
