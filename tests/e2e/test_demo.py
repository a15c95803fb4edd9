"""`mairust demo`: the whole appliance by one command, and the first proof of every package."""

from __future__ import annotations

import contextlib
import imaplib
import re
import signal
import smtplib
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemon_process import free_ports
from tests.support.world_cli import cli_environment, command, run_cli

pytestmark = pytest.mark.timeout(90)


def test_once_delivers_reads_back_and_tells_the_trace(tmp_path: Path) -> None:
    """Submitted with a verified certificate, read by IMAP, explained; exit 0, and nothing stays behind."""
    done = run_cli(("demo", "--once", "--base-port", "0"), tmp_path, timeout_s=60)
    assert "read back by IMAP: same bytes" in done.stdout
    assert re.search(r"submissions +accepted +alice@example\.test", done.stdout)
    assert re.search(r"delivery +stored +stored in INBOX of bob@example\.test", done.stdout)
    assert "Delivered to bob@example.test." in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_it_stays_up_until_ctrl_c_and_keeps_its_folder(tmp_path: Path) -> None:
    """Printed ports answer; Ctrl-C ends it with 0; with --dir the next start finds the mail of the last one."""
    folder = tmp_path / "demo"
    with _demo(tmp_path, folder) as (child, said):
        port = int(_found(r"(\d+) reception", said))
        with smtplib.SMTP("127.0.0.1", port, timeout=10) as client:
            client.sendmail("x@example.org", ["bob@example.test"], "From: x@example.org\r\nSubject: Kept\r\n\r\nx\r\n")
        assert _waiting(said) == b"1"
        _stop(child)
    with _demo(tmp_path, folder) as (child, said):
        assert _waiting(said) == b"1"
        _stop(child)
    assert not (folder / "api.sock").exists()


def test_a_busy_port_is_named(tmp_path: Path) -> None:
    """Exit 5 with the port and a base that is free."""
    port = free_ports().smtp
    with socket.create_server(("127.0.0.1", port)):
        done = run_cli(("demo", "--once", "--base-port", str(port - 25)), tmp_path, code=5)
    assert str(port) in done.stderr
    assert "--base-port" in done.stderr


@contextlib.contextmanager
def _demo(home: Path, folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running demo, and what it printed when it was ready."""
    words = command("demo", "--dir", str(folder), "--base-port", "0")
    child = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=cli_environment(home)
    )
    assert child.stdout is not None
    assert child.stderr is not None
    try:
        lines: list[str] = []
        while not (lines and lines[-1].startswith("console")):
            lines.append(child.stdout.readline())
            assert lines[-1], child.stderr.read()
        yield child, "".join(lines)
    finally:
        if child.poll() is None:
            child.send_signal(signal.SIGINT)
            child.wait(30)
        child.stdout.close()
        child.stderr.close()


def _stop(child: subprocess.Popen[str]) -> None:
    """Ctrl-C, as a terminal sends it; the daemon is gone too."""
    child.send_signal(signal.SIGINT)
    assert child.wait(30) == 0
    assert child.stderr is not None
    assert "Traceback" not in child.stderr.read()


def _waiting(said: str) -> bytes:
    """How many messages Bob has, read with the certificate that the demo says to trust."""
    port = int(_found(r"IMAP +(\d+) TLS", said))
    context = ssl.create_default_context(cafile=_found(r"trust +(\S+)", said))
    with imaplib.IMAP4_SSL("localhost", port, ssl_context=context, timeout=10) as client:
        client.login("bob@example.test", _found(r"password +(\S+)", said))
        count = client.select("INBOX", readonly=True)[1][0]
    assert count is not None
    return count


def _found(pattern: str, said: str) -> str:
    match = re.search(pattern, said)
    assert match is not None, said
    return match[1]
