"""Whose mail a command means, and why: the flags that every command on mail has.

- Mail of others is audited with the reason; without `--reason` a terminal is asked for it, a script is told the flag.
- A message is named by its whole id, or, of a known account, by the id's tail or its Message-ID.
"""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer

from mairust_cli.client.api import Query
from mairust_cli.client.lookup import find_id, is_uuid
from mairust_cli.exits import CliError, Exit
from mairust_cli.runtime import Runtime

LOOKED_AT = 1000
"""Newest messages of an account among which a tail is looked for."""

Reason = Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Why; it is kept in the audit log.")]
OfAccount = Annotated[str | None, typer.Option("--account", metavar="ADDR", help="The account the mail is in.")]
Messages = Annotated[list[str], typer.Argument(metavar="ID...", help="Message ids, or - to read them from stdin.")]
OneMessage = Annotated[str, typer.Argument(metavar="ID", help="Message id.")]


def whose(run: Runtime, account: str | None, reason: str | None) -> Query:
    """The query that says whose mail it is and why.

    Raises:
        CliError: No reason, and nobody to ask (exit 2).
    """
    if not reason and not run.options.url:
        reason = run.ask("Why do you look into somebody's mail? (audited) ", flag="--reason TEXT")
    return {"account_id": account, "reason": reason}


def message_id(run: Runtime, reference: str, query: Query, *, path: str = "/messages") -> str:
    """The id of a message.

    Raises:
        CliError: A tail without an account to look in (exit 2), or as `find_id`.
    """
    if is_uuid(reference):
        return reference.lower()
    if not query.get("account_id"):
        why = "the end of an id is looked for among the messages of one account"
        raise CliError(f"'{reference}' is no whole id", code=Exit.USAGE, why=why, hint=f"{run.typed} --account ADDR")
    newest = islice(run.client.pages(path, query), LOOKED_AT)
    return find_id(reference, newest, kind="message", key="message_id_header")
