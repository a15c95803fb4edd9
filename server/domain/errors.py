"""Errors that cross rooms: each has a public text and says whether trying again may help.

- The public text is safe to show to a peer: no path, SQL, class or configuration.
- Each edge maps these once: SMTP to 4xx/5xx, IMAP to NO, HTTP to a problem object.
"""

from __future__ import annotations


class MaiRustError(Exception):
    """Base of all errors a caller may be told about.

    Args:
        public: One sentence for the caller, without internals.
        temporary: Whether the same request may succeed later.
        code: The machine word of `api.md` section 1 (`conflict`, `not_found`...).
    """

    code = "internal"

    def __init__(self, public: str, *, temporary: bool = False, code: str | None = None) -> None:
        super().__init__(public)
        self.public = public
        self.temporary = temporary
        if code is not None:
            self.code = code


class NotFound(MaiRustError):
    """The object does not exist, or belongs to somebody else."""

    code = "not_found"


class Conflict(MaiRustError):
    """The name is taken, or the state forbids the change."""

    code = "conflict"


class Forbidden(MaiRustError):
    """The caller is known but may not do this."""

    code = "scope_missing"


class Unauthenticated(MaiRustError):
    """No valid credential was shown."""

    code = "unauthenticated"


class OverQuota(MaiRustError):
    """The account or tenant has no room left."""

    code = "quota_exceeded"


class RateLimited(MaiRustError):
    """Too many requests; `retry_after_s` says when to come back."""

    code = "rate_limited"

    def __init__(self, public: str, *, retry_after_s: int = 60, code: str | None = None) -> None:
        super().__init__(public, temporary=True, code=code)
        self.retry_after_s = retry_after_s


class Unavailable(MaiRustError):
    """Our own fault or a dependency's: nothing was changed, or the outcome is unknown."""

    code = "unavailable"

    def __init__(self, public: str = "temporary server error", *, code: str | None = None) -> None:
        super().__init__(public, temporary=True, code=code)


class DiskReserve(Unavailable):
    """Free space is below the reserve: reading and deleting go on, storing does not."""

    code = "disk_reserve"


class InvalidInput(MaiRustError):
    """The input is outside its grammar or range; `pointer` names the field (RFC 6901)."""

    code = "validation_failed"

    def __init__(self, public: str, *, pointer: str = "", code: str | None = None) -> None:
        super().__init__(public, code=code)
        self.pointer = pointer
