"""`mairust tenant`: organisations on one server."""

from __future__ import annotations

from typing import Annotated

import typer

from mairust_cli.arguments import Confirm, each
from mairust_cli.client.api import Json, segment
from mairust_cli.output.escape import safe
from mairust_cli.output.table import Column
from mairust_cli.runtime import Runtime, expand, runtime
from mairust_cli.shell import noun, verb

app = noun("Organisations on this server.")

Names = Annotated[list[str], typer.Argument(metavar="NAME...", help="Names, or - to read them from stdin.")]

COLUMNS = (
    Column(name="name"),
    Column(name="display", read=lambda row: row.get("display_name"), cut=40),
    Column(name="status"),
    Column(name="age", read=lambda row: row.get("created_at"), kind="age", wide=True),
    Column(name="id", kind="id", wide=True),
)


@verb(app, "list", "mairust tenant list", "mairust tenant list -o json")
def list_(ctx: typer.Context) -> None:
    """List tenants."""
    run = runtime(ctx)
    pages = run.client.pages("/tenants")
    run.out.rows(pages, COLUMNS, total=pages.total, empty="no tenants")


@verb(app, "show", "mairust tenant show default", "mairust tenant show default -o yaml")
def show(ctx: typer.Context, name: Annotated[str, typer.Argument(metavar="NAME")]) -> None:
    """Show one tenant in full."""
    run = runtime(ctx)
    run.out.record(run.client.get(f"/tenants/{segment(name)}"))


@verb(app, "add", "mairust tenant add acme", 'mairust tenant add acme --display-name "Acme Ltd"')
def add(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Small letters, digits and hyphens.")],
    display_name: Annotated[str | None, typer.Option("--display-name", help="Name for people.")] = None,
) -> None:
    """Add a tenant."""
    run = runtime(ctx)
    body: Json = {"name": name, **({"display_name": display_name} if display_name is not None else {})}
    made = run.client.post("/tenants", body)
    run.out.made(made, f"{safe(name)} added", then=f"mairust --tenant {safe(name)} domain add NAME")


@verb(app, "remove", "mairust tenant remove acme --confirm acme", "mairust tenant remove acme")
def remove(
    ctx: typer.Context,
    names: Names,
    confirm: Confirm = None,
) -> None:
    """Remove tenants with everything in them."""
    run = runtime(ctx)
    wanted = expand(names)
    run.confirm_names(wanted, confirm or [], loss="all its domains, accounts and mail go")

    def remove_one(name: str) -> None:
        run.client.delete(f"/tenants/{segment(name)}")
        run.out.done(f"{safe(name)} removed")

    each(run, wanted, remove_one)


@verb(app, "restore", "mairust tenant restore acme", "mairust tenant restore acme -q")
def restore(ctx: typer.Context, names: Names) -> None:
    """Bring removed tenants back."""
    run = runtime(ctx)
    each(run, expand(names), lambda name: _post(run, name, "restore", "restored"))


@verb(app, "activate", "mairust tenant activate acme", "mairust tenant activate acme -q")
def activate(ctx: typer.Context, names: Names) -> None:
    """End a suspension."""
    run = runtime(ctx)
    each(run, expand(names), lambda name: _post(run, name, "activate", "activated"))


@verb(app, "suspend", "mairust tenant suspend acme --yes", "mairust tenant suspend acme other --yes")
def suspend(ctx: typer.Context, names: Names) -> None:
    """Suspend tenants: mail in waits at the senders, logins and sends are refused."""
    run = runtime(ctx)
    wanted = expand(names)
    run.confirm(f"Suspend {', '.join(wanted[:3])}{' ...' if len(wanted) > 3 else ''}?")
    each(run, wanted, lambda name: _post(run, name, "suspend", "suspended"))


def _post(run: Runtime, name: str, action: str, past: str) -> None:
    made = run.client.post(f"/tenants/{segment(name)}/{action}")
    run.out.made(made, f"{safe(name)} {past}")
