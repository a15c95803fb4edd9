"""The DKIM keys our domains sign with, unsealed and kept for a minute.

- A key that can't be unsealed signs nothing and raises: mail waits in the sender's hands rather than leave unsigned.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from server.domain.errors import Unavailable
from server.domain.identity import DkimKey
from server.domain.ports import Clock
from server.protocol.emailauth.dkim_key import KeyKind, load_private_key
from server.services.submission.sign import SigningKey
from server.store.database import Database
from server.store.repositories import domains
from server.telemetry.log import get_logger

log = get_logger("submission")

FRESH_S = 60.0
_ALGORITHMS = {KeyKind.RSA_2048: "rsa-sha256", KeyKind.ED25519: "ed25519-sha256"}


class Opener(Protocol):
    """Opens what was sealed for one place in the database."""

    def open(self, sealed: bytes, *, context: str) -> bytes: ...


class KeyRing:
    """Active signing keys by domain name."""

    def __init__(self, database: Database, clock: Clock, sealer: Opener) -> None:
        self._database = database
        self._clock = clock
        self._sealer = sealer
        self._known: dict[str, tuple[float, tuple[SigningKey, ...]]] = {}

    async def keys(self, domain: str) -> Sequence[SigningKey]:
        """The active keys of a domain; empty when it has none. Raises Unavailable when one can't be unsealed."""
        known = self._known.get(domain)
        if known is not None and self._clock.monotonic() < known[0]:
            return known[1]
        rows = await self._database.read("dkim.keys", lambda tx: domains.signing_keys(tx, domain))
        try:
            keys = tuple(self._key(domain, row) for row in rows)
        except (ValueError, Unavailable) as error:
            log.error("dkim.key_unusable", domain=domain, next_step="check that master.key is the one of this database")
            raise Unavailable from error
        self._known[domain] = (self._clock.monotonic() + FRESH_S, keys)
        return keys

    def _key(self, domain: str, row: DkimKey) -> SigningKey:
        private = self._sealer.open(row.sealed_key, context=domains.dkim_context(row.id))
        return SigningKey(
            domain=domain,
            selector=row.selector,
            algorithm=_ALGORITHMS[KeyKind(row.algorithm)],
            private_key=load_private_key(private),
        )

    def forget(self) -> None:
        """Drop what is kept: a key was made, activated or revoked."""
        self._known.clear()
