"""Comparators and match types: how values are held against keys.

- Every comparison is paid for before it is made, so no script can cost more than its budget; one by a regular
  expression is bounded before, and what it really cost is paid for behind it.

RFC 5228 §2.7, RFC 4790 §9, RFC 5051 (i;unicode-casemap), RFC 5231 (relational), draft-ietf-sieve-regex.
"""

from __future__ import annotations

import re
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from server.protocol.sieve.errors import SieveRuntimeError
from server.protocol.sieve.glob import compile_glob
from server.protocol.sieve.limits import SEARCH_WORK_MAX, STEP_WORK, UNIT_NS
from server.protocol.sieve.regex import PatternError, compile_regex

_DIGITS = re.compile(r"[0-9]++")
_DIGITS_MAX = 4_000
_LAST_CASED = 0x1E944
_REGEX_WORK = 20
_PATTERN_WORK = 50_000
"""Making the program of a pattern, which may be cached or not."""
_CASEMAP_WORK = 50


class Comparator(StrEnum):
    OCTET = "i;octet"
    ASCII_CASEMAP = "i;ascii-casemap"
    ASCII_NUMERIC = "i;ascii-numeric"
    UNICODE_CASEMAP = "i;unicode-casemap"


class MatchKind(StrEnum):
    IS = "is"
    CONTAINS = "contains"
    MATCHES = "matches"
    REGEX = "regex"
    VALUE = "value"
    COUNT = "count"


class Relation(StrEnum):
    """RFC 5231 §4."""

    GT = "gt"
    GE = "ge"
    LT = "lt"
    LE = "le"
    EQ = "eq"
    NE = "ne"


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A match type with its comparator; `relation` for VALUE and COUNT."""

    kind: MatchKind = MatchKind.IS
    comparator: Comparator = Comparator.ASCII_CASEMAP
    relation: Relation = Relation.EQ
    line: int = 0

    def find(self, values: Sequence[str], keys: Sequence[str], spend: Callable[[int], None]) -> list[str] | None:
        """Compare each value with each key.

        Returns:
            None when nothing matches; else the match variables (RFC 5229 §3.2), empty when the match sets none.

        Raises:
            SieveRuntimeError: A pattern is wrong, or `spend` says that it costs too much.
        """
        if self.kind is MatchKind.COUNT:
            count = str(len(values))
            return [] if any(_related(self.relation, self.comparator, count, key) for key in keys) else None
        if self.kind is MatchKind.REGEX:
            return self._regex(values, keys, spend)
        spend(sum(map(len, keys)))
        prepared = [_form(self.comparator, key, spend) for key in keys]
        for value in values:
            shown = _form(self.comparator, value, spend)
            for key in prepared:
                spend(STEP_WORK + len(shown) // 4)
                found = self._one(value, shown, key, spend)
                if found is not None:
                    return found
        return None

    def _one(self, value: str, shown: str, key: str, spend: Callable[[int], None]) -> list[str] | None:
        kind = self.kind
        if kind is MatchKind.CONTAINS:
            return [] if key in shown else None
        if kind is MatchKind.MATCHES:
            glob = compile_glob(key)
            spend(len(shown) * glob.weight)
            found = glob.match(shown)
            if found is None:
                return None
            # The variables are of the value as written where the comparator kept every character's place.
            return [value, *(_as_written(value, shown, found, key))]
        if kind is MatchKind.VALUE:
            return [] if _related(self.relation, self.comparator, shown, key) else None
        if self.comparator is Comparator.ASCII_NUMERIC:
            return [] if _number(shown) == _number(key) else None
        return [] if shown == key else None

    def _regex(self, values: Sequence[str], keys: Sequence[str], spend: Callable[[int], None]) -> list[str] | None:
        ignore_case = self.comparator is not Comparator.OCTET
        for key in keys:
            spend(_PATTERN_WORK)
            try:
                with _more_than(_PATTERN_WORK, spend):
                    compiled = compile_regex(key, ignore_case=ignore_case)
            except PatternError as error:
                raise SieveRuntimeError(f"the pattern is no regular expression: {error}", self.line) from error
            for value in values:
                if compiled.weight * len(value) > SEARCH_WORK_MAX:
                    raise SieveRuntimeError("the regular expression is too large for a text of that length", self.line)
                work = 10 * STEP_WORK + _REGEX_WORK * len(value)
                spend(work)
                with _more_than(work, spend):
                    found = compiled.search(value)
                if found is not None:
                    return found
        return None


@contextmanager
def _more_than(work: int, spend: Callable[[int], None]) -> Iterator[None]:
    """Charge what is done inside at its true cost as well, where that is above the work charged for it.

    A pattern's cost can't be told from its text: most take some nanoseconds a character, the worst a thousand times
    that.
    """
    began = time.thread_time_ns()
    yield
    spend(max(0, (time.thread_time_ns() - began) // UNIT_NS - work))


def _as_written(value: str, shown: str, found: list[str], key: str) -> list[str]:
    """The wildcards' matches with the value's own case; the comparator's form when lengths differ."""
    if shown == value or len(shown) != len(value):
        return found
    written: list[str] = []
    at = 0
    rest = iter(found)
    characters = iter(key)
    for character in characters:
        if character in "*?":
            length = len(next(rest))
            written.append(value[at : at + length])
            at += length
        else:
            if character == "\\":
                next(characters, "")
            at += 1
    return written


def _form(comparator: Comparator, text: str, spend: Callable[[int], None]) -> str:
    """The form in which a comparator compares."""
    if comparator is Comparator.ASCII_CASEMAP:
        spend(len(text) // 4)
        return text.upper() if text.isascii() else text.translate(_ASCII_UPPER)
    if comparator is Comparator.UNICODE_CASEMAP:
        spend(_CASEMAP_WORK * len(text))
        return unicodedata.normalize("NFKD", text.upper() if text.isascii() else text.translate(_title_case()))
    return text


_ASCII_UPPER = {code: code - 32 for code in range(ord("a"), ord("z") + 1)}


@cache
def _title_case() -> dict[int, str]:
    """The simple title-case mappings of Unicode (RFC 5051 §2)."""
    mapped: dict[int, str] = {}
    for code in range(ord("a"), _LAST_CASED):
        character = chr(code)
        title = character.title()
        if title != character and len(title) == 1:
            mapped[code] = title
    return mapped


def _related(relation: Relation, comparator: Comparator, value: str, key: str) -> bool:
    if comparator is Comparator.ASCII_NUMERIC:
        return _ordered(relation, _number(value), _number(key))
    # Code points and the octets of UTF-8 have one order.
    return _ordered(relation, (0, value), (0, key))


def _ordered(relation: Relation, value: tuple[int, str], key: tuple[int, str]) -> bool:
    match relation:
        case Relation.GT:
            return value > key
        case Relation.GE:
            return value >= key
        case Relation.LT:
            return value < key
        case Relation.LE:
            return value <= key
        case Relation.EQ:
            return value == key
        case Relation.NE:
            return value != key


def _number(text: str) -> tuple[int, str]:
    """What i;ascii-numeric compares: length and digits without leading zeros, above all numbers for no number."""
    match = _DIGITS.match(text)
    if match is None:
        return (_DIGITS_MAX + 1, "")
    digits = match[0].lstrip("0")[:_DIGITS_MAX]
    return (len(digits), digits)
