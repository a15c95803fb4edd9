"""`mairust export`: mail out, into files of this machine.

- A file appears under its name only when it is whole: it is written beside it, synced, then renamed.
- Nothing that exists is written over.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import closing
from http.client import HTTPException
from pathlib import Path
from typing import Annotated

import typer

from mairust_cli.client.api import Client, Json, segment
from mairust_cli.exits import CliError, Exit
from mairust_cli.jobs import patient, tell
from mairust_cli.output.escape import safe
from mairust_cli.output.progress import Progress
from mairust_cli.output.table import plain_cell
from mairust_cli.runtime import Runtime, runtime
from mairust_cli.shell import noun, verb

app = noun("Mail out: Maildir, mbox, single mails.")

CHUNK = 1024 * 1024
Account = Annotated[str, typer.Option("--account", metavar="ADDR", help="Whose mail.")]
Out = Annotated[Path, typer.Option("--out", metavar="F", help="The file to write; it must not exist.")]
Mailboxes = Annotated[
    list[str] | None, typer.Option("--mailbox", metavar="NAME", help="Only this one; repeatable. All without it.")
]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why another's mail is read; it is audited.")]


@verb(
    app,
    "maildir",
    "mairust export maildir --account anna@example.com --out anna.tar --reason 'she moves away'",
    "mairust export maildir --account anna@example.com --out inbox.tar --mailbox INBOX --reason backup",
)
def maildir(ctx: typer.Context, account: Account, out: Out, mailboxes: Mailboxes = None, reason: Reason = "") -> None:
    """Export to a tar of a Maildir with its folders."""
    _archive(runtime(ctx), "maildir", account, out, mailboxes, reason)


@verb(
    app,
    "eml",
    "mairust export eml --account anna@example.com --out anna.tar --reason 'she moves away'",
    "mairust export eml --account anna@example.com --out sent.tar --mailbox Sent --reason 'asked for by anna'",
)
def eml(ctx: typer.Context, account: Account, out: Out, mailboxes: Mailboxes = None, reason: Reason = "") -> None:
    """Export to a tar of single mails, in folders."""
    _archive(runtime(ctx), "eml", account, out, mailboxes, reason)


@verb(
    app,
    "mbox",
    "mairust export mbox --account anna@example.com --out anna --reason 'she moves away'",
    "mairust export mbox --account anna@example.com --out inbox.mbox --mailbox INBOX --reason backup",
)
def mbox(ctx: typer.Context, account: Account, out: Out, mailboxes: Mailboxes = None, reason: Reason = "") -> None:
    """Export one mailbox to an mbox, or several to a folder of them."""
    run = runtime(ctx)
    job = _begin(run, "mbox", account, out, mailboxes, reason)
    names = [name for name in _strings(job.get("mailboxes"))]
    part = Path(tempfile.mkdtemp(prefix=f".{out.name[:100]}.", suffix=".part", dir=out.parent))
    try:
        progress = _Octets(run)
        for name in names:
            path = part / _file_name(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            _fetch(patient(run), job, path, progress, mailbox=name)
        progress.close()
        if len(names) == 1 and mailboxes:
            _publish(part / _file_name(names[0]), out)
        else:
            os.chmod(part, 0o700)
            _publish(part, out)
    except BaseException:
        _cancel(run, job)
        raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    _finish(run, job)


class _Octets:
    """Progress by octets."""

    def __init__(self, run: Runtime) -> None:
        self._progress = Progress(run.out, "export", unit="KiB")
        self._octets = 0

    def add(self, octets: int) -> None:
        self._octets += octets
        self._progress.update(self._octets // 1024)

    def close(self) -> None:
        self._progress.close(self._octets // 1024)


def _begin(run: Runtime, kind: str, account: str, out: Path, mailboxes: list[str] | None, reason: str) -> Json:
    if out.exists() or out.is_symlink():
        raise CliError("the file exists", code=Exit.CONFLICT, why=str(out), hint="--out with another name")
    if not out.parent.is_dir():
        raise CliError("there is no such folder", code=Exit.INVALID, why=str(out.parent), hint="mkdir -p")
    body: Json = {"kind": kind, "account_id": account, "mailboxes": mailboxes or [], "reason": reason}
    return run.client.post("/exports", body)


def _archive(run: Runtime, kind: str, account: str, out: Path, mailboxes: list[str] | None, reason: str) -> None:
    job = _begin(run, kind, account, out, mailboxes, reason)
    descriptor, name = tempfile.mkstemp(prefix=f".{out.name[:100]}.", suffix=".part", dir=out.parent)
    os.close(descriptor)
    part = Path(name)
    try:
        progress = _Octets(run)
        _fetch(patient(run), job, part, progress)
        progress.close()
        _publish(part, out)
    except BaseException:
        _cancel(run, job)
        raise
    finally:
        part.unlink(missing_ok=True)
    _finish(run, job)


def _fetch(client: Client, job: Json, path: Path, progress: _Octets, *, mailbox: str = "") -> None:
    """Read the octets of an export into a file and sync it."""
    route = f"/exports/{segment(plain_cell(job.get('id')))}/content"
    try:
        with closing(client.download(route, {"mailbox": mailbox})) as answer, open(path, "wb") as file:
            while chunk := answer.read(CHUNK):
                file.write(chunk)
                progress.add(len(chunk))
            file.flush()
            os.fsync(file.fileno())
    except HTTPException:
        why = "the daemon ended the answer too soon; nothing was kept"
        raise CliError("the export broke off", code=Exit.FAILED, why=why, hint="the same command again") from None
    except OSError as error:
        why = f"{path}: {error.strerror or error}"
        raise CliError("the export can not be written", code=Exit.FAILED, why=why, hint="df -h") from None


def _publish(part: Path, out: Path) -> None:
    os.rename(part, out)
    descriptor = os.open(out.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _file_name(mailbox: str) -> Path:
    """A mailbox's file: its levels as folders, none of which leads elsewhere or hides."""
    levels = ["_" + level if level.startswith(".") else level for level in mailbox.split("/")]
    levels = [level.replace("\0", "_")[:200] for level in levels]
    return Path(*[f"{level}.sbd" for level in levels[:-1]], f"{levels[-1]}.mbox")


def _finish(run: Runtime, job: Json) -> None:
    ended = run.client.post(f"/exports/{segment(plain_cell(job.get('id')))}/finish")
    tell(run, ended)


def _cancel(run: Runtime, job: Json) -> None:
    try:
        run.client.post(f"/jobs/{segment(plain_cell(job.get('id')))}/cancel")
    except CliError as error:
        run.out.note(safe(error.what))


def _strings(value: object) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
