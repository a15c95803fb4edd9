"""`set` and `string` (RFC 5229 §4, §5), and the modifiers of values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from server.protocol.sieve.arguments import Kind, Signature, TagKind
from server.protocol.sieve.context import MATCH_TAGS, CommandKind, Context, TestKind
from server.protocol.sieve.errors import SieveSyntaxError
from server.protocol.sieve.flags import NAMESPACES
from server.protocol.sieve.limits import VALUE_MAX
from server.protocol.sieve.session import GLOBAL, Command, Session, Test
from server.protocol.sieve.strings import Text, variable_name
from server.protocol.sieve.tests import Matching

_MODIFIER_WORK = 10
_MODIFIERS: Mapping[str, tuple[int, Callable[[str], str]]] = {
    "lower": (40, str.lower),
    "upper": (40, str.upper),
    "lowerfirst": (30, lambda text: text[:1].lower() + text[1:]),
    "upperfirst": (30, lambda text: text[:1].upper() + text[1:]),
    "quotewildcard": (20, lambda text: "".join("\\" + c if c in "*?\\" else c for c in text)),
    "quoteregex": (20, lambda text: "".join("\\" + c if c in "\\^$.[]|()?*+{}" else c for c in text)),
    "length": (10, lambda text: str(len(text))),
}
"""Each with its precedence (RFC 5229 §4.1): the highest is applied first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetVariable:
    """RFC 5229 §4."""

    name: str
    value: Text
    modifiers: tuple[str, ...]
    line: int

    def run(self, session: Session) -> None:
        session.step(self.line)
        value = session.text(self.value)[:VALUE_MAX]
        for modifier in self.modifiers:
            session.spend(_MODIFIER_WORK * len(value))
            value = _MODIFIERS[modifier][1](value)
        session.set_variable(self.name, value, self.line)


@dataclass(frozen=True, slots=True, kw_only=True)
class StringTest(Matching):
    """RFC 5229 §5; `:count` counts strings that are not empty."""

    source: tuple[Text, ...]

    def values(self, session: Session) -> Sequence[str]:
        found = session.texts(self.source)
        return [value for value in found if value] if self.match.kind == "count" else found


def _set(context: Context) -> Command:
    name = variable_name(context.arguments.constant(0), context.line, NAMESPACES)
    if name.startswith(GLOBAL) and "include" not in context.notes.required:
        raise SieveSyntaxError('the namespace global needs require "include"', context.line)
    given = [modifier for modifier in _MODIFIERS if modifier in context.arguments]
    given.sort(key=lambda modifier: -_MODIFIERS[modifier][0])
    return SetVariable(name=name, value=context.text(1), modifiers=tuple(given), line=context.line)


def _string(context: Context) -> Test:
    keys = context.texts(1)
    return StringTest(match=context.match(keys), keys=keys, line=context.line, source=context.texts(0))


_MODIFIER_TAGS = {
    name: TagKind(group=f"modifier {precedence}", extension="regex" if name == "quoteregex" else "")
    for name, (precedence, _) in _MODIFIERS.items()
}

COMMANDS = {"set": CommandKind(Signature((Kind.TEXT, Kind.TEXT), _MODIFIER_TAGS), _set, "variables")}
TESTS = {"string": TestKind(Signature((Kind.TEXTS, Kind.TEXTS), MATCH_TAGS), _string, "variables")}
