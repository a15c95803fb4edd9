"""Programs that send: each logs in over a verified TLS connection, and what arrives ends with the octets it sent."""

from __future__ import annotations

import json
import smtplib
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.daemon_process import PASSWORD, DaemonProcess
from tests.support.world_mail import compose, deliver, trust_file, trusting, wait_for, wait_for_mail
from tests.support.world_programs import needs, run

Person = Callable[[], str]


@needs("swaks")
def test_swaks_delivers_from_the_world(office: DaemonProcess, person: Person, tmp_path: Path) -> None:
    """Port 25, STARTTLS as a server does it: the stored message is the sent one under our trace fields."""
    to = person()
    octets = compose("swaks@example.org", to)
    _swaks(office, tmp_path, octets, "--port", office.ports.smtp, "--from", "swaks@example.org", "--to", to, "--tls")
    stored = wait_for_mail(office, to, octets[:200])
    assert stored.endswith(octets)
    assert stored.startswith(b"Return-Path: <swaks@example.org>\r\n")
    assert b"with ESMTPS" in stored


@needs("swaks")
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_swaks_submits_with_starttls(office: DaemonProcess, person: Person, tmp_path: Path, mechanism: str) -> None:
    """Port 587: STARTTLS, AUTH, and a DKIM signature above the octets of the sender (RFC 6409)."""
    sender, to = person(), person()
    octets = compose(sender, to)
    secret = ("--auth", mechanism, "--auth-user", sender, "--auth-password", PASSWORD)
    _swaks(office, tmp_path, octets, "--port", office.ports.submission, "--from", sender, "--to", to, "--tls", *secret)
    stored = wait_for_mail(office, to, octets[:200])
    assert stored.endswith(octets)
    assert b"DKIM-Signature: " in stored


@needs("swaks")
def test_swaks_submits_on_465(office: DaemonProcess, person: Person, tmp_path: Path) -> None:
    """Implicit TLS (RFC 8314)."""
    sender, to = person(), person()
    octets = compose(sender, to)
    secret = ("--tls-on-connect", "--auth", "PLAIN", "--auth-user", sender, "--auth-password", PASSWORD)
    _swaks(office, tmp_path, octets, "--port", office.ports.submissions, "--from", sender, "--to", to, *secret)
    assert wait_for_mail(office, to, octets[:200]).endswith(octets)


@needs("swaks")
def test_swaks_gets_no_login_before_tls(office: DaemonProcess, person: Person, tmp_path: Path) -> None:
    """No password crosses the wire in clear: AUTH is neither offered nor taken."""
    sender = person()
    where = ("--server", "127.0.0.1", "--port", str(office.ports.submission), "--from", sender, "--to", sender)
    login = ("--auth", "PLAIN", "--auth-user", sender, "--auth-password", PASSWORD)
    done = run(("swaks", *where, *login, "--quit-after", "AUTH"), tmp_path, code=None)
    assert done.returncode == 28, done.stdout  # swaks: the server doesn't offer AUTH
    assert b"AUTH" not in done.stdout.split(b"-> QUIT")[0].replace(b"-> AUTH", b"")


@needs("msmtp")
def test_msmtp_sends_to_a_colleague_and_to_the_world(office: DaemonProcess, person: Person, tmp_path: Path) -> None:
    """One message, two recipients: one here, one captured on its way out, with the same signed octets."""
    sender, colleague = person(), person()
    octets = compose(sender, f"{colleague}, far@away.example")
    config = tmp_path / "msmtprc"
    config.write_text(
        f"account default\nhost 127.0.0.1\nport {office.ports.submissions}\ntls on\ntls_starttls off\n"
        f"tls_trust_file {trust_file(office)}\nauth on\nuser {sender}\npassword {PASSWORD}\nfrom {sender}\n"
    )
    config.chmod(0o600)
    message = octets.replace(b"\r\n", b"\n")
    run(("msmtp", "-C", config, colleague, "far@away.example"), tmp_path, stdin=message)
    stored = wait_for_mail(office, colleague, octets[:200])
    assert stored.endswith(octets)
    envelope, sent = wait_for("captured mail", lambda: _captured(office, "far@away.example"))
    assert envelope["sender"] == sender
    assert sent.endswith(octets)
    signature = b"DKIM-Signature: "
    assert sent[sent.index(signature) :] == stored[stored.index(signature) :]


