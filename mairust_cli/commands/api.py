"""`mairust api`: any route of the API, raw."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from mairust_cli.client.api import PREFIX, problem_of
from mairust_cli.exits import CliError, Exit
from mairust_cli.output.escape import json_text, safe_lines
from mairust_cli.output.yaml_text import yaml_text
from mairust_cli.runtime import runtime
from mairust_cli.shell import single, verb

app = single()
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
DATA_OCTETS = 16 * 1024 * 1024


@verb(
    app,
    "api",
    "mairust api GET /domains --query limit=5",
    """mairust api POST /domains --data '{"name": "example.org"}'""",
    "mairust api GET /health",
)
def api(
    ctx: typer.Context,
    method: Annotated[str, typer.Argument(metavar="METHOD")],
    path: Annotated[str, typer.Argument(metavar="PATH", help="Below /api/v1, or a whole path such as /health.")],
    data: Annotated[str | None, typer.Option("--data", metavar="JSON|@FILE|-", help="Body.")] = None,
    query: Annotated[list[str] | None, typer.Option("--query", metavar="K=V", help="Query parameter.")] = None,
) -> None:
    """Send one request and print the answer's JSON."""
    run = runtime(ctx)
    verb_name = method.upper()
    if verb_name not in METHODS:
        raise CliError(
            f"no such method '{method}'",
            code=Exit.USAGE,
            why=f"one of {', '.join(METHODS)}",
            hint="mairust api GET /domains",
        )
    parameters = dict(_pair(item) for item in query or [])
    if not path.startswith("/") or not path.isascii() or not path.isprintable() or " " in path or "?" in path:
        why = "it starts with /, is percent-encoded, and has its query in --query"
        raise CliError(
            f"'{path}' is no path", code=Exit.USAGE, why=why, hint="mairust api GET /domains --query limit=5"
        )
    whole = path.startswith((PREFIX, "/health", "/metrics", "/openapi.json"))
    answer = run.client.send(verb_name, path if whole else PREFIX + path, query=parameters, body=_body(data))
    if answer.status >= 400:
        raise problem_of(answer)
    try:
        decoded = json.loads(answer.body) if answer.body else None
    except ValueError:
        run.out.data(safe_lines(answer.body.decode("utf-8", "replace")).rstrip("\n"))
        return
    if decoded is not None:
        run.out.data(yaml_text(decoded).rstrip("\n") if run.out.format == "yaml" else json_text(decoded, indent=2))


def _pair(text: str) -> tuple[str, str]:
    key, mark, value = text.partition("=")
    if not mark or not key:
        raise CliError(f"--query: '{text}'", code=Exit.USAGE, why="a pair such as limit=5", hint="--query limit=5")
    return key, value


def _body(data: str | None) -> bytes | None:
    if data is None:
        return None
    try:
        if data == "-":
            body = sys.stdin.buffer.read(DATA_OCTETS + 1)
        elif data.startswith("@"):
            with open(data[1:], "rb") as file:
                body = file.read(DATA_OCTETS + 1)
        else:
            body = data.encode()
        json.loads(body)
    except (OSError, ValueError) as error:
        why = error.strerror or data if isinstance(error, OSError) else str(error)
        raise CliError(
            "--data is no JSON", code=Exit.INVALID, why=why, hint="--data '{}', --data @FILE or --data -"
        ) from None
    if len(body) > DATA_OCTETS:
        raise CliError("--data is too large", code=Exit.INVALID, why="more than 16 MiB", hint="--data @FILE")
    return body
