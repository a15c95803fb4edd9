"""`mairust reload`: the daemon reads its configuration again, all of it or nothing."""

from __future__ import annotations

import typer

from mairust_cli.client.api import Json
from mairust_cli.output.table import plain_cell
from mairust_cli.runtime import runtime
from mairust_cli.shell import single, verb

app = single()


@verb(app, "reload", "mairust reload", "mairust reload -o json")
def reload(ctx: typer.Context) -> None:
    """Have the daemon read its configuration again; a faulty file changes nothing."""
    run = runtime(ctx)
    answer: Json = run.client.post("/settings/reload")
    if run.out.format in ("json", "ndjson", "yaml"):
        run.out.record(answer)
        return
    applied, waiting = _keys(answer, "applied"), _keys(answer, "restart_required")
    run.out.done(f"reloaded: {plain_cell(applied)}" if applied else "reloaded: nothing has changed")
    if waiting:
        run.out.note(f"needs a restart: {plain_cell(waiting)}")
        run.out.next("sudo systemctl restart mairustd")


def _keys(answer: Json, name: str) -> list[object]:
    value = answer.get(name)
    return value if isinstance(value, list) else []
