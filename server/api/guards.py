"""Which scope a route asks for, declared beside the route; a route without a declaration is not served.

- `PUBLIC` routes need no credential; every other names one scope. Services check again on their own.
- A query parameter that the route does not know is refused by name (product.md R7).
"""

from __future__ import annotations

from functools import lru_cache

from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.enums import ParamType
from litestar.handlers.base import BaseRouteHandler
from litestar.params import ParameterKwarg

from server.api.requests import CallerState
from server.domain.errors import InvalidInput, Unauthenticated
from server.domain.identity import Scope
from server.domain.scopes import require

NEEDS = "needs"
PUBLIC = {NEEDS: ""}
ANY = "any"
"""Any valid credential will do."""
_RESERVED = frozenset({"self", "data", "request", "state", "scope", "headers", "body"})


def needs(word: str) -> dict[str, str]:
    """The `opt` of a route that asks for a scope; `a|b` = for either, and its service decides which."""
    return {NEEDS: word}


def _require_one(scope: Scope, word: str) -> None:
    """Raise Forbidden unless the caller has one of the scopes."""
    alternatives = word.split("|")
    if not any(one in scope.scopes for one in alternatives[:-1]):
        require(scope, alternatives[-1])


def authorise(connection: ASGIConnection[BaseRouteHandler, object, object, State], handler: BaseRouteHandler) -> None:
    """Refuse callers without credential or scope, then unknown query parameters.

    Raises:
        Unauthenticated, Forbidden, InvalidInput.
    """
    word = handler.opt[NEEDS]
    if word:
        scope = CallerState.of(connection.scope["state"]).scope
        if scope is None:
            raise Unauthenticated("the request needs a valid credential")
        if word != ANY:
            _require_one(scope, word)
    known = query_names(handler)
    for name in connection.query_params:
        if name not in known:
            raise InvalidInput(f"there is no query parameter {name[:64]!r}", code="unknown_field")


@lru_cache(1024)
def query_names(handler: BaseRouteHandler) -> frozenset[str]:
    """Names of the query parameters that a route takes."""
    given = _RESERVED | set(handler.resolve_dependencies())
    names = set()
    for name, field in handler.parsed_fn_signature.parameters.items():
        kwarg = field.kwarg_definition
        shown = kwarg.name if isinstance(kwarg, ParameterKwarg) and kwarg.name else name
        from_elsewhere = isinstance(kwarg, ParameterKwarg) and kwarg.param_type is not ParamType.QUERY
        if name not in given and not from_elsewhere:
            names.add(shown)
    return frozenset(names)
