"""Where the daemon is, and a connection to it.

- A Unix socket needs no credential: the daemon asks the kernel who is there.
- A remote daemon is reached by HTTPS with a token from a file; plain HTTP only on the loopback.
- The configuration file is never read to find the daemon.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPSConnection
from urllib.parse import urlsplit

from mairust_cli.exits import CliError, Exit
from mairust_cli.hoist import DEFAULT_SOCKET, Options

CONNECT_TIMEOUT_S = 2.0
_TOKEN_OCTETS = 4096
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_SOCKET_PATH_OCTETS = 107


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A daemon's address.

    Attributes:
        socket: Path of its Unix socket; empty when `url` is used.
        url: Base address of a remote daemon, without a path.
        token: API key for `url`; empty for none.
    """

    socket: str = ""
    url: str = ""
    token: str = ""

    @property
    def name(self) -> str:
        """How error messages call it."""
        return self.url or self.socket

    def connect(self, timeout_s: float) -> HTTPConnection:
        """Open a connection; OSError when nothing answers."""
        if not self.url:
            return _UnixConnection(self.socket, timeout_s)
        parts = urlsplit(self.url)
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=CONNECT_TIMEOUT_S)
        connection.connect()
        connection.sock.settimeout(timeout_s)
        return connection


class _UnixConnection(HTTPConnection):
    """HTTP/1.1 over a Unix stream socket."""

    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path
        self.connect()

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.sock.settimeout(CONNECT_TIMEOUT_S)
            self.sock.connect(self._path)
            self.sock.settimeout(self.timeout)
        except BaseException:
            self.sock.close()
            raise


def endpoint_from(options: Options) -> Endpoint:
    """Choose the endpoint: a flag before the environment before the default socket.

    Raises:
        CliError: A bad URL, or a token file that can not be used.
    """
    if options.socket or not options.url:
        path = options.socket or DEFAULT_SOCKET
        if "\0" in path or len(os.fsencode(path)) > _SOCKET_PATH_OCTETS:
            why = f"at most {_SOCKET_PATH_OCTETS} octets; this one has {len(os.fsencode(path))}"
            raise CliError("the socket's path is not usable", code=Exit.USAGE, why=why, hint="--socket PATH")
        return Endpoint(socket=path)
    try:
        parts = urlsplit(options.url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.path in ("", "/")
        usable = usable and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable:
        why = f"'{options.url}' is not https://HOST[:PORT]"
        raise CliError(
            "the daemon's address is not usable", code=Exit.USAGE, why=why, hint="--url https://mail.example.com"
        )
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        why = "a token must not cross a network in the clear"
        raise CliError(
            "plain HTTP is only for the loopback", code=Exit.USAGE, why=why, hint=f"--url https://{parts.netloc}"
        )
    token = _read_token(options.token_file) if options.token_file else ""
    return Endpoint(url=f"{parts.scheme}://{parts.netloc}", token=token)


def _read_token(path: str) -> str:
    try:
        with open(path, "rb") as file:
            token = file.read(_TOKEN_OCTETS + 1).decode("ascii").strip()
    except (OSError, ValueError) as error:
        why = f"{path}: {error.strerror if isinstance(error, OSError) else 'not a token'}"
        raise CliError("the token file can not be read", code=Exit.INVALID, why=why, hint="--token-file F") from None
    if not token or len(token) > _TOKEN_OCTETS or not token.isprintable() or " " in token:
        raise CliError("the token file holds no token", code=Exit.INVALID, why=path, hint="mairust api-key add --help")
    return token
