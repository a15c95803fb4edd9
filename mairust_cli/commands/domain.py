"""`mairust domain`: mail domains and the DNS records they need."""

from __future__ import annotations

from typing import Annotated

import typer

from mairust_cli.arguments import Confirm, Domains, each
from mairust_cli.client.api import Json, items_of, segment
from mairust_cli.exits import CliError, Exit
from mairust_cli.output.escape import safe
from mairust_cli.output.table import Column, Row, plain_cell
from mairust_cli.runtime import Runtime, expand, runtime
from mairust_cli.shell import noun, verb

app = noun("Mail domains and their DNS records.")
dns = noun("DNS records to publish.")
app.add_typer(dns, name="dns")

_ALGORITHMS = {"rsa-2048": "RSA-2048", "ed25519": "Ed25519"}
_STATES = {"ok": ("ok", "ok"), "wrong": ("warning", "diff"), "missing": ("error", "miss")}


def _keys(row: Row) -> list[str]:
    return [str(key.get("selector")) for key in items_of(row.get("dkim"))]


COLUMNS = (
    Column(name="name"),
    Column(name="status"),
    Column(name="dkim", read=_keys),
    Column(name="age", read=lambda row: row.get("created_at"), kind="age", wide=True),
    Column(name="id", kind="id", wide=True),
)


@verb(app, "list", "mairust domain list", "mairust domain list -o json")
def list_(ctx: typer.Context) -> None:
    """List the mail domains."""
    run = runtime(ctx)
    pages = run.client.pages("/domains")
    run.out.rows(pages, COLUMNS, total=pages.total, empty="no domains yet; next: mairust domain add NAME")


@verb(app, "show", "mairust domain show example.org", "mairust domain show example.org -o yaml")
def show(ctx: typer.Context, name: Annotated[str, typer.Argument(metavar="NAME")]) -> None:
    """Show one domain in full."""
    run = runtime(ctx)
    run.out.record(run.client.get(f"/domains/{segment(name)}"))


@verb(app, "add", "mairust domain add example.org", "mairust domain add example.org example.net")
def add(ctx: typer.Context, names: Domains) -> None:
    """Add domains: mail to them is accepted, and DKIM keys are made."""
    run = runtime(ctx)

    def add_one(name: str) -> None:
        made = run.client.post("/domains", {"name": name})
        domain = made.get("domain") if isinstance(made.get("domain"), dict) else made
        _added(run, domain if isinstance(domain, dict) else made)

    each(run, expand(names), add_one)


def _added(run: Runtime, domain: Json) -> None:
    name = safe(str(domain.get("name")))
    keys = [f"{plain_cell(key.get('selector'))} ({_algorithm(key)})" for key in items_of(domain.get("dkim"))]
    text = f"{name} added" + (f"; DKIM keys {', '.join(keys)}" if keys else "")
    run.out.made(domain, text, then=f"mairust domain dns show {name}")


@verb(
    app,
    "remove",
    "mairust domain remove example.org --confirm example.org",
    "mairust domain remove example.org example.net --confirm example.org --confirm example.net",
)
def remove(ctx: typer.Context, names: Domains, confirm: Confirm = None) -> None:
    """Remove domains; mail to them is refused from then on."""
    run = runtime(ctx)
    wanted = expand(names)
    run.confirm_names(wanted, confirm or [], loss="mail to this domain is refused and its accounts can not log in")

    def remove_one(name: str) -> None:
        run.client.delete(f"/domains/{segment(name)}")
        run.out.done(f"{safe(name)} removed")

    each(run, wanted, remove_one)


@verb(dns, "show", "mairust domain dns show example.org", "mairust domain dns show example.org --format zone")
def dns_show(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME")],
    form: Annotated[str, typer.Option("--format", help="table or zone (a zone file).")] = "table",
    missing: Annotated[bool, typer.Option("--missing", help="Only what is missing or wrong.")] = False,
) -> None:
    """Show the DNS records to publish for a domain."""
    run = runtime(ctx)
    if form not in ("table", "zone"):
        raise CliError(f"--format takes table or zone, not '{form}'", code=Exit.USAGE, why="formats of DNS records")
    records = items_of(run.client.call("GET", f"/domains/{segment(name)}/dns", query={"format": "json"}))
    if missing:
        records = [record for record in records if record.get("state") in ("missing", "wrong")]
    if form == "zone":
        run.out.data("\n".join(_zone_line(record) for record in records))
        return
    cut = 0 if run.out.format == "wide" else 60
    columns = (
        Column(name="state", read=lambda row: _state(run, row)),
        Column(name="type"),
        Column(name="name"),
        Column(name="value", cut=cut),
        Column(name="for", read=lambda row: row.get("purpose")),
        Column(name="ttl", wide=True),
    )
    run.out.rows(records, columns, empty="every record is published")


def _state(run: Runtime, row: Row) -> str:
    severity, word = _STATES.get(str(row.get("state")), ("", str(row.get("state") or "")))
    if run.out.format not in ("table", "wide") or not severity:
        return str(row.get("state") or "")
    return f"{run.out.sign(severity)} {word}"


def _algorithm(key: Row) -> str:
    name = plain_cell(key.get("algorithm"))
    return _ALGORITHMS.get(name, name)


def _zone_line(record: Row) -> str:
    """One line of a zone file (RFC 1035 §5.1); the value is already in presentation form."""
    name = plain_cell(record.get("name")).rstrip(".")
    kind, value = plain_cell(record.get("type")), plain_cell(record.get("value"))
    return f"{name}.\t{plain_cell(record.get('ttl') or 3600)}\tIN\t{kind}\t{value}"
