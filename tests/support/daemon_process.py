"""The real daemon as a child process, in a folder of its own, on ports that stay the same over restarts.

    with DaemonProcess(tmp_path, accounts=2) as daemon:        # configured, seeded, started, answering
        smtplib.SMTP("127.0.0.1", daemon.ports.smtp)
        daemon.kill()                                          # SIGKILL; then `start` again on the same data
        daemon.start()

- `configure` writes `config.yaml` and `master.key` (0600); `seed` makes `example.test` with accounts `u0@`, `u1@`, ...,
  all with `PASSWORD`, through the services; `start` returns when SMTP and IMAP greet; nothing else is needed.
- `administer` runs any other use case of the services while the daemon is down.
- Certificates are self-signed by the daemon: clients must not verify them. Outbound mail goes to `capture`.
- Only the child is ever signalled, by its pid. The log of all runs is `log_path`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import msgspec

from server.config.load import load
from server.config.schema import Settings
from server.daemon.appliance import Appliance
from server.daemon.bootstrap import build
from server.daemon.notify import SystemdNotifier
from server.daemon.service import Host
from server.daemon.sockets import Sockets
from server.domain.identity import ActorKind, Scope
from server.services.identity.accounts import NewAccount
from server.services.identity.domains import NewDomain
from server.services.identity.permissions import ALL_SCOPES

T = TypeVar("T")

HOST = "127.0.0.1"
DOMAIN = "example.test"
PASSWORD = "kelp orbit 42 maple"
ADMINISTER_S = 60.0
READY_S = 10.0
"""A daemon is ready again this long after any kill (reliability.md F01); see `start` for how it is counted."""
START_MAX_S = 90.0
"""How long a test waits for it on a machine that is busy with other things."""
REPOSITORY = Path(__file__).resolve().parents[2]
MAIL_ROLES = ("smtp", "submission", "imap", "pop3", "sieve", "queue", "jobs")


class NotReady(AssertionError):
    """The daemon ended or did not answer in time; the text holds the end of its log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """TCP ports of one daemon; none is in the range that outgoing connections take theirs from."""

    smtp: int
    submission: int
    submissions: int
    imap: int
    imaps: int
    pop3: int
    pop3s: int
    sieve: int
    api: int


def free_ports() -> Ports:
    """Ports that nobody listens on now, below the range of outgoing connections, so that a restart finds them free."""
    found: list[int] = []
    with contextlib.ExitStack() as held:
        while len(found) < len(fields(Ports)):
            probe = held.enter_context(socket.socket())
            port = random.randrange(10_000, 32_000)
            with contextlib.suppress(OSError):
                probe.bind((HOST, port))
                found.append(port)
    return Ports(**dict(zip((field.name for field in fields(Ports)), found, strict=True)))


