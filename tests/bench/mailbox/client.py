"""An IMAP client that costs little: it looks for the tagged line and for nothing else."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import time
from collections.abc import Iterable

_TAIL = 4096


class CommandFailed(Exception):
    """The server did not say OK; the text is its answer."""


def unverified() -> ssl.SSLContext:
    """Certificates are ones that the servers made themselves."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Client:
    """One TLS connection, logged in."""

    def __init__(self, port: int, login: tuple[str, str]) -> None:
        raw = socket.create_connection(("127.0.0.1", port), timeout=300)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = unverified().wrap_socket(raw)
        self._number = 0
        self._buffer = memoryview(bytearray(1 << 18))
        self._socket.recv(_TAIL)
        self.run(f'LOGIN "{login[0]}" "{login[1]}"')
        self.capabilities = self.text("CAPABILITY")

    def close(self) -> None:
        self._socket.close()

    def run(self, command: str) -> int:
        """Octets of the answer, which is thrown away. Raises CommandFailed."""
        return self._wait(self._send(command.encode()), None)

    def text(self, command: str) -> bytes:
        """The whole answer. Raises CommandFailed."""
        kept = bytearray()
        self._wait(self._send(command.encode()), kept)
        return bytes(kept)

    def append(self, mailbox: str, messages: Iterable[bytes], *, window: int = 1) -> None:
        """Store messages by literals that don't wait, `window` of them ahead of their answers."""
        waiting = []
        for message in messages:
            head = f"APPEND {mailbox} {{{len(message)}+}}\r\n".encode()
            waiting.append(self._send(head + message))
            if len(waiting) == window:
                self._wait(waiting[-1], None)
                waiting.clear()
        if waiting:
            self._wait(waiting[-1], None)

    def select(self, mailbox: str) -> int:
        """Messages in the mailbox."""
        found = re.search(rb"\* (\d+) EXISTS", self.text(f"SELECT {mailbox}"))
        assert found is not None
        return int(found[1])

    def make(self, mailbox: str) -> None:
        """Create a mailbox unless there is one from the round before."""
        with contextlib.suppress(CommandFailed):
            self.run(f"CREATE {mailbox}")

    def idle(self) -> None:
        """Begin IDLE (RFC 2177)."""
        self._socket.sendall(b"idle IDLE\r\n")
        assert self._socket.recv(_TAIL).startswith(b"+")

    def told(self) -> float:
        """Wait for EXISTS while idle; when it came."""
        seen = b""
        while b" EXISTS" not in seen:
            seen += self._socket.recv(_TAIL)
        return time.perf_counter()

    def done(self) -> None:
        self._socket.sendall(b"DONE\r\n")
        self._wait(b"idle", None)

    def _send(self, command: bytes) -> bytes:
        self._number += 1
        tag = b"zq%dx" % self._number
        self._socket.sendall(tag + b" " + command + b"\r\n")
        return tag

    def _wait(self, tag: bytes, kept: bytearray | None) -> int:
        tail, total = b"\n", 0
        while True:
            size = self._socket.recv_into(self._buffer)
            if not size:
                raise CommandFailed("the server closed the connection")
            total += size
            if kept is not None:
                kept += self._buffer[:size]
            tail = (tail + bytes(self._buffer[max(0, size - _TAIL) : size]))[-_TAIL:]
            place = tail.rfind(b"\n" + tag + b" ")
            if place >= 0 and tail.endswith(b"\r\n"):
                status = tail[place + 1 :]
                if not status.startswith(tag + b" OK"):
                    raise CommandFailed(status.decode("utf-8", "replace").strip())
                return total
