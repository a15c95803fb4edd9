"""The `:matches` pattern (RFC 5228 §2.7.1): `*` any characters, `?` one, `\\` takes the next as it is.

- Each piece between stars is sought once, leftmost: no backtracking, at most text times piece.
- A star matches as little as it can (RFC 5229 §3.2); what each wildcard matched is returned in order.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

_CACHED = 512


@dataclass(frozen=True, slots=True)
class _Piece:
    """Characters between two stars; None stands for `?`.

    Attributes:
        literal: The piece as text when it holds no `?`.
        pattern: What finds it when it does: fixed characters alone, so it never backtracks.
    """

    characters: tuple[str | None, ...]
    literal: str | None
    pattern: re.Pattern[str] | None

    def at(self, text: str, start: int) -> bool:
        """Whether the piece stands at `start`."""
        if self.pattern is not None:
            return self.pattern.match(text, start) is not None
        return text.startswith(self.literal or "", start)

    def wild(self, text: str, start: int) -> list[str]:
        """What its question marks matched."""
        if self.pattern is None:
            return []
        return [text[start + place] for place, c in enumerate(self.characters) if c is None]

    def find(self, text: str, start: int, end: int) -> int:
        """The leftmost place in text[start:end], or -1."""
        if self.pattern is None:
            return text.find(self.literal or "", start, end)
        found = self.pattern.search(text, start, end)
        return -1 if found is None else found.start()


@dataclass(frozen=True, slots=True)
class Glob:
    """A compiled pattern: pieces with a star between each two."""

    pieces: tuple[_Piece, ...]

    @property
    def weight(self) -> int:
        """Characters compared for one of the text at worst."""
        return 1 + 2 * sum(len(piece.characters) for piece in self.pieces if piece.pattern is not None)

    def match(self, text: str) -> list[str] | None:
        """What the wildcards matched, in order, or None."""
        first, last = self.pieces[0], self.pieces[-1]
        if len(self.pieces) == 1:
            fits = len(text) == len(first.characters) and first.at(text, 0)
            return first.wild(text, 0) if fits else None
        end = len(text) - len(last.characters)
        at = len(first.characters)
        if end < at or not first.at(text, 0) or not last.at(text, end):
            return None
        found = first.wild(text, 0)
        for piece in self.pieces[1:-1]:
            place = piece.find(text, at, end)
            if place < 0:
                return None
            found.append(text[at:place])
            found += piece.wild(text, place)
            at = place + len(piece.characters)
        found.append(text[at:end])
        return found + last.wild(text, end)


@lru_cache(maxsize=_CACHED)
def compile_glob(pattern: str) -> Glob:
    """Compile a pattern; every string is one."""
    pieces: list[list[str | None]] = [[]]
    characters = iter(pattern)
    for character in characters:
        if character == "*":
            pieces.append([])
        elif character == "?":
            pieces[-1].append(None)
        elif character == "\\":
            pieces[-1].append(next(characters, "\\"))
        else:
            pieces[-1].append(character)
    return Glob(tuple(_piece(characters) for characters in pieces))


def _piece(characters: list[str | None]) -> _Piece:
    if None not in characters:
        return _Piece(tuple(characters), "".join(c for c in characters if c is not None), None)
    pattern = "".join("." if c is None else re.escape(c) for c in characters)
    return _Piece(tuple(characters), None, re.compile(pattern, re.DOTALL))
