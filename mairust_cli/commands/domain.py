"""`mairust domain`: mail domains and the DNS records they need."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from mairust_cli.arguments import Confirm, Domains, each, size
from mairust_cli.checks import report_checks
from mairust_cli.client.api import Json, items_of, segment
from mairust_cli.commands.domain_alias import app as second_names
from mairust_cli.commands.domain_dns import app as dns
from mairust_cli.exits import CliError, Exit
from mairust_cli.output.escape import safe
from mairust_cli.output.table import Column, Row, plain_cell
from mairust_cli.runtime import Runtime, expand, runtime
from mairust_cli.shell import noun, verb

app = noun("Mail domains and their DNS records.")
app.add_typer(dns, name="dns")
app.add_typer(second_names, name="alias")

_ALGORITHMS = {"rsa-2048": "RSA-2048", "ed25519": "Ed25519"}


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


def _algorithm(key: Row) -> str:
    name = plain_cell(key.get("algorithm"))
    return _ALGORITHMS.get(name, name)


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


@verb(app, "restore", "mairust domain restore example.org", "mairust domain restore example.org example.net")
def restore(ctx: typer.Context, names: Domains) -> None:
    """Bring removed domains back."""
    run = runtime(ctx)

    def restore_one(name: str) -> None:
        made = run.client.post(f"/domains/{segment(name)}/restore")
        run.out.made(made, f"{safe(name)} restored")

    each(run, expand(names), restore_one)


@verb(
    app,
    "set",
    "mairust domain set example.org --catch-all anna@example.com",
    "mairust domain set example.org --catch-all none --require-tls-in",
)
def set_(
    ctx: typer.Context,
    names: Domains,
    catch_all: Annotated[
        str | None, typer.Option("--catch-all", metavar="ADDR|none", help="Who gets mail to unknown addresses.")
    ] = None,
    max_message_size: Annotated[str | None, typer.Option("--max-message-size", metavar="SIZE|none")] = None,
    require_tls_in: Annotated[
        bool | None, typer.Option("--require-tls-in/--no-require-tls-in", help="Take mail only by TLS.")
    ] = None,
    require_tls_out: Annotated[
        bool | None, typer.Option("--require-tls-out/--no-require-tls-out", help="Send mail only by TLS.")
    ] = None,
    subaddressing: Annotated[
        bool | None, typer.Option("--subaddressing/--no-subaddressing", help="anna+shop@ reaches anna@.")
    ] = None,
    quota: Annotated[
        str | None, typer.Option("--quota", metavar="SIZE", help="Storage of all its accounts; 0 = unlimited.")
    ] = None,
) -> None:
    """Change settings of domains."""
    run = runtime(ctx)
    switches = {
        "require_tls_in": require_tls_in,
        "require_tls_out": require_tls_out,
        "subaddressing": subaddressing,
    }
    fields: Json = {key: value for key, value in switches.items() if value is not None}
    if quota is not None:
        fields["quota_bytes"] = size(quota, "--quota")
    if catch_all is not None:
        fields["catch_all"] = None if catch_all == "none" else catch_all
    if max_message_size is not None:
        fields["max_message_size"] = (
            None if max_message_size == "none" else size(max_message_size, "--max-message-size")
        )
    if not fields:
        raise CliError("nothing to change", code=Exit.USAGE, why="give a setting", hint="mairust domain set --help")

    def set_one(name: str) -> None:
        run.client.patch(f"/domains/{segment(name)}", fields)
        run.out.done(f"{safe(name)} changed: {', '.join(fields)}")

    each(run, expand(names), set_one)


@verb(app, "check", "mairust domain check example.org", "mairust domain check example.org -o json")
def check(ctx: typer.Context, names: Domains) -> None:
    """Look at the published records now; exit 10 with warnings, 11 with errors."""
    run = runtime(ctx)
    checks: list[Json] = []
    started = time.monotonic()
    for name in expand(names):
        checks.extend(items_of(run.client.post(f"/domains/{segment(name)}/check").get("checks")))
    report_checks(run, checks, every=True, seconds=time.monotonic() - started)
