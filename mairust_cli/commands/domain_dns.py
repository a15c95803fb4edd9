"""`mairust domain dns`: the DNS records that a domain needs."""

from __future__ import annotations

from typing import Annotated

import typer

from mairust_cli.client.api import items_of, segment
from mairust_cli.exits import CliError, Exit
from mairust_cli.output.escape import safe
from mairust_cli.output.table import Column, Row
from mairust_cli.runtime import Runtime, runtime
from mairust_cli.shell import noun, verb

app = noun("DNS records to publish.")

_STATES = {"ok": ("ok", "ok"), "wrong": ("warning", "diff"), "missing": ("error", "miss")}


@verb(app, "show", "mairust domain dns show example.org", "mairust domain dns show example.org --format zone")
def dns_show(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME")],
    form: Annotated[str, typer.Option("--format", help="table or zone (a zone file).")] = "table",
    missing: Annotated[bool, typer.Option("--missing", help="Only what is missing or wrong.")] = False,
) -> None:
    """Show the DNS records to publish for a domain."""
    run = runtime(ctx)
    if form not in ("table", "zone"):
        raise CliError(f"--format takes table or zone, not '{form}'", code=Exit.USAGE, why="formats of DNS records")
    path = f"/domains/{segment(name)}/dns"
    if form == "zone":
        lines = run.client.text(path, {"format": "zone"}).rstrip("\n").split("\n")
        run.out.data("\n".join("\t".join(safe(part) for part in line.split("\t")) for line in lines))
        return
    records = items_of(run.client.call("GET", path))
    if missing:
        records = [record for record in records if record.get("state") in ("missing", "wrong")]
    cut = 0 if run.out.format == "wide" else 60
    columns = (
        Column(name="state", read=lambda row: _state(run, row)),
        Column(name="type"),
        Column(name="name"),
        Column(name="value", cut=cut),
        Column(name="for", read=lambda row: row.get("purpose")),
        Column(name="ttl", wide=True),
    )
    run.out.rows(records, columns, empty="every record is published")


def _state(run: Runtime, row: Row) -> str:
    severity, word = _STATES.get(str(row.get("state")), ("", str(row.get("state") or "")))
    if run.out.format not in ("table", "wide") or not severity:
        return str(row.get("state") or "")
    return f"{run.out.sign(severity)} {word}"
