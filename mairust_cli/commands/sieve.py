"""`mairust sieve`: Sieve scripts of accounts (RFC 5228)."""

from __future__ import annotations

from typing import Annotated

import typer

from mairust_cli.client.api import Json, items_of, segment
from mairust_cli.exits import CliError, Exit
from mairust_cli.output.escape import safe
from mairust_cli.output.table import Column
from mairust_cli.runtime import Runtime, runtime
from mairust_cli.shell import noun, verb
from mairust_cli.text_files import read_text

app = noun("Sieve scripts of accounts.")
admin = noun("Administrators' scripts, which run for every account.")
app.add_typer(admin, name="admin")

Address = Annotated[str, typer.Argument(metavar="ADDR", help="Whose.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The script's name.")]
File = Annotated[str, typer.Argument(metavar="FILE", help="The script; - = stdin.")]
COLUMNS = (
    Column(name="name", cut=60),
    Column(name="active", read=lambda row: "yes" if row.get("active") else "no"),
)
ADMIN_COLUMNS = (
    Column(name="name", cut=60),
    Column(name="place"),
    Column(name="size", read=lambda row: row.get("size_bytes"), kind="size"),
    Column(name="changed", read=lambda row: row.get("updated_at"), kind="age"),
)


@verb(app, "list", "mairust sieve list anna@example.com", "mairust sieve list anna@example.com -o json")
def list_(ctx: typer.Context, address: Address) -> None:
    """List an account's scripts; the active one runs at delivery."""
    run = runtime(ctx)
    rows = items_of(run.client.get(_path(address)).get("items"))
    run.out.rows(rows, COLUMNS, empty=f"no scripts of {safe(address)}")


@verb(app, "show", "mairust sieve show anna@example.com main", "mairust sieve show anna@example.com main -o json")
def show(ctx: typer.Context, address: Address, name: Name) -> None:
    """Print a script."""
    run = runtime(ctx)
    _print(run, run.client.get(_path(address, name)))


@verb(
    app,
    "put",
    "mairust sieve put anna@example.com main ./main.sieve --activate",
    "mairust sieve put anna@example.com main - < main.sieve",
)
def put(
    ctx: typer.Context,
    address: Address,
    name: Name,
    file: File,
    active: Annotated[bool, typer.Option("--activate", help="Make it the script that runs.")] = False,
) -> None:
    """Store a script; one with an error is refused, with its line."""
    run = runtime(ctx)
    made = run.client.put(_path(address, name), {"content": read_text(file, "the script")})
    _warn(run, made)
    if active:
        run.client.post(f"{_path(address, name)}/activate")
    run.out.made(made, f"script {safe(name)} of {safe(address)} stored{' and active' if active else ''}")


@verb(
    app,
    "check",
    "mairust sieve check anna@example.com ./main.sieve",
    "mairust sieve check anna@example.com - < main.sieve",
)
def check(ctx: typer.Context, address: Address, file: File) -> None:
    """Check a script without storing it."""
    run = runtime(ctx)
    _warn(run, run.client.post(f"/accounts/{segment(address)}/sieve-check", {"content": read_text(file, "the script")}))
    run.out.done("the script has no errors")


@verb(
    app,
    "activate",
    "mairust sieve activate anna@example.com main",
    "mairust sieve activate anna@example.com --none",
)
def activate(
    ctx: typer.Context,
    address: Address,
    name: Annotated[str | None, typer.Argument(metavar="NAME")] = None,
    none: Annotated[bool, typer.Option("--none", help="Let no script run.")] = False,
) -> None:
    """Make a script the one that runs, or let none run."""
    run = runtime(ctx)
    if none == bool(name):
        raise CliError("give a NAME or --none", code=Exit.USAGE, why="which script runs", hint=f"{run.typed} -h")
    if none:
        run.client.post(f"/accounts/{segment(address)}/sieve-deactivate")
        run.out.done(f"no script of {safe(address)} runs")
        return
    run.client.post(f"{_path(address, name or '')}/activate")
    run.out.done(f"script {safe(name or '')} of {safe(address)} is active")


