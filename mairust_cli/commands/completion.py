"""`mairust completion`: a static script for the shell; only names of objects ask the daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperGroup

from mairust_cli.exits import CliError, Exit
from mairust_cli.hoist import GLOBAL_FLAGS as HOISTED
from mairust_cli.runtime import runtime
from mairust_cli.shell import single, verb

if TYPE_CHECKING:
    from typer._click.core import Command, Context

app = single()
SHELLS = ("bash", "zsh", "fish")
GLOBAL_FLAGS = " ".join(sorted(flag for flag in HOISTED if flag.startswith("--"))) + " --help"

# The daemon is asked for a tenth of a second at most, and silence is an answer.
_BASH = """\
# bash completion for mairust; load with: source <(mairust completion bash)
_mairust_names() {{ mairust "$1" list -o name --timeout 0.1 --no-input 2>/dev/null; }}
_mairust() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" path="" item words=""
  for item in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    [[ $item == -* ]] || path="$path $item"
  done
  path="${{path# }}"
  case "$path" in
{cases}
  esac
  case "$path" in
    "domain show"*|"domain remove"*|"domain dns show"*) words="$words $(_mairust_names domain)" ;;
    "account show"*|"account set"*|"account password"*|"account remove"*) words="$words $(_mairust_names account)" ;;
    "queue show"*|"queue retry"*|"queue hold"*|"queue release"*|"queue bounce"*|"queue delete"*)
      words="$words $(_mairust_names queue)" ;;
  esac
  [[ $word == -* ]] && words="$words {flags}"
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -F _mairust mairust
"""
_ZSH = """\
#compdef mairust
# zsh completion for mairust; load with: source <(mairust completion zsh)
autoload -U +X bashcompinit && bashcompinit
"""


@verb(app, "completion", "mairust completion bash", "mairust completion fish")
def completion(ctx: typer.Context, shell: Annotated[str, typer.Argument(metavar="bash|zsh|fish")]) -> None:
    """Print the completion script of a shell."""
    run = runtime(ctx)
    if shell not in SHELLS:
        raise CliError(
            f"no completion for '{shell}'",
            code=Exit.USAGE,
            why=f"one of {', '.join(SHELLS)}",
            hint="mairust completion bash",
        )
    parent = ctx.parent
    if parent is None or not isinstance(parent.command, TyperGroup):
        raise TypeError("completion was called without the command tree")
    tree = list(walk(parent.command, parent, ()))
    if shell == "fish":
        run.out.data(_fish(tree))
        return
    cases = "\n".join(f'    "{" ".join(path)}"*) words="{words}" ;;' for path, words in _longest_first(tree))
    script = _BASH.format(cases=cases, flags=GLOBAL_FLAGS)
    run.out.data(_ZSH + script.split("\n", 1)[1] if shell == "zsh" else script.rstrip("\n"))


def walk(group: TyperGroup, ctx: Context, path: tuple[str, ...]) -> list[tuple[tuple[str, ...], Command]]:
    """Every command of the tree with its words, nouns before their verbs; loads every noun."""
    found: list[tuple[tuple[str, ...], Command]] = [(path, group)]
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        if isinstance(command, TyperGroup):
            found.extend(walk(command, ctx, (*path, name)))
        elif command is not None:
            found.append(((*path, name), command))
    return found


def _words(command: Command) -> str:
    if isinstance(command, TyperGroup):
        return " ".join(command.list_commands(typer.Context(command)))
    return " ".join(flag for parameter in command.params for flag in parameter.opts if flag.startswith("--"))


def _longest_first(tree: list[tuple[tuple[str, ...], Command]]) -> list[tuple[tuple[str, ...], str]]:
    return [(path, _words(command)) for path, command in sorted(tree, key=lambda entry: -len(entry[0]))]


def _fish(tree: list[tuple[tuple[str, ...], Command]]) -> str:
    lines = ["# fish completion for mairust; load with: mairust completion fish | source", "complete -c mairust -f"]
    for path, command in tree:
        seen = " ; and ".join(f"__fish_seen_subcommand_from {word}" for word in path) or "__fish_use_subcommand"
        for word in _words(command).split():
            what = f"-l {word[2:]}" if word.startswith("--") else f"-a {word}"
            lines.append(f"complete -c mairust -n '{seen}' {what}")
    return "\n".join(lines)
