"""`mairust domain alias`: second names of a domain."""

from __future__ import annotations

from typing import Annotated

import typer

from mairust_cli.arguments import Domains, each
from mairust_cli.client.api import segment
from mairust_cli.output.escape import safe
from mairust_cli.output.table import Column
from mairust_cli.runtime import expand, runtime
from mairust_cli.shell import noun, verb

app = noun("Second names of a domain.")

COLUMNS = (
    Column(name="name"),
    Column(name="enabled"),
    Column(name="domain", read=lambda row: row.get("domain_id"), kind="id"),
    Column(name="id", kind="id", wide=True),
)


@verb(app, "list", "mairust domain alias list", "mairust domain alias list -o json")
def list_(ctx: typer.Context) -> None:
    """List second names."""
    run = runtime(ctx)
    pages = run.client.pages("/domain-aliases")
    run.out.rows(pages, COLUMNS, total=pages.total, empty="no second names")


@verb(
    app,
    "add",
    "mairust domain alias add example.net --to example.org",
    "mairust domain alias add example.net -q --to example.org",
)
def add(
    ctx: typer.Context,
    names: Domains,
    to: Annotated[str, typer.Option("--to", metavar="DOMAIN", help="The domain they stand for.")],
) -> None:
    """Add second names: mail to them goes to the same accounts."""
    run = runtime(ctx)

    def add_one(name: str) -> None:
        made = run.client.post("/domain-aliases", {"name": name, "domain_id": to})
        run.out.made(made, f"{safe(name)} stands for {safe(to)}")

    each(run, expand(names), add_one)


@verb(
    app,
    "remove",
    "mairust domain alias remove example.net --yes",
    "mairust domain alias remove example.net other.example --yes",
)
def remove(ctx: typer.Context, names: Domains) -> None:
    """Remove second names; mail to them is refused from then on."""
    run = runtime(ctx)
    wanted = expand(names)
    run.confirm(f"Remove {', '.join(wanted[:3])}{' ...' if len(wanted) > 3 else ''}?")

    def remove_one(name: str) -> None:
        run.client.delete(f"/domain-aliases/{segment(name)}")
        run.out.done(f"{safe(name)} removed")

    each(run, wanted, remove_one)
