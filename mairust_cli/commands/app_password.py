"""`mairust app-password`: one password for each device; a password is shown once."""

from __future__ import annotations

from typing import Annotated

import typer

from mairust_cli.arguments import each, ending, split_list
from mairust_cli.client.api import Json, segment
from mairust_cli.client.lookup import find_id
from mairust_cli.exits import CliError, Exit
from mairust_cli.output.table import Column, plain_cell
from mairust_cli.runtime import runtime
from mairust_cli.shell import noun, verb

app = noun("Passwords of single devices.")

Owner = Annotated[str, typer.Argument(metavar="ADDR", help="Whose.")]
COLUMNS = (
    Column(name="id", kind="id"),
    Column(name="name", cut=32),
    Column(name="protocols", cut=24),
    Column(name="used", read=lambda row: row.get("last_used_at"), kind="age"),
    Column(name="by", read=lambda row: row.get("last_used_protocol")),
    Column(name="from", read=lambda row: row.get("last_used_ip")),
    Column(name="expires", read=lambda row: row.get("expires_at")),
)


@verb(
    app,
    "list",
    "mairust app-password list anna@example.com",
    "mairust app-password list anna@example.com -o json",
)
def list_(ctx: typer.Context, address: Owner) -> None:
    """List an account's app passwords; the passwords themselves are never shown again."""
    run = runtime(ctx)
    pages = run.client.pages(_path(address))
    run.out.rows(pages, COLUMNS, total=pages.total, empty=f"no app passwords of {plain_cell(address)} yet")


@verb(
    app,
    "add",
    "mairust app-password add anna@example.com --name phone",
    "mairust app-password add anna@example.com --name printer --protocols smtp --expires 365d",
)
def add(
    ctx: typer.Context,
    address: Owner,
    name: Annotated[str, typer.Option("--name", help="Which device it is for.")],
    protocols: Annotated[
        list[str] | None,
        typer.Option("--protocols", metavar="A,B", help="Of smtp, imap, pop3, sieve; imap and smtp when not given."),
    ] = None,
    expires: Annotated[str | None, typer.Option("--expires", metavar="DATE|SPAN", help="2027-01-01 or 90d.")] = None,
) -> None:
    """Make an app password and show it once."""
    run = runtime(ctx)
    body: Json = {"name": name}
    if protocols:
        body["protocols"] = split_list(protocols)
    if expires:
        body["expires_at"] = ending(expires, "--expires")
    made = run.client.post(_path(address), body)
    secret = plain_cell(made.get("password"))
    run.out.made(made, f"{plain_cell(name)} added   password (shown once): {secret}", name="name")
    if run.options.quiet or run.out.format == "name":
        run.out.warn(f"password (shown once): {secret}")


@verb(
    app,
    "remove",
    "mairust app-password remove anna@example.com --name phone --yes",
    "mairust app-password remove anna@example.com --name 9f31c2aa --yes",
)
def remove(
    ctx: typer.Context,
    address: Owner,
    names: Annotated[
        list[str] | None, typer.Option("--name", metavar="NAME|ID", help="Which; may be given more than once.")
    ] = None,
) -> None:
    """Remove app passwords; what is connected with them ends within seconds."""
    run = runtime(ctx)
    wanted = split_list(names)
    if not wanted:
        raise CliError(
            "this needs --name", code=Exit.USAGE, why="which to remove", hint=f"mairust app-password list {address}"
        )
    run.confirm(f"Remove {', '.join(wanted[:3])}{' ...' if len(wanted) > 3 else ''} of {plain_cell(address)}?")

    def remove_one(reference: str) -> None:
        found = find_id(reference, run.client.pages(_path(address)), kind="app password")
        run.client.delete(f"{_path(address)}/{found}")
        run.out.done(f"{plain_cell(reference)} removed")

    each(run, wanted, remove_one)


def _path(address: str) -> str:
    return f"/accounts/{segment(address)}/app-passwords"
