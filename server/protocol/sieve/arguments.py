"""Binding a command's arguments to its signature: types, order, groups that exclude each other.

RFC 5228 §2.6: tagged arguments in any order before the positional ones, each at most once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from server.protocol.sieve.errors import SieveSyntaxError
from server.protocol.sieve.strings import Text
from server.protocol.sieve.tree import Argument, Number, Strings, Tag


class Kind(StrEnum):
    """What an argument is; `FLAG` is a tag without a value."""

    FLAG = "no value"
    NUMBER = "a number"
    TEXT = "a string"
    TEXTS = "a string or a list of strings"


@dataclass(frozen=True, slots=True)
class TagKind:
    """A tag that a command takes.

    Attributes:
        group: Tags of one group exclude each other; empty = none.
        extension: What must be required for it; empty = it comes with its command.
    """

    value: Kind = Kind.FLAG
    group: str = ""
    extension: str = ""


@dataclass(frozen=True, slots=True)
class Signature:
    """What a command or test takes.

    Attributes:
        optional: How many of the first positional arguments may be left out.
        tests: How many tests: 0, 1, or -1 for a list.
    """

    positional: tuple[Kind, ...] = ()
    tags: Mapping[str, TagKind] = field(default_factory=dict)
    optional: int = 0
    tests: int = 0


class Arguments:
    """The arguments of one command, checked against its signature.

    Attributes:
        line: Line of the command.
    """

    def __init__(self, line: int, texter: Callable[[str, int], Text]) -> None:
        self.line = line
        self._texter = texter
        self._tags: dict[str, Argument | None] = {}
        self._positional: list[Argument | None] = []

    def bind(self, name: str, given: tuple[Argument, ...], signature: Signature, required: frozenset[str]) -> None:
        """Take the arguments of the command `name`.

        Raises:
            SieveSyntaxError: They do not fit.
        """
        rest = self._take_tags(name, given, signature, required)
        wanted = signature.positional
        missing = len(wanted) - len(rest)
        if not 0 <= missing <= signature.optional:
            raise SieveSyntaxError(f"{name} takes {_count(wanted, signature.optional)}, {len(rest)} given", self.line)
        self._positional = [None] * missing
        for kind, argument in zip(wanted[missing:], rest, strict=True):
            _check(name, kind, argument)
            self._positional.append(argument)

    def _take_tags(
        self, name: str, given: tuple[Argument, ...], signature: Signature, required: frozenset[str]
    ) -> list[Argument]:
        groups: dict[str, str] = {}
        at = 0
        while at < len(given):
            tag = given[at]
            if not isinstance(tag, Tag):
                break
            at += 1
            spec = signature.tags.get(tag.name)
            if spec is None:
                raise SieveSyntaxError(f"{name} has no argument :{tag.name[:40]}", tag.line)
            if spec.extension and spec.extension not in required:
                raise SieveSyntaxError(f':{tag.name} needs require "{spec.extension}"', tag.line)
            if tag.name in self._tags:
                raise SieveSyntaxError(f":{tag.name} is given twice", tag.line)
            if spec.group and groups.setdefault(spec.group, tag.name) != tag.name:
                raise SieveSyntaxError(f":{tag.name} and :{groups[spec.group]} exclude each other", tag.line)
            self._tags[tag.name] = None
            if spec.value is not Kind.FLAG:
                if at == len(given):
                    raise SieveSyntaxError(f":{tag.name} takes {spec.value}", tag.line)
                _check(f":{tag.name}", spec.value, given[at])
                self._tags[tag.name] = given[at]
                at += 1
        for argument in given[at:]:
            if isinstance(argument, Tag):
                raise SieveSyntaxError(f":{argument.name[:40]} must stand before the other arguments", argument.line)
        return list(given[at:])

    def __contains__(self, tag: str) -> bool:
        return tag in self._tags

    def line_of(self, key: str | int) -> int:
        found = self._find(key)
        return self.line if found is None else found.line

    def number(self, key: str | int) -> int | None:
        """A number by tag or position, or None when it was not given."""
        found = self._find(key)
        return found.value if isinstance(found, Number) else None

    def text(self, key: str | int) -> Text | None:
        """A string, its variables found, or None when it was not given."""
        found = self._find(key)
        return self._texter(found.values[0], found.line) if isinstance(found, Strings) else None

    def texts(self, key: str | int) -> tuple[Text, ...] | None:
        """A list of strings, or None when it was not given."""
        found = self._find(key)
        if not isinstance(found, Strings):
            return None
        return tuple(self._texter(value, found.line) for value in found.values)

    def constant(self, key: str | int) -> str:
        """A string that may hold no variable.

        Raises:
            SieveSyntaxError: It holds one, or was not given.
        """
        text = self.text(key)
        if not isinstance(text, str):
            raise SieveSyntaxError("a string without variables is expected", self.line_of(key))
        return text

    def _find(self, key: str | int) -> Argument | None:
        return self._positional[key] if isinstance(key, int) else self._tags.get(key)


def _check(name: str, kind: Kind, argument: Argument) -> None:
    if kind is Kind.NUMBER:
        fits = isinstance(argument, Number)
    elif kind is Kind.TEXT:
        fits = isinstance(argument, Strings) and not argument.is_list
    else:
        fits = isinstance(argument, Strings)
    if not fits:
        raise SieveSyntaxError(f"{name} takes {kind} here", argument.line)


def _count(wanted: tuple[Kind, ...], optional: int) -> str:
    least = len(wanted) - optional
    number = f"{least} to {len(wanted)}" if optional else str(least)
    return f"{number} argument{'' if number == '1' else 's'}"
