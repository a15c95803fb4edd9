"""APPEND (RFC 9051 §6.3.12, RFC 4315 §3, RFC 7889): the message streams to the store, OK follows its commit.

- Size, mailbox, quota and disk are checked before the client is told to send.
- A refused message that is on its way all the same (a non-synchronising literal) is read and dropped, so that the
  stream stays in step.
"""

from __future__ import annotations

from dataclasses import dataclass

from server.domain.errors import MaiRustError, NotFound
from server.domain.mailbox import Mailbox
from server.domain.ports import ContentWriter
from server.imap.answers import answer_error
from server.imap.connection import ConnectionClosed
from server.imap.session import Result, Session, bad, no, ok
from server.protocol.imap.commands import Append
from server.protocol.imap.fragments import CommandText, LiteralAnnounced, LiteralChunk

_TOO_LARGE = no("Message is larger than the server takes", b"TOOBIG")


@dataclass(frozen=True, slots=True)
class _Room:
    """Where a message may go, and what takes it."""

    mailbox: Mailbox
    writer: ContentWriter


@dataclass(slots=True)
class _Incoming:
    """A message on its way: where its octets go, or why they are dropped."""

    writer: ContentWriter | None
    refusal: Result | None = None

    async def take(self, data: bytes) -> None:
        if self.writer is None:
            return
        if b"\x00" in data:
            # CHAR8 has no NUL (RFC 9051 §9).
            await self.refuse(bad("NUL in the message"))
            return
        try:
            await self.writer.write(data)
        except MaiRustError as error:
            await self.refuse(answer_error(error))

    async def refuse(self, result: Result) -> None:
        writer, self.writer = self.writer, None
        self.refusal = self.refusal or result
        if writer is not None:
            await writer.discard()


async def do_append(session: Session, command: Append, announced: LiteralAnnounced) -> Result:
    """Take and store one message; the literal was announced but not accepted yet."""
    try:
        room = await _check(session, command, announced.size_octets)
    except NotFound:
        refusal = no("No such mailbox", b"TRYCREATE")
    except MaiRustError as error:
        refusal = answer_error(error)
    else:
        if isinstance(room, _Room):
            return await _receive(session, command, announced, room)
        refusal = room
    if announced.synchronising:
        session.connection.refuse_literal()
        return refusal
    if announced.size_octets > session.settings.smtp.max_message_size:
        raise ConnectionClosed
    return await _transfer(session, _Incoming(None, refusal), announced) or refusal


async def _check(session: Session, command: Append, size_octets: int) -> _Room | Result:
    if size_octets > session.settings.smtp.max_message_size:
        return _TOO_LARGE
    if size_octets == 0:
        return no("An empty message is not stored", b"CANNOT")
    mailbox = await session.mailstore.check_room(session.account_id, command.mailbox, size_octets)
    return _Room(mailbox, session.mailstore.writer())


async def _receive(session: Session, command: Append, announced: LiteralAnnounced, room: _Room) -> Result:
    mailbox, incoming = room.mailbox, _Incoming(room.writer)
    try:
        problem = await _transfer(session, incoming, announced)
        writer = incoming.writer
        if problem is not None or writer is None:
            return problem or bad("Message was not taken")
        content = await writer.finish()
        incoming.writer = None
    finally:
        await incoming.refuse(bad("Message was not taken"))
    try:
        stored = await session.mailstore.append(
            session.account_id,
            mailbox.id,
            content,
            flags=command.flags.bits,
            keywords=command.flags.keywords,
            internal_date=command.internal_date,
        )
    except NotFound:
        return no("No such mailbox", b"TRYCREATE")
    return ok("APPEND completed", b"APPENDUID %d %d" % (mailbox.uidvalidity, stored.uid))


async def _transfer(session: Session, incoming: _Incoming, announced: LiteralAnnounced) -> Result | None:
    """Read the literal and the line end behind it; a result when the message can't be stored."""
    if announced.synchronising:
        session.send(b"+ Ready for the message\r\n")
        await session.flush()
    session.connection.stream_literal()
    while True:
        event = await session.connection.next_event(session.deadline())
        match event:
            case LiteralChunk(data, _):
                await incoming.take(data)
            case CommandText(text, _):
                if text:
                    return incoming.refusal or bad("Unexpected text after the message")
                return incoming.refusal
            case LiteralAnnounced(_, _, synchronising):
                if not synchronising:
                    raise ConnectionClosed
                session.connection.refuse_literal()
                return incoming.refusal or bad("Only one message at a time")
            case _:
                raise ConnectionClosed
