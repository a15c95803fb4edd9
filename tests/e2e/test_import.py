"""Old mail in by the command line, against the real daemon: whole, once, and through a kill in the middle."""

from __future__ import annotations

import imaplib
import json
import os
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.api import UnixConnection
from tests.support.daemon_process import MAIL_ROLES, PASSWORD, DaemonProcess
from tests.support.world_cli import cli_environment, command, mairust, mairust_json

pytestmark = pytest.mark.timeout(120)
WAIT_S = 60.0


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    with DaemonProcess(tmp_path_factory.mktemp("import"), roles=(*MAIL_ROLES, "http"), accounts=8) as running:
        yield running


def mails(count: int, *, octets: int = 200) -> list[bytes]:
    return [b"Message-ID: <%d@old>\nSubject: mail %d\n\n%s\n" % (n, n, b"x" * octets) for n in range(count)]


def mbox(path: Path, count: int, *, octets: int = 200) -> Path:
    head = b"From a@example.test Wed Jan  3 01:05:34 1996\n"
    path.write_bytes(b"".join(head + mail + b"\n" for mail in mails(count, octets=octets)))
    return path


def inbox(daemon: DaemonProcess, address: str, mailbox: str = "INBOX") -> list[tuple[str, bytes]]:
    """Flags with dates, and octets, of all messages by UID."""
    client = imaplib.IMAP4("127.0.0.1", daemon.ports.imap, timeout=20)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    client.starttls(context)
    client.login(address, PASSWORD)
    client.select(f'"{mailbox}"', readonly=True)
    _, answer = client.uid("FETCH", "1:*", "(FLAGS INTERNALDATE BODY.PEEK[])")
    client.logout()
    found = [part for part in answer if isinstance(part, tuple)]
    return [(head.decode(), octets) for head, octets in found]


def kill_when(daemon: DaemonProcess, done: int) -> None:
    """Kill the daemon once a running job has done so many messages; the job must not be over before."""
    jobs: list[dict[str, Any]] = []
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        connection = UnixConnection(str(daemon.admin_socket))
        connection.request("GET", "/api/v1/jobs?limit=1")
        jobs = json.loads(connection.getresponse().read())["items"]
        connection.close()
        if jobs and jobs[0]["done"] >= done:
            daemon.kill()
            assert jobs[0]["status"] in ("pending", "running"), "the import was over before the daemon was killed"
            return
        time.sleep(0.005)
    raise AssertionError(f"the import does not go on: {jobs}\n{daemon.log_tail()}")


def test_a_maildir_with_folders_comes_in_whole_and_only_once(daemon: DaemonProcess, tmp_path: Path) -> None:
    address = daemon.addresses[0]
    root = tmp_path / "Maildir"
    for folder in ("cur", "new", "tmp", ".Sent/cur", ".Sent/new"):
        (root / folder).mkdir(parents=True)
    for n, mail in enumerate(mails(20)):
        path = root / "cur" / f"{n:04}.M1P1.host:2,{'S' if n % 2 else ''}"
        path.write_bytes(mail)
        os.utime(path, (1_700_000_000 + n, 1_700_000_000 + n))
    (root / ".Sent/new/1.host").write_bytes(b"Subject: sent\n\nx\n")
    (root / "cur" / "link:2,S").symlink_to("/etc/passwd")
    (root / "new" / "folder").symlink_to("/")
    first = json.loads(mairust(daemon, "--json", "import", "maildir", str(root), "--account", address))
    assert (first["status"], first["added"], first["skipped"]) == ("succeeded", 21, 0)
    found = inbox(daemon, address)
    assert [octets for _, octets in found] == [mail.replace(b"\n", b"\r\n") for mail in mails(20)]
    assert ["\\Seen" in head for head, _ in found] == [bool(n % 2) for n in range(20)]
    assert all("14-Nov-2023" in head for head, _ in found)
    assert len(inbox(daemon, address, "Sent")) == 1
    (root / "new/9999.host").write_bytes(b"Subject: later\n\nx\n")
    again = json.loads(mairust(daemon, "--json", "import", "maildir", str(root), "--account", address))
    assert (again["added"], again["skipped"]) == (1, 21)
    (job, *_) = mairust_json(daemon, "job", "list")
    assert job["id"] == again["id"]
    mairust(daemon, "wait", "--for", f"job={job['id'][-8:]}")


