"""`mairust message`: mail by account and id. What is read or changed of others' mail is audited with its reason."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from mairust_cli.arguments import each, moment
from mairust_cli.client.api import PREFIX, Json, Query, as_object, items_of, problem_of, segment
from mairust_cli.commands.message_deleted import app as deleted
from mairust_cli.commands.message_deleted import restore_each
from mairust_cli.exits import CliError, Exit
from mairust_cli.output.escape import safe
from mairust_cli.output.table import Column, Row, plain_cell
from mairust_cli.runtime import Runtime, expand, runtime
from mairust_cli.shell import noun, verb
from mairust_cli.whose import Messages, OfAccount, OneMessage, Reason, message_id, whose

app = noun("Mail: find it, read it, move it, bring it back.")
app.add_typer(deleted, name="deleted")


def sender(row: Row) -> str:
    """The first From address as a person reads it."""
    people = items_of(row.get("from"))
    return str(people[0].get("name") or people[0].get("address")) if people else ""


def marks(row: Row) -> str:
    """The flags that matter in a list: new, answered, flagged, draft."""
    flags = row.get("flags")
    held = flags if isinstance(flags, Mapping) else {}
    letters = (("answered", "A"), ("flagged", "F"), ("draft", "D"))
    return ("" if held.get("seen") else "N") + "".join(letter for name, letter in letters if held.get(name))


COLUMNS = (
    Column(name="id", kind="id"),
    Column(name="age", read=lambda row: row.get("received_at"), kind="age"),
    Column(name="flags", read=marks),
    Column(name="from", read=sender, cut=30),
    Column(name="subject", cut=60, prose=True),
    Column(name="tags", cut=30),
    Column(name="size", read=lambda row: row.get("size_bytes"), kind="size"),
    Column(name="trace", read=lambda row: row.get("trace_id"), kind="id", wide=True),
    Column(name="message-id", read=lambda row: row.get("message_id_header"), wide=True),
)
_ID = "019ab801-0000-7000-8000-000000000801"
_WHY = '--reason "ticket 2211"'


@verb(
    app,
    "list",
    f"mairust message list anna@example.com {_WHY}",
    f"mairust message list anna@example.com --mailbox Archive --unseen --since 2d {_WHY} -o json",
)
def list_(
    ctx: typer.Context,
    address: Annotated[str, typer.Argument(metavar="ADDR")],
    mailbox: Annotated[str | None, typer.Option("--mailbox", metavar="NAME", help="Only this folder.")] = None,
    tag: Annotated[str | None, typer.Option("--tag", metavar="NAME", help="Only with this tag.")] = None,
    seen: Annotated[bool | None, typer.Option("--seen/--unseen", help="Only read, or only new.")] = None,
    flagged: Annotated[bool | None, typer.Option("--flagged/--unflagged", help="Only flagged, or only not.")] = None,
    since: Annotated[str | None, typer.Option("--since", metavar="TIME", help="Arrived since.")] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="TIME", help="Arrived before.")] = None,
    sort: Annotated[
        str | None, typer.Option("--sort", help="-received_at, -date, -size_bytes; without - the other way round.")
    ] = None,
    reason: Reason = None,
) -> None:
    """List an account's messages, the newest first."""
    run = runtime(ctx)
    query = whose(run, address, reason)
    asked: Query = {
        **query,
        "mailbox_id": None if mailbox is None else mailbox_id(run, mailbox, query),
        "tag": tag,
        "seen": seen,
        "flagged": flagged,
        "after": moment(since, "--since"),
        "before": moment(until, "--until"),
        "sort": sort,
    }
    pages = run.client.pages("/messages", asked)
    run.out.rows(pages, COLUMNS, name="id", total=pages.total, empty="no such messages")


@verb(
    app,
    "find",
    f'mairust message find anna@example.com "from:bob invoice" {_WHY}',
    f'mairust message find anna@example.com "subject:offer newer:2w" {_WHY} -o json',
)
def find(
    ctx: typer.Context,
    address: Annotated[str, typer.Argument(metavar="ADDR")],
    text: Annotated[str, typer.Argument(metavar="QUERY", help="As for `mairust mailbox search`.")],
    reason: Reason = None,
) -> None:
    """Find an account's messages by what is in them."""
    run = runtime(ctx)
    hits = run.client.pages("/search", {**whose(run, address, reason), "q": text})
    rows = (as_object(hit.get("message") or {}) for hit in hits)
    run.out.rows(rows, COLUMNS, name="id", empty="nothing found")