@needs("curl")
def test_curl_sends_over_smtps(office: DaemonProcess, person: Person, tmp_path: Path) -> None:
    """The certificate is verified for the server's host name."""
    sender, to = person(), person()
    octets = compose(sender, to)
    (tmp_path / "letter.eml").write_bytes(octets)
    port = office.ports.submissions
    login = ("--user", f"{sender}:{PASSWORD}", "--cacert", trust_file(office))
    place = ("--resolve", f"mail.example.test:{port}:127.0.0.1", f"smtps://mail.example.test:{port}/desk.test")
    letter = ("--mail-from", sender, "--mail-rcpt", to, "--upload-file", tmp_path / "letter.eml")
    run(("curl", "-sS", *login, *letter, *place), tmp_path)
    assert wait_for_mail(office, to, octets[:200]).endswith(octets)


def test_smtplib_submits_with_starttls(office: DaemonProcess, person: Person) -> None:
    """Python's smtplib: STARTTLS, AUTH PLAIN, one message to two colleagues."""
    sender, first, second = person(), person(), person()
    octets = compose(sender, f"{first}, {second}")
    with smtplib.SMTP("localhost", office.ports.submission, local_hostname="desk.test", timeout=10) as client:
        client.starttls(context=trusting(office))
        client.login(sender, PASSWORD)
        assert client.sendmail(sender, [first, second], octets, mail_options=["BODY=8BITMIME"]) == {}
    assert wait_for_mail(office, first, octets[:200]).endswith(octets)
    assert wait_for_mail(office, second, octets[:200]).endswith(octets)


def test_a_message_of_20_mib_survives(office: DaemonProcess, person: Person) -> None:
    """A large message is spooled, stored and read back, octet for octet."""
    to = person()
    octets = compose("big@example.org", to) + (b"0123456789abcdef" * 4 + b"\r\n") * 330_000
    deliver(office, octets, to, sender="big@example.org")
    assert wait_for_mail(office, to, b"big@example.org", timeout_s=15).endswith(octets)


def test_pipelined_transactions_in_one_write(office: DaemonProcess, person: Person) -> None:
    """RFC 2920: MAIL, RCPT, DATA of the first, then a whole second transaction, with one write each."""
    to = person()
    first, second = compose("p@example.org", to), compose("p@example.org", to)
    envelope = f"MAIL FROM:<p@example.org> BODY=8BITMIME\r\nRCPT TO:<{to}>\r\nDATA\r\n".encode()
    stuffed = [octets.replace(b"\r\n.", b"\r\n..") + b".\r\n" for octets in (first, second)]
    with socket.create_connection((office.host, office.ports.smtp), timeout=10) as peer:
        lines = peer.makefile("rb")
        lines.readline()
        peer.sendall(b"EHLO pipe.example.org\r\n")
        while not lines.readline().startswith(b"250 "):
            pass
        peer.sendall(envelope)
        assert [lines.readline()[:3] for _ in range(3)] == [b"250", b"250", b"354"]
        peer.sendall(stuffed[0] + envelope)
        assert [lines.readline()[:3] for _ in range(4)] == [b"250", b"250", b"250", b"354"]
        peer.sendall(stuffed[1] + b"QUIT\r\n")
        assert [lines.readline()[:3] for _ in range(2)] == [b"250", b"221"]
    assert wait_for_mail(office, to, first[:200]).endswith(first)
    assert wait_for_mail(office, to, second[:200]).endswith(second)


def _swaks(office: DaemonProcess, home: Path, octets: bytes, *words: object) -> None:
    """Swaks with the certificate verified; it writes the line ends, the last one too, and dots itself."""
    letter = home / "letter.eml"
    letter.write_bytes(octets.replace(b"\r\n", b"\n").removesuffix(b"\n"))
    fixed = ("swaks", "--server", "127.0.0.1", "--helo", "desk.test", "--data", f"@{letter}")
    trust = ("--tls-verify", "--tls-ca-path", trust_file(office))
    run((*fixed, *trust, *(str(word) for word in words)), home)


def _captured(office: DaemonProcess, recipient: str) -> tuple[dict[str, object], bytes] | None:
    """The captured mail to one recipient: its envelope and octets."""
    for path in office.capture.glob("*.json"):
        envelope = json.loads(path.read_text())
        if recipient in str(envelope):
            return envelope, path.with_suffix(".eml").read_bytes()
    return None
