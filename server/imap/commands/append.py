"""APPEND, MULTIAPPEND and REPLACE (RFC 9051 §6.3.12, RFC 3502, RFC 4315 §3, RFC 7889, RFC 8508, RFC 3516 §4.4).

- Size, mailbox, rights, quota and disk are checked before the client is told to send; messages stream to the store.
- All messages of one command are stored by one unit of work, and REPLACE's old one goes in it too: all or nothing.
- A refused message that is on its way all the same (a non-synchronising literal) is read and dropped, so that the
  stream stays in step.
- Binary messages are kept as they are; one with NUL is refused, for FETCH could not show it without recoding.
"""

from __future__ import annotations

from server.domain.errors import MaiRustError, NotFound
from server.domain.ids import Uid
from server.domain.mailbox import Mailbox
from server.domain.ports import ContentWriter
from server.imap.answers import answer_error
from server.imap.connection import ConnectionClosed
from server.imap.session import Result, Session, bad, no, ok
from server.protocol.imap.append import Append, MessageHead, parse_behind
from server.protocol.imap.cursor import ImapSyntaxError
from server.protocol.imap.fragments import CommandText, LiteralAnnounced, LiteralChunk
from server.protocol.imap.sequence import format_uid_set
from server.services.mailstore.access import Place, permitted_flags
from server.services.mailstore.append import NewMessage

MESSAGES_MAX = 500
"""Messages of one MULTIAPPEND: one unit of work stays below a second."""
_TOO_LARGE = no("Message is larger than the server takes", b"TOOBIG")
_NO_MAILBOX = no("No such mailbox", b"TRYCREATE")


async def do_append(session: Session, command: Append, announced: LiteralAnnounced) -> Result:
    """Take and store the messages; the first one's literal was announced but not accepted yet."""
    appending = _Appending(session, command)
    try:
        return await appending.run(announced)
    finally:
        await appending.discard()


