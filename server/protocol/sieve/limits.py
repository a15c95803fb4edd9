"""Limits of one script and of one run (RFC 5228 §2.10, §10).

- A run's cost is counted in work units: a unit is about one character looked at by fast code.
"""

from __future__ import annotations

SCRIPT_OCTETS_MAX = 256 * 1024
"""Octets of one script."""
COMMANDS_MAX = 10_000
"""Commands and tests of one script."""
NESTING_MAX = 32
"""Blocks or tests within each other (RFC 5228 §2.10.5 and §10 want 15)."""
LIST_MAX = 2_000
"""Strings of one string list."""
NUMBER_MAX = 2**63 - 1
"""RFC 5228 §2.4.1 wants 2^31 - 1."""

STEPS_MAX = 20_000
"""Commands and tests of one run, those of included scripts with it."""
WORK_MAX = 40_000_000
"""Work units of one run: about a third of a second."""
UNIT_NS = 8
"""Nanoseconds of processor time that one work unit stands for."""
SEARCH_WORK_MAX = 100_000_000
"""Work units of one search by a regular expression at worst, its size times the text's: about a second."""
STEP_WORK = 100
"""Work units of a command, a test or one comparison beside its text."""
ACTIONS_MAX = 32
"""Actions of one run."""
REDIRECTS_MAX = 4
"""Redirects of one run (RFC 5228 §10)."""
NOTIFICATIONS_MAX = 2
"""Notifications of one run (RFC 5435 §8)."""
VARIABLES_MAX = 256
"""Variables of one run (RFC 5229 §6 wants 128)."""
VALUE_MAX = 8_192
"""Characters kept of a variable's value (RFC 5229 §6 wants 4,000)."""
NAME_MAX = 64
"""Characters of a variable's name (RFC 5229 §6 wants 32)."""
EXPANDED_MAX = 64 * 1024
"""Characters of a string after its variables were put in."""
INCLUDES_MAX = 20
"""Different scripts one run may include (RFC 6609 §3.1)."""
INCLUDE_DEPTH_MAX = 10
"""Scripts that include each other (RFC 6609 §3.1 wants 3)."""
FLAGS_MAX = 50
"""Flags a script may set (filtering.md section 9)."""
REASON_MAX = 16 * 1024
"""Characters of a vacation, reject or notify text."""
BODY_OCTETS_MAX = 1024 * 1024
"""Octets of the body that are decoded for a body test."""
FIELDS_ADDED_MAX = 50
"""Header fields one run may add (RFC 5293 §8)."""
PATTERN_MAX = 500
"""Octets of a regular expression (filtering.md section 5.2)."""
PATTERNS_MAX = 200
"""Regular expressions of one script that are checked when it is compiled."""
DUPLICATE_SECONDS_MAX = 30 * 86_400
"""Longest memory of the duplicate test (RFC 7352 §3.3)."""
