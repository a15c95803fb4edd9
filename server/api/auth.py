"""Who sends a request: the kernel's word on the admin socket, an API key on TCP (security.md §5).

- A connection has a peer only when our Unix protocol put it there; its absence means TCP, never "local".
- uid 0, our own uid and members of the admin group may use the socket, others get 403 whatever the file's mode.
- On the socket no credential is read; nothing sent over TCP can claim the socket's identity.
"""

from __future__ import annotations

import asyncio
import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from server.domain.errors import Forbidden, Unauthenticated
from server.domain.identity import Scope
from server.services.identity.callers import CallerService

PEER = "peer"
"""Where the Unix protocol leaves (uid, groups) in the connection's state."""
CREDENTIAL_MAX = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerPolicy:
    """Who may use the admin socket; `admin_gid` None when the group does not exist."""

    own_uid: int
    admin_gid: int | None

    def allows(self, uid: int, groups: frozenset[int]) -> bool:
        return uid in (0, self.own_uid) or (self.admin_gid is not None and self.admin_gid in groups)


class Authenticator:
    """Finds the scope of a request."""

    def __init__(self, callers: CallerService, policy: PeerPolicy) -> None:
        self._callers = callers
        self._policy = policy

    async def scope(
        self,
        connection_state: Mapping[str, Any],
        headers: Mapping[bytes, bytes],
        *,
        ip: str,
        tenant: str | None,
        request_id: str,
    ) -> Scope | None:
        """The caller's scope; None when no credential is shown.

        Raises:
            Forbidden: A local user who may not use the socket.
            Unauthenticated: A credential that is not valid.
            NotFound: A tenant that the caller may not see.
        """
        peer = connection_state.get(PEER)
        if peer is not None:
            uid, groups = peer
            if not self._policy.allows(uid, groups):
                raise Forbidden("this user may not administer the server")
            user = await asyncio.to_thread(_user_name, uid) if uid else "root"
            return await self._callers.peer(uid=uid, user=user, tenant=tenant, request_id=request_id)
        text = _credential(headers)
        if text is None:
            return None
        return await self._callers.key(text, ip=ip, tenant=tenant, request_id=request_id)


def own_policy(admin_gid: int | None) -> PeerPolicy:
    """The policy of this process."""
    return PeerPolicy(own_uid=os.getuid(), admin_gid=admin_gid)


def _credential(headers: Mapping[bytes, bytes]) -> str | None:
    """The text of `Authorization: Bearer`, else of `X-API-Key`; None when there is neither."""
    authorization = headers.get(b"authorization")
    if authorization is not None:
        kind, _, token = authorization.partition(b" ")
        if kind.lower() != b"bearer":
            raise Unauthenticated("the API key is missing, unknown or no longer valid")
        return token.strip()[:CREDENTIAL_MAX].decode("latin-1")
    key = headers.get(b"x-api-key")
    return None if key is None else key.strip()[:CREDENTIAL_MAX].decode("latin-1")


@lru_cache(256)
def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
