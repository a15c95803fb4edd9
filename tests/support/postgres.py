"""A PostgreSQL server of the test run's own: a temporary folder, a free port, an unprivileged user."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path


def binaries() -> Path | None:
    """The folder of the newest installed PostgreSQL server, or None."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda p: int(p.parent.parent.name))
    return found[-1].parent if found else None


class PostgresServer:
    """One running server; `dsn(name)` makes a database and returns its address."""

    def __init__(self, *options: str) -> None:
        folder = binaries()
        assert folder is not None
        self._bin = folder
        self._root = Path(tempfile.mkdtemp(prefix="mairust-pg-"))
        self._data = self._root / "data"
        self._user = self._owner()
        self.port = _free_port()
        self._options = [f"-p{self.port}", f"-k{self._root}", "-h127.0.0.1", "-F" if "nosync" in options else ""]
        self._process: subprocess.Popen[bytes] | None = None
        self._count = 0
        self._run("initdb", "-D", str(self._data), "-U", "mairust", "-A", "trust", "-E", "UTF8", "--no-locale", "-N")
        self.start()

    def _owner(self) -> int | None:
        if os.geteuid() != 0:
            return None
        uid = pwd.getpwnam("postgres").pw_uid
        os.chown(self._root, uid, -1)
        return uid

    def _run(self, program: str, *args: str) -> None:
        subprocess.run([str(self._bin / program), *args], check=True, capture_output=True, user=self._user, cwd="/")

    def start(self) -> None:
        """Start and wait until it answers."""
        options = [option for option in self._options if option]
        log = open(self._root / "log", "ab")
        with log:
            self._process = subprocess.Popen(
                [str(self._bin / "postgres"), "-D", str(self._data), *options],
                stdout=log,
                stderr=log,
                user=self._user,
                cwd="/",
            )
        deadline = time.monotonic() + 60
        while True:
            try:
                self._run("psql", "-h127.0.0.1", f"-p{self.port}", "-Umairust", "-c", "select 1", "postgres")
                return
            except subprocess.CalledProcessError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise
                time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop: SIGINT is PostgreSQL's fast shutdown, SIGQUIT its immediate one."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(60)
            self._process = None

    def dsn(self, template: str | None = None) -> str:
        """A new database, empty or a copy of a template, which nobody may be connected to."""
        self._count += 1
        name = f"test{self._count}"
        copied = ["-T", template.rpartition("/")[2]] if template else []
        self._run("createdb", "-h127.0.0.1", f"-p{self.port}", "-Umairust", *copied, name)
        return f"postgresql://mairust@127.0.0.1:{self.port}/{name}"

    def drop(self, dsn: str) -> None:
        """Delete a database now: its hundreds of files are not left for the end of the run."""
        self._run("dropdb", "-h127.0.0.1", f"-p{self.port}", "-Umairust", "--force", dsn.rpartition("/")[2])

    def close(self) -> None:
        """Stop and remove everything; a shutdown in order would first write all that is then deleted."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self._root, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
