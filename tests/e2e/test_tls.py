"""TLS on every port, as OpenSSL's own client sees it (RFC 8314, RFC 8996)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.daemon_process import DaemonProcess
from tests.support.world_mail import trust_file
from tests.support.world_programs import environment, needs, run

pytestmark = needs("openssl")

PORTS = [
    ("smtp", ("-starttls", "smtp"), b"QUIT", b"221 2.0.0"),
    ("submission", ("-starttls", "smtp"), b"QUIT", b"221 2.0.0"),
    ("submissions", (), b"QUIT", b"220 mail.example.test"),
    ("imap", ("-starttls", "imap"), b"a LOGOUT", b"a OK"),
    ("imaps", (), b"a LOGOUT", b"* OK"),
]

GREETINGS = {"submissions": b"220 mail.example.test", "imaps": b"* OK"}


@pytest.mark.parametrize(("port", "words", "said", "heard"), PORTS, ids=[row[0] for row in PORTS])
def test_the_certificate_verifies_for_the_host_name(
    office: DaemonProcess, tmp_path: Path, port: str, words: tuple[str, ...], said: bytes, heard: bytes
) -> None:
    """Chain and name are checked, the version is 1.3, and the protocol speaks inside."""
    trust = ("-CAfile", trust_file(office), "-verify_return_error", "-verify_hostname", "mail.example.test")
    argv = (*_client(office, port), *words, *trust)
    if words:
        shown = run(argv, tmp_path, stdin=said + b"\n").stdout
    else:
        shown = _conversation(argv, tmp_path, after=GREETINGS[port], said=said)
    assert b"Verify return code: 0 (ok)" in shown
    assert b"New, TLSv1.3" in shown
    assert heard in shown


@pytest.mark.parametrize(("port", "words"), [row[:2] for row in PORTS], ids=[row[0] for row in PORTS])
def test_tls_1_1_is_refused(office: DaemonProcess, tmp_path: Path, port: str, words: tuple[str, ...]) -> None:
    """RFC 8996: the client wants 1.1 and lowers its own standards for it; the server does not."""
    lax = ("-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0")
    done = run((*_client(office, port), *words, *lax), tmp_path, code=1)
    assert b"Cipher is (NONE)" in done.stdout


def test_tls_1_2_with_forward_secrecy_is_taken(office: DaemonProcess, tmp_path: Path) -> None:
    """Older but sound clients stay welcome."""
    done = run((*_client(office, "imaps"), "-tls1_2"), tmp_path, stdin=b"a LOGOUT\n")
    assert b"TLSv1.2, Cipher is ECDHE" in done.stdout


def _conversation(argv: Sequence[str], home: Path, *, after: bytes, said: bytes) -> bytes:
    """Run the client and speak only once it has shown `after`: a server drops who talks before its greeting."""
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment(home)
    ) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        shown = b""
        while after not in shown and (octets := os.read(client.stdout.fileno(), 65_536)):
            shown += octets
        client.stdin.write(said + b"\n")
        client.stdin.flush()
        while octets := os.read(client.stdout.fileno(), 65_536):
            shown += octets
        return shown


def _client(office: DaemonProcess, port: str) -> tuple[str, ...]:
    place = f"127.0.0.1:{getattr(office.ports, port)}"
    return ("openssl", "s_client", "-crlf", "-ign_eof", "-connect", place, "-servername", "mail.example.test")
