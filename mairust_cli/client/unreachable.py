"""What to say when the daemon can not be talked to."""

from __future__ import annotations

import os

from mairust_cli.client.endpoint import Endpoint
from mairust_cli.exits import CliError, Exit

_NOT_ALLOWED = "not allowed to talk to the MaiRust daemon"


def not_running(endpoint: Endpoint) -> CliError:
    """Nothing listens there."""
    return CliError(
        "the MaiRust daemon is not running",
        code=Exit.UNREACHABLE,
        why=f"nothing answers at {endpoint.name}",
        hint="sudo systemctl start mairust.target   then: journalctl -u mairustd -n 30",
    )


def silent(endpoint: Endpoint, seconds: float) -> CliError:
    """Connected, but neither the request nor a health check is answered."""
    return CliError(
        "the MaiRust daemon does not answer (starting, or stuck)",
        code=Exit.UNREACHABLE,
        why=f"connected to {endpoint.name}, no answer in {seconds:g} s",
        hint="systemctl status mairustd",
    )


def broke_off(endpoint: Endpoint) -> CliError:
    """The connection ended before the answer did."""
    return CliError(
        "the MaiRust daemon broke off",
        code=Exit.UNREACHABLE,
        why=f"the connection to {endpoint.name} ended before the answer did",
        hint="systemctl status mairustd",
    )


def timed_out(endpoint: Endpoint, seconds: float) -> CliError:
    """The daemon lives, but this request took longer than `--timeout`."""
    return CliError(
        "the answer took too long",
        code=Exit.TIMED_OUT,
        why=f"{endpoint.name} is up, but did not answer this request in {seconds:g} s",
        hint="the same command with --timeout 300",
    )


def not_allowed(endpoint: Endpoint, typed: str) -> CliError:
    """The socket's mode keeps this user out."""
    import getpass
    import grp
    import pwd
    import stat

    group_may = True
    try:
        status = os.stat(endpoint.socket)
        group_may = bool(status.st_mode & stat.S_IWGRP)
        owner, group = pwd.getpwuid(status.st_uid).pw_name, grp.getgrgid(status.st_gid).gr_name
    except (OSError, KeyError):
        owner, group = "root", "mairust-admin"
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = str(os.getuid())
    if not group_may:
        why = f"{endpoint.name} is open to {owner} and root alone; '{user}' is neither"
        return CliError(_NOT_ALLOWED, code=Exit.NOT_ALLOWED, why=why, hint=f"sudo {typed}")
    return CliError(
        _NOT_ALLOWED,
        code=Exit.NOT_ALLOWED,
        why=f"{endpoint.name} is open to {owner} and group '{group}'; '{user}' is in neither",
        hint=f"sudo {typed}   or: sudo usermod -aG {group} {user}   (then log in again)",
    )