@verb(app, "show", f"mairust message show {_ID} {_WHY}", f"mairust message show {_ID} {_WHY} -o json")
def show(ctx: typer.Context, reference: OneMessage, account: OfAccount = None, reason: Reason = None) -> None:
    """Show one message: its header, text and attachments."""
    run = runtime(ctx)
    query = whose(run, account, reason)
    message = run.client.get(f"/messages/{segment(message_id(run, reference, query))}", query)
    if run.out.format in ("table", "wide") and not run.options.quiet:
        run.out.page(_lines(message))
    else:
        run.out.record(message, name="id")


@verb(app, "source", f"mairust message source {_ID} {_WHY}", f"mairust message source {_ID} --out mail.eml {_WHY}")
def source(
    ctx: typer.Context,
    reference: OneMessage,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write it to a file.")] = None,
    account: OfAccount = None,
    reason: Reason = None,
) -> None:
    """Print a message's octets as they are stored."""
    run = runtime(ctx)
    query = whose(run, account, reason)
    answer = run.client.send("GET", f"{PREFIX}/messages/{segment(message_id(run, reference, query))}/raw", query=query)
    if answer.status >= 400:
        raise problem_of(answer)
    if out is None:
        sys.stdout.buffer.write(answer.body)
        return
    try:
        out.write_bytes(answer.body)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise CliError(f"can not write {out}", code=Exit.FAILED, why=why, hint="--out FILE") from None
    run.out.done(f"{len(answer.body)} octets written to {safe(str(out))}")


@verb(
    app,
    "flags",
    f"mairust message flags {_ID} --seen --no-flagged {_WHY}",
    f"mairust message flags {_ID} --no-seen {_WHY}",
)
def flags(
    ctx: typer.Context,
    references: Messages,
    seen: Annotated[bool | None, typer.Option("--seen/--no-seen")] = None,
    answered: Annotated[bool | None, typer.Option("--answered/--no-answered")] = None,
    flagged: Annotated[bool | None, typer.Option("--flagged/--no-flagged")] = None,
    draft: Annotated[bool | None, typer.Option("--draft/--no-draft")] = None,
    account: OfAccount = None,
    reason: Reason = None,
) -> None:
    """Set flags, or take them away."""
    run = runtime(ctx)
    asked = {"seen": seen, "answered": answered, "flagged": flagged, "draft": draft}
    body = {name: value for name, value in asked.items() if value is not None}
    if not body:
        raise CliError("nothing to change", code=Exit.USAGE, why="name a flag", hint=f"{run.typed} --seen")
    _each(run, references, account, reason, "PATCH", "flags", body, "changed")


@verb(
    app,
    "move",
    f"mairust message move {_ID} --to Archive {_WHY}",
    f"mairust message move {_ID} --to INBOX --copy {_WHY}",
)
def move(
    ctx: typer.Context,
    references: Messages,
    to: Annotated[str, typer.Option("--to", metavar="NAME", help="The folder it goes to.")],
    copy: Annotated[bool, typer.Option("--copy", help="Leave the message where it is too.")] = False,
    account: OfAccount = None,
    reason: Reason = None,
) -> None:
    """Move messages to another folder of their account."""
    run = runtime(ctx)
    query = whose(run, account, reason)

    def act(reference: str) -> None:
        ident = message_id(run, reference, query)
        owner = query.get("account_id") or run.client.get(f"/messages/{segment(ident)}", query).get("account_id")
        target = mailbox_id(run, to, {**query, "account_id": str(owner)})
        path = f"/messages/{segment(ident)}/{'copy' if copy else 'move'}"
        made = as_object(run.client.call("POST", path, query=query, body={"mailbox_id": target}))
        run.out.made(made, f"{ident} {'copied' if copy else 'moved'} to {safe(to)}", name="id")

    each(run, expand(references), act)


@verb(
    app,
    "tag",
    f'mairust message tag {_ID} --tag "to do" {_WHY}',
    f"mairust message tag {_ID} --tag a --tag b --only {_WHY}",
)
def tag(
    ctx: typer.Context,
    references: Messages,
    names: Annotated[list[str], typer.Option("--tag", metavar="NAME", help="A tag; may be given again.")],
    only: Annotated[bool, typer.Option("--only", help="Take all other tags off.")] = False,
    account: OfAccount = None,
    reason: Reason = None,
) -> None:
    """Tag messages."""
    run = runtime(ctx)
    _each(run, references, account, reason, "PUT" if only else "POST", "tags", {"tags": names}, "tagged")


