"""Arguments and flags that several commands share, and readers for their values."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from mairust_cli.exits import CliError, Exit
from mairust_cli.output import times
from mairust_cli.output.escape import safe
from mairust_cli.runtime import Runtime

DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would happen and change nothing.")]
Confirm = Annotated[
    list[str] | None, typer.Option("--confirm", metavar="NAME", help="Confirm by name, without asking.")
]
Addresses = Annotated[list[str], typer.Argument(metavar="ADDR...", help="Addresses, or - to read them from stdin.")]
Domains = Annotated[list[str], typer.Argument(metavar="NAME...", help="Domain names, or - to read them from stdin.")]


def moment(text: str | None, flag: str) -> str | None:
    """The value of a time flag as the API takes it.

    Raises:
        CliError: Not a time (exit 2).
    """
    if not text:
        return None
    try:
        return times.rfc3339(times.read_moment(text, datetime.now(UTC)))
    except (ValueError, OverflowError) as error:
        raise CliError(f"{flag}: {error}", code=Exit.USAGE, why="a time", hint="mairust help time") from None


def ending(text: str | None, flag: str) -> str | None:
    """The value of a flag that names an end: a date or time as it is, a span counted from now on.

    Raises:
        CliError: Neither (exit 2).
    """
    if not text or not (text.strip()[-1:] in "smhdw" and text.strip()[:-1].isdigit()):
        return moment(text, flag)
    try:
        return times.rfc3339(datetime.now(UTC) + timedelta(seconds=span(text, flag) or 0))
    except OverflowError:
        raise CliError(f"{flag}: too far away", code=Exit.USAGE, why=text, hint=f"{flag} 365d") from None


def size(text: str | None, flag: str) -> int | None:
    """The value of a size flag in octets."""
    return _read(times.read_size, text, flag, "a size")


def span(text: str | None, flag: str) -> int | None:
    """The value of a span flag in seconds."""
    return _read(times.read_span, text, flag, "a span of time")


def _read(reader: Callable[[str], int], text: str | None, flag: str, kind: str) -> int | None:
    if not text:
        return None
    try:
        return reader(text)
    except ValueError as error:
        raise CliError(f"{flag}: {error}", code=Exit.USAGE, why=kind, hint="mairust help time") from None


def split_list(values: list[str] | None) -> list[str]:
    """A repeatable, comma-separated flag as one list."""
    return [part.strip() for value in values or [] for part in value.split(",") if part.strip()]


def each(run: Runtime, references: list[str], act: Callable[[str], None]) -> None:
    """Do one thing to several objects; one failure does not stop the others.

    Raises:
        CliError: The only one failed (its own error), or some did (exit 9).
    """
    errors: list[CliError] = []
    for reference in references:
        try:
            act(reference)
        except CliError as error:
            if len(references) == 1 or error.code in (Exit.UNREACHABLE, Exit.NOT_ALLOWED):
                raise
            run.out.warn(f"{safe(reference)}: {safe(error.what)}; {safe(error.why)}")
            errors.append(error)
    if errors and len(errors) == len(references):
        raise errors[-1]
    if errors:
        why = f"{len(references) - len(errors)} done, {len(errors)} failed"
        raise CliError("partly done", code=Exit.PARTLY, why=why, hint="the lines above name each cause")
