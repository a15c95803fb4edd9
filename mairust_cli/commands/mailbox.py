"""`mairust mailbox`: the folders of an account."""

from __future__ import annotations

from typing import Annotated

import typer

from mairust_cli.client.api import items_of
from mairust_cli.output.table import Column
from mairust_cli.runtime import runtime
from mairust_cli.shell import noun, verb
from mairust_cli.whose import Reason, whose

app = noun("Folders of an account.")

COLUMNS = (
    Column(name="name", cut=60),
    Column(name="role"),
    Column(name="total", kind="number"),
    Column(name="unread", kind="number"),
    Column(name="size", read=lambda row: row.get("size_bytes"), kind="size"),
    Column(name="subscribed", wide=True),
    Column(name="id", kind="id", wide=True),
)


@verb(
    app,
    "list",
    'mairust mailbox list anna@example.com --reason "asked me to look"',
    'mairust mailbox list anna@example.com --reason "ticket 2211" -o json',
)
def list_(ctx: typer.Context, address: Annotated[str, typer.Argument(metavar="ADDR")], reason: Reason = None) -> None:
    """List an account's folders with their counts."""
    run = runtime(ctx)
    rows = items_of(run.client.get("/mailboxes", whose(run, address, reason)).get("items"))
    run.out.rows(rows, COLUMNS, empty="no folders")