def test_single_mails_and_a_folder_of_mboxes_come_in(daemon: DaemonProcess, tmp_path: Path) -> None:
    address = daemon.addresses[1]
    (tmp_path / "Letters").mkdir()
    for n, mail in enumerate(mails(3)):
        (tmp_path / "Letters" / f"{n}.eml").write_bytes(mail)
    text = mairust(daemon, "import", "eml", str(tmp_path / "Letters"), "--account", address, "--mailbox", "Archive")
    assert "added 3" in text
    (tmp_path / "Mail/Work.sbd").mkdir(parents=True)
    mbox(tmp_path / "Mail/Inbox", 4)
    mbox(tmp_path / "Mail/Work.sbd/Old", 5)
    words = ("import", "mbox", str(tmp_path / "Mail"), "--account", address, "--map", "Work/Old=Old")
    assert "added 9" in mairust(daemon, *words)
    assert len(inbox(daemon, address)) == 4
    assert len(inbox(daemon, address, "Old")) == 5


def test_messages_larger_than_a_piece_come_in(daemon: DaemonProcess, tmp_path: Path) -> None:
    address = daemon.addresses[2]
    path = mbox(tmp_path / "big.mbox", 2, octets=5 * 1024 * 1024)
    assert "added 2" in mairust(daemon, "import", "mbox", str(path), "--account", address)
    assert [len(octets) for _, octets in inbox(daemon, address)] == [len(mail) + 4 for mail in mails(2, octets=5 << 20)]


def test_what_is_no_mail_ends_with_a_reason_and_no_traceback(daemon: DaemonProcess, tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"no mail at all\n")
    mairust(daemon, "import", "mbox", str(tmp_path / "text"), "--account", daemon.addresses[3], code=9)
    mairust(daemon, "import", "maildir", str(tmp_path / "text"), "--account", daemon.addresses[3], code=7)
    mairust(daemon, "import", "maildir", str(tmp_path), "--account", daemon.addresses[3], code=7)
    mairust(daemon, "import", "mbox", str(tmp_path / "nothing"), "--account", daemon.addresses[3], code=7)
    mairust(daemon, "import", "mbox", str(tmp_path / "text"), "--account", "nobody@example.test", code=3)


def test_a_daemon_killed_in_the_middle_loses_and_doubles_nothing(daemon: DaemonProcess, tmp_path: Path) -> None:
    """F01: the command waits for the daemon to come back and sends again what was not answered."""
    address = daemon.addresses[4]
    path = mbox(tmp_path / "many.mbox", 1500, octets=20_000)
    words = ("--socket", str(daemon.admin_socket), "--json", "import", "mbox", str(path), "--account", address)
    running = subprocess.Popen(
        command(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=cli_environment(tmp_path)
    )
    for done in (150, 700):
        kill_when(daemon, done)
        daemon.start()
    out, err = running.communicate(timeout=WAIT_S)
    assert running.returncode == 0, err
    ended = json.loads(out)
    assert (ended["status"], ended["failed"]) == ("succeeded", 0)
    found = inbox(daemon, address)
    assert len(found) == 1500
    assert len({octets for _, octets in found}) == 1500


@pytest.mark.parametrize("kind", ["maildir", "eml", "mbox"])
def test_what_is_exported_is_imported_as_it_was(daemon: DaemonProcess, tmp_path: Path, kind: str) -> None:
    number = {"maildir": 5, "eml": 6, "mbox": 7}[kind]
    source, target = daemon.addresses[3], daemon.addresses[number]
    mairust(daemon, "import", "mbox", str(mbox(tmp_path / "a.mbox", 10)), "--account", source)
    mairust(daemon, "import", "mbox", str(tmp_path / "a.mbox"), "--account", source, "--mailbox", "Sub/Folder")
    out = tmp_path / ("mail.tar" if kind != "mbox" else "mail")
    words = ("export", kind, "--account", source, "--out", str(out), "--reason", "moving")
    assert "added 20" in mairust(daemon, *words)
    mairust(daemon, *words, code=5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mbox", out.name]
    mairust(daemon, "import", kind, str(out), "--account", target)
    for mailbox in ("INBOX", "Sub/Folder"):
        assert inbox(daemon, target, mailbox) == inbox(daemon, source, mailbox)
