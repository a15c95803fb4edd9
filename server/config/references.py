"""Where a secret's text comes from: `cred:`, `file:`, `env:`, an environment variable, or itself (config.md §3).

- A secret's file is a regular file, not a link, of root or of us, and closed to group and others.
- Errors name the file or variable, never its content.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

SECRET_OCTETS_MAX = 65_536
CREDENTIALS = "CREDENTIALS_DIRECTORY"


class References:
    """Follows the forms of secrets against one snapshot of the environment.

    Attributes:
        used: Variables that were read; whoever holds the process environment removes them from it.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.used: set[str] = set()

    def from_environment(self, variable: str) -> str | None:
        """The text of `variable` or of the file `variable_FILE` names; None when neither is set. Raises ValueError."""
        direct, file = variable, variable + "_FILE"
        if direct in self._environ and file in self._environ:
            raise ValueError(f"both {direct} and {file} are set")
        if direct in self._environ:
            self.used.add(direct)
            return self._environ[direct]
        if file in self._environ:
            self.used.add(file)
            return read_secret_file(Path(self._environ[file]))
        return None

    def follow(self, value: object) -> object:
        """The text a `cred:`, `file:` or `env:` form leads to; anything else as it is. Raises ValueError."""
        if not is_reference(value):
            return value
        form, _, rest = str(value).partition(":")
        if form == "env":
            if rest not in self._environ:
                raise ValueError(f"the environment variable {rest} is not set")
            self.used.add(rest)
            return self._environ[rest]
        if form == "file":
            return read_secret_file(Path(rest))
        folder = self._environ.get(CREDENTIALS)
        if folder is None:
            raise ValueError(f"credential {rest} was not passed: {CREDENTIALS} is not set")
        if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,254}", rest):
            raise ValueError("a credential's name has letters, digits, '.', '_' and '-' only")
        return read_secret_file(Path(folder) / rest, checked=False)


def is_reference(value: object) -> bool:
    """Whether a value points to a secret rather than being one."""
    return isinstance(value, str) and value.startswith(("cred:", "file:", "env:"))


def read_secret_file(path: Path, *, checked: bool = True) -> str:
    """Read a secret's file without its last newline.

    Args:
        path: The file; the last component is not followed when it is a link.
        checked: Whether owner and mode matter; a credential's are systemd's affair.

    Raises:
        ValueError: Missing, unreadable, not a regular file, open to others, too long or not UTF-8.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ValueError(f"can't read {path}: {error.strerror}") from None
    try:
        _check_status(path, os.fstat(descriptor), checked=checked)
        data = os.read(descriptor, SECRET_OCTETS_MAX + 1)
    finally:
        os.close(descriptor)
    if len(data) > SECRET_OCTETS_MAX:
        raise ValueError(f"{path} has more than {SECRET_OCTETS_MAX} octets")
    try:
        return data.decode().removesuffix("\n")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text") from None


def _check_status(path: Path, status: os.stat_result, *, checked: bool) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path} is not a regular file")
    if checked and status.st_mode & 0o077:
        raise ValueError(f"{path} is open to others (mode {stat.S_IMODE(status.st_mode):04o}): chmod 0600 it")
    if checked and status.st_uid not in (0, os.geteuid()):
        raise ValueError(f"{path} belongs to uid {status.st_uid}, neither root nor the daemon's user")
