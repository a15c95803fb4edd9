"""`mairust trace`: the whole life of a mail, in words."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from mairust_cli.arguments import moment
from mairust_cli.client.api import Client, Json, Query, items_of, segment
from mairust_cli.client.lookup import find_id, is_tail, is_uuid
from mairust_cli.exits import CliError, Exit
from mairust_cli.output.escape import safe
from mairust_cli.output.table import Column
from mairust_cli.runtime import Runtime, runtime
from mairust_cli.shell import single, verb
from mairust_cli.timeline import ending_lines, event_lines, timeline_lines

app = single()
FOLLOW_S = 1.0

COLUMNS = (
    Column(name="trace", read=lambda row: row.get("trace_id"), kind="id"),
    Column(name="age", read=lambda row: row.get("time"), kind="age"),
    Column(name="from", read=lambda row: row.get("sender") or "<>", cut=28),
    Column(name="to", read=lambda row: row.get("recipients"), cut=28),
    Column(name="subject", cut=24, prose=True),
    Column(name="summary", cut=60, prose=True),
)


@verb(
    app,
    "trace",
    "mairust trace bob@bigmail.example --since 3h",
    "mairust trace 93be10d4 --follow",
    "mairust trace '<a1b2@mail.example.com>'",
)
def trace(
    ctx: typer.Context,
    what: Annotated[str | None, typer.Argument(metavar="[ADDR|MESSAGE-ID|ID]")] = None,
    sender: Annotated[str | None, typer.Option("--from", help="Sender's address.")] = None,
    to: Annotated[str | None, typer.Option("--to", help="Recipient's address.")] = None,
    subject: Annotated[str | None, typer.Option("--subject", help="Part of the subject.")] = None,
    ip: Annotated[str | None, typer.Option("--ip", help="Client's address.")] = None,
    since: Annotated[str | None, typer.Option("--since", metavar="TIME", help="2h, yesterday, 2026-11-22.")] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="TIME", help="As --since.")] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until it is done.")] = False,
) -> None:
    """Tell where a mail went: by address, Message-ID, or the id of a trace, delivery or submission."""
    run = runtime(ctx)
    query: Query = {
        "from": sender,
        "to": to,
        "subject": subject,
        "ip": ip,
        "since": moment(since, "--since"),
        "until": moment(until, "--until"),
    }
    if what is None and not any(query.values()):
        raise CliError(
            "which mail?", code=Exit.USAGE, why="give an address, Message-ID, id or filter", hint="mairust trace ADDR"
        )
    if what is not None and not any(sign in what for sign in "@<."):
        _one(run, find_trace(run.client, what), follow=follow)
        return
    found = _search(run, what, query)
    if not found:
        why = safe(what or ", ".join(f"{key}={value}" for key, value in query.items() if value))
        raise CliError("no such mail", code=Exit.NOT_FOUND, why=why, hint="mairust log tail --type 'message.*'")
    newest = str(found[0].get("trace_id"))
    if len(found) == 1 and run.out.for_people:
        _one(run, newest, follow=follow)
        return
    run.out.rows(found, COLUMNS, name="trace_id")
    if run.out.format in ("table", "wide"):
        run.out.data("")
        _one(run, newest, follow=follow)


def find_trace(client: Client, reference: str) -> str:
    """An id the API takes for the id, or id tail, of a trace, a delivery or a submission.

    Raises:
        CliError: None has it (exit 3), several do (exit 5), or too short (exit 2).
    """
    if is_uuid(reference):
        return reference.lower()
    if not is_tail(reference):
        why = f"'{reference}' is no address, Message-ID, or six characters or more of an id"
        raise CliError("which mail?", code=Exit.USAGE, why=why, hint="mairust trace ADDR")
    try:
        return find_id(reference, client.pages("/trace"), kind="trace", key="trace_id", field="trace_id")
    except CliError as error:
        if error.code is not Exit.NOT_FOUND:
            raise
    return _by_delivery(client, reference.lower())


def _by_delivery(client: Client, reference: str) -> str:
    for row in client.pages("/queue", {"history": True}):
        if any(str(row.get(key) or "").endswith(reference) for key in ("id", "submission_id")):
            return str(row.get("trace_id"))
    raise CliError("no such mail", code=Exit.NOT_FOUND, why=f"no trace, delivery or submission '{reference}'")


def _search(run: Runtime, what: str | None, query: Query) -> list[Json]:
    limit = run.options.limit or 200
    if what is None:
        attempts: tuple[Query, ...] = (query,)
    elif what.startswith("<"):
        attempts = ({**query, "message_id_header": what},)
    else:
        attempts = ({**query, "address": what}, {**query, "message_id_header": f"<{what}>"})
    for attempt in attempts:
        found = [row for _, row in zip(range(limit), run.client.pages("/trace", attempt), strict=False)]
        if found:
            return found
    return []


def _one(run: Runtime, trace_id: str, *, follow: bool) -> None:
    path = f"/trace/{segment(trace_id)}"
    told = run.client.get(path)
    told.setdefault("trace_id", trace_id)
    if not run.out.for_people or (run.options.quiet or not follow):
        if run.out.for_people:
            run.out.data("\n".join(timeline_lines(told)))
        else:
            run.out.record(told, name="trace_id")
        return
    run.out.data("\n".join(timeline_lines(told)))
    seen = len(items_of(told.get("timeline")))
    while told.get("final") is not True:
        run.out.flush()
        time.sleep(FOLLOW_S)
        told = run.client.get(path)
        events = items_of(told.get("timeline"))
        if len(events) > seen:
            run.out.data("\n".join([*event_lines(events[seen:]), *ending_lines(told)]))
            seen = len(events)
