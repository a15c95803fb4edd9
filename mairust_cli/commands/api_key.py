"""`mairust api-key`: keys for programs; a key is shown once."""

from __future__ import annotations

from typing import Annotated

import typer

from mairust_cli.arguments import Confirm, each, ending, span, split_list
from mairust_cli.client.api import Client, Json
from mairust_cli.client.lookup import find_id
from mairust_cli.exits import CliError, Exit
from mairust_cli.output.table import Column, plain_cell
from mairust_cli.runtime import Runtime, expand, runtime
from mairust_cli.shell import noun, verb

app = noun("Keys for programs.")

References = Annotated[list[str], typer.Argument(metavar="ID|NAME...", help="Names, ids or their tails.")]
COLUMNS = (
    Column(name="id", kind="id"),
    Column(name="name", cut=32),
    Column(name="prefix"),
    Column(name="scopes", cut=40),
    Column(name="used", read=lambda row: row.get("last_used_at"), kind="age"),
    Column(name="expires", read=lambda row: row.get("expires_at")),
    Column(name="networks", read=lambda row: row.get("allowed_networks"), wide=True),
)


@verb(app, "list", "mairust api-key list", "mairust api-key list -o json")
def list_(ctx: typer.Context) -> None:
    """List keys; the keys themselves are never shown again."""
    run = runtime(ctx)
    pages = run.client.pages("/api-keys")
    run.out.rows(pages, COLUMNS, total=pages.total, empty="no keys yet")


@verb(
    app,
    "add",
    "mairust api-key add --name website --scopes send",
    "mairust api-key add --name backup --scopes read --network 192.0.2.0/24 --expires 2027-01-01",
)
def add(
    ctx: typer.Context,
    name: Annotated[str, typer.Option("--name", help="What the key is for.")],
    scopes: Annotated[
        list[str], typer.Option("--scopes", metavar="A,B", help="read, write, send, admin, or one such as mail:send.")
    ],
    expires: Annotated[str | None, typer.Option("--expires", metavar="DATE|SPAN", help="2027-01-01 or 90d.")] = None,
    networks: Annotated[
        list[str] | None, typer.Option("--network", metavar="CIDR", help="Usable from here only.")
    ] = None,
    account: Annotated[str | None, typer.Option("--account", metavar="ADDR", help="Act as this account.")] = None,
) -> None:
    """Make a key and show it once."""
    run = runtime(ctx)
    body: Json = {"name": name, "scopes": split_list(scopes)}
    if not body["scopes"]:
        raise CliError("this needs --scopes", code=Exit.USAGE, why="what the key may do", hint="--scopes read")
    if expires:
        body["expires_at"] = ending(expires, "--expires")
    if networks:
        body["allowed_networks"] = split_list(networks)
    if account:
        body["account_id"] = plain_cell(run.client.get(f"/accounts/{account}").get("id"))
    _shown_once(run, run.client.post("/api-keys", body), f"{plain_cell(name)} added")


@verb(app, "rotate", "mairust api-key rotate website", "mairust api-key rotate website --grace 7d")
def rotate(
    ctx: typer.Context,
    reference: Annotated[str, typer.Argument(metavar="ID|NAME")],
    grace: Annotated[
        str | None, typer.Option("--grace", metavar="SPAN", help="How long the old key still works.")
    ] = None,
) -> None:
    """Replace a key by a new one."""
    run = runtime(ctx)
    seconds = span(grace, "--grace")
    body: Json = {} if seconds is None else {"grace": seconds}
    _shown_once(
        run, run.client.post(f"/api-keys/{_id(run.client, reference)}/rotate", body), f"{plain_cell(reference)} rotated"
    )


@verb(app, "remove", "mairust api-key remove website --yes", "mairust api-key remove 9f31c2aa --yes")
def remove(ctx: typer.Context, references: References, confirm: Confirm = None) -> None:
    """Remove keys; programs that use them are refused at once."""
    run = runtime(ctx)
    wanted = expand(references)
    if not set(wanted) <= set(confirm or []):
        run.confirm(f"Remove {', '.join(wanted[:3])}{' ...' if len(wanted) > 3 else ''}?")

    def remove_one(reference: str) -> None:
        run.client.delete(f"/api-keys/{_id(run.client, reference)}")
        run.out.done(f"{plain_cell(reference)} removed")

    each(run, wanted, remove_one)


def _shown_once(run: Runtime, key: Json, text: str) -> None:
    secret = plain_cell(key.get("key"))
    run.out.made(key, f"{text}   key (shown once): {secret}", name="name")
    if run.options.quiet or run.out.format == "name":
        run.out.warn(f"key (shown once): {secret}")


def _id(client: Client, reference: str) -> str:
    return find_id(reference, client.pages("/api-keys"), kind="API key")
