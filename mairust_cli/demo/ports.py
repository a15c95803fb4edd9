"""The demo's ports: one base, the well-known numbers above it.

- All are on 127.0.0.1; a port in use is found before anything is started.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Mapping

from mairust_cli.exits import CliError, Exit

DEFAULT_BASE = 20_000
LOWEST, HIGHEST = 999, 57_455
LOOPBACK = "127.0.0.1"
_TRIES = 200

# Configuration key of the daemon to well-known port.
PORTS: Mapping[str, int] = {
    "smtp_port": 25,
    "submission_port": 587,
    "submissions_port": 465,
    "imap_port": 143,
    "imaps_port": 993,
    "pop3_port": 110,
    "pop3s_port": 995,
    "sieve_port": 4190,
    "api_port": 8080,
}


def choose_ports(base: int) -> dict[str, int]:
    """The ports of a base; base 0 picks one where all are free.

    Raises:
        CliError: Out of range (exit 2), or a port is busy (exit 5).
    """
    if base == 0:
        return _above(free_base())
    if not LOWEST <= base <= HIGHEST:
        why = f"from {LOWEST} to {HIGHEST}, or 0 for free ones"
        raise CliError(f"--base-port {base} is out of range", code=Exit.USAGE, why=why, hint="--base-port 0")
    ports = _above(base)
    for name, port in ports.items():
        if not _is_free(port):
            why = f"{name.removesuffix('_port')} wants {LOOPBACK}:{port}"
            hint = f"mairust demo --base-port {free_base()}"
            raise CliError(f"port {port} is in use", code=Exit.CONFLICT, why=why, hint=hint)
    return ports


def free_base() -> int:
    """A base whose ports are all free now.

    Raises:
        CliError: None was found (exit 5).
    """
    for _ in range(_TRIES):
        base = random.randrange(10, 48) * 1000 + random.randrange(0, 10) * 100  # noqa: S311  not a secret
        if all(_is_free(port) for port in _above(base).values()):
            return base
    raise CliError("no free ports", code=Exit.CONFLICT, why=f"{_TRIES} bases on {LOOPBACK} were tried", hint="ss -ltn")


def _above(base: int) -> dict[str, int]:
    return {name: base + port for name, port in PORTS.items()}


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
