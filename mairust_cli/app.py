"""The command tree and one run of it.

- Whatever is typed, a run ends with an exit code and at most three lines of error, never with a traceback.
- Nouns are loaded one at a time; this module imports none of them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from typer._click.exceptions import ClickException, NoArgsIsHelpError, UsageError
from typer.exceptions import Abort

from mairust_cli.client.api import items_of
from mairust_cli.exits import CliError, Exit
from mairust_cli.hoist import Options, hoist
from mairust_cli.output.printer import Printer, close_quietly, standard_printer, unwritable
from mairust_cli.runtime import Runtime
from mairust_cli.shell import LazyGroup

_COMMANDS = "mairust_cli.commands."
NOUNS: Mapping[str, tuple[str, str]] = {
    "demo": (_COMMANDS + "demo", "The whole appliance on the loopback, to try out"),
    "setup": (_COMMANDS + "setup", "First configuration of this server"),
    "status": (_COMMANDS + "status", "One screen of health"),
    "doctor": (_COMMANDS + "doctor", "Run the checks and say what to mend"),
    "tui": (_COMMANDS + "tui", "Full-screen console"),
    "domain": (_COMMANDS + "domain", "Mail domains and their DNS records"),
    "account": (_COMMANDS + "account", "People's mail accounts"),
    "alias": (_COMMANDS + "alias", "Addresses that expand to others"),
    "quota": (_COMMANDS + "quota", "How full accounts and domains are"),
    "mailbox": (_COMMANDS + "mailbox", "Folders of an account"),
    "message": (_COMMANDS + "message", "Mail: find it, read it, move it, bring it back"),
    "sieve": (_COMMANDS + "sieve", "Scripts that sort mail at delivery"),
    "queue": (_COMMANDS + "queue", "Mail waiting to be delivered"),
    "trace": (_COMMANDS + "trace", "Where did that mail go"),
    "import": (_COMMANDS + "import_", "Old mail in: Maildir, mbox, single mails, IMAP"),
    "export": (_COMMANDS + "export", "Mail out: Maildir, mbox, single mails"),
    "job": (_COMMANDS + "job", "Long-running work"),
    "log": (_COMMANDS + "log", "The event stream"),
    "api-key": (_COMMANDS + "api_key", "Keys for programs"),
    "app-password": (_COMMANDS + "app_password", "Passwords of single devices"),
    "grant": (_COMMANDS + "grant", "Who else may use a mailbox, or send as its owner"),
    "session": (_COMMANDS + "session", "Who is logged in"),
    "connection": (_COMMANDS + "connection", "Live connections, one by one"),
    "ban": (_COMMANDS + "ban", "Networks that are refused"),
    "tenant": (_COMMANDS + "tenant", "Organisations on this server"),
    "config": (_COMMANDS + "config", "Read and change the configuration file"),
    "reload": (_COMMANDS + "reload", "Have the daemon read its configuration again"),
    "wait": (_COMMANDS + "wait", "Block until the daemon is ready"),
    "api": (_COMMANDS + "api", "Any route of the API"),
    "version": (_COMMANDS + "version", "Versions of command and daemon"),
    "help": (_COMMANDS + "help", "Topics: output, exit-codes, environment, filters, time"),
    "completion": (_COMMANDS + "completion", "Completion script for bash, zsh or fish"),
}
ALIASES: Mapping[str, str] = {"user": "account", "top": "tui"}


def root() -> LazyGroup:
    """A fresh command tree with nothing loaded."""
    return LazyGroup(
        nouns=NOUNS,
        aliases=ALIASES,
        name="mairust",
        help="MaiRust mail server: all daily work from one command.",
        no_args_is_help=True,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def run(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run one command line on the process's streams and return its exit code."""
    argv = [word.encode("utf-8", "replace").decode("utf-8") for word in arguments]
    printer = standard_printer(Options(), environment)
    run_of: Runtime | None = None
    try:
        options, rest = hoist(argv, environment)
        printer = standard_printer(options, environment)
        run_of = Runtime(options, argv=argv, out=printer, environment=environment)
        code = _invoke(["version"] if rest == ["--version"] else rest, run_of, printer)
    except CliError as error:
        code = _failed(error, printer, run_of)
    except (KeyboardInterrupt, Abort, EOFError):
        printer.note("interrupted")
        code = int(Exit.INTERRUPTED)
    except Exception as error:
        code = _unexpected(error, printer, debug=run_of is not None and run_of.options.debug)
    finally:
        if run_of is not None:
            run_of.close()
    return _flushed(code)


