"""Errors as RFC 9457 problem objects: one table from machine words to statuses, used by every route.

- The public text of our own errors is the detail; an error that is not ours is `internal`, without a detail.
- Statuses of the framework map to the same words, so that there is one shape of error and no other.
"""

from __future__ import annotations

import msgspec

from server.domain.errors import InvalidInput, MaiRustError, RateLimited

MEDIA_TYPE = "application/problem+json"

STATUS_OF: dict[str, int] = {
    "bad_request": 400,
    "bad_cursor": 400,
    "unauthenticated": 401,
    "scope_missing": 403,
    "sender_not_allowed": 403,
    "account_suspended": 403,
    "network_banned": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "not_acceptable": 406,
    "conflict": 409,
    "in_use": 409,
    "invalid_state": 409,
    "idempotency_in_progress": 409,
    "events_expired": 410,
    "revision_mismatch": 412,
    "too_large": 413,
    "unsupported_media_type": 415,
    "validation_failed": 422,
    "unknown_field": 422,
    "idempotency_mismatch": 422,
    "rate_limited": 429,
    "internal": 500,
    "unavailable": 503,
    "not_configured": 503,
    "read_only": 503,
    "search_unavailable": 503,
    "quota_exceeded": 507,
    "disk_reserve": 507,
}
"""Status of each code of api.md section 1."""

_TITLES: dict[str, str] = {
    "bad_request": "The request can't be read",
    "bad_cursor": "The cursor is not one of ours, or too old",
    "unauthenticated": "A valid credential is needed",
    "scope_missing": "Not allowed",
    "sender_not_allowed": "Not allowed to send from this address",
    "network_banned": "Your network is refused for now",
    "not_found": "Not found",
    "method_not_allowed": "The path does not have this method",
    "conflict": "In conflict with what is there",
    "in_use": "Still in use",
    "invalid_state": "Not possible in the present state",
    "idempotency_in_progress": "The first request with this key still runs",
    "idempotency_mismatch": "The key was used for another request",
    "events_expired": "The events were deleted",
    "revision_mismatch": "Changed meanwhile",
    "too_large": "Too large",
    "unsupported_media_type": "The media type is not supported",
    "validation_failed": "The input is not valid",
    "unknown_field": "The input has an unknown field",
    "rate_limited": "Too many requests",
    "internal": "Internal error",
    "unavailable": "Temporarily unavailable",
    "quota_exceeded": "No room left",
    "disk_reserve": "The disk is too full to store anything",
}

CODE_OF_STATUS: dict[int, str] = {
    400: "bad_request",
    401: "unauthenticated",
    403: "scope_missing",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    413: "too_large",
    415: "unsupported_media_type",
    422: "validation_failed",
    429: "rate_limited",
    503: "unavailable",
}
"""The word for a status that the framework chose."""


class FieldProblem(msgspec.Struct, frozen=True, kw_only=True):
    """One fault of the input; `pointer` names the place (RFC 6901)."""

    pointer: str
    code: str
    detail: str


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """RFC 9457 §3.1, with the machine word, the request's id and the faults of the input."""

    type: str
    title: str
    status: int
    code: str
    request_id: str
    detail: str = ""
    instance: str = ""
    errors: list[FieldProblem] = msgspec.field(default_factory=list)


class BadRequest(MaiRustError):
    """The request is not HTTP or JSON as we take it; `code` says which way."""

    code = "bad_request"


def problem_of(error: Exception, *, request_id: str, path: str) -> tuple[Problem, dict[str, str]]:
    """The problem object of an error, and headers that go with it."""
    if not isinstance(error, MaiRustError):
        return make_problem("internal", "", request_id=request_id, path=path), {}
    faults: list[FieldProblem] = []
    if isinstance(error, InvalidInput):
        faults = [FieldProblem(pointer=error.pointer, code=error.code, detail=error.public)]
    headers: dict[str, str] = {}
    if isinstance(error, RateLimited):
        headers["retry-after"] = str(error.retry_after_s)
    code = error.code if error.code in STATUS_OF else _fallback(error)
    if code == "unauthenticated":
        headers["www-authenticate"] = 'Bearer realm="mairust"'
    detail = "" if code == "internal" else error.public
    return make_problem(code, detail, request_id=request_id, path=path, errors=faults), headers


def _fallback(error: MaiRustError) -> str:
    """The code of an error whose word is a mail protocol's: that of its kind."""
    word = type(error).code
    if word in STATUS_OF and word != "internal":
        return word
    return "unavailable" if error.temporary else "internal"


def make_problem(
    code: str, detail: str, *, request_id: str, path: str, errors: list[FieldProblem] | None = None
) -> Problem:
    """A problem of one code."""
    return Problem(
        type=f"urn:mairust:problem:{code}",
        title=_TITLES.get(code, code.replace("_", " ").capitalize()),
        status=STATUS_OF.get(code, 500),
        code=code,
        request_id=request_id,
        detail=detail,
        instance=path[:512],
        errors=errors or [],
    )
