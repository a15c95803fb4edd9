"""What the daemon tells systemd, by sd_notify(3) datagrams; silent where nobody listens.

- Path and abstract (`@name`) sockets. A message that can't be sent is logged, never an error.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping

from server.telemetry.log import get_logger

log = get_logger("daemon")

WATCHDOG_PINGS = 3
"""Pings per watchdog time: two may be lost."""


class SystemdNotifier:
    """One datagram socket to `$NOTIFY_SOCKET`."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket: socket.socket | None = None
        if self._address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)
        usec = environ.get("WATCHDOG_USEC", "")
        self.ping_interval_s = int(usec) / 1e6 / WATCHDOG_PINGS if usec.isdigit() and int(usec) > 0 else None

    def ready(self, status: str) -> None:
        self._send("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str) -> None:
        self._send("STOPPING=1", f"STATUS={status}")

    def status(self, text: str) -> None:
        self._send(f"STATUS={text}")

    def watchdog(self) -> None:
        self._send("WATCHDOG=1")

    def extend(self, seconds: float) -> None:
        """Ask for this much more time to start or stop, counted from now."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, *lines: str) -> None:
        if self._socket is None:
            return
        data = "\n".join(line.replace("\n", " ") for line in lines).encode()
        try:
            self._socket.sendto(data, self._address)
        except OSError as error:
            log.warning("systemd.notify_failed", error=error.strerror)
