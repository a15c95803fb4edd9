"""Global flags, taken out of the command line before it is parsed.

- A global flag means the same before and after the subcommand, so it is lifted from wherever it stands.
- Everything after a bare `--` is left alone.
- Nothing here talks to the daemon or reads a file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mairust_cli.exits import CliError, Exit

FORMATS = ("table", "plain", "json", "ndjson", "yaml", "name", "wide")
COLOURS = ("auto", "always", "never")
DEFAULT_SOCKET = "/run/mairust/api.sock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the global flags and the environment say.

    Attributes:
        output: One of `FORMATS`, or empty: table on a terminal, plain otherwise.
        limit: Most rows to print; 0 = the format's own bound.
        timeout_s: Deadline of one request to the daemon.
        short_help: `-h` was given rather than `--help`.
    """

    socket: str = ""
    url: str = ""
    token_file: str = ""
    tenant: str = ""
    output: str = ""
    columns: tuple[str, ...] = ()
    header: bool = True
    limit: int = 0
    quiet: bool = False
    verbose: bool = False
    debug: bool = False
    yes: bool = False
    prompts: bool = True
    colour: str = "auto"
    ascii: bool = False
    pager: bool = True
    timeout_s: float = 30.0
    progress: str = "auto"
    short_help: bool = False


_SWITCHES: Mapping[str, tuple[str, object]] = {
    "--json": ("output", "json"),
    "--no-header": ("header", False),
    "-q": ("quiet", True),
    "--quiet": ("quiet", True),
    "-v": ("verbose", True),
    "--verbose": ("verbose", True),
    "--debug": ("debug", True),
    "-y": ("yes", True),
    "--yes": ("yes", True),
    "--no-input": ("prompts", False),
    "--ascii": ("ascii", True),
    "--no-pager": ("pager", False),
}
_VALUED: Mapping[str, str] = {
    "--socket": "socket",
    "--url": "url",
    "--token-file": "token_file",
    "--tenant": "tenant",
    "-o": "output",
    "--output": "output",
    "--columns": "columns",
    "--limit": "limit",
    "--color": "colour",
    "--timeout": "timeout_s",
    "--progress": "progress",
}
GLOBAL_FLAGS = frozenset(_SWITCHES) | frozenset(_VALUED)


def hoist(arguments: Sequence[str], environment: Mapping[str, str]) -> tuple[Options, list[str]]:
    """Split a command line into the global options and the rest, in order.

    Raises:
        CliError: A global flag without its value, or with one outside its set (exit 2).
    """
    options = _from_environment(environment)
    rest: list[str] = []
    position = 0
    while position < len(arguments):
        word = arguments[position]
        position += 1
        if word == "--":
            rest.append(word)
            rest.extend(arguments[position:])
            break
        if word == "-h":
            options = replace(options, short_help=True)
        for flag, inline in _flags(word):
            if flag in _SWITCHES and inline is None:
                field, value = _SWITCHES[flag]
                options = replace(options, **{field: value})  # type: ignore[arg-type]
            elif flag in _VALUED:
                if inline is None:
                    if position >= len(arguments):
                        raise _usage(f"{flag} needs a value")
                    inline = arguments[position]
                    position += 1
                options = _with_value(options, flag, inline)
            else:
                rest.append(word)
    return options, rest


def _flags(word: str) -> list[tuple[str, str | None]]:
    """A word as (flag, inline value) pairs; a cluster such as `-qy` gives several, anything else itself."""
    if word.startswith("--"):
        name, mark, value = word.partition("=")
        return [(name, value if mark else None)]
    if word.startswith("-o") and len(word) > 2:
        return [("-o", word[2:].removeprefix("="))]
    if len(word) > 2 and word[0] == "-" and set(word[1:]) <= set("qvy"):
        return [(f"-{letter}", None) for letter in word[1:]]
    return [(word, None)]


def _with_value(options: Options, flag: str, value: str) -> Options:
    match flag:
        case "-o" | "--output":
            return replace(options, output=_one_of(flag, value, FORMATS))
        case "--color":
            return replace(options, colour=_one_of(flag, value, COLOURS))
        case "--progress":
            return replace(options, progress=_one_of(flag, value, ("auto", "json")))
        case "--columns":
            return replace(options, columns=tuple(name.strip().lower() for name in value.split(",") if name.strip()))
        case "--limit":
            if not (value.isascii() and value.isdigit() and len(value) < 10 and int(value) > 0):
                raise _usage(f"--limit takes a number above 0, not '{value}'")
            return replace(options, limit=int(value))
        case "--timeout":
            return replace(options, timeout_s=_seconds(value))
        case "--url":
            return replace(options, url=value, socket="")
        case "--socket":
            return replace(options, socket=value, url="")
        case _:
            return replace(options, **{_VALUED[flag]: value})  # type: ignore[arg-type]


def _seconds(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= 86_400:
        raise _usage(f"--timeout takes seconds between 0 and 86400, not '{value}'")
    return seconds


def _one_of(flag: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise _usage(f"{flag} takes one of {', '.join(allowed)}, not '{value}'")
    return value


def _usage(what: str) -> CliError:
    return CliError(what, code=Exit.USAGE, why="a flag accepted by every command", hint="mairust help output")


def _from_environment(environment: Mapping[str, str]) -> Options:
    url = environment.get("MAIRUST_URL", "")
    return Options(
        socket="" if url else environment.get("MAIRUST_SOCKET", ""),
        url=url,
        token_file=environment.get("MAIRUST_TOKEN_FILE", ""),
    )
