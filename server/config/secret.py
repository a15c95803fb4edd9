"""A value that must not leak: configuration secrets and key material.

- `repr`, `str` and format show stars; JSON encoders, pickle and copies by `reduce` refuse it.
- Only `reveal()` gives the text, so that a search for it finds every use (security.md §12).
"""

from __future__ import annotations

import hmac
from typing import NoReturn

STARS = "********"


class Secret:
    """A text that shows itself as stars everywhere."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself; for the driver, dialog or cipher that needs it, never for a message."""
        return self._text

    def __repr__(self) -> str:
        return STARS

    def __str__(self) -> str:
        return STARS

    def __format__(self, format_spec: str) -> str:
        return STARS

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret can't be serialised")
