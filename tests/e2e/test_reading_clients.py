"""Programs that read: what they fetch is what was sent, and what they change is seen by the others."""

from __future__ import annotations

import imaplib
import mailbox
import re
import socket
import ssl
from collections.abc import Callable
from email.header import decode_header, make_header
from pathlib import Path

import pytest

from tests.support.daemon_process import PASSWORD, DaemonProcess
from tests.support.world_mail import (
    compose,
    deliver,
    mailbox_of,
    read_mailbox,
    trust_file,
    trusting,
    wait_for_mail,
)
from tests.support.world_programs import needs, run, run_on_terminal

Person = Callable[[], str]


@needs("curl")
def test_curl_lists_fetches_searches_stores_and_appends(office: DaemonProcess, person: Person, tmp_path: Path) -> None:
    """Every verb that curl has for IMAP, over a verified imaps connection."""
    reader = person()
    first, second = (
        compose("x@example.org", reader, subject="Apples"),
        compose("x@example.org", reader, subject="Pears"),
    )
    for octets in (first, second):
        deliver(office, octets, reader)

    def curl(path: str, *words: str | Path) -> bytes:
        port = office.ports.imaps
        login = ("--user", f"{reader}:{PASSWORD}", "--cacert", trust_file(office))
        place = ("--resolve", f"mail.example.test:{port}:127.0.0.1", f"imaps://mail.example.test:{port}/{path}")
        return run(("curl", "-sS", *login, *words, *place), tmp_path).stdout

    assert re.search(
        rb'\* LIST \([^)]*\\Sent[^)]*\) "/" "?Sent"?\r\n', curl("", "-X", 'LIST "" "*" RETURN (SPECIAL-USE)')
    )
    assert curl("INBOX;UID=1").endswith(first)
    assert curl("INBOX;MAILINDEX=2").endswith(second)
    assert curl("INBOX?SUBJECT%20Pears").strip() == b"* SEARCH 2"
    assert b"FLAGS" in curl("INBOX", "-X", "STORE 2 +FLAGS (\\Flagged \\Seen)")
    assert curl("INBOX?FLAGGED").strip() == b"* SEARCH 2"
    draft = tmp_path / "draft.eml"
    draft.write_bytes(compose(reader, "later@example.org"))
    curl("Drafts", "--upload-file", draft)
    assert read_mailbox(office, reader, "Drafts") == [draft.read_bytes()]


@needs("mutt")
def test_mutt_sends_and_a_second_mutt_reads(office: DaemonProcess, person: Person, tmp_path: Path) -> None:
    """Sent in batch through smtps with a copy in Sent; read on a terminal and copied into a local Maildir."""
    sender, reader = person(), person()
    settings = _muttrc(office, tmp_path, sender)
    body = "Grüße aus dem Büro\n.\nFrom here on\n"
    run(("mutt", "-F", settings, "-s", "Ein Gruß", reader), tmp_path, stdin=body.encode())
    stored = wait_for_mail(office, reader, b"Subject: ")
    (copy,) = read_mailbox(office, sender, "Sent")
    assert _body(copy) == _body(stored)

    settings, saved = _muttrc(office, tmp_path, reader), tmp_path / "saved"
    keys = f"<display-message><exit><copy-message><kill-line>{saved}<enter>q"
    run_on_terminal(("mutt", "-F", settings, "-f", "+INBOX", "-e", f'push "{keys}"'), tmp_path)
    (seen,) = mailbox.Maildir(saved)
    assert str(make_header(decode_header(seen["Subject"]))) == "Ein Gruß"
    assert seen.get_payload(decode=True) == body.encode()
    with mailbox_of(office, reader) as client:
        client.select("INBOX")
        assert client.search(None, "SEEN")[1] == [b"1"]


