"""Programs that manage scripts."""

from __future__ import annotations

import base64
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.daemon_process import PASSWORD, DaemonProcess
from tests.support.world_mail import trust_file, trusting
from tests.support.world_programs import needs, run

pytestmark = pytest.mark.timeout(90)
"""The first test also starts the server and makes its accounts."""

Person = Callable[[], str]
SCRIPT = 'require ["fileinto"];\r\nif header :contains "subject" "list" {\r\n  fileinto "Archive";\r\n}\r\n'


@needs("sieve-connect")
def test_sieve_connect_uploads_checks_activates_and_downloads(
    office: DaemonProcess, person: Person, tmp_path: Path
) -> None:
    """STARTTLS with a verified certificate, then PLAIN."""
    owner = person()
    (tmp_path / "lists.sieve").write_bytes(SCRIPT.encode())
    (tmp_path / "broken.sieve").write_text("if nonsense\n")
    (tmp_path / "password").write_text(PASSWORD + "\n")

    def connect(*words: str | Path, code: int | None = 0) -> bytes:
        server = ("--server", "localhost", "--port", str(office.ports.sieve), "--nosrv", "--4")
        login = ("--user", owner, "--authmech", "PLAIN", "--passwordfd", "0")
        trust = ("--tlscafile", trust_file(office))
        text = (PASSWORD + "\n").encode()
        done = run(("sieve-connect", *server, *login, *trust, *words), tmp_path, stdin=text, code=code)
        return done.stdout + done.stderr

    local = ("--localsieve", tmp_path / "lists.sieve", "--remotesieve", "lists")
    connect(*local, "--upload")
    assert b'"lists"' in connect("--list")
    connect("--remotesieve", "lists", "--activate")
    assert b'"lists" ACTIVE' in connect("--list")
    connect("--remotesieve", "lists", "--localsieve", tmp_path / "back.sieve", "--download")
    assert (tmp_path / "back.sieve").read_bytes().splitlines() == SCRIPT.encode().splitlines()
    told = connect("--localsieve", tmp_path / "broken.sieve", "--remotesieve", "broken", "--upload", code=None)
    assert b"line" in told.lower()
    assert b'"broken"' not in connect("--list")
    connect("--deactivate")
    connect("--remotesieve", "lists", "--delete")
    assert b'"lists"' not in connect("--list")


def test_a_script_stored_over_the_wire_survives_a_new_session(office: DaemonProcess, person: Person) -> None:
    owner = person()
    message = base64.b64encode(b"\0" + owner.encode() + b"\0" + PASSWORD.encode())

    def session(*commands: bytes) -> bytes:
        plain = socket.create_connection((office.host, office.ports.sieve), timeout=10)
        _until(plain, b'OK "ManageSieve ready"\r\n')
        plain.sendall(b"STARTTLS\r\n")
        _until(plain, b"OK ")
        with trusting(office).wrap_socket(plain, server_hostname="localhost") as secure:
            _until(secure, b'OK "TLS is active"\r\n')
            secure.sendall(b'AUTHENTICATE "PLAIN" "' + message + b'"\r\n' + b"".join(commands) + b"LOGOUT\r\n")
            return _until(secure, b'OK "Bye"\r\n')

    script = SCRIPT.encode()
    session(b'PUTSCRIPT "s" {%d+}\r\n%s\r\n' % (len(script), script), b'SETACTIVE "s"\r\n')
    said = session(b"LISTSCRIPTS\r\n", b'GETSCRIPT "s"\r\n')
    assert b'"s" ACTIVE\r\n' in said
    assert b"{%d}\r\n%s\r\n" % (len(script), script) in said


def _until(sock: socket.socket | ssl.SSLSocket, end: bytes) -> bytes:
    """Read until a line begins with `end` and is whole."""
    found = b""
    while not (end in found and found.endswith(b"\r\n")):
        chunk = sock.recv(65_536)
        assert chunk, found
        found += chunk
    return found
