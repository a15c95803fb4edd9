"""`mairust account`: people's mail accounts (`user` is the same noun)."""

from __future__ import annotations

from typing import Annotated

import typer

from mairust_cli.arguments import Addresses, Confirm, each, size, split_list
from mairust_cli.client.api import Json, segment
from mairust_cli.commands.account_mail import forward, rules, vacation
from mairust_cli.exits import CliError, Exit
from mairust_cli.output.escape import safe
from mairust_cli.output.table import Column, Row
from mairust_cli.passwords import read_password
from mairust_cli.runtime import Runtime, expand, runtime
from mairust_cli.shell import noun, verb

app = noun("People's mail accounts.")
app.add_typer(vacation, name="vacation")
app.add_typer(forward, name="forward")
app.add_typer(rules, name="filter")

Address = Annotated[str, typer.Argument(metavar="ADDR")]
Name = Annotated[str | None, typer.Option("--name", help="Display name.")]
Quota = Annotated[str | None, typer.Option("--quota", metavar="SIZE", help="Mail storage, such as 5G; 0 = unlimited.")]
Role = Annotated[str | None, typer.Option("--role", help="user, helpdesk, auditor, domain_admin or owner.")]
Also = Annotated[list[str] | None, typer.Option("--also", metavar="A,B", help="Further addresses of the account.")]
Generate = Annotated[bool, typer.Option("--generate", help="Make a password and show it once.")]
PasswordFile = Annotated[str | None, typer.Option("--password-file", metavar="F", help="First line of a file.")]
PasswordStdin = Annotated[bool, typer.Option("--password-stdin", help="First line of stdin.")]


def _used(row: Row) -> str:
    used, quota = row.get("used_bytes"), row.get("quota_bytes")
    if not isinstance(used, int) or not isinstance(quota, int) or quota <= 0:
        return ""
    return f"{used * 100 // quota}%"


COLUMNS = (
    Column(name="address", cut=48),
    Column(name="name", read=lambda row: row.get("display_name"), cut=30),
    Column(name="role"),
    Column(name="status"),
    Column(name="quota", read=lambda row: row.get("quota_bytes") or None, kind="size"),
    Column(name="used", read=_used),
    Column(name="login", read=lambda row: row.get("last_login_at"), kind="age", wide=True),
    Column(name="id", kind="id", wide=True),
)


@verb(app, "list", "mairust account list", "mairust account list --domain example.org -o json")
def list_(
    ctx: typer.Context,
    domain: Annotated[str | None, typer.Option("--domain", help="Only accounts of this domain.")] = None,
    status: Annotated[str | None, typer.Option("--status", help="active, disabled or deleted.")] = None,
    text: Annotated[str | None, typer.Option("--query", metavar="TEXT", help="Part of address or name.")] = None,
) -> None:
    """List accounts."""
    run = runtime(ctx)
    pages = run.client.pages("/accounts", {"domain_id": domain, "status": status, "q": text})
    run.out.rows(pages, COLUMNS, name="address", total=pages.total, empty="no such accounts")


@verb(app, "show", "mairust account show anna@example.com", "mairust account show anna@example.com -o json")
def show(ctx: typer.Context, address: Address) -> None:
    """Show one account in full."""
    run = runtime(ctx)
    run.out.record(run.client.get(f"/accounts/{segment(address)}"), name="address")


@verb(
    app,
    "add",
    'mairust account add ben@example.org --name "Ben Ode" --quota 5G --generate',
    "mairust account add ben@example.org --password-file ./password",
)
def add(
    ctx: typer.Context,
    addresses: Addresses,
    name: Name = None,
    quota: Quota = None,
    role: Role = None,
    also: Also = None,
    generate: Generate = False,
    password_file: PasswordFile = None,
    password_stdin: PasswordStdin = False,
) -> None:
    """Add accounts; each needs a password."""
    run = runtime(ctx)
    wanted = expand(addresses)
    if len(wanted) > 1 and not generate:
        why = "one password for several accounts is never right"
        raise CliError("several accounts need --generate", code=Exit.USAGE, why=why, hint=f"{run.typed} --generate")
    fields = _fields(name, quota, role, also)

    def add_one(address: str) -> None:
        password, made_here = read_password(
            run, file=password_file, stdin=password_stdin, generate=generate, who=address
        )
        account = run.client.post("/accounts", {"address": address, "password": password, **fields})
        _added(run, account, password if made_here else "")

    each(run, wanted, add_one)


