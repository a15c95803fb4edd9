"""Errors as tagged responses: where a service's error becomes an IMAP answer (RFC 9051 §7.1, RFC 5530)."""

from __future__ import annotations

from server.domain.errors import (
    Conflict,
    DiskReserve,
    Forbidden,
    InvalidInput,
    MaiRustError,
    NotFound,
    OverQuota,
    RateLimited,
    Unauthenticated,
    Unavailable,
)
from server.imap.session import Result, no

INTERNAL_ERROR = no("Internal error, try again later", b"SERVERBUG")

_CODES: tuple[tuple[type[MaiRustError], bytes], ...] = (
    (NotFound, b"NONEXISTENT"),
    (Conflict, b"ALREADYEXISTS"),
    (Forbidden, b"NOPERM"),
    (Unauthenticated, b"AUTHORIZATIONFAILED"),
    (OverQuota, b"OVERQUOTA"),
    (RateLimited, b"LIMIT"),
    (DiskReserve, b"OVERQUOTA"),
    (Unavailable, b"UNAVAILABLE"),
)


def answer_error(error: MaiRustError) -> Result:
    """NO with the error's public text and the code that fits it."""
    if isinstance(error, InvalidInput):
        return no(_sentence(error), b"LIMIT" if error.code == "limit" else b"CANNOT")
    code = next((code for kind, code in _CODES if isinstance(error, kind)), b"SERVERBUG")
    return no(_sentence(error), code)


def _sentence(error: MaiRustError) -> str:
    return error.public[:1].upper() + error.public[1:]
