"""First answers to repeated requests: a POST with the same Idempotency-Key acts once (api.md §1).

- The claim commits before the request runs, the answer after it: a crash between leaves the key claimed, so a repeat is
  told to look for itself, never silently run again.
- What is shown once is not kept: the stored answer is what the caller passes in.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from server.domain.errors import Conflict, InvalidInput
from server.domain.identity import Scope
from server.domain.ports import Clock
from server.store.database import Database
from server.store.errors import UniqueViolation
from server.store.repositories import idempotency
from server.store.repositories.idempotency import StoredAnswer
from server.store.times import to_us
from server.store.transaction import Transaction

KEPT_US = 24 * 3600 * 1_000_000
EXPIRE_EVERY_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Either the right to run (`answer` is None), or the first answer."""

    key: str
    answer: StoredAnswer | None


class IdempotencyService:
    """Remembers answers for 24 hours."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._expire_at = 0.0

    async def claim(self, scope: Scope, *, path: str, key: str, body: bytes) -> Claim:
        """Claim a key of a caller on a path.

        Raises:
            InvalidInput: The key was used with another body (`idempotency_mismatch`).
            Conflict: The first request still runs (`idempotency_in_progress`).
        """
        who = f"{scope.actor_kind.value} {scope.actor_id} {scope.tenant_id} {path} {key}"
        stored_key = hashlib.sha256(who.encode()).hexdigest()
        digest = hashlib.sha256(body).hexdigest()
        await self._expire()
        before_us = to_us(self._clock.now()) - KEPT_US

        async def unit(tx: Transaction) -> StoredAnswer | None:
            known = await idempotency.get(tx, stored_key)
            if known is not None and known.created_at_us >= before_us:
                return known
            if known is not None:
                await idempotency.forget(tx, stored_key)
            await idempotency.claim(tx, stored_key, digest)
            return None

        try:
            known = await self._database.write("idempotency.claim", unit)
        except UniqueViolation:
            known = await self._database.read("idempotency.get", lambda tx: idempotency.get(tx, stored_key))
        if known is None:
            return Claim(key=stored_key, answer=None)
        if known.body_sha256 != digest:
            raise InvalidInput("the key was used with another body", code="idempotency_mismatch")
        if known.status == 0:
            raise Conflict("the first request with this key has not been answered", code="idempotency_in_progress")
        return Claim(key=stored_key, answer=known)

    async def finish(self, claim: Claim, *, status: int, headers: str, body: bytes) -> None:
        """Keep the answer; a failure of ours is forgotten, so that it may be tried again."""

        async def unit(tx: Transaction) -> None:
            if status >= 500 or status == 429:
                await idempotency.forget(tx, claim.key)
            else:
                await idempotency.finish(tx, claim.key, status=status, headers=headers, body=body)

        await self._database.write("idempotency.finish", unit)

    async def _expire(self) -> None:
        now = self._clock.monotonic()
        if now < self._expire_at:
            return
        self._expire_at = now + EXPIRE_EVERY_S
        before_us = to_us(self._clock.now()) - KEPT_US
        await self._database.write("idempotency.expire", lambda tx: idempotency.expire(tx, before_us))
