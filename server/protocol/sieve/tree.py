"""The generic syntax tree: what RFC 5228 §8.2 says, before any command's meaning."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tag:
    """A tagged argument's name, lower case, without its colon."""

    name: str
    line: int


@dataclass(frozen=True, slots=True)
class Number:
    value: int
    line: int


@dataclass(frozen=True, slots=True)
class Strings:
    """A string, or a string list; never empty when it is a single string."""

    values: tuple[str, ...]
    is_list: bool
    line: int


Argument = Tag | Number | Strings


@dataclass(frozen=True, slots=True)
class TestNode:
    """A test by its lower-case name. `tests` are those in parentheses, or the one that follows."""

    name: str
    arguments: tuple[Argument, ...]
    tests: tuple[TestNode, ...]
    line: int


@dataclass(frozen=True, slots=True)
class CommandNode:
    """A command by its lower-case name; `block` is None when it ends in a semicolon."""

    name: str
    arguments: tuple[Argument, ...]
    tests: tuple[TestNode, ...]
    block: tuple[CommandNode, ...] | None
    line: int