class _Appending:
    """One command on its way: what came so far, or why the rest is dropped."""

    def __init__(self, session: Session, command: Append) -> None:
        self._session = session
        self._command = command
        self._place: Place | None = None
        self._mailbox: Mailbox | None = None
        self._replaced: Uid | None = None
        self._writer: ContentWriter | None = None
        self._messages: list[NewMessage] = []
        self._octets = 0
        self._refusal: Result | None = None

    async def run(self, announced: LiteralAnnounced) -> Result:
        head, utf8 = self._command.head, self._session.modes.utf8_names
        while True:
            event = await self._take(head, announced)
            if event is None:
                return self._refusal or bad("Message was not taken")
            try:
                following = parse_behind(event.text, head, utf8=utf8)
            except ImapSyntaxError:
                following = None
                self._refuse(bad("Unexpected text after the message"))
            if isinstance(event, CommandText):
                if following is not None or event.bare_newline:
                    self._refuse(bad("Expected another message"))
                return self._refusal or await self._store()
            if self._command.replaced is not None:
                self._refuse(bad("Only one message replaces another"))
            announced, head = event, following or MessageHead()

    async def discard(self) -> None:
        """Forget what was not stored."""
        if self._writer is not None:
            await self._writer.discard()
        for message in self._messages:
            await self._session.mailstore.discard(message.content)

    async def _take(self, head: MessageHead, announced: LiteralAnnounced) -> CommandText | LiteralAnnounced | None:
        """Read one message and what stands behind it; None when it was not sent, for it was refused in time."""
        connection = self._session.connection
        if self._refusal is None:
            await self._prepare(announced.size_octets)
        if self._refusal is not None:
            if announced.synchronising:
                connection.refuse_literal()
                return None
            if announced.size_octets > self._session.settings.smtp.max_message_size:
                raise ConnectionClosed
        if announced.synchronising:
            self._session.send(b"+ Ready for the message\r\n")
            await self._session.flush()
        connection.stream_literal()
        while True:
            event = await connection.next_event(self._session.deadline())
            if isinstance(event, LiteralChunk):
                await self._write(event.data, binary=head.binary)
            elif isinstance(event, CommandText | LiteralAnnounced):
                await self._finish(head)
                return event
            else:
                raise ConnectionClosed

    async def _prepare(self, size_octets: int) -> None:
        """Check that the message may be stored, and open what takes it."""
        if size_octets > self._session.settings.smtp.max_message_size:
            self._refuse(_TOO_LARGE)
        elif size_octets == 0:
            self._refuse(no("An empty message is not stored", b"CANNOT"))
        elif len(self._messages) >= MESSAGES_MAX:
            self._refuse(no(f"At most {MESSAGES_MAX} messages at a time", b"LIMIT"))
        else:
            try:
                await self._check(size_octets)
            except NotFound:
                self._refuse(_NO_MAILBOX)
            except MaiRustError as error:
                self._refuse(answer_error(error))

    async def _check(self, size_octets: int) -> None:
        session, mailstore = self._session, self._session.mailstore
        if self._place is None:
            self._place = await mailstore.access.place(session.principal, self._command.mailbox, "i")
        freed = 0
        if self._command.replaced is not None:
            freed = await self._check_replaced()
        if self._refusal is None:
            self._octets += size_octets
            self._mailbox = await mailstore.check_room(
                self._place.account_id, self._place.name, max(0, self._octets - freed)
            )
            self._writer = mailstore.writer()

    async def _check_replaced(self) -> int:
        """Find the message that goes; its octets. Raises Forbidden."""
        session = self._session
        selected, numbers = session.selected, self._command.replaced
        named = None if numbers is None else selected.numbered(numbers, uid=self._command.uid)
        if selected.read_only:
            self._refuse(no("Mailbox is read-only", b"READ-ONLY"))
            return 0
        place = selected.view.index(named[0][1]) if named else None
        if not named or place is None:
            self._refuse(no("No such message") if self._command.uid or named else bad("No message of that number"))
            return 0
        session.require("te")
        self._replaced = named[0][1]
        return selected.view.sizes[place]

    async def _write(self, data: bytes, *, binary: bool) -> None:
        if self._writer is None:
            return
        if b"\x00" in data:
            # CHAR8 has no NUL (RFC 9051 §9).
            refusal = no("Binary content is not stored", b"UNKNOWN-CTE") if binary else bad("NUL in the message")
            self._refuse(refusal)
            return
        try:
            await self._writer.write(data)
        except MaiRustError as error:
            self._refuse(answer_error(error))

    async def _finish(self, head: MessageHead) -> None:
        writer, self._writer = self._writer, None
        if writer is None:
            return
        if self._refusal is not None or self._place is None:
            await writer.discard()
            return
        flags, keywords = permitted_flags(self._place.rights, head.flags.bits, head.flags.keywords)
        content = await writer.finish()
        self._messages.append(
            NewMessage(content=content, flags=flags, keywords=keywords, internal_date=head.internal_date)
        )

    def _refuse(self, result: Result) -> None:
        self._refusal = self._refusal or result

    async def _store(self) -> Result:
        session, mailbox = self._session, self._mailbox
        if mailbox is None:
            return _NO_MAILBOX
        messages, self._messages = self._messages, []
        replacing = None if self._replaced is None else (session.selected.view, self._replaced)
        try:
            stored = await session.mailstore.append_all(mailbox.account_id, mailbox.id, messages, replacing=replacing)
        except NotFound:
            return _NO_MAILBOX
        code = b"APPENDUID %d %s" % (mailbox.uidvalidity, format_uid_set([one.uid for one in stored]))
        if replacing is None:
            return ok("APPEND completed", code)
        # The new UID goes before the EXPUNGE of the old message (RFC 8508 §3.4).
        session.send(b"* OK [" + code + b"] Replacement\r\n")
        return ok("REPLACE completed")