class DaemonProcess:
    """One configured daemon.

    Args:
        folder: Empty or that of an earlier one; state, configuration and log lie there.
        settings: Sections over the defaults below, `{"smtp": {"max_message_size": "1MiB"}}`.
        roles: What runs; add "http" for the API (its socket is `admin_socket`).
        accounts: How many accounts `seed` makes; None = `__enter__` does not seed.
        host: The loopback address of its listeners.
        domain: The mail domain; the host name is `mail.` before it.
        database_url: A PostgreSQL address; None = SQLite in the state folder.
        module: What is run as `python -m MODULE run --config FILE`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        settings: Mapping[str, Mapping[str, object]] | None = None,
        roles: Sequence[str] = MAIL_ROLES,
        accounts: int | None = 1,
        database_url: str | None = None,
        module: str = "server",
        host: str = HOST,
        domain: str = DOMAIN,
    ) -> None:
        self.folder = folder
        self.ports = free_ports()
        self.module = module
        self.accounts = accounts
        self.host = host
        self.domain = domain
        self.state_dir = folder / "state"
        self.config_path = folder / "config.yaml"
        self.admin_socket = folder / "api.sock"
        self.capture = folder / "outbound"
        self.log_path = folder / "daemon.log"
        self.blob_dir = self.state_dir / "mail"
        self.database_path = None if database_url else self.state_dir / "db" / "mairust.db"
        self.database_url = database_url
        self._roles = tuple(roles)
        self._settings = settings or {}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> DaemonProcess:
        self.configure()
        if self.accounts is not None:
            self.seed(self.accounts)
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def addresses(self) -> list[str]:
        return [f"u{number}@{self.domain}" for number in range(self.accounts or 0)]

    @property
    def pid(self) -> int:
        """Of the running daemon."""
        assert self._process is not None, "the daemon does not run"
        return self._process.pid

    def configure(self, changed: Mapping[str, Mapping[str, object]] | None = None) -> None:
        """Write the configuration with `changed` sections over all others, and the master key if there is none."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = self.folder / "master.key"
        if not key.exists():
            key.touch(mode=0o600)
            key.write_bytes(base64.b64encode(os.urandom(32)))
        sections = self._defaults()
        for name, values in (*self._settings.items(), *(changed or {}).items()):
            sections[name] = sections.get(name, {}) | dict(values)
        self.config_path.write_text(json.dumps(sections, indent=1))  # JSON is YAML.

    def _defaults(self) -> dict[str, dict[str, object]]:
        server = {f"{field.name}_port": getattr(self.ports, field.name) for field in fields(Ports)}
        sections: dict[str, dict[str, object]] = {
            "server": server
            | {
                "hostname": f"mail.{self.domain}",
                "state_dir": str(self.state_dir),
                "bind": [self.host],
                "api_bind": [HOST],
                "admin_socket": str(self.admin_socket),
                "roles": list(self._roles),
                "shutdown_grace": "5s",
            },
            "smtp": {"connections_per_minute": 1_000_000, "max_connections_per_ip": 1000},
            "imap": {"max_per_account": 100},
            "pop3": {"enabled": True},
            "login": {"argon2_memory_kib": 19_456},
            "dns": {"resolvers": ["127.0.0.1:9"], "timeout": "1s"},
            "mailauth": {"enabled": False},
            "storage": {"reserve": "0"},
            "outbound": {"capture_path": str(self.capture)},
            "log": {"level": "info", "format": "text"},
        }
        if self.database_url is not None:
            sections["database"] = {"type": "postgres", "url": self.database_url}
        return sections

    def seed(self, accounts: int) -> None:
        """Make the domain and its accounts, while the daemon does not run."""
        self.accounts = accounts

        async def work(appliance: Appliance, root: Scope) -> None:
            await appliance.identity.domains.create(root, NewDomain(name=self.domain))
            for address in self.addresses:
                await appliance.identity.accounts.create(root, NewAccount(address=address, password=PASSWORD))

        self.administer(work)

    def administer(self, work: Callable[[Appliance, Scope], Awaitable[T]]) -> T:
        """Do `work` with the services in this process, as root, while the daemon does not run."""
        results: list[T] = []
        failed: list[BaseException] = []

        def run() -> None:
            try:
                results.append(asyncio.run(asyncio.wait_for(_with_services(self.config_path, work), ADMINISTER_S)))
            except BaseException as error:
                failed.append(error)

        # A thread of its own, as the test may run in an event loop.
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        if failed:
            raise failed[0]
        return results[0]

    def start(self, *, wait: bool = True) -> float:
        """Start, and unless told otherwise wait until it answers.

        Returns:
            The seconds that took, without those in which it was ready to run and others had the processors.
        """
        began = time.monotonic()
        log = os.open(self.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self.module, "run", "--config", str(self.config_path)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=REPOSITORY,
                env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LANG": "C.UTF-8"},
            )
        finally:
            os.close(log)
        if wait:
            self.wait_ready()
        return time.monotonic() - began - self._starved_s()

    def _starved_s(self) -> float:
        """How long the main thread has waited for a processor; 0 where the kernel doesn't tell."""
        try:
            return int(Path(f"/proc/{self.pid}/schedstat").read_text().split()[1]) / 1e9
        except (OSError, IndexError):
            return 0.0

    def wait_ready(self, timeout_s: float = START_MAX_S) -> None:
        """Wait until SMTP and IMAP greet, as far as they are among the roles. Raises NotReady."""
        wanted = [(self.ports.smtp, b"220 ")] if "smtp" in self._roles else []
        wanted += [(self.ports.imap, b"* OK")] if "imap" in self._roles else []
        deadline = time.monotonic() + timeout_s
        for port, greeting in wanted:
            while not _greets(self.host, port, greeting, deadline):
                if not self.running:
                    raise NotReady(f"the daemon ended with {self.wait()}:\n{self.log_tail()}")
                if time.monotonic() > deadline:
                    raise NotReady(f"no greeting on port {port} after {timeout_s:g} s:\n{self.log_tail()}")
                time.sleep(0.02)

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL, and wait for its end; it may have ended already."""
        if self._process is not None:
            self._process.kill()
            self.wait()

    def reload(self, changed: Mapping[str, Mapping[str, object]] | None = None) -> None:
        """Write the configuration anew and ask the daemon to read it; that it has is for the caller to see."""
        assert self._process is not None
        self.configure(changed)
        self._process.send_signal(signal.SIGHUP)

    def terminate(self, timeout_s: float = 20.0) -> int:
        """SIGTERM, and return the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self.wait(timeout_s)

    def wait(self, timeout_s: float = 20.0) -> int:
        """Wait for the end and return the exit code, negative for a signal."""
        assert self._process is not None
        return self._process.wait(timeout_s)

    def close(self) -> None:
        """Stop it if it runs, by force if it must be."""
        if self._process is None:
            return
        if self.running:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = None
        if self.database_path is not None:
            # 64 MiB, which a test runner would keep with the folder.
            self.database_path.with_name("ballast").unlink(missing_ok=True)

    def log_tail(self, octets: int = 4000) -> str:
        """The end of the log."""
        if not self.log_path.exists():
            return ""
        return self.log_path.read_bytes()[-octets:].decode("utf-8", "replace")

    def settings(self) -> Settings:
        """The configuration as the daemon reads it."""
        return load(self.config_path, {}).settings


