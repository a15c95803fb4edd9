"""A message's octets from the wire into its writer, and the decision after the final dot.

- Whatever is wrong with the octets, they are read to the final dot before anything is answered (RFC 5321 §4.1.1.4).
- What decides and commits runs in a task that no connection can cancel (reliability.md §4); the session only waits.
- A peer that goes away before the final dot leaves nothing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from server.domain.errors import MaiRustError
from server.domain.message import Content
from server.domain.ports import ContentWriter
from server.domain.reply import Reply
from server.protocol.smtp.data import DataReader
from server.protocol.smtp.limits import DATA_RATE_MIN, DATA_RATE_WINDOW_S
from server.smtp import replies
from server.smtp.settings import SmtpSettings
from server.smtp.wire import Expired, Phase, Wire
from server.telemetry.log import get_logger

log = get_logger("smtp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A message that was read to its end and thrown away."""

    reply: Reply


async def read_message(
    wire: Wire, writer: ContentWriter, *, settings: SmtpSettings, normalise: bool
) -> Content | Refused:
    """Read up to the final dot and return the message, or why it is not taken.

    Raises:
        PeerGone, Expired: Before the final dot; the writer is then empty again.
    """
    reader = DataReader(size_max=settings.max_message_size, normalise=normalise)
    broken: Reply | None = None
    complete = False
    try:
        broken = await _pump(wire, writer, reader, settings)
        if reader.fault is not None:
            return Refused(reply=replies.data_refusal(reader.fault, size_max=settings.max_message_size))
        if broken is not None:
            return Refused(reply=broken)
        content = await _finished(writer)
        complete = isinstance(content, Content)
        return content
    finally:
        if not complete:
            await writer.discard()


async def _pump(wire: Wire, writer: ContentWriter, reader: DataReader, settings: SmtpSettings) -> Reply | None:
    """Move octets until the final dot; the result is what a failing writer has to answer."""
    broken: Reply | None = None
    rate = _Rate()
    while True:
        chunk = wire.take()
        if not chunk:
            await wire.more(settings.data_timeout_s, Phase.DATA)
            continue
        rate.count(len(chunk))
        octets = reader.feed(chunk)
        if octets and broken is None:
            try:
                await writer.write(octets)
            except MaiRustError as error:
                broken = replies.error_reply(error)
                await writer.discard()
        if reader.done:
            wire.give_back(reader.rest)
            return broken


async def _finished(writer: ContentWriter) -> Content | Refused:
    try:
        return await writer.finish()
    except MaiRustError as error:
        return Refused(reply=replies.error_reply(error))


class _Rate:
    """The least rate a message must arrive at (security.md T15)."""

    def __init__(self) -> None:
        self._from = time.monotonic()
        self._octets = 0

    def count(self, octets: int) -> None:
        self._octets += octets
        now = time.monotonic()
        if now - self._from >= DATA_RATE_WINDOW_S:
            if self._octets < DATA_RATE_MIN * (now - self._from):
                raise Expired(replies.TOO_SLOW)
            self._from, self._octets = now, 0
