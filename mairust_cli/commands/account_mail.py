"""`mairust account vacation|forward|filter`: what an account does with its mail, set by you."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from mairust_cli.arguments import ending, moment, span, split_list
from mairust_cli.client.api import Json, segment
from mairust_cli.exits import CliError, Exit
from mairust_cli.output.escape import safe
from mairust_cli.output.table import Column
from mairust_cli.runtime import runtime
from mairust_cli.shell import noun, verb
from mairust_cli.text_files import read_text

vacation = noun("Automatic answers.")
forward = noun("Mail that goes on to other addresses.")
rules = noun("Filter rules.")

Address = Annotated[str, typer.Argument(metavar="ADDR")]
DAY_S = 86_400
RULE_COLUMNS = (
    Column(name="name", cut=40),
    Column(name="on", read=lambda row: "yes" if row.get("enabled") else "no"),
    Column(name="if", read=lambda row: _types(row.get("conditions")) or "always", cut=40),
    Column(name="then", read=lambda row: _types(row.get("actions")), cut=40),
)


@verb(
    vacation,
    "show",
    "mairust account vacation show anna@example.com",
    "mairust account vacation show anna@example.com -o json",
)
def vacation_show(ctx: typer.Context, address: Address) -> None:
    """Show an account's automatic answer."""
    run = runtime(ctx)
    run.out.record(run.client.get(_path(address, "vacation")), name="subject")


@verb(
    vacation,
    "set",
    'mairust account vacation set anna@example.com --text "Back on Monday." --until 7d',
    "mairust account vacation set anna@example.com --text-file away.txt --from 2026-12-24 --every 3d",
)
def vacation_set(
    ctx: typer.Context,
    address: Address,
    text: Annotated[str | None, typer.Option("--text", help="What it says.")] = None,
    text_file: Annotated[
        str | None, typer.Option("--text-file", metavar="F", help="The same from a file, or -.")
    ] = None,
    subject: Annotated[str, typer.Option("--subject", help="Its subject; the mail's own when not given.")] = "",
    from_: Annotated[str | None, typer.Option("--from", metavar="TIME", help="Not before.")] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="TIME|SPAN", help="2027-01-07 or 14d.")] = None,
    every: Annotated[
        str | None, typer.Option("--every", metavar="SPAN", help="One sender hears it once in 7d.")
    ] = None,
) -> None:
    """Answer mail automatically: once to each sender, never to lists or machines."""
    run = runtime(ctx)
    if (text is None) == (text_file is None):
        raise CliError(
            "give --text or --text-file", code=Exit.USAGE, why="what the answer says", hint=f"{run.typed} -h"
        )
    body: Json = {
        "text": text if text is not None else read_text(text_file or "-", "the text"),
        "subject": subject,
        "from": moment(from_, "--from"),
        "until": ending(until, "--until"),
    }
    if every:
        body["days"] = max(1, (span(every, "--every") or DAY_S) // DAY_S)
    answer = run.client.put(_path(address, "vacation"), body)
    run.out.made(answer, f"{safe(address)}: automatic answer set", name="subject")


@verb(
    vacation,
    "clear",
    "mairust account vacation clear anna@example.com",
    "mairust account vacation clear anna@example.com -q",
)
def vacation_clear(ctx: typer.Context, address: Address) -> None:
    """Answer no more."""
    run = runtime(ctx)
    run.client.delete(_path(address, "vacation"))
    run.out.done(f"{safe(address)}: no automatic answer")


@verb(
    forward,
    "show",
    "mairust account forward show anna@example.com",
    "mairust account forward show anna@example.com -o json",
)
def forward_show(ctx: typer.Context, address: Address) -> None:
    """Show where an account's mail goes on to."""
    run = runtime(ctx)
    run.out.record(run.client.get(_path(address, "forward")), name="targets")


@verb(
    forward,
    "set",
    "mairust account forward set anna@example.com --to anna@elsewhere.example --keep-copy",
    "mairust account forward set anna@example.com --to a@one.example,b@two.example --no-keep-copy",
)
def forward_set(
    ctx: typer.Context,
    address: Address,
    to: Annotated[list[str], typer.Option("--to", metavar="A,B", help="Where to.")],
    keep_copy: Annotated[bool, typer.Option("--keep-copy/--no-keep-copy", help="Store the mail here too.")] = True,
) -> None:
    """Send an account's mail on; junk stays here."""
    run = runtime(ctx)
    answer = run.client.put(_path(address, "forward"), {"targets": split_list(to), "keep_copy": keep_copy})
    kept = ", a copy stays" if keep_copy else ", no copy stays"
    run.out.made(answer, f"{safe(address)} forwards to {safe(', '.join(split_list(to)))}{kept}", name="targets")


@verb(
    forward,
    "clear",
    "mairust account forward clear anna@example.com",
    "mairust account forward clear anna@example.com -q",
)
def forward_clear(ctx: typer.Context, address: Address) -> None:
    """Forward no more."""
    run = runtime(ctx)
    run.client.delete(_path(address, "forward"))
    run.out.done(f"{safe(address)}: nothing is forwarded")


@verb(
    rules,
    "show",
    "mairust account filter show anna@example.com",
    "mairust account filter show anna@example.com -o json > rules.json",
)
def filter_show(ctx: typer.Context, address: Address) -> None:
    """Show an account's filter rules; as JSON they can be changed and set again."""
    run = runtime(ctx)
    found = run.client.get(_path(address, "filters")).get("rules")
    rows = [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []
    run.out.rows(rows, RULE_COLUMNS, empty=f"no filter rules of {safe(address)}")


@verb(
    rules,
    "set",
    "mairust account filter set anna@example.com rules.json",
    "mairust account filter set anna@example.com - < rules.json",
)
def filter_set(
    ctx: typer.Context,
    address: Address,
    file: Annotated[str, typer.Argument(metavar="FILE", help="A JSON list of rules; - = stdin.")],
) -> None:
    """Replace all filter rules of an account."""
    run = runtime(ctx)
    try:
        given = json.loads(read_text(file, "the rules"))
    except ValueError as error:
        raise CliError(f"{safe(file)} is not JSON", code=Exit.USAGE, why=str(error)[:200]) from None
    if isinstance(given, dict) and isinstance(given.get("items"), list):
        given = given["items"]
    if not isinstance(given, list):
        raise CliError(
            f"{safe(file)} holds no list of rules", code=Exit.USAGE, why="a JSON list", hint=f"{run.typed} -h"
        )
    run.client.put(_path(address, "filters"), {"rules": given})
    run.out.done(f"{safe(address)}: {len(given)} filter rule{'' if len(given) == 1 else 's'} set")


@verb(
    rules,
    "clear",
    "mairust account filter clear anna@example.com",
    "mairust account filter clear anna@example.com -q",
)
def filter_clear(ctx: typer.Context, address: Address) -> None:
    """Remove all filter rules of an account."""
    run = runtime(ctx)
    run.client.delete(_path(address, "filters"))
    run.out.done(f"{safe(address)}: no filter rules")


def _path(address: str, what: str) -> str:
    return f"/accounts/{segment(address)}/{what}"


def _types(value: object) -> str:
    """The types of conditions or actions, as one cell."""
    if not isinstance(value, list):
        return ""
    return ", ".join(str(item.get("type")) for item in value if isinstance(item, dict))
