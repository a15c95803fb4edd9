"""`mairust help`: topics that belong to no single command, and the help of every command."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from mairust_cli.exits import CliError, Exit
from mairust_cli.runtime import runtime
from mairust_cli.shell import help_of, single, verb

app = single()

TOPICS: Mapping[str, str] = {
    "output": """\
-o FORMAT    table   for people, the default on a terminal; at most 200 rows, ids by their last 8 characters
             wide    table with more columns and nothing cut
             plain   tab-separated, no heading, values whole; the default without a terminal
             json    a list is one array of all pages, a single object is an object; field names are the API's
             ndjson  one object a line, printed as it arrives
             yaml    as json
             name    one name a line
--json       same as -o json
--columns    a,b     only these columns, in this order (table, wide, plain)
--no-header  no heading line          --limit N    at most N rows
-q           ids only for list and add, nothing otherwise
-v           more detail              --debug      requests on stderr
--ascii      ok warn FAIL for signs   --color      auto, always, never
stdout carries data only; notes, questions and errors go to stderr.
Text from mail is escaped: ESC is shown as \\x1b.""",
    "exit-codes": """\
  0  done                          7  invalid input or configuration
  1  failed                        8  timed out
  2  wrong usage                   9  partly done
  3  not found                    10  a check found warnings
  4  not allowed                  11  a check found errors
  5  exists, or in conflict      130  interrupted
  6  daemon unreachable          doctor --nagios: 0, 1, 2, 3""",
    "environment": """\
MAIRUST_URL         address of a remote daemon, as --url
MAIRUST_SOCKET      path of the daemon's socket, as --socket; default /run/mairust/api.sock
MAIRUST_TOKEN_FILE  file with the API key for MAIRUST_URL, as --token-file
MAIRUST_CONFIG      configuration file of config and setup; default /etc/mairust/config.yaml
NO_COLOR            no colour when set       CLICOLOR_FORCE  colour without a terminal
PAGER               for long tables
Nothing secret is ever taken from the environment or from an argument.""",
    "filters": """\
Every verb of queue takes ids (or their last 6 characters and more), or - to read them from stdin, or filters, or --all:
--from ADDR    --to ADDR       --domain NAME    --status queued|sending|deferred|held
--reason REGEX the last reply  --older 2h       --tries N
Filters are counted first and three samples shown; --dry-run stops there.""",
    "time": """\
Times: 2h (ago), 3d, now, today, yesterday, 2026-11-22, 2026-11-22T14:00 (local), 2026-11-22T14:00+01:00, ...Z
Spans: 90s 5m 2h 7d 2w        Sizes: 500M 5G 50MiB, or octets; units are binary
Lists show ages (2h), show gives ISO 8601 with the local offset, machine formats RFC 3339 in UTC.""",
}


@verb(app, "help", "mairust help output", "mairust help queue list")
def help_(
    ctx: typer.Context, words: Annotated[list[str] | None, typer.Argument(metavar="[TOPIC|COMMAND]")] = None
) -> None:
    """Print a topic (output, exit-codes, environment, filters, time) or a command's help."""
    run = runtime(ctx)
    if not words:
        run.out.data(f"topics: {', '.join(TOPICS)}\ncommands: mairust --help")
    elif len(words) == 1 and words[0] in TOPICS:
        run.out.page(TOPICS[words[0]].split("\n"))
    else:
        run.out.page(_command_help(ctx, words).rstrip("\n").split("\n"))


def _command_help(ctx: typer.Context, words: list[str]) -> str:
    try:
        return help_of(ctx, words)
    except CliError as error:
        why = f"topics: {', '.join(TOPICS)}"
        what = f"no help on '{' '.join(words)}'"
        raise CliError(what, code=Exit.NOT_FOUND, why=why, hint=error.hint or "mairust --help") from None
