"""Random sessions: whatever comes in whatever pieces, the edge answers in its grammar and fails nowhere (ST6)."""

from __future__ import annotations

import contextlib
import random
import re
from pathlib import Path

import pytest

from server.stream import sasl
from server.telemetry.log import Logger
from tests.support.imap_edge import PASSWORD
from tests.support.pop3_edge import Pop3Edge, open_pop3

SESSIONS = 60
MAIL = (b"Subject: x\r\n\r\nbody\r\n", b"\n.\n\r.\r\0.", b"", b"a" * 40_000)
WORDS = (
    *(b"USER PASS AUTH STAT LIST RETR DELE NOOP RSET TOP UIDL CAPA STLS UTF8 APOP XYZZY".split()),
    *(b"0 1 2 3 4 5 99 -1 4294967296 99999999999 PLAIN LOGIN SCRAM-SHA-256 OAUTHBEARER = * a@example.org".split()),
    b"AGFAZXhhbXBsZS5vcmcAeA==",
    PASSWORD,
    b"\0",
    b"\xff\xfe",
)
GOOD = (
    *(b"STAT,LIST,LIST 1,UIDL,UIDL 2,RETR 1,RETR 2,RETR 3,RETR 4,TOP 1 0,TOP 2 9,TOP 4 1,RSET,NOOP,CAPA".split(b",")),
    *(b"DELE 1,DELE 2,DELE 9,AUTH,AUTH PLAIN,AUTH LOGIN,UTF8,AUTH PLAIN =,AUTH SCRAM-SHA-256 biws,STLS".split(b",")),
    b"USER a@example.org",
    b"PASS " + PASSWORD,
)
ENDS = (*[b"\r\n"] * 20, b"\n", b"\r", b"", b"x" * 600)
ANSWER = re.compile(rb"(\+OK|-ERR|\+ )")


def octets_of(chance: random.Random) -> bytes:
    """Lines of likely words, now and then without a proper end."""
    lines = []
    for _ in range(chance.randrange(1, 25)):
        words = [chance.choice(GOOD)] if chance.random() < 0.7 else chance.choices(WORDS, k=chance.randrange(1, 4))
        lines.append(b" ".join(words) + chance.choice(ENDS))
    return b"".join(lines) + chance.choice((b"QUIT\r\n", b""))


@pytest.fixture
def failures(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was logged with a traceback."""
    found: list[str] = []
    monkeypatch.setattr(Logger, "exception", lambda _self, event, error, **_fields: found.append(f"{event} {error!r}"))
    monkeypatch.setattr(sasl, "FAILURE_DELAY_S", 0.0)
    return found


async def talk(edge: Pop3Edge, chance: random.Random, *, secure: bool) -> bytes:
    """One session; in clear it ends with its octets, behind TLS with a QUIT that no exchange swallows."""
    client = await edge.connect(secure=secure)
    login = b"USER a@example.org\r\nPASS " + PASSWORD + b"\r\n" if chance.random() < 0.5 else b""
    octets = login + octets_of(chance) + (b"\r\n*\r\nQUIT\r\n" if secure else b"")
    with contextlib.suppress(ConnectionError):
        while octets:
            size = chance.randrange(1, len(octets) + 1)
            await client.send(octets[:size])
            octets = octets[size:]
        if not secure:
            client.writer.write_eof()
    said = await client.rest()
    await client.close()
    return said


async def test_random_sessions(tmp_path: Path, failures: list[str]) -> None:
    async with open_pop3(tmp_path) as edge:
        for seed in range(SESSIONS):
            if not await edge.uids():
                await edge.fill(*MAIL)
            said = await talk(edge, random.Random(seed), secure=seed % 3 > 0)
            assert b"Internal error" not in said, seed
            assert said == b"" or ANSWER.match(said), seed
            await edge.left()
        assert failures == []
        assert (await (await edge.connect()).login()).startswith(b"+OK")