@verb(
    app,
    "untag",
    f'mairust message untag {_ID} --tag "to do" {_WHY}',
    f"mairust message untag {_ID} --tag a --tag b {_WHY}",
)
def untag(
    ctx: typer.Context,
    references: Messages,
    names: Annotated[list[str], typer.Option("--tag", metavar="NAME", help="A tag; may be given again.")],
    account: OfAccount = None,
    reason: Reason = None,
) -> None:
    """Take tags off messages."""
    run = runtime(ctx)
    _each(run, references, account, reason, "DELETE", "tags", {"tags": names}, "untagged")


@verb(
    app,
    "delete",
    f"mairust message delete {_ID} {_WHY} --yes",
    f"mairust message delete {_ID} --account anna@example.com {_WHY} --yes",
)
def delete(ctx: typer.Context, references: Messages, account: OfAccount = None, reason: Reason = None) -> None:
    """Move messages to Trash; out of Trash they become deleted messages, which can be restored."""
    run = runtime(ctx)
    wanted = expand(references)
    query = whose(run, account, reason)
    run.confirm(f"Delete {len(wanted)} message{'s' if len(wanted) > 1 else ''}?")

    def act(reference: str) -> None:
        ident = message_id(run, reference, query)
        run.client.delete(f"/messages/{segment(ident)}", query)
        run.out.done(f"{ident} deleted")

    each(run, wanted, act)


@verb(
    app,
    "restore",
    f"mairust message restore {_ID} {_WHY}",
    f"mairust message restore {_ID} --to INBOX --account anna@example.com {_WHY}",
)
def restore(
    ctx: typer.Context,
    references: Messages,
    to: Annotated[str | None, typer.Option("--to", metavar="NAME", help="The folder; where it was, else.")] = None,
    account: OfAccount = None,
    reason: Reason = None,
) -> None:
    """Bring deleted messages back, to where they were."""
    run = runtime(ctx)
    query = whose(run, account, reason)
    target = None if to is None else mailbox_id(run, to, query)
    restore_each(run, expand(references), query, target)


def mailbox_id(run: Runtime, name: str, query: Query) -> str:
    """The id of a folder by its name.

    Raises:
        CliError: No such folder (exit 3), or no account to look in (exit 2).
    """
    if not query.get("account_id") and not run.options.url:
        why = "a folder is looked for in one account"
        raise CliError("this needs --account", code=Exit.USAGE, why=why, hint=f"{run.typed} --account ADDR")
    wanted = name.lower() if name.lower() == "inbox" else name
    for row in items_of(run.client.get("/mailboxes", query).get("items")):
        found = str(row.get("name"))
        if wanted in (found, row.get("id")) or (wanted == "inbox" and found == "INBOX"):
            return str(row.get("id"))
    account = query.get("account_id") or "ADDR"
    raise CliError("no such folder", code=Exit.NOT_FOUND, why=f"'{name}'", hint=f"mairust mailbox list {account}")


def _each(
    run: Runtime,
    references: list[str],
    account: str | None,
    reason: str | None,
    method: str,
    leaf: str,
    body: Json | dict[str, bool] | dict[str, list[str]],
    past: str,
) -> None:
    query = whose(run, account, reason)

    def act(reference: str) -> None:
        ident = message_id(run, reference, query)
        made = run.client.call(method, f"/messages/{segment(ident)}/{leaf}", query=query, body=body)
        run.out.made(as_object(made), f"{ident} {past}", name="id")

    each(run, expand(references), act)


def _lines(message: Json) -> list[str]:
    """A message as a person reads it."""
    lines = [f"{name}: {safe(value)}" for name, value in _head(message) if value]
    lines += [f"Attachment {_attachment(one)}" for one in items_of(message.get("attachments"))]
    text = message.get("text")
    body = str(text).splitlines() if text is not None else ["(no text)"]
    more = ["...", "the text goes on; mairust message source ID shows all"] if message.get("text_truncated") else []
    return [*lines, "", *(safe(line) for line in body), *more]


def _head(message: Json) -> list[tuple[str, str]]:
    return [
        ("From", _people(message, "from")),
        ("To", _people(message, "to")),
        ("Cc", _people(message, "cc")),
        ("Date", str(message.get("date") or "")),
        ("Subject", str(message.get("subject") or "")),
        ("Tags", plain_cell(message.get("tags"))),
        ("Trace", str(message.get("trace_id") or "")),
    ]


def _people(message: Json, field: str) -> str:
    named = (f"{one.get('name') or ''} <{one.get('address')}>".strip() for one in items_of(message.get(field)))
    return ", ".join(named)


def _attachment(row: Row) -> str:
    name = safe(str(row.get("filename") or "without name"))
    return f"{row.get('index')}: {name}, {safe(str(row.get('content_type')))}, {row.get('size_bytes')} octets"
