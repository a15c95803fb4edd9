"""DKIM signing of outgoing mail, off the event loop (product item 13)."""

from __future__ import annotations

from collections.abc import Sequence

from server.domain.ports import Clock, Worker
from server.protocol.emailauth.dkim_sign import SigningKey, sign_message

LIFETIME_S = 7 * 86_400
"""x= after t=: longer than any queue keeps a message, short enough against replay (threat T18)."""

__all__ = ["LIFETIME_S", "Signer", "SigningKey"]


class Signer:
    """Signs messages in a bounded pool of threads."""

    def __init__(self, *, worker: Worker, clock: Clock, lifetime_s: int | None = LIFETIME_S) -> None:
        self._worker = worker
        self._clock = clock
        self._lifetime_s = lifetime_s

    async def sign(self, *, octets: bytes, keys: Sequence[SigningKey]) -> bytes:
        """Return the DKIM-Signature fields to put before the message, one per key; empty without keys.

        Args:
            octets: The final message with CRLF line ends; the fields cover it as it is.

        Raises:
            Unavailable: The pool is full; nothing was signed.
        """
        if not keys:
            return b""
        now = self._clock.now()
        return await self._worker.run(lambda: sign_message(octets, keys, now=now, lifetime_s=self._lifetime_s))
