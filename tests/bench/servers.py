"""What is measured: a server on ports of its own, in a folder of its own, with ten accounts."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from tests.support.daemon_process import PASSWORD, DaemonProcess

ACCOUNTS = 10
ROLES = ("smtp", "submission", "imap", "queue", "jobs", "http")


class Server(Protocol):
    """A server that runs between `__enter__` and `__exit__`."""

    name: str
    smtp_port: int
    imap_port: int
    imaps_port: int
    imap_starttls: bool
    logins: Sequence[tuple[str, str]]
    """Name and password of each account; the name is its address."""
    pids: Sequence[int]
    """Roots of its process trees."""

    def __enter__(self) -> Server: ...

    def __exit__(self, *_: object) -> None: ...


class MaiRust:
    """The daemon with all its roles, fsync on, checks of content off unless `settings` say otherwise."""

    name = "MaiRust"
    imap_starttls = True

    def __init__(self, folder: Path, settings: Mapping[str, Mapping[str, object]] | None = None) -> None:
        self.daemon = DaemonProcess(folder, accounts=ACCOUNTS, roles=ROLES, settings=settings)
        self.smtp_port = self.daemon.ports.smtp
        self.imap_port = self.daemon.ports.imap
        self.imaps_port = self.daemon.ports.imaps
        self.logins: Sequence[tuple[str, str]] = [(address, PASSWORD) for address in self.daemon.addresses]
        self.pids: Sequence[int] = ()
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> MaiRust:
        if self.daemon.database_path is not None and self.daemon.database_path.exists():
            self.daemon.start()
            self._stack.callback(self.daemon.close)
        else:
            self._stack.enter_context(self.daemon)
        self.pids = [self.daemon.pid]
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
