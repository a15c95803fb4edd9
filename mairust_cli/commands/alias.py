"""`mairust alias`: addresses that expand to others."""

from __future__ import annotations

from typing import Annotated

import typer

from mairust_cli.arguments import Addresses, Confirm, each, split_list
from mairust_cli.client.api import Client, Json, segment
from mairust_cli.client.lookup import find_id
from mairust_cli.exits import CliError, Exit
from mairust_cli.output.escape import safe
from mairust_cli.output.table import Column
from mairust_cli.runtime import expand, runtime
from mairust_cli.shell import noun, verb

app = noun("Addresses that expand to others.")

Address = Annotated[str, typer.Argument(metavar="ADDR")]
To = Annotated[list[str] | None, typer.Option("--to", metavar="A,B", help="Addresses it expands to.")]
InternalOnly = Annotated[
    bool | None, typer.Option("--internal-only/--anyone", help="Only this server's users may write to it.")
]
Description = Annotated[str | None, typer.Option("--description", help="What it is for.")]

COLUMNS = (
    Column(name="address", cut=48),
    Column(name="to", read=lambda row: row.get("targets"), cut=60),
    Column(name="enabled"),
    Column(name="internal", read=lambda row: row.get("internal_only"), wide=True),
    Column(name="description", wide=True),
    Column(name="id", kind="id", wide=True),
)


@verb(app, "list", "mairust alias list", "mairust alias list -o ndjson")
def list_(ctx: typer.Context) -> None:
    """List aliases."""
    run = runtime(ctx)
    pages = run.client.pages("/aliases")
    run.out.rows(pages, COLUMNS, name="address", total=pages.total, empty="no aliases yet")


@verb(app, "show", "mairust alias show sales@example.com", "mairust alias show sales@example.com -o json")
def show(ctx: typer.Context, address: Address) -> None:
    """Show one alias in full."""
    run = runtime(ctx)
    run.out.record(run.client.get(f"/aliases/{_id(run.client, address)}"), name="address")


@verb(
    app,
    "add",
    "mairust alias add sales@example.com --to anna@example.com,ben@example.org",
    "mairust alias add all@example.com --to anna@example.com --internal-only",
)
def add(
    ctx: typer.Context,
    address: Address,
    to: To = None,
    internal_only: InternalOnly = None,
    description: Description = None,
) -> None:
    """Add an alias."""
    run = runtime(ctx)
    fields = _fields(to, internal_only, description)
    if "targets" not in fields:
        raise CliError(
            "this needs --to", code=Exit.USAGE, why="addresses the alias expands to", hint=f"{run.typed} --to A,B"
        )
    made = run.client.post("/aliases", {"address": address, **fields})
    targets = ", ".join(safe(target) for target in split_list(to))
    run.out.made(made, f"{safe(address)} added: {targets}", name="address")


@verb(
    app,
    "set",
    "mairust alias set sales@example.com --to anna@example.com",
    "mairust alias set all@example.com --anyone",
)
def set_(
    ctx: typer.Context,
    address: Address,
    to: To = None,
    internal_only: InternalOnly = None,
    description: Description = None,
) -> None:
    """Change an alias; --to replaces all its targets."""
    run = runtime(ctx)
    fields = _fields(to, internal_only, description)
    if not fields:
        why = "give --to, --internal-only, --anyone or --description"
        raise CliError("nothing to change", code=Exit.USAGE, why=why, hint="mairust alias set --help")
    run.client.patch(f"/aliases/{_id(run.client, address)}", fields)
    run.out.done(f"{safe(address)} changed: {', '.join(fields)}")


@verb(
    app,
    "remove",
    "mairust alias remove sales@example.com --yes",
    "mairust alias remove sales@example.com info@example.com --yes",
)
def remove(ctx: typer.Context, addresses: Addresses, confirm: Confirm = None) -> None:
    """Remove aliases; mail to them is refused from then on."""
    run = runtime(ctx)
    wanted = expand(addresses)
    if not set(wanted) <= set(confirm or []):
        run.confirm(f"Remove {', '.join(wanted[:3])}{' ...' if len(wanted) > 3 else ''}?")

    def remove_one(address: str) -> None:
        run.client.delete(f"/aliases/{_id(run.client, address)}")
        run.out.done(f"{safe(address)} removed")

    each(run, wanted, remove_one)


def _fields(to: list[str] | None, internal_only: bool | None, description: str | None) -> Json:
    fields: Json = {}
    if targets := split_list(to):
        fields["targets"] = targets
    if internal_only is not None:
        fields["internal_only"] = internal_only
    if description is not None:
        fields["description"] = description
    return fields


def _id(client: Client, reference: str) -> str:
    if "@" in reference:
        return segment(reference)
    return find_id(reference, client.pages("/aliases"), kind="alias", key="address")
