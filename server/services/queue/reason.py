"""Patterns for the reason filter: the part of regular expressions that costs linear time, whatever is written.

- Literals, `.`, character classes, `\\` before a special character, `.*` between them, `|` between alternatives, `^` at
  the beginning and `$` at the end. No groups and no other repeats: they are refused, never guessed at.
- Matching looks for each piece after the one before, so it never goes back (security.md Y15).
"""

from __future__ import annotations

import re

from server.domain.errors import InvalidInput

PATTERN_MAX = 500
"""Characters of a pattern (filtering.md)."""

_TOKEN = re.compile(r"\\[^A-Za-z0-9]|\.\*|\.|\[\^?[^\[\]\\^]{1,100}\]|[^\\.\[\]()*+?{}|^$]")


class ReasonPattern:
    """A compiled pattern; `matches` searches in text without regard to case.

    Raises:
        InvalidInput: The pattern is too long or holds what is not offered.
    """

    def __init__(self, pattern: str) -> None:
        if len(pattern) > PATTERN_MAX:
            raise InvalidInput(f"the pattern is longer than {PATTERN_MAX} characters", pointer="/reason")
        self._alternatives = [_Alternative(text) for text in _split(pattern)]

    def matches(self, text: str) -> bool:
        return any(alternative.matches(text) for alternative in self._alternatives)


class _Alternative:
    """Fixed-length pieces that must follow each other."""

    def __init__(self, pattern: str) -> None:
        self._at_start = pattern.startswith("^")
        self._at_end = pattern.endswith("$") and not pattern.endswith("\\$")
        body = pattern[int(self._at_start) : len(pattern) - int(self._at_end)]
        pieces: list[list[str]] = [[]]
        at = 0
        while at < len(body):
            token = _TOKEN.match(body, at)
            if token is None:
                raise InvalidInput(
                    f"the pattern's character {body[at]!r} is not offered here: use text, ., .*, [...], |, ^, $ and \\",
                    pointer="/reason",
                )
            at = token.end()
            if token.group() == ".*":
                pieces.append([])
            else:
                pieces[-1].append(token.group())
        self._lengths = [len(piece) for piece in pieces]
        try:
            self._pieces = [re.compile("".join(piece), re.IGNORECASE | re.DOTALL) for piece in pieces]
        except re.error as error:
            raise InvalidInput("the pattern's character class is not valid", pointer="/reason") from error

    def matches(self, text: str) -> bool:
        last = len(self._pieces) - 1
        at = 0
        for number, piece in enumerate(self._pieces):
            if number == last and self._at_end:
                start = len(text) - self._lengths[number]
                fits = start >= at and (start == 0 or number > 0 or not self._at_start)
                return fits and piece.fullmatch(text, start) is not None
            found = piece.match(text) if number == 0 and self._at_start else piece.search(text, at)
            if found is None:
                return False
            at = found.end()
        return True


def _split(pattern: str) -> list[str]:
    """Split at `|` outside character classes and not after a backslash."""
    parts = [""]
    depth, escaped = 0, False
    for character in pattern:
        if character == "|" and not depth and not escaped:
            parts.append("")
            continue
        depth = 0 if character == "]" else 1 if character == "[" and not escaped else depth
        escaped = character == "\\" and not escaped
        parts[-1] += character
    return parts
