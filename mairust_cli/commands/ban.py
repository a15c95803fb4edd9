"""`mairust ban`: networks that are refused, by the server's count of failed logins or by an administrator."""

from __future__ import annotations

from typing import Annotated

import typer

from mairust_cli.arguments import each, ending
from mairust_cli.client.api import Json
from mairust_cli.client.lookup import find_id
from mairust_cli.output.table import Column, plain_cell
from mairust_cli.runtime import expand, runtime
from mairust_cli.shell import noun, verb

app = noun("Networks that are refused.")

COLUMNS = (
    Column(name="id", kind="id"),
    Column(name="network"),
    Column(name="account", read=lambda row: row.get("account_id"), kind="id"),
    Column(name="reason", cut=48),
    Column(name="since", read=lambda row: row.get("created_at"), kind="age"),
    Column(name="until", read=lambda row: row.get("expires_at")),
    Column(name="by", read=lambda row: row.get("made_by"), wide=True),
)


@verb(app, "list", "mairust ban list", "mairust ban list -o json")
def list_(ctx: typer.Context) -> None:
    """List bans in force; one with an account refuses its logins only."""
    run = runtime(ctx)
    pages = run.client.pages("/bans")
    run.out.rows(pages, COLUMNS, total=pages.total, empty="no network is banned")


@verb(
    app,
    "add",
    "mairust ban add 192.0.2.0/24 --for 1h",
    "mairust ban add 198.51.100.7 --account anna@example.com --reason 'stolen phone'",
)
def add(
    ctx: typer.Context,
    networks: Annotated[list[str], typer.Argument(metavar="CIDR...", help="Networks or addresses, or - for stdin.")],
    until: Annotated[
        str | None, typer.Option("--for", metavar="SPAN|DATE", help="1h or 2027-01-01; until removed when not given.")
    ] = None,
    account: Annotated[
        str | None, typer.Option("--account", metavar="ADDR", help="Refuse logins of this account only.")
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="For whoever reads the list.")] = "",
) -> None:
    """Refuse networks: no connection of theirs is taken."""
    run = runtime(ctx)
    body: Json = {"reason": reason}
    if until:
        body["expires_at"] = ending(until, "--for")
    if account:
        body["account_id"] = account

    def add_one(network: str) -> None:
        made = run.client.post("/bans", {**body, "network": network})
        run.out.made(made, f"{plain_cell(made.get('network'))} banned", name="network")

    each(run, expand(networks), add_one)


@verb(app, "remove", "mairust ban remove 192.0.2.0/24", "mairust ban remove 9f31c2aa")
def remove(
    ctx: typer.Context,
    references: Annotated[
        list[str], typer.Argument(metavar="ID|CIDR...", help="Ids, their tails, or networks; - for stdin.")
    ],
) -> None:
    """Lift bans."""
    run = runtime(ctx)

    def remove_one(reference: str) -> None:
        matching = [row for row in run.client.pages("/bans") if row.get("network") in (reference, f"{reference}/32")]
        found = [str(row.get("id")) for row in matching]
        for ban_id in found or [find_id(reference, run.client.pages("/bans"), kind="ban", key="network")]:
            run.client.delete(f"/bans/{ban_id}")
        run.out.done(f"{plain_cell(reference)} is no longer banned")

    each(run, expand(references), remove_one)
