"""Exit codes of `mairustd` (config.md §3) and the one-line failure that leads to each.

systemd restarts after 69, 70 and 74, not after 75, 77 and 78.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    STOPPED = 0
    USAGE = 64
    DEPENDENCY_DOWN = 69
    INTERNAL = 70
    STORAGE = 74
    LOCKED = 75
    PERMISSIONS = 77
    CONFIGURATION = 78


class StartFailure(Exception):
    """The daemon can't start or go on; `text` is for the administrator, whole lines, no traceback."""

    def __init__(self, code: ExitCode, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
