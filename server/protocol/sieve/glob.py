"""The `:matches` pattern (RFC 5228 §2.7.1): `*` any characters, `?` one, `\\` takes the next as it is.

- Each piece between stars is sought once, leftmost: no backtracking, at most text times piece.
- A star matches as little as it can (RFC 5229 §3.2); what each wildcard matched is returned in order.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

_CACHED = 512


@dataclass(frozen=True, slots=True)
class _Piece:
    """Characters between two stars; None stands for `?`.

    Attributes:
        literal: The longest run without `?`, by which the piece is sought.
        offset: Where that run begins in the piece.
    """

    characters: tuple[str | None, ...]
    literal: str
    offset: int

    def at(self, text: str, start: int) -> bool:
        """Whether the piece stands at `start`; the caller made sure that there is room."""
        if len(self.literal) == len(self.characters):
            return text.startswith(self.literal, start)
        return all(c is None or text[start + place] == c for place, c in enumerate(self.characters))

    def wild(self, text: str, start: int) -> list[str]:
        """What its question marks matched."""
        return [text[start + place] for place, c in enumerate(self.characters) if c is None]

    def find(self, text: str, start: int, end: int) -> int:
        """The leftmost place in text[start:end], or -1."""
        last = end - len(self.characters)
        if not self.literal:
            return start if start <= last else -1
        at = start
        while at <= last:
            found = text.find(self.literal, at + self.offset, last + self.offset + len(self.literal))
            if found < 0:
                return -1
            at = found - self.offset
            if self.at(text, at):
                return at
            at += 1
        return -1


@dataclass(frozen=True, slots=True)
class Glob:
    """A compiled pattern: pieces with a star between each two."""

    pieces: tuple[_Piece, ...]

    @property
    def weight(self) -> int:
        """Characters compared for one of the text at worst."""
        return 1 + sum(len(p.characters) for p in self.pieces if len(p.literal) != len(p.characters))

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
    best, offset, start = "", 0, 0
    for place in range(len(characters) + 1):
        if place == len(characters) or characters[place] is None:
            run = "".join(c for c in characters[start:place] if c is not None)
            if len(run) > len(best):
                best, offset = run, start
            start = place + 1
    return _Piece(tuple(characters), best, offset)
