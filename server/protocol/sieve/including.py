"""`include`, `return` and `global` (RFC 6609).

- An included script has variables of its own; `global` ones are shared.
- A script can't include itself, at any distance: that ends the run.
"""

from __future__ import annotations

from dataclasses import dataclass

from server.protocol.sieve.arguments import Kind, Signature, TagKind
from server.protocol.sieve.context import CommandKind, Context
from server.protocol.sieve.errors import SieveRuntimeError, SieveSyntaxError
from server.protocol.sieve.limits import INCLUDE_DEPTH_MAX, INCLUDES_MAX
from server.protocol.sieve.session import Command, Include, Return, Session
from server.protocol.sieve.strings import variable_name


@dataclass(frozen=True, slots=True, kw_only=True)
class IncludeScript:
    """RFC 6609 §3.2."""

    script: Include
    once: bool
    optional: bool
    line: int

    def run(self, session: Session) -> None:
        session.step(self.line)
        script = session.facts.scripts.get(self.script)
        if script is None:
            if self.optional:
                return
            raise SieveRuntimeError(f"the included script {self.script.name!r} is not there", self.line)
        if self.script in session.including:
            raise SieveRuntimeError(f"the script {self.script.name!r} includes itself", self.line)
        if self.once and self.script in session.included:
            return
        session.included.add(self.script)
        if len(session.including) >= INCLUDE_DEPTH_MAX:
            raise SieveRuntimeError(f"scripts include each other deeper than {INCLUDE_DEPTH_MAX} levels", self.line)
        if len(session.included) > INCLUDES_MAX:
            raise SieveRuntimeError(f"more than {INCLUDES_MAX} included scripts", self.line)
        outer = session.variables, session.imported, session.matched
        session.including.append(self.script)
        session.variables, session.imported, session.matched = {}, set(), []
        try:
            session.run(script.commands)
        except Return:
            # It ends this script and no other.
            session.line = self.line
        finally:
            session.including.pop()
            session.variables, session.imported, session.matched = outer


@dataclass(frozen=True, slots=True, kw_only=True)
class ReturnScript:
    """RFC 6609 §3.3."""

    line: int

    def run(self, session: Session) -> None:
        session.step(self.line)
        raise Return


@dataclass(frozen=True, slots=True, kw_only=True)
class Global:
    """RFC 6609 §3.4.1."""

    names: tuple[str, ...]
    line: int

    def run(self, session: Session) -> None:
        session.step(self.line)
        session.imported.update(self.names)


def _include(context: Context) -> Command:
    name = context.arguments.constant(0)
    if not name or len(name) > 512:
        raise SieveSyntaxError("include names no script", context.line)
    script = Include(name, personal="global" not in context.arguments)
    if script not in context.notes.includes:
        if len(context.notes.includes) >= INCLUDES_MAX:
            raise SieveSyntaxError(f"more than {INCLUDES_MAX} included scripts", context.line)
        context.notes.includes.append(script)
    return IncludeScript(
        script=script, once="once" in context.arguments, optional="optional" in context.arguments, line=context.line
    )


def _global(context: Context) -> Command:
    if "variables" not in context.notes.required:
        raise SieveSyntaxError('global needs require "variables"', context.line)
    names = [name for name in context.texts(0) if isinstance(name, str)]
    return Global(names=tuple(variable_name(name, context.line, frozenset()) for name in names), line=context.line)


_INCLUDE_TAGS = {
    "personal": TagKind(group="location"),
    "global": TagKind(group="location"),
    "once": TagKind(),
    "optional": TagKind(),
}

COMMANDS = {
    "include": CommandKind(Signature((Kind.TEXT,), _INCLUDE_TAGS), _include, "include"),
    "return": CommandKind(Signature(), lambda context: ReturnScript(line=context.line), "include"),
    "global": CommandKind(Signature((Kind.TEXTS,)), _global, "include"),
}
