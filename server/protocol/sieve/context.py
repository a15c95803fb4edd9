"""What builders of compiled commands and tests get to know and to note."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from server.protocol.sieve.arguments import Arguments, Kind, Signature, TagKind
from server.protocol.sieve.errors import SieveSyntaxError
from server.protocol.sieve.limits import PATTERNS_MAX
from server.protocol.sieve.matching import Comparator, Match, MatchKind, Relation
from server.protocol.sieve.regex import PatternError, compile_regex
from server.protocol.sieve.session import Command, Include, Test
from server.protocol.sieve.strings import Text

MATCH_TAGS: Mapping[str, TagKind] = {
    "is": TagKind(group="match"),
    "contains": TagKind(group="match"),
    "matches": TagKind(group="match"),
    "regex": TagKind(group="match", extension="regex"),
    "value": TagKind(Kind.TEXT, "match", "relational"),
    "count": TagKind(Kind.TEXT, "match", "relational"),
    "comparator": TagKind(Kind.TEXT),
}
PART_TAGS: Mapping[str, TagKind] = {
    "all": TagKind(group="part"),
    "localpart": TagKind(group="part"),
    "domain": TagKind(group="part"),
    "user": TagKind(group="part", extension="subaddress"),
    "detail": TagKind(group="part", extension="subaddress"),
}
INDEX_TAGS: Mapping[str, TagKind] = {
    "index": TagKind(Kind.NUMBER, extension="index"),
    "last": TagKind(extension="index"),
}
_FREE_COMPARATORS = (Comparator.OCTET, Comparator.ASCII_CASEMAP)
_NO_SUBSTRINGS = (MatchKind.CONTAINS, MatchKind.MATCHES, MatchKind.REGEX)


@dataclass(slots=True, kw_only=True)
class Notes:
    """What the compiler learns of a script as it goes."""

    required: set[str] = field(default_factory=set)
    includes: list[Include] = field(default_factory=list)
    needs_mailboxes: bool = False
    patterns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """A command or test about to be built.

    Attributes:
        tests: Its compiled tests.
    """

    name: str
    line: int
    arguments: Arguments
    notes: Notes
    tests: tuple[Test, ...] = ()

    def match(self, keys: tuple[Text, ...] = ()) -> Match:
        """The match type and comparator that were given, `:is` and i;ascii-casemap where none was.

        Args:
            keys: Patterns among them are checked where they are constant.
        """
        arguments = self.arguments
        kind = next((kind for kind in MatchKind if kind.value in arguments), MatchKind.IS)
        comparator = self._comparator()
        if comparator is Comparator.ASCII_NUMERIC and kind in _NO_SUBSTRINGS:
            raise SieveSyntaxError(f"i;ascii-numeric has no :{kind}", self.line)
        relation = Relation.EQ
        if kind in (MatchKind.VALUE, MatchKind.COUNT):
            word = arguments.constant(kind.value).lower()
            if word not in set(Relation):
                raise SieveSyntaxError(f":{kind} takes one of gt ge lt le eq ne", arguments.line_of(kind.value))
            relation = Relation(word)
        if kind is MatchKind.REGEX:
            self._check_patterns(keys, ignore_case=comparator is not Comparator.OCTET)
        return Match(kind=kind, comparator=comparator, relation=relation, line=self.line)

    def _comparator(self) -> Comparator:
        if "comparator" not in self.arguments:
            return Comparator.ASCII_CASEMAP
        name = self.arguments.constant("comparator")
        if name not in set(Comparator):
            raise SieveSyntaxError(f"the comparator {name[:40]!r} is not known", self.line)
        comparator = Comparator(name)
        if comparator not in _FREE_COMPARATORS and f"comparator-{name}" not in self.notes.required:
            raise SieveSyntaxError(f'{name} needs require "comparator-{name}"', self.line)
        return comparator

    def _check_patterns(self, keys: tuple[Text, ...], *, ignore_case: bool) -> None:
        for key in keys:
            if isinstance(key, str):
                self.notes.patterns += 1
                if self.notes.patterns > PATTERNS_MAX:
                    raise SieveSyntaxError(f"more than {PATTERNS_MAX} regular expressions", self.line)
                try:
                    compile_regex(key, ignore_case=ignore_case)
                except PatternError as error:
                    raise SieveSyntaxError(f"not a regular expression: {error}", self.line) from error

    def texts(self, key: str | int) -> tuple[Text, ...]:
        """A list of strings that must be there; the signature made sure of it."""
        return self.arguments.texts(key) or ()

    def text(self, key: str | int) -> Text:
        """A string that must be there."""
        return self.arguments.text(key) or ""

    def index(self) -> int | None:
        """`:index` as a signed number, from the end with `:last` (RFC 5260 §6)."""
        number = self.arguments.number("index")
        if number is None:
            if "last" in self.arguments:
                raise SieveSyntaxError(":last goes with :index", self.line)
            return None
        if number < 1:
            raise SieveSyntaxError(":index counts from 1", self.line)
        return -number if "last" in self.arguments else number


def pick(count: int, index: int) -> int | None:
    """The place of the field that a signed `:index` names among `count`, or None."""
    place = index - 1 if index > 0 else count + index
    return place if 0 <= place < count else None


@dataclass(frozen=True, slots=True)
class CommandKind:
    """A command as the compiler knows it; `extension` must be required for it."""

    signature: Signature
    build: Callable[[Context], Command]
    extension: str = ""


@dataclass(frozen=True, slots=True)
class TestKind:
    """A test as the compiler knows it."""

    signature: Signature
    build: Callable[[Context], Test]
    extension: str = ""
