"""IDLE: tell a waiting client what changes as soon as it does (RFC 2177, RFC 9051 §6.3.13).

- A client that used NOTIFY is told what it asked for there, no more and no less (RFC 5465 §4).
"""

from __future__ import annotations

import asyncio

from server.imap.connection import ConnectionClosed
from server.imap.session import Result, Session, bad, ok
from server.protocol.imap.fragments import LineTooLong
from server.services.mailstore.sync import REREAD_S

DONE_LINE_MAX = 64


async def do_idle(session: Session) -> Result:
    """Send changes until the client says DONE; silence of `imap.idle_timeout` ends the session as anywhere else."""
    session.send(b"+ idling\r\n")
    deadline = session.deadline()
    session.idle = True
    try:
        while not session.draining:
            line = session.connection.line_ready(DONE_LINE_MAX)
            if isinstance(line, LineTooLong):
                raise ConnectionClosed
            if line is not None:
                return ok("IDLE terminated") if line.upper() == b"DONE" else bad("expected DONE")
            if session.watch is None:
                await session.sync(expunge=True)
                await session.flush()
            await _wait(session, deadline)
    finally:
        session.idle = False
    return ok("IDLE terminated")


async def _wait(session: Session, deadline: float) -> None:
    """Until input, a change, or the time to read again in case a hint was lost. Raises TimeoutError at `deadline`."""
    now = asyncio.get_running_loop().time()
    try:
        await session.pause(min(deadline, now + REREAD_S), idle=True)
    except TimeoutError:
        if asyncio.get_running_loop().time() >= deadline:
            raise