def _added(run: Runtime, account: Json, password: str) -> None:
    address = safe(str(account.get("address")))
    text = f"{address} added" + (f"   password (shown once): {password}" if password else "")
    shown = {**account, "password": password} if password else account
    run.out.made(shown, text, name="address", then=f"mairust account show {address}")
    if password and (run.options.quiet or run.out.format == "name"):
        run.out.warn(f"{address}: password (shown once): {password}")


@verb(
    app,
    "set",
    "mairust account set ben@example.org --quota 10G",
    'mairust account set ben@example.org anna@example.com --name "Front desk"',
)
def set_(
    ctx: typer.Context,
    addresses: Addresses,
    name: Name = None,
    quota: Quota = None,
    role: Role = None,
    also: Also = None,
) -> None:
    """Change settings of accounts."""
    run = runtime(ctx)
    fields = _fields(name, quota, role, also)
    if not fields:
        raise CliError(
            "nothing to change",
            code=Exit.USAGE,
            why="give --name, --quota, --role or --also",
            hint=f"{run.typed} --help",
        )

    def set_one(address: str) -> None:
        run.client.patch(f"/accounts/{segment(address)}", fields)
        run.out.done(f"{safe(address)} changed: {', '.join(fields)}")

    each(run, expand(addresses), set_one)


@verb(
    app,
    "password",
    "mairust account password ben@example.org",
    "mairust account password ben@example.org --generate",
)
def password_(
    ctx: typer.Context,
    address: Address,
    generate: Generate = False,
    password_file: PasswordFile = None,
    password_stdin: PasswordStdin = False,
) -> None:
    """Set an account's password; its other sessions end."""
    run = runtime(ctx)
    password, made_here = read_password(run, file=password_file, stdin=password_stdin, generate=generate, who=address)
    run.client.post(f"/accounts/{segment(address)}/password", {"password": password})
    text = f"{safe(address)}: password set" + (f"   (shown once): {password}" if made_here else "")
    run.out.made({"address": address, **({"password": password} if made_here else {})}, text, name="address")


@verb(
    app,
    "remove",
    "mairust account remove ben@example.org --confirm ben@example.org",
    "mairust account remove ben@example.org",
)
def remove(
    ctx: typer.Context,
    addresses: Addresses,
    purge: Annotated[bool, typer.Option("--purge", help="For good, with all mail: nothing can be restored.")] = False,
    confirm: Confirm = None,
) -> None:
    """Remove accounts: no login, mail to them is refused; `restore` brings them back for 14 days."""
    run = runtime(ctx)
    wanted = expand(addresses)
    loss = "all its mail is deleted for good" if purge else "the login ends and mail to it is refused"
    run.confirm_names(wanted, confirm or [], loss=loss)

    def remove_one(address: str) -> None:
        run.client.delete(f"/accounts/{segment(address)}", {"purge": True} if purge else None)
        run.out.done(f"{safe(address)} {'purged' if purge else 'removed'}")

    each(run, wanted, remove_one)


@verb(app, "restore", "mairust account restore ben@example.org", "mairust account restore ben@example.org -q")
def restore(ctx: typer.Context, addresses: Addresses) -> None:
    """Bring removed accounts back, with their mail."""
    run = runtime(ctx)
    each(run, expand(addresses), lambda address: _post(run, address, "restore", "restored"))


@verb(app, "enable", "mairust account enable ben@example.org", "mairust account enable ben@example.org -q")
def enable(ctx: typer.Context, addresses: Addresses) -> None:
    """Let disabled accounts work again."""
    run = runtime(ctx)
    each(run, expand(addresses), lambda address: _post(run, address, "enable", "enabled"))


@verb(
    app,
    "disable",
    "mairust account disable ben@example.org --yes",
    "mairust account disable ben@example.org anna@example.com --yes",
)
def disable(ctx: typer.Context, addresses: Addresses) -> None:
    """Shut accounts: no login, mail to them is refused; their mail stays."""
    run = runtime(ctx)
    wanted = expand(addresses)
    run.confirm(f"Disable {', '.join(wanted[:3])}{' ...' if len(wanted) > 3 else ''}?")
    each(run, wanted, lambda address: _post(run, address, "disable", "disabled"))


def _post(run: Runtime, address: str, action: str, past: str) -> None:
    made = run.client.post(f"/accounts/{segment(address)}/{action}")
    run.out.made(made, f"{safe(address)} {past}", name="address")


def _fields(name: str | None, quota: str | None, role: str | None, also: list[str] | None) -> Json:
    fields: Json = {}
    if name is not None:
        fields["display_name"] = name
    if quota is not None:
        fields["quota_bytes"] = size(quota, "--quota")
    if role is not None:
        fields["role"] = role
    if also is not None:
        fields["addresses"] = split_list(also)
    return fields
