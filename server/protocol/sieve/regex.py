"""Regular expressions in linear time: RE2, which has neither back-references nor look-around.

- A pattern is bounded in length and its program in memory; matching costs a pass over the text, a fast one as long as
  the states it meets fit into that memory, else one that does `weight` units of work for each character.

filtering.md section 5.2; draft-ietf-sieve-regex (extended regular expressions, which RE2 contains).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

from server.protocol.sieve.limits import PATTERN_MAX

_PROGRAM_OCTETS_MAX = 1024 * 1024
_CACHED = 256


class PatternError(ValueError):
    """The pattern is no regular expression of the supported kind; its text says why."""


class _Match(Protocol):
    def group(self, number: int, /) -> str | None: ...

    def groups(self) -> tuple[str | None, ...]: ...


class _Compiled(Protocol):
    @property
    def programsize(self) -> int: ...

    def search(self, text: str, /) -> _Match | None: ...


class Regex:
    """A compiled pattern with search semantics."""

    def __init__(self, compiled: _Compiled) -> None:
        self._compiled = compiled

    @property
    def weight(self) -> int:
        """Instructions of its program: work units that one character of a text costs at worst."""
        return self._compiled.programsize

    def search(self, text: str) -> list[str] | None:
        """The whole match and its groups, or None."""
        match = self._compiled.search(text)
        if match is None:
            return None
        return [match.group(0) or "", *(group or "" for group in match.groups())]


@lru_cache(maxsize=_CACHED)
def compile_regex(pattern: str, *, ignore_case: bool) -> Regex:
    """Compile a pattern.

    Raises:
        PatternError: It is too long, outside the grammar, or its program is too large.
    """
    # A C++ library of 3 MiB that most installations never need.
    import re2

    if len(pattern.encode()) > PATTERN_MAX:
        raise PatternError(f"a pattern has at most {PATTERN_MAX} octets")
    options = re2.Options()
    options.case_sensitive = not ignore_case
    options.log_errors = False
    options.max_mem = _PROGRAM_OCTETS_MAX
    try:
        return Regex(re2.compile(pattern, options=options))
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise PatternError(text[:200] or "not a regular expression") from error
