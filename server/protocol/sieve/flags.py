"""IMAP flags of a script (RFC 5232): lists, the internal variable, `hasflag`.

- Flags keep the case they were first written in; two that differ in case are one.
- What can't be a flag is left out silently (RFC 5232 §2).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from server.protocol.sieve.arguments import Kind, Signature
from server.protocol.sieve.context import MATCH_TAGS, CommandKind, Context, TestKind
from server.protocol.sieve.errors import SieveSyntaxError
from server.protocol.sieve.limits import FLAGS_MAX
from server.protocol.sieve.session import Command, Session, Test
from server.protocol.sieve.strings import Text, variable_name
from server.protocol.sieve.tests import Matching

_SYSTEM = {word.lower(): word for word in ("\\Answered", "\\Flagged", "\\Deleted", "\\Seen", "\\Draft")}
_KEYWORD = re.compile(r"[^\x00-\x20\x7f-\uffff\U00010000-\U0010ffff(){%*\"\\\]]{1,64}")
NAMESPACES = frozenset(("global",))


def flag_list(values: Iterable[str]) -> tuple[str, ...]:
    """The flags in strings that hold one or several, parted by spaces; each once."""
    found: dict[str, str] = {}
    for value in values:
        for word in value.split():
            flag = _SYSTEM.get(word.lower(), word)
            if (flag.startswith("\\") and flag not in _SYSTEM.values()) or (
                not flag.startswith("\\") and not _KEYWORD.fullmatch(flag)
            ):
                continue
            if len(found) < FLAGS_MAX:
                found.setdefault(flag.lower(), flag)
    return tuple(found.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeFlags:
    """`setflag`, `addflag` and `removeflag` (RFC 5232 §3); `variable` None = the internal one."""

    verb: str
    variable: str | None
    flags: tuple[Text, ...]
    line: int

    def run(self, session: Session) -> None:
        session.step(self.line)
        given = flag_list(session.texts(self.flags))
        current = session.flags if self.variable is None else flag_list([session.variable(self.variable)])
        if self.verb == "addflag":
            given = flag_list((*current, *given))
        elif self.verb == "removeflag":
            gone = {flag.lower() for flag in given}
            given = tuple(flag for flag in current if flag.lower() not in gone)
        if self.variable is None:
            session.flags = given
        else:
            session.set_variable(self.variable, " ".join(given), self.line)


@dataclass(frozen=True, slots=True, kw_only=True)
class HasFlag(Matching):
    """RFC 5232 §4."""

    variables: tuple[Text, ...] | None

    def values(self, session: Session) -> Sequence[str]:
        if self.variables is None:
            return session.flags
        return flag_list(session.variable(name.lower()) for name in session.texts(self.variables))


def _variable(context: Context) -> str | None:
    if context.arguments.text(0) is None:
        return None
    if "variables" not in context.notes.required:
        raise SieveSyntaxError('naming a variable needs require "variables"', context.line)
    return variable_name(context.arguments.constant(0), context.line, NAMESPACES)


def _change(context: Context) -> Command:
    return ChangeFlags(verb=context.name, variable=_variable(context), flags=context.texts(1), line=context.line)


def _hasflag(context: Context) -> Test:
    variables = context.arguments.texts(0)
    if variables is not None and "variables" not in context.notes.required:
        raise SieveSyntaxError('naming a variable needs require "variables"', context.line)
    keys = context.texts(1)
    return HasFlag(match=context.match(keys), keys=keys, line=context.line, variables=variables)


_CHANGE = CommandKind(Signature((Kind.TEXT, Kind.TEXTS), optional=1), _change, "imap4flags")
COMMANDS = {"setflag": _CHANGE, "addflag": _CHANGE, "removeflag": _CHANGE}
TESTS = {"hasflag": TestKind(Signature((Kind.TEXTS, Kind.TEXTS), MATCH_TAGS, optional=1), _hasflag, "imap4flags")}
