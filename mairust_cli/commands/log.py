"""`mairust log`: the daemon's event stream."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated

import typer

from mairust_cli.arguments import split_list
from mairust_cli.client.api import Client, Json, items_of
from mairust_cli.exits import CliError, Exit
from mairust_cli.output import times
from mairust_cli.output.escape import json_text
from mairust_cli.output.table import plain_cell
from mairust_cli.runtime import Runtime, runtime
from mairust_cli.shell import noun, verb
from mairust_cli.timeline import reply_words

app = noun("The event stream.")
WAIT_S = 20
PAGE = 500
LOOK_BACK = 200
SEVERITIES = ("info", "warning", "error")


@verb(app, "tail", "mairust log tail -n 50 --type 'delivery.*'", "mairust log tail -f --severity warning")
def tail(
    ctx: typer.Context,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as events happen.")] = False,
    number: Annotated[int, typer.Option("-n", "--number", min=0, max=10_000, help="How many of the newest.")] = 20,
    since: Annotated[str | None, typer.Option("--since", metavar="TIME", help="From this time on.")] = None,
    types: Annotated[list[str] | None, typer.Option("--type", help="Event types; a trailing * matches more.")] = None,
    severity: Annotated[str | None, typer.Option("--severity", help="At least info, warning or error.")] = None,
    grep: Annotated[str | None, typer.Option("--grep", metavar="REGEX", help="Only events with this text.")] = None,
) -> None:
    """Print the newest events, oldest first."""
    run = runtime(ctx)
    wanted = _Filter(since=since, severity=severity, grep=grep)
    kinds = ",".join(split_list(types)) or None
    newest, after = _newest(run.client, kinds, wanted, number, everything=since is not None)
    if not follow and run.out.format in ("json", "yaml"):
        run.out.rows(newest, ())
        return
    for event in newest:
        _print(run, event)
    wait_s = max(1, min(WAIT_S, int(run.options.timeout_s / 2)))
    while follow:
        run.out.flush()
        answer = run.client.get("/events", {"after": after, "types": kinds, "limit": PAGE, "wait": wait_s})
        for event in items_of(answer):
            if wanted.accepts(event):
                _print(run, event)
        after = max(after, _integer(answer.get("next_after")))


class _Filter:
    """What `--since`, `--severity` and `--grep` let through."""

    def __init__(self, *, since: str | None, severity: str | None, grep: str | None) -> None:
        if severity is not None and severity not in SEVERITIES:
            why = f"one of {', '.join(SEVERITIES)}"
            raise CliError(f"--severity: '{severity}'", code=Exit.USAGE, why=why, hint="mairust log tail --help")
        self._least = SEVERITIES.index(severity or "info")
        try:
            self._pattern = re.compile(grep) if grep else None
            self._since: datetime | None = times.read_moment(since, times.now()) if since else None
        except (re.error, RecursionError) as error:
            raise CliError(
                f"--grep: {error}", code=Exit.USAGE, why="a regular expression", hint="--grep TEXT"
            ) from None
        except ValueError as error:
            raise CliError(f"--since: {error}", code=Exit.USAGE, why="a time", hint="mairust help time") from None

    def accepts(self, event: Json) -> bool:
        severity = event.get("severity")
        if (SEVERITIES.index(severity) if severity in SEVERITIES else 0) < self._least:
            return False
        if self._since is not None:
            moment = times.parse_time(str(event.get("time") or ""))
            if moment is not None and moment < self._since:
                return False
        return self._pattern is None or self._pattern.search(json_text(event)) is not None


def _newest(
    client: Client, kinds: str | None, wanted: _Filter, number: int, *, everything: bool
) -> tuple[list[Json], int]:
    """The newest events that pass, oldest first, and where to read on.

    Looks further and further back until there are enough; with `everything`, at all that is kept.
    """
    end = client.get("/events", {"types": kinds, "limit": 1})
    newest, oldest = _integer(end.get("next_after")), _integer(end.get("oldest"))
    first = max(0, oldest - 1)
    back = LOOK_BACK
    while True:
        start = first if everything else max(first, newest - back)
        found = [event for event in _events(client, kinds, start, newest) if wanted.accepts(event)]
        if start == first or len(found) >= number:
            return (found if everything else found[max(0, len(found) - number) :]), newest
        back *= 8


def _events(client: Client, kinds: str | None, after: int, newest: int) -> Iterator[Json]:
    """The events above `after`, up to the newest."""
    while after < newest:
        answer = client.get("/events", {"after": after, "types": kinds, "limit": PAGE})
        for event in items_of(answer):
            if _integer(event.get("seq")) <= newest:
                yield event
        following = _integer(answer.get("next_after"))
        if following <= after:
            return
        after = following


def _integer(value: object) -> int:
    return value if isinstance(value, int) else 0


def _print(run: Runtime, event: Json) -> None:
    if run.out.format in ("json", "ndjson", "yaml"):
        run.out.data(json_text(event))
        return
    if run.options.quiet or run.out.format == "name":
        run.out.data(plain_cell(event.get("id")))
        return
    severity = str(event.get("severity") or "info")
    sign = run.out.symbol(severity) if severity in ("warning", "error") else " "
    clock = plain_cell(times.local_iso(str(event.get("time") or "")))
    run.out.data(
        f"{clock} {sign} {plain_cell(event.get('type')):<22} {_words(event, whole=run.options.verbose)}".rstrip()
    )


def _words(event: Json, *, whole: bool) -> str:
    """What happened, to which mail, with which reply; with `whole` every field that is set."""
    data = event.get("data")
    fields = data if isinstance(data, dict) else {}
    if whole:
        return "  ".join(
            f"{plain_cell(key)}={plain_cell(value)}" for key, value in fields.items() if value not in (None, "")
        )
    sender, recipient = plain_cell(fields.get("sender")), plain_cell(fields.get("recipient"))
    mail = f"{sender} -> {recipient}" if sender and recipient else sender or recipient
    parts = (mail, plain_cell(fields.get("detail")), reply_words(fields.get("reply")))
    return "  ".join(part for part in parts if part)
