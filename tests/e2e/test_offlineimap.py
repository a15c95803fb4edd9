"""offlineimap keeps Maildirs in step with an account: everything down, changes of both sides, a quiet run."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.daemon_process import PASSWORD, DaemonProcess
from tests.support.world_mail import compose, deliver, mailbox_of, read_mailbox, trust_file
from tests.support.world_programs import needs, run

Person = Callable[[], str]
SYNC_S = 60.0


@needs("offlineimap")
@pytest.mark.timeout(60 + 3 * SYNC_S)
def test_offlineimap_syncs_all_folders_both_ways(office: DaemonProcess, person: Person, tmp_path: Path) -> None:
    """Over verified TLS with UIDPLUS: a letter written here, flags and deletions on both sides."""
    owner = person()
    letters = {subject: compose("x@example.org", owner, subject=subject) for subject in ("Apples", "Pears", "Plums")}
    for octets in letters.values():
        deliver(office, octets, owner)
    mail, rc = tmp_path / "mail", _settings(office, tmp_path, owner)
    sync = lambda: run(("offlineimap", "-o", "-u", "basic", "-c", rc), tmp_path, timeout_s=SYNC_S)  # noqa: E731

    sync()
    assert {path.name for path in mail.iterdir()} >= {"INBOX", "Archive", "Drafts", "Sent", "Junk", "Trash"}
    files = _files(mail / "INBOX")
    assert all(_unix(octets) in files[subject].read_bytes() for subject, octets in letters.items())

    _reflag(files["Apples"], "FS")
    files["Pears"].unlink()
    written = compose(owner, "later@example.org", subject="Written here")
    (mail / "Drafts" / "cur" / "1.desk:2,D").write_bytes(_unix(written))
    with mailbox_of(office, owner) as client:
        client.select("INBOX")
        client.store("3", "+FLAGS", "(\\Answered)")
    sync()
    assert _files(mail / "INBOX")["Plums"].name.endswith("R")
    with mailbox_of(office, owner) as client:
        client.select("INBOX", readonly=True)
        assert client.search(None, "FLAGGED", "SEEN")[1] == [b"1"]
        assert client.search(None, "SUBJECT", "Pears")[1] == [b""]
        client.select("Drafts", readonly=True)
        assert client.search(None, "DRAFT")[1] == [b"1"]
    (draft,) = read_mailbox(office, owner, "Drafts")
    assert draft.endswith(written.partition(b"\r\n\r\n")[2])

    quiet = sync()
    said = (quiet.stdout + quiet.stderr).decode("utf-8", "replace")
    assert not re.search(r"(?i)copy message|adding flags|removing flags|deleting", said), said


def _settings(office: DaemonProcess, home: Path, owner: str) -> Path:
    path = home / "offlineimaprc"
    path.write_text(
        f"[general]\naccounts = office\nmetadata = {home}/metadata\nmaxsyncaccounts = 1\nsocktimeout = 60\n"
        "[Account office]\nlocalrepository = here\nremoterepository = there\n"
        f"[Repository here]\ntype = Maildir\nlocalfolders = {home}/mail\nsync_deletes = yes\n"
        f"[Repository there]\ntype = IMAP\nremotehost = localhost\nremoteport = {office.ports.imaps}\n"
        f"remoteuser = {owner}\nremotepass = {PASSWORD}\nssl = yes\nsslcacertfile = {trust_file(office)}\n"
        "maxconnections = 2\n"
    )
    return path


def _files(folder: Path) -> dict[str, Path]:
    """Each letter's file by its subject."""
    found = {}
    for name in ("cur", "new"):
        for path in (folder / name).iterdir():
            subject = re.search(rb"^Subject: (.*)$", path.read_bytes(), re.M)
            assert subject is not None
            found[subject[1].decode()] = path
    return found


def _unix(octets: bytes) -> bytes:
    return octets.replace(b"\r\n", b"\n")


def _reflag(path: Path, flags: str) -> None:
    base = path.name.partition(":")[0]
    shutil.move(path, path.parent.parent / "cur" / f"{base}:2,{flags}")