def _invoke(rest: list[str], run_of: Runtime, printer: Printer) -> int:
    try:
        result = root().main(rest, prog_name="mairust", standalone_mode=False, obj=run_of)
    except NoArgsIsHelpError as error:
        printer.note(error.format_message())
        return int(Exit.USAGE)
    except ClickException as error:
        message = error.format_message().strip().rstrip(".")
        where = error.ctx.command_path if isinstance(error, UsageError) and error.ctx is not None else "mairust"
        usage = error.ctx.get_usage() if isinstance(error, UsageError) and error.ctx is not None else ""
        raise CliError(
            message[:1].lower() + message[1:],
            code=Exit.USAGE,
            why=" ".join(usage.split()).replace("Usage: ", "usage: "),
            hint=f"{where} --help",
        ) from None
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(Exit.OK if stop.code is None else Exit.FAILED)
    return result if isinstance(result, int) else int(Exit.OK)


def _failed(error: CliError, printer: Printer, run_of: Runtime | None) -> int:
    try:
        printer.failure(error, _hint(run_of, error))
    except CliError:
        return int(Exit.FAILED)
    return int(error.code)


_LISTED = ("domain", "account", "alias", "queue", "api-key", "tenant", "job", "ban", "session", "connection")
_LISTED_OF_ACCOUNT = ("app-password", "grant", "sieve")
_STEPS = {"no such account": "mairust account list", "no such mailbox": "mairust mailbox list ADDR"}


def _hint(run_of: Runtime | None, error: CliError) -> str:
    """A next step for an error that names none: the noun's list, or the command's help where the input is at fault."""
    if run_of is None:
        return "mairust --help"
    words = run_of.command.split()
    if words[1:] in (["account", "add"], ["alias", "add"]) and _is_of_the_domain(error):
        return "mairust domain list"
    if error.code is Exit.INVALID:
        return f"{run_of.command} --help"
    for refused, step in _STEPS.items():
        if error.why.startswith(refused):
            return step
    if len(words) == 3 and words[2] != "list" and words[1] in _LISTED:
        return f"mairust {words[1]} list"
    if len(words) == 3 and words[2] != "list" and words[1] in _LISTED_OF_ACCOUNT:
        return f"mairust {words[1]} list ADDR"
    return f"{run_of.command} --help"


def _is_of_the_domain(error: CliError) -> bool:
    """Whether what was to be added has no domain here to stand in."""
    faults = items_of((error.problem or {}).get("errors"))
    return error.code is Exit.NOT_FOUND or any(fault.get("pointer") == "/address" for fault in faults)


def _unexpected(error: Exception, printer: Printer, *, debug: bool) -> int:
    """A fault of ours: three lines for people, the traceback only for `--debug`."""
    if isinstance(error, OSError) and error.filename is None and isinstance(error, BrokenPipeError):
        return int(Exit.OK)
    if debug:
        import traceback

        printer.note("".join(traceback.format_exception(error)))
    name = type(error).__name__
    why = f"{name}: {error}" if str(error) else name
    told = CliError("this command failed in an unexpected way", code=Exit.FAILED, why=why[:500])
    printer.failure(told, "the same command with --debug, and report it")
    return int(Exit.FAILED)


def _flushed(code: int) -> int:
    """The exit code once everything is written: a reader that has gone is none of our business, a full disk is."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        close_quietly(sys.stdout)
    except OSError as error:
        close_quietly(sys.stdout)
        standard_printer(Options(), {}).failure(unwritable(error), "df -h")
        return int(Exit.FAILED)
    return code


def _open_streams() -> None:
    """Give a process started without stdin, stdout or stderr an empty one, before a socket takes its number."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            setattr(sys, name, open(number, mode, encoding="utf-8"))


def main() -> None:
    """Entry point of the `mairust` executable."""
    _open_streams()
    sys.exit(run(sys.argv[1:], os.environ))
