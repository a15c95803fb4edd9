"""`mairust queue`: deliveries that wait, and what can be done with them."""

from __future__ import annotations

from typing import Annotated

import typer

from mairust_cli.arguments import Confirm, DryRun, each, span
from mairust_cli.client.api import Json, items_of
from mairust_cli.client.lookup import find_id
from mairust_cli.exits import CliError, Exit
from mairust_cli.output import times
from mairust_cli.output.escape import safe
from mairust_cli.output.table import Column, Row, field, plain_cell, table_lines
from mairust_cli.queue_verbs import VERBS, Verb, reply_text, select_and_act
from mairust_cli.runtime import Runtime, expand, runtime
from mairust_cli.shell import noun, verb

app = noun("Mail waiting to be delivered.")

Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID...]", help="Ids or their tails, or - for stdin.")]
From = Annotated[str | None, typer.Option("--from", help="Sender's address.")]
To = Annotated[str | None, typer.Option("--to", help="Recipient's address.")]
Domain = Annotated[str | None, typer.Option("--domain", help="Recipient's domain.")]
Status = Annotated[str | None, typer.Option("--status", help="queued, sending, deferred or held.")]
Reason = Annotated[str | None, typer.Option("--reason", metavar="REGEX", help="The remote's last words.")]
Older = Annotated[str | None, typer.Option("--older", metavar="SPAN", help="Waiting longer than 2h, 3d.")]
Tries = Annotated[int | None, typer.Option("--tries", min=0, help="At least that many attempts.")]
All = Annotated[bool, typer.Option("--all", help="Every delivery that waits.")]


def _next(row: Row) -> object:
    if row.get("status") == "held":
        return "HELD"
    due = times.parse_time(str(row.get("next_attempt_at") or ""))
    if due is None:
        return ""
    left = (due - times.now()).total_seconds()
    return times.span(left) if left > 0 else "now"


GROUPS = ("status", "domain", "reason")
COLUMNS = (
    Column(name="id", kind="id"),
    Column(name="age", read=field("created_at"), kind="age"),
    Column(name="from", cut=28, read=lambda row: row.get("from") or "<>"),
    Column(name="to", read=field("recipient"), cut=28),
    Column(name="try", read=field("attempts")),
    Column(name="next", read=_next),
    Column(name="status"),
    Column(name="reason", read=reply_text, cut=40),
    Column(name="size", read=field("size_bytes"), kind="size", wide=True),
    Column(name="subject", wide=True),
    Column(name="host", read=field("last_reply.host"), wide=True),
    Column(name="trace", read=field("trace_id"), kind="id", wide=True),
)


def filters(
    sender: str | None,
    to: str | None,
    domain: str | None,
    status: str | None,
    reason: str | None,
    older: str | None,
    tries: int | None,
) -> Json:
    """The queue filters as the API's fields; those that were not given are left out."""
    given: Json = {
        "from": sender,
        "recipient": to,
        "domain": domain,
        "status": status,
        "reason": reason,
        "older_than": span(older, "--older"),
        "tries": tries,
    }
    return {key: value for key, value in given.items() if value is not None}


@verb(app, "list", "mairust queue list", "mairust queue list --domain bigmail.example --older 2h -o ndjson")
def list_(
    ctx: typer.Context,
    sender: From = None,
    to: To = None,
    domain: Domain = None,
    status: Status = None,
    reason: Reason = None,
    older: Older = None,
    tries: Tries = None,
    history: Annotated[bool, typer.Option("--history", help="Also what is done (7 days).")] = False,
) -> None:
    """List deliveries that wait."""
    run = runtime(ctx)
    wanted = filters(sender, to, domain, status, reason, older, tries)
    query = {key: value for key, value in wanted.items() if isinstance(value, (str, int))}
    pages = run.client.pages("/queue", {**query, "history": history or None})
    run.out.rows(pages, COLUMNS, name="id", total=pages.total, empty="nothing waits")
    if run.out.format in ("table", "wide"):
        for pause in items_of(run.client.get("/queue/pauses")):
            run.out.note(
                f"{run.out.sign('warning')} paused: {_paused(pause)}   try: mairust queue resume {_flag(pause)}"
            )


