"""Passwords for commands: typed, read from a file or stdin, or made; never an argument."""

from __future__ import annotations

import secrets
import sys

from mairust_cli.exits import CliError, Exit
from mairust_cli.runtime import Runtime

_OCTETS = 1024
_CONSONANTS = "bdfghjklmnprstvz"
_VOWELS = "aeiou"


def make_password() -> str:
    """A password that can be read out: four groups such as `rilek` and two digits, 72 bits."""
    groups = ["".join(secrets.choice(_VOWELS if place % 2 else _CONSONANTS) for place in range(5)) for _ in range(4)]
    return f"{groups[0]}-{groups[1]}-{secrets.randbelow(90) + 10}-{groups[2]}-{groups[3]}"


def read_password(run: Runtime, *, file: str | None, stdin: bool, generate: bool, who: str) -> tuple[str, bool]:
    """The password to set, and whether it was made here and must be shown.

    Raises:
        CliError: More than one source, an unusable one, or none and no way to ask (exit 2).
    """
    if (file is not None) + stdin + generate > 1:
        why = "--generate, --password-file and --password-stdin exclude each other"
        raise CliError("more than one source for the password", code=Exit.USAGE, why=why, hint="--generate")
    if generate:
        return make_password(), True
    if file is not None:
        return _from_file(file), False
    if stdin:
        return _usable(sys.stdin.readline().rstrip("\r\n"), "stdin"), False
    if not run.asks:
        flags = "--generate, --password-file or --password-stdin"
        raise CliError(
            f"this needs {flags}", code=Exit.USAGE, why=f"a password for {who}", hint=f"{run.typed} --generate"
        )
    import getpass

    first = getpass.getpass(f"password for {who} (Enter makes one): ", stream=sys.stderr)
    if not first:
        return make_password(), True
    if getpass.getpass("again: ", stream=sys.stderr) != first:
        raise CliError("the two passwords differ", code=Exit.USAGE, why=who, hint=run.typed)
    return _usable(first, "the prompt"), False


def _from_file(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return _usable(file.readline(_OCTETS + 2).rstrip("\r\n"), path)
    except OSError as error:
        why = f"{path}: {error.strerror}"
        raise CliError("the password file can not be read", code=Exit.INVALID, why=why, hint="--generate") from None
    except ValueError:
        raise CliError("the password file is not UTF-8 text", code=Exit.INVALID, why=path, hint="--generate") from None


def _usable(password: str, source: str) -> str:
    if not password or len(password) > _OCTETS or not password.isprintable():
        why = f"{source}: one line of 1 to {_OCTETS} printable characters"
        raise CliError("the password can not be used", code=Exit.INVALID, why=why, hint="--generate")
    return password
