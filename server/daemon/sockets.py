"""Listening sockets: taken from systemd by name, or bound by configuration (packaging.md §5, security.md §5).

- When systemd passed any socket, only what it passed is served: a port whose socket unit is off stays closed.
- IPv6 sockets take IPv6 only; an address family the host lacks is skipped while another one is bound.
- A Unix socket is never open wider than meant, and a live or foreign one is never removed.
"""

from __future__ import annotations

import contextlib
import errno
import grp
import ipaddress
import os
import socket
import stat
from collections.abc import MutableMapping, Sequence
from pathlib import Path

from server.daemon.exits import ExitCode, StartFailure
from server.telemetry.log import get_logger

log = get_logger("daemon")

BACKLOG = 1024
FIRST_DESCRIPTOR = 3
UNIX_PATH_MAX = 107
UNIX_MODE = 0o660
UNIX_MODE_ALONE = 0o600


class Sockets:
    """Gives each listener its sockets, non-blocking and listening. The caller owns what it takes.

    Args:
        environ: LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES are taken out of it.
    """

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        self._passed = _passed(environ)
        self._bound_paths: list[tuple[Path, int]] = []
        self.activated = bool(self._passed)

    def tcp(self, name: str, addresses: Sequence[str], port: int) -> list[socket.socket]:
        """The sockets of one TCP listener; empty when it is off.

        Raises:
            StartFailure: PERMISSIONS without the right to the port, DEPENDENCY_DOWN when it is busy.
        """
        if self.activated:
            return self._passed.pop(name, [])
        return bind_tcp(addresses, port) if port else []

    def unix(self, name: str, path: Path, *, group: str) -> list[socket.socket]:
        """The sockets of one Unix listener. Call it with the state lock held. Raises StartFailure."""
        if self.activated:
            return self._passed.pop(name, [])
        bound = bind_unix(path, group=group)
        self._bound_paths.append((path, path.lstat().st_ino))
        return [bound]

    def close(self) -> None:
        """Close what nobody took and remove the Unix sockets that were bound here."""
        for left in self._passed.values():
            for item in left:
                item.close()
        for path, inode in self._bound_paths:
            with contextlib.suppress(FileNotFoundError):
                if path.lstat().st_ino == inode:
                    path.unlink()
        self._passed, self._bound_paths = {}, []


def bind_tcp(addresses: Sequence[str], port: int) -> list[socket.socket]:
    """Bind and listen on every address; port 0 lets the system choose. Raises StartFailure."""
    bound: list[socket.socket] = []
    skipped: OSError | None = None
    try:
        for address in addresses:
            try:
                bound.append(_bind_one(address, port))
            except OSError as error:
                if not _family_missing(address, error):
                    raise _failure(address, port, error) from error
                skipped = error
                log.info("listen.skipped", address=address, error=error.strerror)
        if skipped is not None and not bound:
            raise _failure(addresses[0], port, skipped)
    except StartFailure:
        for item in bound:
            item.close()
        raise
    return bound


def bind_unix(path: Path, *, group: str) -> socket.socket:
    """Bind and listen on a Unix socket, 0660 for `group`, or 0600 where the group isn't ours to give."""
    if len(os.fsencode(path)) > UNIX_PATH_MAX:
        raise StartFailure(ExitCode.CONFIGURATION, f"{path}: longer than {UNIX_PATH_MAX} octets")
    result = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        _remove_stale(path)
        before = os.umask(0o177)
        try:
            result.bind(str(path))
        finally:
            os.umask(before)
        path.chmod(UNIX_MODE if _give_to_group(path, group) else UNIX_MODE_ALONE)
        result.listen(BACKLOG)
    except OSError as error:
        result.close()
        code = ExitCode.PERMISSIONS if error.errno in (errno.EACCES, errno.EPERM) else ExitCode.DEPENDENCY_DOWN
        raise StartFailure(code, f"{path}: {error.strerror}") from error
    except StartFailure:
        result.close()
        raise
    result.setblocking(False)
    return result


def _passed(environ: MutableMapping[str, str]) -> dict[str, list[socket.socket]]:
    pid, count, names = (environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"))
    if pid != str(os.getpid()) or not count.isdigit():
        return {}
    result: dict[str, list[socket.socket]] = {}
    labels = names.split(":") if names else []
    for number in range(int(count)):
        label = labels[number] if number < len(labels) else "unknown"
        try:
            item = socket.socket(fileno=FIRST_DESCRIPTOR + number)
            listening = bool(item.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
        except OSError as error:
            raise StartFailure(ExitCode.CONFIGURATION, f"socket {label} from systemd: {error.strerror}") from error
        if not listening:
            raise StartFailure(ExitCode.CONFIGURATION, f"socket {label} from systemd does not listen")
        item.set_inheritable(False)
        item.setblocking(False)
        result.setdefault(label, []).append(item)
    return result


def _bind_one(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
    result = socket.socket(family, socket.SOCK_STREAM)
    try:
        result.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        result.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if family == socket.AF_INET6:
            result.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        result.bind((address, port))
        result.listen(BACKLOG)
    except OSError:
        result.close()
        raise
    result.setblocking(False)
    return result


def _family_missing(address: str, error: OSError) -> bool:
    """Whether the host has no IPv6 (or IPv4) at all, which leaves the wildcard and loopback without meaning."""
    if error.errno in (errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT):
        return True
    parsed = ipaddress.ip_address(address)
    return error.errno == errno.EADDRNOTAVAIL and (parsed.is_unspecified or parsed.is_loopback) and parsed.version == 6


def _failure(address: str, port: int, error: OSError) -> StartFailure:
    where = f"port {port} on {address}"
    if error.errno in (errno.EACCES, errno.EPERM):
        text = (
            f"{where}: no right to bind it; start by systemd's sockets, give CAP_NET_BIND_SERVICE, or change the port"
        )
        return StartFailure(ExitCode.PERMISSIONS, text)
    if error.errno == errno.EADDRINUSE:
        text = f"{where}: another program listens there; find it with: ss -ltnp 'sport = :{port}'"
        return StartFailure(ExitCode.DEPENDENCY_DOWN, text)
    if error.errno == errno.EADDRNOTAVAIL:
        return StartFailure(ExitCode.DEPENDENCY_DOWN, f"{where}: this host does not have the address")
    return StartFailure(ExitCode.DEPENDENCY_DOWN, f"{where}: {error.strerror}")


def _remove_stale(path: Path) -> None:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise StartFailure(ExitCode.PERMISSIONS, f"{path} is there and is not a socket: move it away")
    if status.st_uid != os.geteuid():
        raise StartFailure(ExitCode.PERMISSIONS, f"{path} is a socket of uid {status.st_uid}: remove it")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except OSError as error:
            raise StartFailure(ExitCode.LOCKED, f"{path}: {error.strerror}") from error
    raise StartFailure(ExitCode.LOCKED, f"{path}: another process answers there")


def _give_to_group(path: Path, group: str) -> bool:
    try:
        os.chown(path, -1, grp.getgrnam(group).gr_gid)
    except (KeyError, OSError):
        log.info("listen.group_missing", path=str(path), group=group)
        return False
    return True
