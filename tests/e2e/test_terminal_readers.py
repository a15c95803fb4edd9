"""mutt and neomutt on a terminal: they read, flag, move and save; neomutt catches up by QRESYNC."""

from __future__ import annotations

import imaplib
import mailbox
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.daemon_process import PASSWORD, DaemonProcess
from tests.support.world_mail import compose, deliver, mailbox_of, read_mailbox, trust_file
from tests.support.world_programs import needs, run_on_terminal

pytestmark = pytest.mark.timeout(150)

Person = Callable[[], str]
TERMINAL_S = 45.0


@pytest.mark.parametrize("program", [pytest.param(name, marks=needs(name)) for name in ("mutt", "neomutt")])
def test_reads_flags_moves_and_saves(office: DaemonProcess, person: Person, tmp_path: Path, program: str) -> None:
    """Each on a message of its own, found by its subject; the mailbox is synchronised on leaving."""
    owner = person()
    for subject in ("Apples", "Pears", "Plums", "Quinces", "Medlars"):
        deliver(office, compose("x@example.org", owner, subject=subject), owner)
    saved = tmp_path / "saved"
    keys = (
        "<search>~s Apples<enter><display-message><exit>"
        "<search>~s Pears<enter><flag-message>"
        "<search>~s Plums<enter><save-message><kill-line>=Archive<enter>"
        f"<search>~s Quinces<enter><copy-message><kill-line>{saved}<enter>"
        "<sync-mailbox><quit>"
    )
    run_on_terminal(
        (program, "-F", _settings(office, tmp_path, owner), "-f", "+INBOX", "-e", f'push "{keys}"'),
        tmp_path,
        timeout_s=TERMINAL_S,
    )
    with mailbox_of(office, owner) as client:
        assert _flags(client, "INBOX") == {
            "Apples": {"\\Seen"},
            "Pears": {"\\Flagged"},
            "Quinces": set(),
            "Medlars": set(),
        }
        assert "Plums" in _flags(client, "Archive")
    (copy,) = mailbox.Maildir(saved)
    assert copy["Subject"] == "Quinces"


@needs("neomutt")
def test_neomutt_catches_up_from_its_cache(office: DaemonProcess, person: Person, tmp_path: Path) -> None:
    """RFC 7162: with a header cache it asks for what changed since its HIGHESTMODSEQ, vanished messages too."""
    owner = person()
    for subject in ("Apples", "Pears", "Plums"):
        deliver(office, compose("x@example.org", owner, subject=subject), owner)
    cache = tmp_path / "cache"
    cache.mkdir()
    settings = _settings(office, tmp_path, owner, f'set header_cache="{cache}/" imap_condstore=yes imap_qresync=yes\n')

    def read(keys: str) -> str:
        trace = tmp_path / "trace"
        for old in tmp_path.glob("trace*"):
            old.unlink()
        argv = ("neomutt", "-l", trace, "-d", "2", "-F", settings, "-f", "+INBOX", "-e", f'push "{keys}"')
        run_on_terminal(argv, tmp_path, timeout_s=TERMINAL_S)
        return "".join(path.read_text("utf-8", "replace") for path in tmp_path.glob("trace*"))

    read("<quit>")
    with mailbox_of(office, owner) as client:
        client.select("INBOX")
        client.store("1", "+FLAGS", "(\\Flagged)")
        client.store("2", "+FLAGS", "(\\Deleted)")
        client.expunge()
    deliver(office, compose("x@example.org", owner, subject="Quinces"), owner)
    said = read("<tag-pattern>~F<enter><tag-prefix><save-message><kill-line>=Archive<enter><sync-mailbox><quit>")
    assert re.search(r"UID FETCH 1:3 \(FLAGS\) \(CHANGEDSINCE \d+ VANISHED\)", said), said[-4000:]
    assert "1" not in re.findall(r" FETCH (\S+) \(UID FLAGS INTERNALDATE", said), "its header is in the cache"
    with mailbox_of(office, owner) as client:
        assert set(_flags(client, "INBOX")) == {"Plums", "Quinces"}
        assert set(_flags(client, "Archive")) == {"Apples"}
    assert len(read_mailbox(office, owner)) == 2


def _settings(office: DaemonProcess, home: Path, address: str, more: str = "") -> Path:
    """Everything over verified implicit TLS, and no question asked."""
    login = address.replace("@", "%40")
    path = home / "muttrc"
    path.write_text(
        f'set from="{address}" charset="utf-8"\n'
        f'set folder="imaps://{login}@localhost:{office.ports.imaps}/" imap_pass="{PASSWORD}"\n'
        'set spoolfile="+INBOX" copy=no confirmappend=no confirmcreate=no mbox_type=Maildir\n'
        f'set certificate_file="{trust_file(office)}" ssl_force_tls=yes ssl_verify_host=yes\n'
        'set header_cache="" sleep_time=0 wait_key=no beep=no mark_old=no timeout=5\n'
        "set delete=yes quit=yes move=no\n" + more
    )
    return path


def _flags(client: imaplib.IMAP4, name: str) -> dict[str, set[str]]:
    """Each subject's flags, but \\Recent."""
    status, count = client.select(name, readonly=True)
    assert status == "OK"
    if count == [b"0"]:
        return {}
    _, lines = client.fetch("1:*", "(FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
    found = {}
    for line in lines:
        if isinstance(line, tuple):
            flags = {flag.decode() for flag in imaplib.ParseFlags(line[0])} - {"\\Recent"}
            found[line[1].decode().strip().removeprefix("Subject: ")] = flags
    return found
