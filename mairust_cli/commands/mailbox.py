"""`mairust mailbox`: the folders of an account, search over its mail, the index behind it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated

import typer

from mairust_cli.client.api import items_of
from mairust_cli.commands.message import COLUMNS as MESSAGE_COLUMNS
from mairust_cli.exits import CliError, Exit
from mairust_cli.output.table import Column, Row
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


@verb(
    app,
    "search",
    'mairust mailbox search anna@example.com "from:bob invoice" --reason "ticket 2211"',
    'mairust mailbox search anna@example.com "has:attachment newer:2w -in:junk" --reason "ticket 2211" -o json',
)
def search(
    ctx: typer.Context,
    address: Annotated[str, typer.Argument(metavar="ADDR")],
    query: Annotated[str, typer.Argument(metavar="QUERY", help='Words, "phrases", pre*, from: subject: is: OR, NOT.')],
    relevance: Annotated[bool, typer.Option("--relevance", help="The best first, not the newest.")] = False,
    reason: Reason = None,
) -> None:
    """Find an account's messages by words, people, dates, flags."""
    run = runtime(ctx)
    asked = {**whose(run, address, reason), "q": query, "sort": "relevance" if relevance else None}
    found = run.client.pages("/search", asked)
    run.out.rows(_messages(found), MESSAGE_COLUMNS, name="id", empty="nothing found")


def _messages(found: Iterable[Row]) -> Iterator[Row]:
    """The messages of hits, each with its highlights."""
    for hit in found:
        shown = hit.get("message")
        if isinstance(shown, Mapping):
            yield {**shown, "highlights": hit.get("highlights")}


@verb(
    app,
    "reindex",
    "mairust mailbox reindex --account anna@example.com",
    "mairust mailbox reindex --verify",
)
def reindex(
    ctx: typer.Context,
    account: Annotated[str | None, typer.Option("--account", metavar="ADDR", help="Only this account's mail.")] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check the whole index; it is made anew if it is wrong.")
    ] = False,
) -> None:
    """Make the search index anew, or check it; searches stay right meanwhile."""
    run = runtime(ctx)
    if verify and account is not None:
        why = "the index is checked as a whole"
        raise CliError(
            "--verify goes without --account", code=Exit.USAGE, why=why, hint="mairust mailbox reindex --verify"
        )
    asked: dict[str, object] = {"verify": True} if verify else {}
    if account is not None:
        asked["account_id"] = account
    done = run.client.post("/search/reindex", asked)
    if not run.out.for_people or run.options.quiet:
        run.out.record(done, name="pending")
        return
    if verify:
        wrong = done.get("damaged")
        run.out.done(
            f"the index was wrong and is made anew: {done.get('pending')} mails wait"
            if wrong
            else f"{done.get('checked')} documents checked, all right"
        )
        return
    run.out.done(f"{done.get('pending')} mails wait to be indexed", then="mairust mailbox index")


@verb(
    app,
    "index",
    "mairust mailbox index",
    "mairust mailbox index --account anna@example.com -o json",
)
def index(
    ctx: typer.Context,
    account: Annotated[str | None, typer.Option("--account", metavar="ADDR", help="Only this account's mail.")] = None,
) -> None:
    """Tell how far the search index is."""
    run = runtime(ctx)
    state = run.client.get("/search/status", {"account_id": account})
    if not run.out.for_people or run.options.quiet:
        run.out.record(state, name="engine")
        return
    run.out.data(
        f"indexed {state.get('indexed')} of {state.get('total')}; {state.get('pending')} wait; "
        f"whole through {state.get('indexed_through')}"
    )
