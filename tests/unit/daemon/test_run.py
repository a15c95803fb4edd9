"""server.daemon.run in a process of its own: a real daemon with a small service, from start to exit code."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

PROGRAM = """
import asyncio, os, sys
from pathlib import Path
from server.config.load import parse
from server.daemon.run import run
from server.daemon.exits import ExitCode, StartFailure
from server.daemon.service import Service, Probe

class Appliance:
    def __init__(self, settings, host):
        self.host, self.settings = host, settings
        self.services = [Service(name="smtp", critical=True, start=self.start, run=self.serve, drain=self.drain)]
        self.probes = []
    async def start(self):
        (self.listening,) = self.host.sockets.tcp("smtp", ["127.0.0.1"], self.settings.server.smtp_port)
        self.server = await asyncio.start_server(self.answer, sock=self.listening)
    async def answer(self, reader, writer):
        line = await reader.readline()
        if line == b"die\\n":
            self.host.fatal(ExitCode.STORAGE, "fsync failed")
        writer.write(line)
        await writer.drain()
        writer.close()
    async def serve(self):
        await asyncio.Event().wait()
    async def drain(self, grace_s):
        self.server.close()
    async def reload(self, settings):
        pass
    async def close(self):
        print("closed", flush=True)

async def build(settings, host):
    return Appliance(settings, host)

path = Path(sys.argv[1])
settings = parse(path.read_text()).settings
try:
    sys.exit(run(settings, path, dict(os.environ), build))
except StartFailure as failure:
    print(failure.text, file=sys.stderr)
    os._exit(failure.code)
"""


class Daemon:
    """One such process, started and ready."""

    def __init__(self, folder: Path, state: Path) -> None:
        self.heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.heard.bind(str(folder / "notify"))
        self.heard.settimeout(10)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.config = folder / "config.yaml"
        self.write("")
        self.state = state
        self.process = self.start()
        assert self.hear().startswith("READY=1")

    def write(self, more: str) -> None:
        state = self.config.parent / "state"
        text = f"server: {{hostname: m.example.test, smtp_port: {self.port}, state_dir: {state}}}\n{more}"
        self.config.write_text(text)

    def start(self) -> subprocess.Popen[str]:
        environ = {**os.environ, "NOTIFY_SOCKET": str(self.config.parent / "notify"), "WATCHDOG_USEC": "30000000"}
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(self.config)],
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def hear(self) -> str:
        """The next message that isn't a ping."""
        while (message := self.heard.recv(4096).decode()) == "WATCHDOG=1":
            continue
        return message

    def say(self, line: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as client:
            client.sendall(line)
            return client.recv(100)

    def end(self, number: int | None) -> tuple[int, str]:
        if number is not None:
            self.process.send_signal(number)
        output, errors = self.process.communicate(timeout=10)
        assert "Traceback" not in errors
        return self.process.returncode, output


@pytest.fixture
def daemon(tmp_path: Path, state_dir: Path) -> Iterator[Daemon]:
    made = Daemon(tmp_path, state_dir)
    yield made
    made.heard.close()
    if made.process.poll() is None:
        made.process.kill()
        made.process.communicate()


def test_it_serves_tells_systemd_and_stops_with_0_on_sigterm(daemon: Daemon) -> None:
    assert daemon.say(b"hello\n") == b"hello\n"
    code, output = daemon.end(signal.SIGTERM)
    assert code == 0
    assert "closed" in output
    assert daemon.hear().startswith("STOPPING=1")


def test_f17_a_second_one_on_the_same_state_exits_75_naming_the_first(daemon: Daemon) -> None:
    second = daemon.start()
    _, errors = second.communicate(timeout=10)
    assert second.returncode == 75
    assert f"in use by process {daemon.process.pid}" in errors
    assert daemon.say(b"still here\n") == b"still here\n"


def test_f04_a_fatal_storage_failure_exits_74_within_a_second(daemon: Daemon) -> None:
    daemon.say(b"die\n")
    began = time.monotonic()
    code, _ = daemon.end(None)
    assert code == 74
    assert time.monotonic() - began < 1.5


def test_sighup_reloads_and_a_faulty_file_is_logged_by_line(daemon: Daemon) -> None:
    daemon.write("smtp: {max_hops: 40}\n")
    daemon.process.send_signal(signal.SIGHUP)
    assert [daemon.hear().split("\n")[0] for _ in range(2)] == ["RELOADING=1", "READY=1"]
    daemon.write("smtp: {max_hopps: 40}\n")
    daemon.process.send_signal(signal.SIGHUP)
    assert [daemon.hear().split("\n")[0] for _ in range(2)] == ["RELOADING=1", "READY=1"]
    code, output = daemon.end(signal.SIGTERM)
    assert code == 0
    assert '"applied":["smtp.max_hops"]' in output
    assert "config.yaml:2: smtp.max_hopps: unknown key" in output
