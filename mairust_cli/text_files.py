"""Texts that commands take from a file or from stdin."""

from __future__ import annotations

import sys
from pathlib import Path

from mairust_cli.exits import CliError, Exit
from mairust_cli.output.escape import safe

TEXT_OCTETS_MAX = 2 * 1024 * 1024


def read_text(name: str, what: str) -> str:
    """The text of a file, or of stdin for `-`.

    Raises:
        CliError: It can't be read, is too large, or is not UTF-8 (exit 2).
    """
    try:
        octets = sys.stdin.buffer.read(TEXT_OCTETS_MAX + 1) if name == "-" else _read(Path(name))
    except OSError as error:
        why = error.strerror or "it can't be read"
        raise CliError(f"{what} {safe(name)}: {why}", code=Exit.USAGE, why="a file of yours, or - for stdin") from None
    if len(octets) > TEXT_OCTETS_MAX:
        raise CliError(f"{what} {safe(name)} is too large", code=Exit.USAGE, why=f"at most {TEXT_OCTETS_MAX} octets")
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        raise CliError(f"{what} {safe(name)} is not UTF-8", code=Exit.USAGE, why="a text in UTF-8") from None


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(TEXT_OCTETS_MAX + 1)
