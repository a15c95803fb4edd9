"""`mairustd`: run, check-config, migrate, openapi, version.

- Imports are light: what a command needs is imported inside it.
- Every failure is a line on standard error and an exit code of config.md §3, never a traceback.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from server.daemon.exits import ExitCode, StartFailure

if TYPE_CHECKING:
    from server.config.load import Loaded
    from server.config.schema import Settings
    from server.daemon.service import Appliance, Host

UMASK = 0o077
STANDARD_ERROR = 2


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code."""
    os.umask(UMASK)
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], ExitCode] = options.command
    try:
        code = command(options)
    except StartFailure as failure:
        code = failure.code
        for line in failure.text.splitlines():
            print(f"mairustd: {line}", file=sys.stderr)
    except KeyboardInterrupt:
        code = ExitCode.STOPPED
    _leave(code)


def _leave(code: ExitCode) -> None:
    """Exit; after an internal or storage failure without waiting for threads that may hang."""
    if "server.telemetry.log" in sys.modules:
        from server.telemetry import log

        log.shutdown()
    if code in (ExitCode.INTERNAL, ExitCode.STORAGE):
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _run(options: argparse.Namespace) -> ExitCode:
    import faulthandler

    from server.daemon.run import run, start_failure

    loaded, environ = _load(options.config)
    faulthandler.enable(file=STANDARD_ERROR)
    try:
        return run(loaded.settings, loaded.path, environ, _build)
    except Exception as error:
        raise start_failure(error) from error


async def _build(settings: Settings, host: Host) -> Appliance:
    """Import the heavy part only with the state lock held: a second daemon must fail fast (F17)."""
    from server.daemon.bootstrap import build

    return await build(settings, host)


def _check_config(options: argparse.Namespace) -> ExitCode:
    loaded, _ = _load(options.file or options.config)
    where = loaded.path or "no file, defaults"
    for key in loaded.literal_secrets:
        print(f"{where}: {key}: the secret stands in the file; cred:NAME or file:/path keeps it apart", file=sys.stderr)
    print(f"{where}: good")
    return ExitCode.STOPPED


def _migrate(options: argparse.Namespace) -> ExitCode:
    from server.daemon.lock import StateLock, prepare_state_folder
    from server.daemon.run import configure_log, start_failure

    loaded, _ = _load(options.config)
    configure_log(loaded.settings, descriptor=2)
    prepare_state_folder(loaded.settings.server.state_dir)
    with StateLock(loaded.settings.server.state_dir):
        try:
            from server.daemon.stores import migrate

            print(migrate(loaded.settings))
        except Exception as error:
            raise start_failure(error) from error
    return ExitCode.STOPPED


def _openapi(_options: argparse.Namespace) -> ExitCode:
    from server.daemon.bootstrap import openapi

    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(openapi())
        sys.stdout.flush()
        return ExitCode.STOPPED
    # Whoever read has seen enough; the interpreter must not complain about it at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return ExitCode.STOPPED


def _version(_options: argparse.Namespace) -> ExitCode:
    from importlib.metadata import version

    print(version("mairust"))
    return ExitCode.STOPPED


def _load(config: Path | None) -> tuple[Loaded, dict[str, str]]:
    """The settings, and the environment they came from; secrets are removed from the process's own."""
    from server.config.load import ConfigError, find, load

    environ = dict(os.environ)
    try:
        loaded = load(find(config, environ), environ)
    except ConfigError as error:
        raise StartFailure(ExitCode.CONFIGURATION, "\n".join(error.lines())) from error
    for name in loaded.used_variables:
        os.environ.pop(name, None)
    return loaded, environ


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(ExitCode.USAGE, f"{self.prog}: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="mairustd", description="The MaiRust mail server.", allow_abbrev=False)
    config = _Parser(add_help=False)
    config.add_argument("--config", type=Path, metavar="FILE", help="configuration file")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Callable[[argparse.Namespace], ExitCode], text: str, *, configured: bool) -> _Parser:
        made = commands.add_parser(name, help=text, description=text, parents=[config] if configured else [])
        made.set_defaults(command=command)
        return made

    add("run", _run, "Serve until SIGTERM; SIGHUP reloads the configuration.", configured=True)
    check = add("check-config", _check_config, "Name every fault of a configuration file.", configured=True)
    check.add_argument("file", type=Path, nargs="?", metavar="FILE", help="file to check")
    add(
        "migrate", _migrate, "Bring the database to this release's schema; the daemon must be stopped.", configured=True
    )
    add("openapi", _openapi, "Print the API's OpenAPI document.", configured=False)
    add("version", _version, "Print the version.", configured=False)
    return parser


if __name__ == "__main__":
    main()
