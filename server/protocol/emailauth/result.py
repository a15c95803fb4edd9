"""The words of RFC 8601 §2.7 that every method answers with."""

from __future__ import annotations

from enum import StrEnum


class Result(StrEnum):
    """One method's outcome. TEMPERROR is neither pass nor fail: DNS said nothing (F08)."""

    NONE = "none"
    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    SOFTFAIL = "softfail"
    NEUTRAL = "neutral"
    POLICY = "policy"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"
