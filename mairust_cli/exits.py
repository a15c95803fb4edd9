"""Exit codes and the one exception a command ends with.

- Every failure that a person may meet is a `CliError`: what failed, why, and a command to try.
- The code of an API answer follows its HTTP status alone, so scripts can rely on it.
"""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """What the shell sees; the same table as `mairust help exit-codes`."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    NOT_ALLOWED = 4
    CONFLICT = 5
    UNREACHABLE = 6
    INVALID = 7
    TIMED_OUT = 8
    PARTLY = 9
    WARNINGS = 10
    ERRORS = 11
    INTERRUPTED = 130


_BY_STATUS = {
    400: Exit.INVALID,
    401: Exit.NOT_ALLOWED,
    403: Exit.NOT_ALLOWED,
    404: Exit.NOT_FOUND,
    409: Exit.CONFLICT,
    410: Exit.NOT_FOUND,
    412: Exit.CONFLICT,
    413: Exit.INVALID,
    422: Exit.INVALID,
}


def exit_for_status(status: int, code: str) -> Exit:
    """The exit code of an API problem, from its HTTP status and its `code` field."""
    if status == 503 and code == "not_configured":
        return Exit.INVALID
    return _BY_STATUS.get(status, Exit.FAILED)


class CliError(Exception):
    """A failure told in three lines.

    Attributes:
        what: First line, without the leading `error:`.
        why: Second line: the server's words or the object's name.
        hint: A command to try; empty when there is none.
        problem: The API's problem object when it caused this.
    """

    def __init__(
        self,
        what: str,
        *,
        code: Exit,
        why: str = "",
        hint: str = "",
        problem: dict[str, object] | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.hint = hint
        self.code = code
        self.problem = problem
