"""An import's connection to a server that means harm."""

from __future__ import annotations

import ssl
from typing import cast

import pytest

from server.domain.ports import Stream
from server.services.upkeep.imap_session import COLLECTED_MAX, ImapSession
from server.services.upkeep.job_runner import JobTroubled


class Hostile:
    """A stream whose other end says what the test wants, again and again."""

    def __init__(self, *says: bytes, then: bytes = b"") -> None:
        self._says = list(says)
        self._then = then
        self.aborted = False
        self.upgraded = False

    async def read(self, _octets: int) -> bytes:
        return self._says.pop(0) if self._says else self._then

    async def write(self, _data: bytes) -> None:
        return

    async def start_tls(self, _context: ssl.SSLContext, _host: str) -> None:
        self.upgraded = True

    def abort(self) -> None:
        self.aborted = True


def session_with(stream: Hostile) -> ImapSession:
    return ImapSession(cast("Stream", stream), largest=1000)


async def test_what_is_said_before_tls_is_never_taken_for_what_is_said_in_it_rfc9051_section_6_2_1() -> None:
    stream = Hostile(b"A1 OK begin\r\n* CAPABILITY IMAP4rev1\r\nA2 OK injected\r\n")
    with pytest.raises(JobTroubled, match="before the TLS handshake"):
        await session_with(stream).start_tls(ssl.create_default_context(), "imap.example.org")
    assert stream.aborted
    assert not stream.upgraded


async def test_an_answer_without_end_is_given_up() -> None:
    stream = Hostile(then=b'* LIST () "/" "' + b"x" * 60_000 + b'"\r\n')
    session = session_with(stream)
    with pytest.raises(JobTroubled, match="no end"):
        await session.command(b'LIST "" "*"')
    assert stream.aborted
    assert session._received <= COLLECTED_MAX + 100_000
