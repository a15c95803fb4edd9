"""Finding the daemon, and what is said when it can not be talked to."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mairust_cli.client import api as client_api
from mairust_cli.client.endpoint import Endpoint
from mairust_cli.client.unreachable import not_allowed
from tests.cli.conftest import Mairust, runner
from tests.cli.fake_api import FakeApi


@contextmanager
def _listener(path: Path, answer: bytes | None) -> Iterator[None]:
    """A server that reads once and says `answer`, or stays silent when there is none."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()
    server.settimeout(0.05)
    stop = threading.Event()
    kept: list[socket.socket] = []

    def serve() -> None:
        while not stop.is_set():
            try:
                connection, _ = server.accept()
            except TimeoutError:
                continue
            kept.append(connection)
            if answer is not None:
                connection.recv(65536)
                connection.sendall(answer)
                connection.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        server.close()
        for connection in kept:
            connection.close()


@pytest.fixture
def lonely(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mairust:
    return runner({"MAIRUST_SOCKET": str(tmp_path / "none.sock"), "PATH": "/usr/bin:/bin"}, monkeypatch)


def test_no_socket_is_exit_6_with_the_way_to_start(lonely: Mairust, tmp_path: Path) -> None:
    result = lonely("domain", "list")
    assert result.code == 6
    assert result.err.splitlines() == [
        "error: the MaiRust daemon is not running",
        f"nothing answers at {tmp_path}/none.sock",
        "try: sudo systemctl start mairust.target   then: journalctl -u mairustd -n 30",
    ]


def test_a_stale_socket_is_the_same(lonely: Mairust, tmp_path: Path) -> None:
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(tmp_path / "none.sock"))
    stale.close()
    assert lonely("domain", "list").code == 6


def test_permission_denied_names_group_user_and_the_command_as_typed(
    mairust: Mairust, api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Endpoint, timeout_s: float) -> None:
        raise PermissionError

    api.socket.chmod(0o660)
    monkeypatch.setattr(Endpoint, "connect", refuse)
    result = mairust("queue", "list", "--from", "a b@example.com")
    assert result.code == 4
    lines = result.err.splitlines()
    assert lines[0] == "error: not allowed to talk to the MaiRust daemon"
    assert "is open to" in lines[1]
    assert lines[2].startswith("try: sudo mairust queue list --from 'a b@example.com'   or: sudo usermod -aG ")


def test_permission_message_promises_nothing_of_a_group_that_is_shut_out(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    path.touch(mode=0o600)
    error = not_allowed(Endpoint(socket=str(path)), "mairust queue list")
    assert "usermod" not in error.hint
    assert "and root alone" in error.why


def test_permission_message_without_a_readable_folder() -> None:
    error = not_allowed(Endpoint(socket="/nonexistent/api.sock"), "mairust queue list")
    assert "open to root and group 'mairust-admin'" in error.why


def test_silent_daemon_is_exit_6(lonely: Mairust, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_api, "SILENCE_S", 0.1)
    monkeypatch.setattr(client_api.Client, "alive", lambda self: False)
    with _listener(tmp_path / "none.sock", None):
        result = lonely("domain", "list")
    assert result.code == 6
    assert "does not answer (starting, or stuck)" in result.err


def test_slow_but_living_daemon_is_waited_for_until_the_deadline(
    mairust: Mairust, api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_api, "SILENCE_S", 0.05)
    api.delay_s = 0.3
    assert mairust("domain", "list").code == 0
    assert mairust("domain", "list", "--timeout", "0.15").code == 8


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: nonsense\r\n\r\n{}",
        b"\x00" * 100,
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 " + b"x" * 70000,
        b"HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_broken_answers_are_no_traceback(answer: bytes, lonely: Mairust, tmp_path: Path) -> None:
    with _listener(tmp_path / "none.sock", answer):
        result = lonely("domain", "list")
    assert result.code in (0, 1, 6)
    assert "unexpected way" not in result.err


def test_not_configured_sends_to_setup(mairust: Mairust, api: FakeApi) -> None:
    api.fail("GET", "/domains", 503, "not_configured")
    result = mairust("domain", "list")
    assert result.code == 7
    assert "this server is not set up yet" in result.err
    assert "try: sudo mairust setup" in result.err


def test_token_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remote = runner({"MAIRUST_URL": "http://127.0.0.1:9", "PATH": "/bin"}, monkeypatch)
    (tmp_path / "token").write_text("mk_abc\n")
    (tmp_path / "empty").write_text("")
    (tmp_path / "bad").write_bytes(b"\xff\xfe")
    assert remote("domain", "list", "--token-file", str(tmp_path / "token")).code == 6
    for name in ("empty", "bad", "missing"):
        assert remote("domain", "list", "--token-file", str(tmp_path / name)).code == 7


def test_local_commands_refuse_a_remote_daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    remote = runner({"MAIRUST_URL": "https://mail.example.com", "PATH": "/bin"}, monkeypatch)
    for command in ("demo", "setup", "config set a.b 1", "config unset a.b"):
        assert remote(*command.split()).code == 2


def test_a_reader_that_goes_away_ends_the_command_silently(api: FakeApi) -> None:
    api.state.domains = [{"id": "x", "name": f"d{n}.example"} for n in range(5000)]
    code = "from mairust_cli.app import main; main()"
    child = subprocess.Popen(
        [sys.executable, "-c", code, "domain", "list", "-o", "ndjson"],
        cwd=Path(__file__).resolve().parents[2],
        env={**os.environ, "MAIRUST_SOCKET": str(api.socket)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert child.stdout is not None
    assert child.stderr is not None
    child.stdout.readline()
    child.stdout.close()
    assert child.stderr.read() == b""
    child.stderr.close()
    assert child.wait() == 0


@pytest.mark.parametrize(
    ("closing", "code"),
    [
        (">&-", 0),
        ("2>&-", 0),
        ("<&-", 0),
        (">&- 2>&- <&-", 0),
        ("> /dev/full", 1),
        ("> /dev/full 2> /dev/full", 1),
        ("--nonsense 2> /dev/full", 1),
        ("--nonsense 2>&-", 2),
    ],
)
def test_closed_and_full_streams_are_no_traceback(closing: str, code: int, api: FakeApi) -> None:
    line = f"{sys.executable} -m mairust_cli domain list {closing}"
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "MAIRUST_SOCKET": str(api.socket)}
    done = subprocess.run(["sh", "-c", line], cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr + done.stdout
    assert "unexpected way" not in done.stderr
    assert done.returncode == code


def test_wait_for_ready(mairust: Mairust, lonely: Mairust, api: FakeApi) -> None:
    assert mairust("wait", "--for", "ready").code == 0
    api.answers[("GET", "/health/ready")] = (503, {"status": "unhealthy"})
    assert mairust("wait", "--for", "ready", "--timeout", "0.3").code == 8
    assert lonely("wait", "--timeout", "0.3").code == 8


def test_doctor_looks_around_when_the_daemon_is_down(lonely: Mairust) -> None:
    result = lonely("doctor")
    assert result.code == 11
    assert "SOCKET" in result.out
