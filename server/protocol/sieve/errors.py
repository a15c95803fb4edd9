"""The two errors of the Sieve room: a script that can't be compiled, and one that can't go on.

- Both name the line; nothing else ever leaves `compile_script` or `run_script`.
"""

from __future__ import annotations


class SieveError(Exception):
    """What is wrong with a script, and where.

    Attributes:
        reason: One sentence in lower case, safe to show to the script's owner.
        line: Line of the script, from 1; 0 when it is about the whole script.
    """

    def __init__(self, reason: str, line: int = 0) -> None:
        super().__init__(f"line {line}: {reason}" if line else reason)
        self.reason = reason
        self.line = line


class SieveSyntaxError(SieveError):
    """The script is outside the grammar, or uses what it did not require (RFC 5228 §2.10.6)."""


class SieveRuntimeError(SieveError):
    """The script reached a limit or asked for what can't be done; the mail is kept (RFC 5228 §2.10.6)."""
