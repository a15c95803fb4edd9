"""Tell a client that a long command is at work (RFC 9585)."""

from __future__ import annotations

import asyncio

from server.imap.session import Session

FIRST_S = 5.0
"""Silence before the first word; then one each as long: clients may show it, proxies see life."""


class Progress:
    """One command's. A command that is quick says nothing."""

    def __init__(self, session: Session, tag: bytes) -> None:
        self._session = session
        self._tag = tag
        self._due = asyncio.get_running_loop().time() + FIRST_S

    async def pace(self) -> None:
        """As `Session.pace`; now and then says that the command goes on (RFC 9585 §3.1)."""
        now = asyncio.get_running_loop().time()
        if now >= self._due:
            self._due = now + FIRST_S
            self._session.send(b'* OK [INPROGRESS ("%s" NIL NIL)] Still working\r\n' % self._tag)
            await self._session.flush()
        await self._session.pace()
