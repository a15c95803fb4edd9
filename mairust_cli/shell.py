"""Groups and commands: lazy nouns, hidden aliases, help with examples, and slips of the hand.

- Only the module of the noun that is called is imported; its one-line help stands in the table of nouns.
- An alias works everywhere and shows nowhere; nothing is ever run on a guess.
- Examples stand in the epilog, one a line, and come first in `-h`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from mairust_cli.exits import CliError, Exit
from mairust_cli.runtime import Runtime

if TYPE_CHECKING:
    from typer._click.core import Command, Context
    from typer._click.formatting import HelpFormatter

F = TypeVar("F", bound=Callable[..., Any])

_SAME_VERBS = (
    ("add", "create"),
    ("remove", "delete", "rm"),
    ("kick", "remove", "end"),
    ("drop", "remove", "rm"),
    ("list", "ls"),
    ("show", "get"),
)
_TYPER = {"rich_markup_mode": None, "pretty_exceptions_enable": False, "add_completion": False}
GLOBAL_HELP = """\
Global flags, before or after the command (more: mairust help output):
  --socket PATH  --url URL  --token-file F  --tenant NAME  --timeout S
  -o/--output FORMAT  --json  --columns A,B  --no-header  --limit N
  -q  -v  --debug  -y/--yes  --no-input  --color WHEN  --ascii  --no-pager  -h/--help
"""


class Leaf(TyperCommand):
    """A command whose help starts with its examples."""

    def format_help(self, ctx: Context, formatter: HelpFormatter) -> None:
        run = ctx.obj
        if isinstance(run, Runtime) and run.options.short_help:
            self._format_examples(formatter)
            formatter.write_paragraph()
            self.format_usage(ctx, formatter)
            self.format_options(ctx, formatter)
            return
        self.format_usage(ctx, formatter)
        self.format_help_text(ctx, formatter)
        self._format_examples(formatter)
        self.format_options(ctx, formatter)
        formatter.write_paragraph()
        formatter.write(GLOBAL_HELP)

    @property
    def examples(self) -> list[str]:
        """Copyable command lines."""
        return [line for line in (self.epilog or "").splitlines() if line]

    def _format_examples(self, formatter: HelpFormatter) -> None:
        formatter.write_paragraph()
        formatter.write("Examples:\n")
        for example in self.examples:
            formatter.write(f"  {example}\n")


class VerbGroup(TyperGroup):
    """A noun: its verbs, their aliases, and a suggestion for a slip."""

    def resolve_command(self, ctx: Context, args: list[str]) -> tuple[str | None, Command | None, list[str]]:
        name = self.resolve_name(ctx, args[0])
        return name, self.get_command(ctx, name), args[1:]

    def resolve_name(self, ctx: Context, typed: str) -> str:
        """The command's own name for what was typed.

        Raises:
            CliError: None such (exit 2), with the nearest name when one is near.
        """
        names = self.list_commands(ctx)
        if typed in names or typed in self.hidden_names():
            return typed
        for same in _SAME_VERBS:
            if typed in same:
                for other in same:
                    if other in names:
                        return other
        near = get_close_matches(typed, names, n=1)
        what = f"no such command '{typed}'" + (f". Did you mean '{near[0]}'?" if near else "")
        why = f"commands of {ctx.command_path}: {', '.join(names)}"
        raise CliError(what, code=Exit.USAGE, why=why, hint=f"{ctx.command_path} --help")

    def hidden_names(self) -> Sequence[str]:
        return ()

    def format_commands(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Every verb with its whole sentence: none is cut."""
        with formatter.section("Commands"):
            named = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
            formatter.write_dl([(name, _sentence(command)) for name, command in named if command is not None])

    def list_commands(self, ctx: Context) -> list[str]:
        return [name for name, command in self.commands.items() if not command.hidden]


class LazyGroup(VerbGroup):
    """The root: nouns by name, loaded when called.

    Args:
        nouns: Name to (module with an `app`, one-line help).
        aliases: Hidden name to name.
    """

    def __init__(self, *, nouns: Mapping[str, tuple[str, str]], aliases: Mapping[str, str], **attrs: Any) -> None:
        super().__init__(**attrs)
        self._nouns = nouns
        self._aliases = aliases

    def list_commands(self, ctx: Context) -> list[str]:
        return list(self._nouns)

    def hidden_names(self) -> Sequence[str]:
        return tuple(self._aliases)

    def get_command(self, ctx: Context, cmd_name: str) -> Command | None:
        name = self._aliases.get(cmd_name, cmd_name)
        if name not in self.commands:
            if name not in self._nouns:
                return None
            app = import_module(self._nouns[name][0]).app
            command = typer.main.get_command(app)
            command.name = name
            self.commands[name] = command
        return self.commands[name]

    def format_commands(self, ctx: Context, formatter: HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self._nouns.items()])
        formatter.write_paragraph()
        formatter.write(GLOBAL_HELP)


def help_of(ctx: Context, words: Sequence[str]) -> str:
    """The help of a command named by its words, aliases too.

    Raises:
        CliError: There is none such.
    """
    here = ctx.find_root()
    for word in words:
        group = here.command
        if not isinstance(group, VerbGroup):
            raise CliError(f"'{here.command_path}' has no commands below it", code=Exit.NOT_FOUND, why=" ".join(words))
        name = group.resolve_name(here, word)
        command = group.get_command(here, name)
        if command is None:
            raise CliError(f"no such command '{word}'", code=Exit.NOT_FOUND, why=" ".join(words))
        here = type(here)(command, info_name=command.name, parent=here, obj=ctx.obj)
    return here.get_help()


def _sentence(command: Command) -> str:
    text = (command.help or "").partition("\n\n")[0]
    return " ".join(text.split())


def noun(text: str) -> typer.Typer:
    """A noun with verbs."""
    app = typer.Typer(cls=VerbGroup, help=text, no_args_is_help=True, context_settings=_SETTINGS, **_TYPER)  # type: ignore[arg-type]
    app.callback()(_no_options)
    return app


def single() -> typer.Typer:
    """A command without verbs."""
    return typer.Typer(context_settings=_SETTINGS, **_TYPER)  # type: ignore[arg-type]


def verb(app: typer.Typer, name: str, *examples: str) -> Callable[[F], F]:
    """Register a function as a verb, with its two or more examples."""
    return app.command(name, cls=Leaf, epilog="\n".join(examples), context_settings=_SETTINGS)


_SETTINGS: dict[str, Any] = {"help_option_names": ["-h", "--help"]}


def _no_options() -> None:
    pass
