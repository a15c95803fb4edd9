"""`mairust message deleted`: what was expunged and can still be brought back."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer

from mairust_cli.arguments import each
from mairust_cli.client.api import Query, as_object, items_of, segment
from mairust_cli.exits import CliError, Exit
from mairust_cli.output.escape import safe
from mairust_cli.output.table import Column, Row
from mairust_cli.runtime import Runtime, expand, runtime
from mairust_cli.shell import noun, verb
from mairust_cli.whose import OfAccount, Reason, message_id, whose

app = noun("Deleted mail that can still be restored.")

RESTORED_AT_ONCE = 1000
Text = Annotated[str | None, typer.Option("--query", metavar="TEXT", help="Part of subject, sender or recipients.")]


def _sender(row: Row) -> str:
    people = items_of(row.get("from"))
    return str(people[0].get("name") or people[0].get("address")) if people else ""


COLUMNS = (
    Column(name="id", kind="id"),
    Column(name="deleted", read=lambda row: row.get("deleted_at"), kind="age"),
    Column(name="mailbox", cut=30),
    Column(name="from", read=_sender, cut=30),
    Column(name="subject", cut=60, prose=True),
    Column(name="size", read=lambda row: row.get("size_bytes"), kind="size"),
)


@verb(
    app,
    "list",
    'mairust message deleted list --account anna@example.com --reason "asked me to"',
    'mairust message deleted list --account anna@example.com --query offer --reason "ticket 2211"',
)
def list_(ctx: typer.Context, account: OfAccount = None, text: Text = None, reason: Reason = None) -> None:
    """List an account's deleted messages, the last deleted first."""
    run = runtime(ctx)
    pages = run.client.pages("/deleted-messages", {**whose(run, account, reason), "q": text})
    run.out.rows(pages, COLUMNS, name="id", empty="nothing that could be restored")


@verb(
    app,
    "restore",
    'mairust message deleted restore 019ab801-0000-7000-8000-000000000801 --reason "asked me to"',
    'mairust message deleted restore --account anna@example.com --query offer --reason "ticket 2211" --yes',
)
def restore(
    ctx: typer.Context,
    references: Annotated[list[str] | None, typer.Argument(metavar="[ID...]")] = None,
    account: OfAccount = None,
    text: Text = None,
    every: Annotated[bool, typer.Option("--all", help="Everything of the account that can be restored.")] = False,
    reason: Reason = None,
) -> None:
    """Bring deleted messages back, by id or all that match."""
    run = runtime(ctx)
    query = whose(run, account, reason)
    if references:
        restore_each(run, expand(references), query, None)
        return
    if not (text or every):
        why = "name messages, or --query, or --all"
        raise CliError("nothing to restore", code=Exit.USAGE, why=why, hint=f"{run.typed} --help")
    rows = list(islice(run.client.pages("/deleted-messages", {**query, "q": text}), RESTORED_AT_ONCE))
    if not rows:
        run.out.note("nothing that could be restored")
        return
    for row in rows[:3]:
        run.out.note(safe(f"  {row.get('subject') or '(no subject)'}   {row.get('mailbox')}"))
    run.confirm(f"Restore {len(rows)} message{'s' if len(rows) > 1 else ''}?")
    restore_each(run, [str(row.get("id")) for row in rows], query, None)


def restore_each(run: Runtime, references: list[str], query: Query, target: str | None) -> None:
    """Restore messages one by one, where they were or into the folder with the id `target`."""

    def act(reference: str) -> None:
        ident = message_id(run, reference, query, path="/deleted-messages")
        body = {} if target is None else {"mailbox_id": target}
        made = run.client.call("POST", f"/deleted-messages/{segment(ident)}/restore", query=query, body=body)
        run.out.made(as_object(made), f"{ident} restored", name="id")

    each(run, references, act)