@verb(
    app,
    "remove",
    "mairust sieve remove anna@example.com old --yes",
    "mairust sieve remove anna@example.com old",
)
def remove(ctx: typer.Context, address: Address, name: Name) -> None:
    """Remove a script; the active one can't be removed."""
    run = runtime(ctx)
    run.confirm(f"Remove the script {safe(name)} of {safe(address)}?")
    run.client.delete(_path(address, name))
    run.out.done(f"script {safe(name)} removed")


@verb(
    app,
    "test",
    "mairust sieve test anna@example.com ./message.eml",
    "mairust sieve test anna@example.com ./message.eml --script ./new.sieve --from bob@bigmail.example",
)
def try_(
    ctx: typer.Context,
    address: Address,
    message: Annotated[str, typer.Argument(metavar="MESSAGE", help="A mail as a file; - = stdin.")],
    script: Annotated[
        str | None, typer.Option("--script", metavar="FILE", help="A script in place of all that runs now.")
    ] = None,
    sender: Annotated[str, typer.Option("--from", metavar="ADDR", help="The envelope's sender.")] = "",
    to: Annotated[str, typer.Option("--to", metavar="ADDR", help="The envelope's recipient.")] = "",
) -> None:
    """Say what would become of a mail; nothing is stored or sent."""
    run = runtime(ctx)
    body: Json = {"message": read_text(message, "the message"), "from": sender, "to": to}
    if script is not None:
        body["content"] = read_text(script, "the script")
    answer = run.client.post(f"/accounts/{segment(address)}/sieve-test", body)
    if run.out.format in ("json", "ndjson", "yaml"):
        run.out.record(answer)
    else:
        actions = answer.get("actions")
        run.out.data("\n".join(safe(str(one)) for one in actions) if isinstance(actions, list) else "")
    if answer.get("failed"):
        raise CliError("the script fails", code=Exit.FAILED, why="the lines above say where; the mail would be kept")


@verb(admin, "list", "mairust sieve admin list", "mairust sieve admin list -o json")
def admin_list(ctx: typer.Context) -> None:
    """List administrators' scripts in the order of their names."""
    run = runtime(ctx)
    rows = items_of(run.client.get("/sieve-scripts").get("items"))
    run.out.rows(rows, ADMIN_COLUMNS, empty="no scripts of administrators")


@verb(admin, "show", "mairust sieve admin show virus", "mairust sieve admin show virus -o json")
def admin_show(ctx: typer.Context, name: Name) -> None:
    """Print one of them."""
    run = runtime(ctx)
    _print(run, run.client.get(f"/sieve-scripts/{segment(name)}"))


@verb(
    admin,
    "put",
    "mairust sieve admin put virus ./virus.sieve --place before",
    "mairust sieve admin put archive ./archive.sieve --place after",
)
def admin_put(
    ctx: typer.Context,
    name: Name,
    file: File,
    place: Annotated[str, typer.Option("--place", help="before, after, or included (by other scripts).")],
) -> None:
    """Store one; it runs for every account's mail from now on."""
    run = runtime(ctx)
    body: Json = {"place": place, "content": read_text(file, "the script")}
    made = run.client.put(f"/sieve-scripts/{segment(name)}", body)
    run.out.made(made, f"script {safe(name)} stored: {safe(place)}")


@verb(admin, "remove", "mairust sieve admin remove virus --yes", "mairust sieve admin remove virus")
def admin_remove(ctx: typer.Context, name: Name) -> None:
    """Remove one."""
    run = runtime(ctx)
    run.confirm(f"Remove the script {safe(name)}, which runs for every account?")
    run.client.delete(f"/sieve-scripts/{segment(name)}")
    run.out.done(f"script {safe(name)} removed")


def _print(run: Runtime, script: Json) -> None:
    if run.out.format in ("json", "ndjson", "yaml"):
        run.out.record(script)
        return
    lines = str(script.get("content") or "").replace("\r\n", "\n").rstrip("\n").split("\n")
    run.out.data("\n".join("\t".join(safe(part) for part in line.split("\t")) for line in lines))


def _warn(run: Runtime, answer: Json) -> None:
    warnings = answer.get("warnings")
    for warning in warnings if isinstance(warnings, list) else []:
        run.out.warn(safe(str(warning)))


def _path(address: str, name: str | None = None) -> str:
    path = f"/accounts/{segment(address)}/sieve"
    return path if name is None else f"{path}/{segment(name)}"
