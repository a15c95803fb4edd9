"""`mairust grant send-as`: who else may send with an account's addresses."""

from __future__ import annotations

from typing import Annotated

import typer

from mairust_cli.client.api import as_object, items_of, segment
from mairust_cli.output.table import Column, plain_cell
from mairust_cli.runtime import runtime
from mairust_cli.shell import noun, verb

send_as = noun("Who else may send with an account's addresses.")

Owner = Annotated[str, typer.Argument(metavar="ADDR", help="Whose addresses.")]
Grantee = Annotated[str, typer.Option("--to", metavar="ADDR", help="An account of the same organisation.")]
COLUMNS = (Column(name="grantee", cut=72),)


@verb(
    send_as,
    "list",
    "mairust grant send-as list info@example.com",
    "mairust grant send-as list info@example.com -o json",
)
def list_(ctx: typer.Context, address: Owner) -> None:
    """List who else may send as an account."""
    run = runtime(ctx)
    rows = items_of(run.client.get(_path(address)).get("items"))
    run.out.rows(rows, COLUMNS, empty=f"nobody else may send as {plain_cell(address)}")


@verb(
    send_as,
    "add",
    "mairust grant send-as add info@example.com --to ben@example.com",
    "mairust grant send-as add info@example.com --to carol@example.com --json",
)
def add(ctx: typer.Context, address: Owner, grantee: Grantee) -> None:
    """Let another account send as this one; rights on mailboxes are granted apart."""
    run = runtime(ctx)
    made = as_object(run.client.call("PUT", _path(address), body={"grantee": grantee}))
    run.out.done(f"{plain_cell(made.get('grantee'))} may send as {plain_cell(address)}")


@verb(
    send_as,
    "remove",
    "mairust grant send-as remove info@example.com --to ben@example.com",
    "mairust grant send-as remove info@example.com --to ben@example.com --yes",
)
def remove(ctx: typer.Context, address: Owner, grantee: Grantee) -> None:
    """Take it back; the next mail in that name is refused."""
    run = runtime(ctx)
    run.confirm(f"Let {plain_cell(grantee)} no longer send as {plain_cell(address)}?")
    run.client.delete(_path(address), {"grantee": grantee})
    run.out.done(f"{plain_cell(grantee)} may no longer send as {plain_cell(address)}")


def _path(address: str) -> str:
    return f"/accounts/{segment(address)}/send-grants"