def _greets(host: str, port: int, greeting: bytes, deadline: float) -> bool:
    try:
        with socket.create_connection((host, port), timeout=max(0.05, deadline - time.monotonic())) as peer:
            return peer.recv(512).startswith(greeting)
    except OSError:
        return False


async def _with_services(config_path: Path, work: Callable[[Appliance, Scope], Awaitable[T]]) -> T:
    settings = load(config_path, {}).settings
    settings.server.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Only the queue, which is built but not run: no port is taken.
    quiet = msgspec.structs.replace(settings, server=msgspec.structs.replace(settings.server, roles=("queue",)))
    appliance = await build(quiet, _host(config_path))
    try:
        tenant = await appliance.identity.tenants.ensure_default()
        root = Scope(
            actor_kind=ActorKind.UID,
            actor_id="0",
            actor_name="root",
            tenant_id=tenant.id,
            system=True,
            scopes=frozenset(ALL_SCOPES),
        )
        return await work(appliance, root)
    finally:
        await appliance.close()


def _host(config_path: Path) -> Host:
    async def no_reload() -> None:
        raise AssertionError("nothing reloads here")

    def fatal(_code: object, reason: str) -> None:
        raise AssertionError(reason)

    return Host(
        settings_path=config_path,
        config_folder=config_path.parent,
        environ={},
        sockets=Sockets({}),
        notifier=SystemdNotifier({}),
        extend_start=lambda _seconds: None,
        reload=no_reload,  # type: ignore[arg-type]
        fatal=fatal,
    )
