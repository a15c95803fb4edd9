"""The whole server under streams of likely nonsense, over its own sockets.

- After every stream the process lives, has logged no error of its own, and lets others in at once.
"""

from __future__ import annotations

import contextlib
import json
import random
import socket
import ssl
import threading
import time
from pathlib import Path

from tests.bench.mailbox.client import Client
from tests.bench.processes import cpu_s, memory
from tests.fault.clients import unverified
from tests.fuzz.engine import CPU_MAX_S, MEMORY_MAX, inputs
from tests.fuzz.targets import TARGETS
from tests.support.daemon_process import HOST, PASSWORD, DaemonProcess

SETTINGS = {"login": {"failures_per_minute": 10_000, "failures_per_day": 100_000}, "pop3": {"enabled": True}}
ROLES = ("smtp", "submission", "imap", "pop3", "sieve", "queue", "jobs")
LAG_MAX_S = 0.25
LINES = 12
READ_S = 0.5
_MAIL = (
    b"EHLO x", b"MAIL FROM:<a@there.test> SIZE=10 BODY=8BITMIME", b"RCPT TO:<u0@example.test>", b"DATA", b"RSET",
    b"NOOP", b"VRFY x", b"BDAT 3 LAST", b"AUTH PLAIN =", b"Subject: x\r\n\r\nbody\r\n.", b"HELP", b"QUIT",
)  # fmt: skip


class Watch(threading.Thread):
    """Asks the server something small all the time; the longest it had to wait."""

    def __init__(self, port: int, login: tuple[str, str]) -> None:
        super().__init__(daemon=True)
        self.worst_s = 0.0
        self._client = Client(port, login)
        self._halt = threading.Event()

    def run(self) -> None:
        while not self._halt.wait(0.02):
            began = time.perf_counter()
            self._client.run("NOOP")
            self.worst_s = max(self.worst_s, time.perf_counter() - began)

    def stop(self) -> None:
        self._halt.set()
        self.join()
        self._client.close()


class WholeServer:
    """Fuzzes a running daemon, one stream after the other."""

    def __init__(self, daemon: DaemonProcess, seed: int) -> None:
        self._daemon = daemon
        self._rng = random.Random(seed)
        address = daemon.addresses[0]
        login = f"{address} {PASSWORD}".encode()
        ports = daemon.ports
        self._doors = {
            "imap": (ports.imaps, True, b"l LOGIN %s\r\ns SELECT INBOX\r\n" % login),
            "pop3": (ports.pop3s, True, f"USER {address}\r\nPASS {PASSWORD}\r\n".encode()),
            "managesieve": (ports.sieve, False, b""),
            "smtp": (ports.smtp, False, b""),
        }
        self._inputs = {name: inputs(TARGETS[name], seed) for name in ("imap", "pop3", "managesieve", "mime", "sieve")}
        self._log = Path(daemon.log_path)
        self._read = 0

    def stream(self, door: str) -> bytes:
        """Lines for a door, now and then with a login before them."""
        _, _, login = self._doors[door]
        lines = [self._line(door) for _ in range(self._rng.randint(1, LINES))]
        ends = [self._rng.choice((b"\r\n", b"\r\n", b"\r\n", b"\n", b"")) for _ in lines]
        return (login if self._rng.random() < 0.7 else b"") + b"".join(
            line + end for line, end in zip(lines, ends, strict=True)
        )

    def _line(self, door: str) -> bytes:
        if door == "smtp":
            return self._rng.choice(_MAIL) if self._rng.random() < 0.8 else next(self._inputs["mime"])[:2000]
        if door == "imap" and self._rng.random() < 0.1:
            mail = next(self._inputs["mime"])[:4000]
            return b"m APPEND INBOX {%d+}\r\n%s" % (len(mail), mail)
        if door == "imap" and self._rng.random() < 0.1:
            return b"f UID FETCH 1:* (ENVELOPE BODYSTRUCTURE BODY[1] BODY.PEEK[HEADER] BODY[2.MIME])"
        if door == "managesieve" and self._rng.random() < 0.2:
            script = next(self._inputs["sieve"])[:4000]
            return b'PUTSCRIPT "s" {%d+}\r\n%s' % (len(script), script)
        return next(self._inputs[door])[:8000]

    def once(self, door: str) -> str:
        """Send one stream; what was wrong, empty when nothing was."""
        data = self.stream(door)
        pids = [self._daemon.pid]
        cpu, used = cpu_s(pids), memory(pids).rss
        self._send(door, data)
        if not self._daemon.running:
            return f"{door}: the server died of {data!r}"
        errors = self._errors()
        if errors:
            return f"{door}: {errors[0]} for {data!r}"
        if (spent := cpu_s(pids) - cpu) > CPU_MAX_S:
            return f"{door}: {spent:.1f} s of CPU for {data!r}"
        if (grown := memory(pids).rss - used) > MEMORY_MAX:
            return f"{door}: {grown >> 20} MiB for {data!r}"
        return ""

    def _send(self, door: str, data: bytes) -> None:
        port, secure, _ = self._doors[door]
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            peer: socket.socket | ssl.SSLSocket = stack.enter_context(socket.create_connection((HOST, port), timeout=5))
            if secure:
                peer = stack.enter_context(unverified().wrap_socket(peer))
            peer.settimeout(READ_S)
            peer.sendall(data)
            if not secure:
                peer.shutdown(socket.SHUT_WR)
            while peer.recv(65_536):
                pass

    def _errors(self) -> list[str]:
        """Errors logged since the last look."""
        with self._log.open("rb") as log:
            log.seek(self._read)
            lines = log.read().split(b"\n")
            self._read = log.tell() - len(lines[-1])
        found = []
        for line in lines[:-1]:
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                if entry.get("level") == "error":
                    found.append(str(entry)[:400])
        return found
