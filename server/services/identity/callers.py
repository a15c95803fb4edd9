"""From a shown identity to a scope: a peer of the admin socket, or an API key (security.md §5, api.md §2).

- A peer of the Unix socket is the system's owner and acts in the tenant it names, else in `default`.
- A key acts in its own tenant; only a system key may name another. A foreign tenant looks like a missing one.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

from server.domain.errors import NotFound
from server.domain.identity import ActorKind, Scope, Status, Tenant
from server.domain.ids import TenantId
from server.domain.ports import Clock
from server.services.identity.permissions import ALL_SCOPES
from server.services.identity.tenants import DEFAULT, resolve
from server.services.identity.tokens import TokenService
from server.store.database import Database

FRESH_S = 2.0
TENANTS_MAX = 1000


class CallerService:
    """Builds the scope of each request of the API."""

    def __init__(self, database: Database, tokens: TokenService, clock: Clock) -> None:
        self._database = database
        self._tokens = tokens
        self._clock = clock
        self._tenants: OrderedDict[str, tuple[float, Tenant]] = OrderedDict()

    async def peer(self, *, uid: int, user: str, tenant: str | None, request_id: str) -> Scope:
        """The scope of a local administrator. Raises NotFound (the tenant)."""
        found = await self._tenant(tenant or DEFAULT)
        return Scope(
            actor_kind=ActorKind.UID,
            actor_id=str(uid),
            actor_name=user,
            tenant_id=found.id,
            system=True,
            scopes=ALL_SCOPES,
            request_id=request_id,
        )

    async def key(self, text: str, *, ip: str, tenant: str | None, request_id: str) -> Scope:
        """The scope of an API key. Raises Unauthenticated, NotFound (the tenant)."""
        scope = await self._tokens.authenticate(text, ip=ip, request_id=request_id)
        if tenant is None or tenant == scope.tenant_id:
            return scope
        found = await self._tenant(tenant)
        if found.id != scope.tenant_id and not scope.system:
            raise NotFound("no such tenant")
        return replace(scope, tenant_id=TenantId(found.id))

    async def _tenant(self, ref: str) -> Tenant:
        known = self._tenants.get(ref)
        now = self._clock.monotonic()
        if known is not None and now < known[0]:
            return known[1]
        tenant = await self._database.read("caller.tenant", lambda tx: resolve(tx, ref))
        if tenant.status is Status.DELETED:
            raise NotFound("no such tenant")
        self._tenants[ref] = (now + FRESH_S, tenant)
        self._tenants.move_to_end(ref)
        if len(self._tenants) > TENANTS_MAX:
            self._tenants.popitem(last=False)
        return tenant