@verb(app, "show", "mairust queue show 7c4f2a91", "mairust queue show 7c4f2a91 -o json")
def show(ctx: typer.Context, ident: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Show one delivery with all its attempts."""
    run = runtime(ctx)
    delivery_id = find_id(ident, run.client.pages("/queue", {"history": True}), kind="delivery", key="id")
    delivery = run.client.get(f"/queue/{delivery_id}")
    attempts = items_of(run.client.call("GET", f"/queue/{delivery_id}/attempts"))
    if run.out.format not in ("table", "wide") or run.options.quiet:
        run.out.record({**delivery, "attempt_list": attempts}, name="id")
        return
    run.out.record(delivery, name="id")
    cells = [
        [
            safe(times.local_iso(str(attempt.get("at") or attempt.get("started_at") or ""))),
            plain_cell(attempt.get("host")) or "-",
            plain_cell(attempt.get("tls")) or "-",
            reply_text({"last_reply": attempt}) or "-",
        ]
        for attempt in attempts
    ]
    if cells:
        run.out.data("\n" + "\n".join(table_lines(("TIME", "HOST", "TLS", "REPLY"), cells)))
    if trace_id := delivery.get("trace_id"):
        run.out.next(f"mairust trace {plain_cell(trace_id)}")


def _register(kind: Verb) -> None:
    @verb(app, kind.name, *kind.examples)
    def act(
        ctx: typer.Context,
        ids: Ids = None,
        sender: From = None,
        to: To = None,
        domain: Domain = None,
        status: Status = None,
        reason: Reason = None,
        older: Older = None,
        tries: Tries = None,
        every: All = False,
        dry_run: DryRun = False,
        confirm: Confirm = None,
    ) -> None:
        run = runtime(ctx)
        wanted = filters(sender, to, domain, status, reason, older, tries)
        select_and_act(run, kind, ids=expand(ids), filters=wanted, every=every, dry_run=dry_run, confirm=confirm or [])

    act.__doc__ = kind.help


for _kind in VERBS:
    _register(_kind)


@verb(app, "flush", "mairust queue flush", "mairust queue flush --domain bigmail.example")
def flush(ctx: typer.Context, domain: Domain = None) -> None:
    """Try everything that waits now, as far as the limits per destination allow."""
    run = runtime(ctx)
    body: Json = {"filter": {"domain": domain} if domain else {}, "action": "retry", "dry_run": False}
    answer = run.client.post("/queue/bulk", body)
    run.out.made(answer, f"retrying {plain_cell(answer.get('done'))} now", name="done")


@verb(app, "stats", "mairust queue stats", "mairust queue stats --group domain")
def stats(
    ctx: typer.Context,
    group: Annotated[
        str | None, typer.Option("--group", metavar="status|domain|reason", help="Only one of them.")
    ] = None,
) -> None:
    """Count what waits by status, domain and reason."""
    run = runtime(ctx)
    if group not in (None, *GROUPS):
        raise CliError(f"--group: '{group}'", code=Exit.USAGE, why=f"one of {', '.join(GROUPS)}", hint="--group domain")
    answer = run.client.get("/queue/stats")
    if run.out.format in ("json", "ndjson", "yaml"):
        run.out.record(answer)
        return
    rows = [
        {"group": name, **counted}
        for name in ([group] if group else GROUPS)
        for counted in items_of(answer.get(f"by_{name}"))
    ]
    columns = (Column(name="group"), Column(name="count", kind="number"), Column(name="value", cut=80))
    run.out.rows(rows, columns, name="value", empty="nothing waits")


@verb(app, "pause", "mairust queue pause --to bigmail.example", "mairust queue pause --all --yes")
def pause(
    ctx: typer.Context,
    to: Annotated[list[str] | None, typer.Option("--to", metavar="DOMAIN", help="Destination to suspend.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Attempt nothing at all.")] = False,
) -> None:
    """Attempt nothing to a destination, or at all, until `queue resume`."""
    run = runtime(ctx)
    wanted = _destinations(run, to, every)
    if every:
        run.confirm("Stop every outgoing delivery?")

    def pause_one(domain: str) -> None:
        made = run.client.post("/queue/pauses", {"domain": domain} if domain else {"all": True})
        name = safe(domain) or "all destinations"
        flag = f"--to {safe(domain)}" if domain else "--all"
        run.out.made(made, f"{name} paused", name="domain", then=f"mairust queue resume {flag}")

    each(run, wanted, pause_one)


@verb(app, "resume", "mairust queue resume --to bigmail.example", "mairust queue resume --all")
def resume(
    ctx: typer.Context,
    to: Annotated[list[str] | None, typer.Option("--to", metavar="DOMAIN", help="Destination to go on with.")] = None,
    every: Annotated[bool, typer.Option("--all", help="End the pause of everything.")] = False,
) -> None:
    """End a pause made by `queue pause`."""
    run = runtime(ctx)
    wanted = _destinations(run, to, every)
    pauses = items_of(run.client.get("/queue/pauses"))

    def resume_one(domain: str) -> None:
        for found in pauses:
            if str(found.get("domain") or "").lower() == domain.lower():
                run.client.delete(f"/queue/pauses/{plain_cell(found.get('id'))}")
                run.out.done(f"{_paused(found)} resumed")
                return
        why = f"paused now: {', '.join(_paused(found) for found in pauses) or 'nothing'}"
        raise CliError(f"'{domain or 'all'}' is not paused", code=Exit.NOT_FOUND, why=why)

    each(run, wanted, resume_one)


def _destinations(run: Runtime, to: list[str] | None, every: bool) -> list[str]:
    if bool(to) == every:
        why = "one of --to DOMAIN and --all"
        raise CliError("which destination?", code=Exit.USAGE, why=why, hint=f"{run.command} --to DOMAIN")
    return [""] if every else list(to or [])


def _paused(pause_row: Json) -> str:
    return safe(str(pause_row.get("domain") or "all destinations"))


def _flag(pause_row: Json) -> str:
    return f"--to {safe(str(pause_row['domain']))}" if pause_row.get("domain") else "--all"
