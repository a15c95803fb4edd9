"""The one question that every service asks first: may this caller do that (api.md §2)."""

from __future__ import annotations

from server.domain.errors import Forbidden
from server.domain.identity import Scope

SYSTEM_SCOPES = frozenset({"tenants:read", "tenants:write", "system:read", "system:write"})
"""Scopes that work for system credentials only."""


def require(scope: Scope, word: str) -> None:
    """Raise Forbidden unless the caller has the scope; system words need a system credential too."""
    if word not in scope.scopes or (word in SYSTEM_SCOPES and not scope.system):
        raise Forbidden(f"the scope {word} is needed")
