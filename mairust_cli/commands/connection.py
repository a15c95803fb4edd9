"""`mairust connection`: live connections of the mail protocols, one by one."""

from __future__ import annotations

from typing import Annotated

import typer

from mairust_cli.arguments import each
from mairust_cli.client.lookup import find_id
from mairust_cli.output.table import Column, plain_cell
from mairust_cli.runtime import Runtime, expand, runtime
from mairust_cli.shell import noun, verb

app = noun("Live connections, one by one.")

Account = Annotated[str | None, typer.Option("--account", metavar="ADDR", help="Of this account only.")]
Protocol = Annotated[
    str | None, typer.Option("--protocol", metavar="P", help="Of this protocol only: smtp, imap, pop3 or sieve.")
]
COLUMNS = (
    Column(name="id", kind="id"),
    Column(name="account", read=lambda row: row.get("address"), cut=40),
    Column(name="protocol"),
    Column(name="ip"),
    Column(name="tls"),
    Column(name="since", kind="age"),
    Column(name="command"),
    Column(name="listener", wide=True),
)


@verb(app, "list", "mairust connection list", "mairust connection list --protocol smtp -o json")
def list_(ctx: typer.Context, account: Account = None, protocol: Protocol = None) -> None:
    """List logged-in connections, newest first."""
    show(runtime(ctx), account=account, protocol=protocol)


@verb(app, "drop", "mairust connection drop 9f31c2aa", "mairust connection drop 9f31c2aa 5d1e02ab -q")
def drop(
    ctx: typer.Context,
    references: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids or their tails, or - for stdin.")],
) -> None:
    """End connections; their clients may connect again."""
    run = runtime(ctx)

    def drop_one(reference: str) -> None:
        found = find_id(reference, run.client.pages("/connections"), kind="connection", key="id")
        run.client.delete(f"/connections/{found}")
        run.out.done(f"{plain_cell(reference)} dropped")

    each(run, expand(references), drop_one)


def show(run: Runtime, *, account: str | None, protocol: str | None) -> None:
    """Print the connections."""
    pages = run.client.pages("/connections", {"account_id": account, "protocol": protocol})
    run.out.rows(pages, COLUMNS, total=pages.total, empty="nobody is logged in")
