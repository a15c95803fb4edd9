"""Programs that download by POP3: they get the octets that IMAP shows, and only what they delete is gone."""

from __future__ import annotations

import contextlib
import poplib
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.daemon_process import PASSWORD, DaemonProcess
from tests.support.world_mail import compose, deliver, mailbox_of, read_mailbox, trust_file, trusting
from tests.support.world_programs import needs, run

pytestmark = pytest.mark.timeout(90)
"""The first test also starts the server and makes its accounts."""

Person = Callable[[], str]
LETTERS = 5


def _sent(office: DaemonProcess, reader: str, count: int = LETTERS) -> list[bytes]:
    """Deliver so many letters and return them as the INBOX has them."""
    for number in range(count):
        deliver(office, compose("x@example.org", reader, subject=f"Letter {number}", lines=200 * number), reader)
    return read_mailbox(office, reader)


def _unix(octets: bytes) -> bytes:
    return octets.replace(b"\r\n", b"\n")


def _private(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(stat.S_IRUSR | stat.S_IWUSR)
    return path


def _maildir(path: Path) -> Path:
    for name in ("cur", "new", "tmp"):
        (path / name).mkdir(parents=True)
    return path


def test_poplib_sees_the_mailbox_that_imap_shows(office: DaemonProcess, person: Person) -> None:
    """Sizes, octets and deletions are the same on both protocols; a session's numbering is frozen."""
    reader = person()
    letters = _sent(office, reader)
    pop = poplib.POP3_SSL("localhost", office.ports.pop3s, context=trusting(office), timeout=10)
    with contextlib.closing(pop), mailbox_of(office, reader) as imap:
        pop.user(reader)
        pop.pass_(PASSWORD)
        imap.select("INBOX")
        assert pop.stat() == (len(letters), sum(map(len, letters)))
        sizes = [int(entry.split()[1]) for entry in pop.list()[1]]
        assert sizes == [len(letter) for letter in letters]
        for number, letter in enumerate(letters, 1):
            assert b"\r\n".join(pop.retr(number)[1]) + b"\r\n" == letter
        imap.store("1", "+FLAGS", "\\Deleted")
        imap.expunge()
        assert pop.stat()[0] == len(letters)
        pop.dele(2)
        assert imap.noop()[0] == "OK"
        assert imap.search(None, "ALL")[1][0].split() == [b"1", b"2", b"3", b"4"]
        pop.quit()
        imap.noop()
        assert imap.search(None, "ALL")[1][0].split() == [b"1", b"2", b"3"]
    assert read_mailbox(office, reader) == letters[2:]


@needs("fetchmail")
def test_fetchmail_takes_everything_once(office: DaemonProcess, person: Person, tmp_path: Path) -> None:
    """STLS on 110, UIDL kept, then all of it deleted."""
    reader = person()
    letters = _sent(office, reader)
    taken = tmp_path / "taken"
    rc = _private(
        tmp_path / "fetchmailrc",
        f"poll localhost protocol pop3 port {office.ports.pop3} uidl auth password\n"
        f'  user "{reader}" password "{PASSWORD}" sslproto "TLS1.2+" sslcertck sslcertfile "{trust_file(office)}"\n'
        f'  mda "cat >> {taken}"\n',
    )
    command = ("fetchmail", "-f", rc, "--nosyslog", "--idfile", tmp_path / "ids", "--pidfile", tmp_path / "pid")
    run((*command, "--keep"), tmp_path)
    first = taken.read_bytes()
    for letter in letters:
        assert _unix(letter).partition(b"\n\n")[2] in first
    assert run((*command, "--keep"), tmp_path, code=1).returncode == 1, "1 = there was nothing new"
    assert taken.read_bytes() == first
    assert read_mailbox(office, reader) == letters
    run((*command, "--nokeep", "--all"), tmp_path)
    assert read_mailbox(office, reader) == []


@needs("getmail")
def test_getmail_keeps_then_deletes(office: DaemonProcess, person: Person, tmp_path: Path) -> None:
    reader = person()
    letters = _sent(office, reader)
    taken = tmp_path / "taken"
    (tmp_path / "getmail").mkdir()
    text = (
        f"[retriever]\ntype = SimplePOP3SSLRetriever\nserver = localhost\nport = {office.ports.pop3s}\n"
        f"username = {reader}\npassword = {PASSWORD}\nca_certs = {trust_file(office)}\n"
        # Its own Maildir delivery refuses to run as root.
        f"[destination]\ntype = MDA_external\npath = /bin/sh\nallow_root_commands = true\n"
        f'arguments = ("-c", "cat >> {taken}")\n'
        "[options]\nread_all = false\ndelivered_to = false\nreceived = false\n"
    )
    rc = _private(tmp_path / "getmail" / "rc", text)
    command = ("getmail", "--getmaildir", tmp_path / "getmail", "--rcfile", rc)
    run(command, tmp_path)
    run(command, tmp_path)
    first = taken.read_bytes()
    assert first.count(b"\nMessage-ID: ") == LETTERS
    # It folds header fields in its own way.
    assert all(_unix(letter).partition(b"\n\n")[2] in first for letter in letters)
    assert read_mailbox(office, reader) == letters
    deliver(office, compose("x@example.org", reader), reader)
    _private(rc, text + "delete = true\n")
    run(command, tmp_path)
    assert taken.read_bytes().count(b"\nMessage-ID: ") == LETTERS + 1
    assert read_mailbox(office, reader) == []


@needs("mpop")
def test_mpop_pipelines_by_scram(office: DaemonProcess, person: Person, tmp_path: Path) -> None:
    """mpop takes SCRAM-SHA-256 and PIPELINING where it is offered them."""
    reader = person()
    letters = _sent(office, reader)
    box = _maildir(tmp_path / "box")
    rc = _private(
        tmp_path / "mpoprc",
        f"account office\nhost localhost\nport {office.ports.pop3}\ntls on\ntls_starttls on\n"
        f"tls_trust_file {trust_file(office)}\nuser {reader}\npassword {PASSWORD}\nauth scram-sha-256\n"
        f"pipelining on\nreceived_header off\nkeep off\nuidls_file {tmp_path}/ids\ndelivery maildir {box}\n",
    )
    run(("mpop", "-C", rc, "office"), tmp_path)
    assert sorted(path.read_bytes() for path in (box / "new").iterdir()) == sorted(map(_unix, letters))
    assert read_mailbox(office, reader) == []


@needs("curl")
def test_curl_lists_and_fetches(office: DaemonProcess, person: Person, tmp_path: Path) -> None:
    reader = person()
    letters = _sent(office, reader, 2)

    def curl(path: str, *words: str) -> bytes:
        port = office.ports.pop3s
        login = ("--user", f"{reader}:{PASSWORD}", "--cacert", trust_file(office))
        place = ("--resolve", f"mail.example.test:{port}:127.0.0.1", f"pop3s://mail.example.test:{port}/{path}")
        return run(("curl", "-sS", *login, *words, *place), tmp_path).stdout

    assert curl("") == b"1 %d\r\n2 %d\r\n" % (len(letters[0]), len(letters[1]))
    assert curl("2") == letters[1]
    assert len(curl("", "-X", "UIDL").splitlines()) == 2
