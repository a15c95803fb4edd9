"""`mairust session`: who is logged in on the mail protocols, and the end of it."""

from __future__ import annotations

import typer

from mairust_cli.arguments import Addresses, each
from mairust_cli.client.api import segment
from mairust_cli.commands.connection import Account, Protocol, show
from mairust_cli.output.table import plain_cell
from mairust_cli.runtime import expand, runtime
from mairust_cli.shell import noun, verb

app = noun("Who is logged in.")


@verb(app, "list", "mairust session list", "mairust session list --account anna@example.com --protocol imap")
def list_(ctx: typer.Context, account: Account = None, protocol: Protocol = None) -> None:
    """List logged-in clients, newest first."""
    show(runtime(ctx), account=account, protocol=protocol)


@verb(app, "kick", "mairust session kick anna@example.com --yes", "mairust session kick anna@example.com -q --yes")
def kick(ctx: typer.Context, addresses: Addresses) -> None:
    """End all sessions of accounts; to keep them out, change the password or disable the account."""
    run = runtime(ctx)
    wanted = expand(addresses)
    run.confirm(f"End all sessions of {', '.join(wanted[:3])}{' ...' if len(wanted) > 3 else ''}?")

    def kick_one(address: str) -> None:
        run.client.delete(f"/accounts/{segment(address)}/sessions")
        run.out.done(f"sessions of {plain_cell(address)} ended")

    each(run, wanted, kick_one)
