"""What one run of a command carries: options, printer, client, and the questions it may ask.

- The client connects at its first request, so commands that need no daemon never look for one.
- A question is asked only on a terminal; otherwise the flag that answers it is named (exit 2).
- What loses mail or access is confirmed by name; `--yes` alone never does.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence

import typer

from mairust_cli.client.api import Client
from mairust_cli.client.endpoint import endpoint_from
from mairust_cli.exits import CliError, Exit
from mairust_cli.hoist import Options
from mairust_cli.output.escape import safe
from mairust_cli.output.printer import Printer

STDIN_REFERENCES = 100_000


class Runtime:
    """One run of `mairust`.

    Args:
        argv: The words as typed, without the program's name.
    """

    def __init__(self, options: Options, *, argv: Sequence[str], out: Printer, environment: Mapping[str, str]) -> None:
        self.options = options
        self.out = out
        self.environment = environment
        self.typed = "mairust " + shlex.join(argv)
        self.command = "mairust"
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        """The daemon's API; a `CliError` for a bad address, connecting comes later."""
        if self._client is None:
            self._client = self.client_for(self.options)
        return self._client

    def client_for(self, options: Options) -> Client:
        """A client for other options than those typed."""
        log = (lambda line: self.out.note(safe(line))) if options.debug else None
        endpoint = endpoint_from(options)
        return Client(endpoint, timeout_s=options.timeout_s, tenant=options.tenant, typed=self.typed, log=log)

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def local_only(self) -> None:
        """Refuse a remote daemon for what works on this machine's files.

        Raises:
            CliError: `--url` is set (exit 2).
        """
        if self.options.url and not self.options.socket:
            why = f"--url {self.options.url} names another machine's daemon"
            raise CliError(
                "this command works on this machine only", code=Exit.USAGE, why=why, hint="run it over there"
            )

    @property
    def asks(self) -> bool:
        """Whether a question may be asked."""
        return self.options.prompts and sys.stdin.isatty() and sys.stderr.isatty()

    def ask(self, question: str, *, flag: str) -> str:
        """Ask on stderr and read one line.

        Raises:
            CliError: No terminal, or `--no-input` (exit 2, naming the flag).
        """
        if not self.asks:
            raise CliError(f"this needs {flag}", code=Exit.USAGE, why=question.strip(" :"), hint=f"{self.typed} {flag}")
        sys.stderr.write(question)
        sys.stderr.flush()
        line = sys.stdin.readline()
        if not line:
            raise KeyboardInterrupt
        return line.strip()

    def confirm(self, question: str) -> None:
        """Ask for a yes to something that can be undone with work, or that touches several objects.

        Raises:
            CliError: Answered no (exit 1), or no way to ask (exit 2).
        """
        if self.options.yes:
            return
        if self.ask(f"{safe(question)} [y/N] ", flag="--yes").lower() not in ("y", "yes"):
            raise CliError(
                "stopped, nothing was changed", code=Exit.FAILED, why="answered no", hint=f"{self.typed} --yes"
            )

    def confirm_names(self, names: Sequence[str], given: Sequence[str], *, loss: str) -> None:
        """Have every name typed, or given by `--confirm`, before mail or access is lost.

        Args:
            loss: What is lost, as a clause: `its mail is deleted`.
        """
        for name in names:
            if name in given:
                continue
            if given:
                why = f"--confirm says {', '.join(given)}"
                raise CliError(f"'{name}' is not confirmed", code=Exit.USAGE, why=why, hint=f"--confirm {name}")
            answer = self.ask(f"{safe(name)}: {loss}. Type the name to go on: ", flag=f"--confirm {name}")
            if answer != name:
                why = f"'{answer}' is not '{name}'"
                raise CliError("stopped, nothing was changed", code=Exit.FAILED, why=why, hint=f"--confirm {name}")


def runtime(ctx: typer.Context) -> Runtime:
    """The run a command belongs to."""
    run = ctx.obj
    if not isinstance(run, Runtime):
        raise TypeError("a command was called without its run")
    run.command = ctx.command_path
    return run


def expand(references: Sequence[str] | None) -> list[str]:
    """Positional arguments; a lone `-` reads them from stdin, one a line.

    Raises:
        CliError: None given, an empty one, or more than 100,000 lines.
    """
    given = list(references or ())
    if given == ["-"]:
        given = []
        for line in sys.stdin:
            if line.strip():
                given.append(line.strip())
            if len(given) > STDIN_REFERENCES:
                raise CliError(
                    "too many lines on stdin", code=Exit.INVALID, why="at most 100,000", hint="split the input"
                )
        if not given:
            raise CliError(
                "nothing on stdin", code=Exit.USAGE, why="'-' reads one name or id a line", hint="mairust help output"
            )
    if any(not reference.strip() for reference in given):
        raise CliError(
            "an argument is empty", code=Exit.USAGE, why="every name or id needs text", hint="mairust help output"
        )
    return given
