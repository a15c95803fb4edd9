"""mbsync keeps a mailbox of a thousand messages in step, both ways, and then has nothing left to do.

- `MBSYNC_MESSAGES=10000 pytest tests/e2e/test_mbsync.py` does the same with ten thousand.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.daemon_process import PASSWORD, DaemonProcess
from tests.support.world_mail import compose, mailbox_of, read_mailbox, trust_file
from tests.support.world_programs import needs, run

Person = Callable[[], str]

MESSAGES = int(os.environ.get("MBSYNC_MESSAGES", "1000"))
SYNC_S = 60 + MESSAGES / 10
"""How long one run may take on a busy machine."""
CHANGED = MESSAGES // 20
"""Of each kind of change, on each side."""
TRANSFERS = re.compile(rb">>> .*\b(?:APPEND|STORE|EXPUNGE|COPY|MOVE|BODY)\b.*")
"""What a run that has nothing to do never says."""


@dataclass(frozen=True, slots=True)
class Side:
    """One desk: its Maildir, and the mbsync that keeps it."""

    folder: Path
    rc: Path

    @property
    def archive(self) -> Path:
        return self.folder / "Archive"

    def sync(self, *options: str) -> bytes:
        return run(("mbsync", *options, "-c", self.rc, "office"), self.folder, timeout_s=SYNC_S).stdout

    def letters(self) -> dict[bytes, Path]:
        """Every message as on the wire, and its file."""
        return {_crlf(path.read_bytes()): path for name in ("cur", "new") for path in (self.archive / name).iterdir()}

    def flags(self) -> dict[bytes, str]:
        """Maildir's letters of those messages that have any."""
        named = {octets: path.name.rpartition(",")[2] for octets, path in self.letters().items()}
        return {octets: letters for octets, letters in named.items() if letters}


@needs("mbsync")
@pytest.mark.timeout(60 + 6 * SYNC_S)
def test_mbsync_keeps_a_mailbox_in_step_both_ways(office: DaemonProcess, person: Person, tmp_path: Path) -> None:
    """Push, pull, flags and deletions on both sides at once, and second runs that transfer nothing."""
    owner = person()
    here, there = (_side(office, tmp_path / name, owner) for name in ("here", "there"))
    originals = sorted(compose("x@example.org", owner, lines=3) for _ in range(MESSAGES))
    _fill(here.archive, originals)

    here.sync()
    assert {_crlf(octets) for octets in read_mailbox(office, owner, "Archive")} == set(originals)
    there.sync()
    assert set(there.letters()) == set(originals)

    flagged, deleted, answered, gone = (originals[place::4][:CHANGED] for place in range(4))
    files = there.letters()
    for octets in flagged:
        _reflag(files[octets], "F")
    for octets in deleted:
        _reflag(files[octets], "T")
    _change(office, owner, answered, gone)
    there.sync()
    here.sync()

    left = set(originals) - set(deleted) - set(gone)
    wanted = dict.fromkeys(flagged, "F") | dict.fromkeys(answered, "RS")
    for side in (here, there):
        assert set(side.letters()) == left
        assert side.flags() == wanted
    assert set(map(_crlf, read_mailbox(office, owner, "Archive"))) == left
    with mailbox_of(office, owner) as client:
        client.select("Archive", readonly=True)
        assert len(client.search(None, "FLAGGED")[1][0].split()) == CHANGED
        assert len(client.search(None, "ANSWERED")[1][0].split()) == CHANGED
    for side in (here, there, here):
        _assert_idle(side)


def _assert_idle(side: Side) -> None:
    """A run changes no file, asks for no body, and sends no command that changes the mailbox."""
    before = {path: path.stat().st_mtime_ns for path in side.letters().values()}
    summary = side.sync("-V")
    assert not re.search(rb"[+*#][1-9]", summary.rpartition(b"C: ")[2]), summary[-800:]
    said = side.sync("-Dn")
    assert re.search(rb">>> .*LOGOUT", said)
    assert TRANSFERS.findall(said) == []
    assert {path: path.stat().st_mtime_ns for path in side.letters().values()} == before


def _side(office: DaemonProcess, folder: Path, owner: str) -> Side:
    (folder / "state").mkdir(parents=True)
    rc = folder / "mbsyncrc"
    rc.write_text(
        f'IMAPAccount office\nHost localhost\nPort {office.ports.imaps}\nUser {owner}\nPass "{PASSWORD}"\n'
        f"SSLType IMAPS\nCertificateFile {trust_file(office)}\nSystemCertificates no\nTimeout {SYNC_S:.0f}\n\n"
        f"IMAPStore far\nAccount office\n\n"
        f"MaildirStore near\nPath {folder}/\nInbox {folder}/INBOX\nSubFolders Verbatim\n\n"
        f"Channel office\nFar :far:\nNear :near:\nPatterns Archive\nCreate Both\nExpunge Both\nSync All\n"
        f"SyncState {folder}/state/\n"
    )
    return Side(folder, rc)


def _fill(archive: Path, letters: Iterable[bytes]) -> None:
    for name in ("cur", "new", "tmp"):
        (archive / name).mkdir(parents=True)
    for number, octets in enumerate(letters):
        (archive / "cur" / f"{number}.desk:2,").write_bytes(octets.replace(b"\r\n", b"\n"))


def _crlf(octets: bytes) -> bytes:
    """As on the wire, and without the line by which mbsync knows its own copies."""
    return re.sub(rb"^X-TUID: [^\r\n]*\r\n", b"", octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"), flags=re.M)


def _reflag(path: Path, flags: str) -> None:
    base = path.name.partition(":")[0]
    shutil.move(path, path.parent.parent / "cur" / f"{base}:2,{flags}")


def _change(office: DaemonProcess, owner: str, answered: Iterable[bytes], gone: Iterable[bytes]) -> None:
    """Change them on the server, as another program there does."""
    with mailbox_of(office, owner) as client:
        client.select("Archive")
        _, lines = client.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])")
        numbers = {_message_id(line[1]): line[0].split()[0].decode() for line in lines if isinstance(line, tuple)}
        sets = [",".join(numbers[_message_id(octets)] for octets in letters) for letters in (answered, gone)]
        assert client.store(sets[0], "+FLAGS", "(\\Answered \\Seen)")[0] == "OK"
        assert client.store(sets[1], "+FLAGS", "(\\Deleted)")[0] == "OK"
        assert client.expunge()[0] == "OK"


def _message_id(octets: bytes) -> bytes:
    found = re.search(rb"Message-ID: (<[^>]+>)", octets)
    assert found is not None
    return found[1]