def test_imaplib_appends_flags_moves_copies_and_expunges(office: DaemonProcess, person: Person) -> None:
    """Python's imaplib with UIDPLUS (RFC 4315) and MOVE (RFC 6851)."""
    owner = person()
    octets = compose("x@example.org", owner)
    with mailbox_of(office, owner) as client:
        status, said = client.append("INBOX", "(\\Flagged $Work)", '"22-Nov-2026 10:00:00 +0100"', octets)
        assert status == "OK"
        validity, uid = re.search(rb"\[APPENDUID (\d+) (\d+)\]", said[0]).groups()  # type: ignore[union-attr]
        client.select("INBOX")
        _, (fetched, _) = client.uid("FETCH", uid.decode(), "(FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])")
        assert fetched[1] == octets
        assert b'INTERNALDATE "22-Nov-2026 10:00:00 +0100"' in fetched[0] or b"09:00:00 +0000" in fetched[0]
        assert b"RFC822.SIZE %d" % len(octets) in fetched[0]
        assert {rb"\Flagged", b"$Work"} <= set(re.search(rb"FLAGS \(([^)]*)\)", fetched[0])[1].split())  # type: ignore[index]
        assert client.create("Projects/One")[0] == "OK"
        assert client.uid("COPY", uid.decode(), "Projects/One")[0] == "OK"
        assert re.fullmatch(rb"\d+ %s 1" % uid, client.response("COPYUID")[1][0])
        assert client.uid("MOVE", uid.decode(), "Archive")[0] == "OK"
        assert client.response("COPYUID")[1][0].split()[1] == uid
        assert client.select("INBOX")[1] == [b"0"]
        assert client.response("UIDVALIDITY")[1] == [validity]
        client.select("Archive")
        client.store("1", "+FLAGS", "(\\Deleted)")
        assert client.uid("EXPUNGE", "1")[0] == "OK"
        assert client.select("Archive")[1] == [b"0"]
    assert read_mailbox(office, owner, "Projects/One") == [octets]


def test_idle_tells_of_mail_and_flags_at_once(office: DaemonProcess, person: Person) -> None:
    """RFC 2177 on a bare socket: new mail and another session's flag arrive without a command."""
    owner = person()
    raw = socket.create_connection(("127.0.0.1", office.ports.imaps), timeout=10)
    with trusting(office).wrap_socket(raw, server_hostname="mail.example.test") as peer:
        lines = peer.makefile("rb")
        lines.readline()
        _command(peer, lines, f'a LOGIN {owner} "{PASSWORD}"')
        _command(peer, lines, "b SELECT INBOX")
        peer.sendall(b"c IDLE\r\n")
        assert lines.readline().startswith(b"+ ")
        octets = compose("x@example.org", owner)
        deliver(office, octets, owner)
        assert _until(lines, b"EXISTS") == b"* 1 EXISTS\r\n"
        with mailbox_of(office, owner) as other:
            other.select("INBOX")
            other.store("1", "+FLAGS", "(\\Flagged)")
        assert b"\\Flagged" in _until(lines, b"FETCH")
        peer.sendall(b"DONE\r\n")
        assert _until(lines, b"c ").startswith(b"c OK")
    assert read_mailbox(office, owner)[0].endswith(octets)


def test_login_in_clear_is_refused_on_143(office: DaemonProcess, person: Person) -> None:
    """RFC 9051 §11.1: no LOGIN before STARTTLS, the right password or not; after it, yes."""
    owner = person()
    with imaplib.IMAP4("localhost", office.ports.imap, timeout=10) as client:
        assert "LOGINDISABLED" in client.capabilities
        with pytest.raises(imaplib.IMAP4.error, match="PRIVACYREQUIRED"):
            client.login(owner, PASSWORD)
        client.starttls(ssl_context=trusting(office))
        assert "LOGINDISABLED" not in client.capabilities
        assert client.login(owner, PASSWORD)[0] == "OK"


# mutt


def _muttrc(office: DaemonProcess, home: Path, address: str) -> Path:
    """Everything over verified implicit TLS."""
    login = address.replace("@", "%40")
    path = home / f"muttrc-{address}"
    path.write_text(
        f'set from="{address}" realname="" use_from=yes envelope_from=yes hostname="desk.test"\n'
        'set charset="utf-8" send_charset="utf-8"\n'
        f'set smtp_url="smtps://{login}@127.0.0.1:{office.ports.submissions}/" smtp_pass="{PASSWORD}"\n'
        f'set folder="imaps://{login}@127.0.0.1:{office.ports.imaps}/" imap_pass="{PASSWORD}"\n'
        f'set record="+Sent" spoolfile="+INBOX" copy=yes confirmappend=no confirmcreate=no mbox_type=Maildir\n'
        f'set certificate_file="{trust_file(office)}" ssl_force_tls=yes ssl_verify_host=yes quit=yes move=no\n'
        f'set header_cache="" sleep_time=0 wait_key=no beep=no mark_old=no timeout=5\n'
    )
    return path


def _body(octets: bytes) -> bytes:
    return octets.partition(b"\r\n\r\n")[2]


# IMAP on a bare socket


def _command(peer: ssl.SSLSocket, lines: object, command: str) -> None:
    peer.sendall(f"{command}\r\n".encode())
    tag = command.split()[0]
    assert _until(lines, f"{tag} ".encode()).startswith(f"{tag} OK".encode())


def _until(lines: object, wanted: bytes) -> bytes:
    while True:
        line: bytes = lines.readline()  # type: ignore[attr-defined]
        assert line, "the server closed the connection"
        if wanted in line:
            return line
