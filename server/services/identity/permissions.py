"""Scopes, roles and bundles: who may do what (api.md §2).

- A role is a fixed set of scopes; a key carries scopes of its own, never more than its maker has.
- Services call `domain.scopes.require` first thing; a foreign id is not a matter of scopes but `NotFound`.
"""

from __future__ import annotations

from collections.abc import Iterable

from server.domain.errors import InvalidInput
from server.domain.identity import ActorKind, Role, Scope
from server.domain.ids import TenantId
from server.domain.scopes import SYSTEM_SCOPES, require

_READ_WRITE = ("accounts", "domains", "queue", "quarantine", "filtering", "hooks", "plugins", "campaigns", "keys")
ALL_SCOPES = (
    frozenset(f"{noun}:{verb}" for noun in _READ_WRITE for verb in ("read", "write"))
    | {"mail:read", "mail:write", "mail:send", "mail:any", "accounts:reset"}
    | {"trace:read", "events:read", "reports:read", "audit:read", "metrics:read"}
    | SYSTEM_SCOPES
)
BUNDLES = frozenset({"read", "write", "send", "admin"})

_USER = frozenset({"mail:read", "mail:write", "mail:send"})
_DOMAIN_ADMIN = frozenset(
    f"{noun}:{verb}"
    for noun in ("accounts", "domains", "queue", "quarantine", "filtering", "campaigns")
    for verb in ("read", "write")
) | {"accounts:reset", "trace:read", "events:read", "reports:read", "hooks:read"}
_HELPDESK = frozenset(
    {"accounts:read", "accounts:reset", "queue:read", "trace:read", "filtering:read"}
    | {"quarantine:read", "quarantine:write"}
)
_AUDITOR = frozenset(s for s in ALL_SCOPES if s.endswith(":read") and s not in {"mail:read", "keys:read"})

ROLES: dict[Role, frozenset[str]] = {
    Role.OWNER: ALL_SCOPES,
    Role.DOMAIN_ADMIN: _DOMAIN_ADMIN,
    Role.HELPDESK: _HELPDESK,
    Role.AUDITOR: _AUDITOR,
    Role.USER: _USER,
}


def scopes_of(role: Role, *, system: bool) -> frozenset[str]:
    """The scopes of a role; those of tenants and the system only for a system credential."""
    return ROLES[role] if system else ROLES[role] - SYSTEM_SCOPES


def expand(words: Iterable[str], maker: Scope) -> tuple[str, ...]:
    """Turn scopes and bundles into the scopes of a new key, sorted.

    Raises:
        InvalidInput: An unknown word.
        Forbidden: A scope that the maker has not.
    """
    wanted: set[str] = set()
    for place, word in enumerate(words):
        if word in BUNDLES:
            wanted |= _bundle(word, maker)
        elif word in ALL_SCOPES:
            require(maker, word)
            wanted.add(word)
        else:
            raise InvalidInput(f"there is no scope {word[:64]!r}", pointer=f"/scopes/{place}")
    if not wanted:
        raise InvalidInput("the key would have no scope", pointer="/scopes")
    return tuple(sorted(wanted))


def _bundle(word: str, maker: Scope) -> set[str]:
    mine = {s for s in maker.scopes if maker.system or s not in SYSTEM_SCOPES}
    if word == "send":
        return mine & {"mail:send"}
    if word == "admin":
        return mine - {"mail:any"}
    reads = {s for s in mine if s.endswith(":read") and s != "audit:read"}
    if word == "read":
        return reads
    return reads | {s for s in mine if s.endswith(":write")}


def server_scope(tenant_id: TenantId) -> Scope:
    """The scope in which the server itself acts."""
    return Scope(
        actor_kind=ActorKind.SYSTEM,
        actor_id="server",
        actor_name="the server",
        tenant_id=tenant_id,
        system=True,
        scopes=ALL_SCOPES,
    )
