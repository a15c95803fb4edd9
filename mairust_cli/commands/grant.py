"""`mairust grant`: who else may use an account's mailboxes, or send as it."""

from __future__ import annotations

from typing import Annotated

import typer

from mairust_cli.client.api import as_object, items_of, segment
from mairust_cli.commands.grant_send_as import send_as
from mairust_cli.output.table import Column, plain_cell
from mairust_cli.runtime import runtime
from mairust_cli.shell import noun, verb

app = noun("Who else may use an account's mailboxes, or send as it.")
app.add_typer(send_as, name="send-as")

Owner = Annotated[str, typer.Argument(metavar="ADDR", help="Whose mailboxes.")]
Mailbox = Annotated[str, typer.Option("--mailbox", help="Which of them, by its full name.")]
Grantee = Annotated[str, typer.Option("--to", metavar="ADDR", help="An address of the same organisation, or anyone.")]
RIGHTS = {"read": "lrs", "edit": "lrswite", "full": "lrswipkxtea"}
COLUMNS = (Column(name="mailbox", cut=48), Column(name="grantee", cut=48), Column(name="rights"))


@verb(app, "list", "mairust grant list anna@example.com", "mairust grant list anna@example.com -o json")
def list_(ctx: typer.Context, address: Owner) -> None:
    """List what an account shares, by mailbox."""
    run = runtime(ctx)
    rows = items_of(run.client.get(_path(address)).get("items"))
    run.out.rows(rows, COLUMNS, empty=f"{plain_cell(address)} shares nothing")


@verb(
    app,
    "set",
    "mairust grant set anna@example.com --mailbox Projects --to ben@example.com --rights read",
    "mairust grant set anna@example.com --mailbox Projects --to anyone --rights lr",
)
def set_(
    ctx: typer.Context,
    address: Owner,
    mailbox: Mailbox,
    grantee: Grantee,
    rights: Annotated[str, typer.Option("--rights", help="read, edit, full, or letters of lrswipkxtea.")] = "read",
) -> None:
    """Share a mailbox: give exactly these rights."""
    run = runtime(ctx)
    body = {"mailbox": mailbox, "grantee": grantee, "rights": RIGHTS.get(rights, rights)}
    made = as_object(run.client.call("PUT", _path(address), body=body))
    shown = f"{plain_cell(made.get('mailbox'))} {plain_cell(made.get('grantee'))} {plain_cell(made.get('rights'))}"
    run.out.done(f"{shown} set")


@verb(
    app,
    "remove",
    "mairust grant remove anna@example.com --mailbox Projects --to ben@example.com --yes",
    "mairust grant remove anna@example.com --mailbox Projects --to anyone --yes",
)
def remove(ctx: typer.Context, address: Owner, mailbox: Mailbox, grantee: Grantee) -> None:
    """Take back all rights; open sessions lose the mailbox at their next command."""
    run = runtime(ctx)
    run.confirm(f"Take {plain_cell(mailbox)} of {plain_cell(address)} back from {plain_cell(grantee)}?")
    run.client.delete(_path(address), {"mailbox": mailbox, "grantee": grantee})
    run.out.done(f"{plain_cell(grantee)} removed from {plain_cell(mailbox)}")


def _path(address: str) -> str:
    return f"/accounts/{segment(address)}/grants"
