"""`mairust import`: old mail in.

- Files are read here and sent in pieces, for the daemon may not be able to read them; a piece that was not answered is
  sent again, which adds nothing twice. So the same command, run again, goes on and adds what is new.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from mairust_cli.arguments import DryRun, moment
from mairust_cli.client.api import Client, Json, segment
from mairust_cli.exits import CliError, Exit
from mairust_cli.jobs import AGAIN_S, EVERY_S, follow, number, patient, tell
from mairust_cli.output.escape import safe
from mairust_cli.output.progress import Progress
from mairust_cli.output.table import plain_cell
from mairust_cli.passwords import read_password
from mairust_cli.pieces import (
    PIECE_OCTETS,
    Finding,
    Found,
    find_eml,
    find_maildir,
    find_mbox,
    tar_file_pieces,
    tar_pieces,
)
from mairust_cli.runtime import Runtime, runtime
from mairust_cli.shell import noun, verb

app = noun("Old mail in: Maildir, mbox, single mails, IMAP.")

TAR = "application/x-tar"
MBOX = "application/mbox"
Source = Annotated[Path, typer.Argument(metavar="PATH", help="A file or folder on this machine.")]
Account = Annotated[str, typer.Option("--account", metavar="ADDR", help="Whose mail it becomes.")]
Since = Annotated[str | None, typer.Option("--since", metavar="TIME", help="Only mail that arrived later.")]
Map = Annotated[
    list[str] | None, typer.Option("--map", metavar="FOLDER=NAME", help="Into another mailbox; repeatable.")
]
Mailbox = Annotated[str, typer.Option("--mailbox", metavar="NAME", help="For mail that lies in no folder.")]


@verb(
    app,
    "maildir",
    "mairust import maildir /home/anna/Maildir --account anna@example.com",
    "mairust import maildir backup.tar.gz --account anna@example.com --map 'Old=Archive/Old' --dry-run",
)
def maildir(
    ctx: typer.Context, source: Source, account: Account, folders: Map = None, since: Since = None, dry: DryRun = False
) -> None:
    """Import a Maildir with its folders, or a tar of one."""
    run = runtime(ctx)
    finding = Finding() if source.is_file() else find_maildir(source)
    _send_tar(run, "maildir", source, finding, _begin(run, "maildir", account, folders, since, dry), "INBOX", dry=dry)


@verb(
    app,
    "eml",
    "mairust import eml letter.eml --account anna@example.com",
    "mairust import eml Letters --account anna@example.com --mailbox Archive",
)
def eml(
    ctx: typer.Context,
    source: Source,
    account: Account,
    mailbox: Mailbox = "INBOX",
    folders: Map = None,
    since: Since = None,
    dry: DryRun = False,
) -> None:
    """Import a mail, all *.eml of a folder, or a tar of them."""
    run = runtime(ctx)
    archive = source.is_file() and source.name.lower().endswith((".tar", ".tgz", ".tar.gz", ".tar.xz", ".tar.bz2"))
    finding = Finding() if archive else find_eml(_there(source))
    _send_tar(run, "eml", source, finding, _begin(run, "eml", account, folders, since, dry), mailbox, dry=dry)


@verb(
    app,
    "mbox",
    "mairust import mbox old.mbox --account anna@example.com --mailbox Archive/Old",
    "mairust import mbox ~/.thunderbird/x.default/Mail --account anna@example.com --since 2020-01-01",
)
def mbox(
    ctx: typer.Context,
    source: Source,
    account: Account,
    mailbox: Mailbox = "INBOX",
    folders: Map = None,
    since: Since = None,
    dry: DryRun = False,
) -> None:
    """Import an mbox, or every mbox of a folder into the mailbox of its name."""
    run = runtime(ctx)
    finding = find_mbox(_there(source))
    job = _begin(run, "mbox", account, folders, since, dry)
    _finish(run, job, finding, _mbox_pieces(run, job, finding, mailbox), dry=dry)


@verb(
    app,
    "imap",
    "mairust import imap --account anna@example.com --host imap.old.example --login anna --password-file password",
    "mairust import imap --account anna@example.com --host imap.old.example --login anna --password-stdin --flags",
)
def imap(
    ctx: typer.Context,
    account: Account,
    host: Annotated[str, typer.Option("--host", help="The other mail server.")],
    login: Annotated[str, typer.Option("--login", help="The login there.")],
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="993, or 143 with --tls starttls.")] = 0,
    tls: Annotated[str, typer.Option("--tls", metavar="implicit|starttls|none", help="none sends it in clear.")] = (
        "implicit"
    ),
    password_file: Annotated[str | None, typer.Option("--password-file", metavar="F", help="First line of F.")] = None,
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="One line from stdin.")] = False,
    only: Annotated[list[str] | None, typer.Option("--folder", metavar="NAME", help="Only these; repeatable.")] = None,
    flags: Annotated[bool, typer.Option("--flags", help="Bring flags of earlier passes up to date too.")] = False,
    folders: Map = None,
    since: Since = None,
    dry: DryRun = False,
    background: Annotated[bool, typer.Option("--background", help="Do not stay until it ends.")] = False,
) -> None:
    """Import from another server; run it again for what came there meanwhile."""
    run = runtime(ctx)
    password, _ = read_password(run, file=password_file, stdin=password_stdin, generate=False, who=f"{login} at {host}")
    source: Json = {"host": host, "login": login, "password": password, "port": port, "tls": tls}
    more: Json = {"source": source, "sync_flags": flags, "folders": only or []}
    job = _begin(run, "imap", account, folders, since, dry, more)
    job_id = plain_cell(job.get("id"))
    if background:
        run.out.made(job, f"job {job_id[-8:]} runs", name="id", then=f"mairust job show {job_id[-8:]} --follow")
        return
    tell(run, follow(run, job_id), dry=dry)


def _begin(
    run: Runtime,
    kind: str,
    account: str,
    folders: list[str] | None,
    since: str | None,
    dry: bool,
    more: Json | None = None,
) -> Json:
    mapped: dict[str, str] = {}
    for pair in folders or []:
        folder, equals, name = pair.partition("=")
        if not (folder and equals and name):
            raise CliError(f"--map: '{pair}'", code=Exit.USAGE, why="FOLDER=NAME", hint="--map 'Old=Archive/Old'")
        mapped[folder] = name
    body: Json = {"kind": kind, "account_id": account, "mailbox_map": mapped, "dry_run": dry, **(more or {})}
    if since:
        body["since"] = moment(since, "--since")
    return run.client.post("/imports", body)


def _there(source: Path) -> Path:
    if not source.exists():
        raise CliError("there is no such file", code=Exit.INVALID, why=str(source), hint="ls -l")
    return source


def _send_tar(run: Runtime, phase: str, source: Path, finding: Finding, job: Json, mailbox: str, *, dry: bool) -> None:
    largest = number(job, "piece_max_bytes") - 1024 * 1024
    client = patient(run)
    path = f"/imports/{segment(plain_cell(job.get('id')))}/pieces"

    def answers() -> Iterator[tuple[Json, int]]:
        pieces = (
            tar_pieces(finding, largest=largest)
            if finding.files or not source.is_file()
            else tar_file_pieces(source, finding, largest=largest)
        )
        for data, _mails in pieces:
            answer = _upload(client, path, data, TAR, {"folder": mailbox})
            yield answer, number(answer, "added") + number(answer, "skipped") + number(answer, "failed")

    _finish(run, job, finding, answers(), total=finding.mails, dry=dry)


def _mbox_pieces(run: Runtime, job: Json, finding: Finding, mailbox: str) -> Iterator[tuple[Json, int]]:
    client = patient(run)
    path = f"/imports/{segment(plain_cell(job.get('id')))}/pieces"
    for found in finding.files:
        yield from _one_mbox(client, path, found, mailbox, number(job, "piece_max_bytes"), finding)


def _one_mbox(
    client: Client, path: str, found: Found, mailbox: str, largest: int, finding: Finding
) -> Iterator[tuple[Json, int]]:
    try:
        file = found.path.open("rb")
    except OSError as error:
        finding.passed.append(f"{found.path}: {error.strerror}")
        return
    with file:
        at, size, length = 0, PIECE_OCTETS, file.seek(0, 2)
        while at < length:
            file.seek(at)
            data = file.read(min(size, largest, length - at))
            if not data:
                return
            final = at + len(data) >= length
            query: dict[str, str | int | bool | None] = {
                "folder": found.name or mailbox,
                "name": found.path.name,
                "final": final,
            }
            answer = _upload(client, path, data, MBOX, query)
            consumed = number(answer, "consumed")
            # A message larger than the piece: once more with a larger one.
            size = PIECE_OCTETS if consumed else size * 2
            at += consumed
            yield answer, number(answer, "added") + number(answer, "skipped") + number(answer, "failed")
            if not consumed and len(data) >= largest:
                finding.passed.append(f"{found.path}: a message at octet {at} is too large")
                return


def _upload(client: Client, path: str, data: bytes, kind: str, query: dict[str, str | int | bool | None]) -> Json:
    return _patiently(lambda: client.upload(path, data, kind, query))


def _patiently(ask: Callable[[], Json]) -> Json:
    """Ask what may be asked twice; again while the daemon restarts, is busy or still works at the one before."""
    deadline = time.monotonic() + AGAIN_S
    while True:
        try:
            return ask()
        except CliError as error:
            code = (error.problem or {}).get("code")
            passing = error.code is Exit.UNREACHABLE or code in ("in_use", "rate_limited", "unavailable")
            if not passing or time.monotonic() > deadline:
                raise
        time.sleep(EVERY_S)


def _finish(
    run: Runtime, job: Json, finding: Finding, answers: Iterable[tuple[Json, int]], *, total: int = 0, dry: bool
) -> None:
    """Send everything, end the job and tell; a failure or Ctrl-C cancels it, what was stored stays."""
    path = f"{segment(plain_cell(job.get('id')))}"
    progress, done = Progress(run.out, "import", total=total), 0
    try:
        for _answer, done in answers:
            progress.update(done)
        ended = _patiently(lambda: run.client.post(f"/imports/{path}/finish"))
    except BaseException:
        progress.close(done)
        _cancel(run, path)
        raise
    progress.close(done)
    for passed in finding.passed[:20]:
        run.out.warn(safe(passed))
    if len(finding.passed) > 20:
        run.out.note(f"... and {len(finding.passed) - 20:,} more were left out")
    tell(run, ended, dry=dry)
    unread = [passed for passed in finding.passed if not passed.endswith(": a link")]
    if unread:
        why = f"{len(unread):,} files were not read"
        raise CliError("partly done", code=Exit.PARTLY, why=why, hint="the lines above name each cause")


def _cancel(run: Runtime, path: str) -> None:
    try:
        run.client.post(f"/jobs/{path}/cancel")
    except CliError as error:
        if run.options.debug:
            run.out.note(error.what)
    run.out.note("stopped; what was stored stays, and the same command goes on")
