"""Random sessions: whatever comes in whatever pieces, the edge answers in its grammar and fails nowhere (ST6)."""

from __future__ import annotations

import base64
import contextlib
import random
import re
from pathlib import Path

import pytest

from server.stream import sasl
from server.telemetry.log import Logger
from tests.support.imap_edge import PASSWORD
from tests.support.managesieve_edge import SieveEdge, open_managesieve

SESSIONS = 60
LOGIN = b'AUTHENTICATE "PLAIN" "' + base64.b64encode(b"\0a@example.org\0" + PASSWORD) + b'"'
WORDS = (
    *(b"AUTHENTICATE STARTTLS LOGOUT CAPABILITY HAVESPACE PUTSCRIPT LISTSCRIPTS SETACTIVE GETSCRIPT".split()),
    *(b"DELETESCRIPT RENAMESCRIPT CHECKSCRIPT NOOP UNAUTHENTICATE XYZZY 0 1 4294967296 999999999999".split()),
    *(b'"a" "b" "" "PLAIN" "SCRAM-SHA-256" "*" "=" "keep;" "if {" "a\\\\b" "a\\"b" "open {5+} {a} {5 (x)'.split()),
    b"{5+}\r\nkeep;",
    b"{0+}\r\n",
    b"{3+}\r\n\r\n\r",
    b"{13000+}\r\n" + b"#" * 13_000,
    b'{22+}\r\nrequire "fileinto"; # ',
    b"\0",
    b"\xff",
    LOGIN,
)
GOOD = (
    *(b'LISTSCRIPTS,NOOP,NOOP "t",CAPABILITY,HAVESPACE "a" 10,GETSCRIPT "a",GETSCRIPT "b",SETACTIVE "a"'.split(b",")),
    *(b'SETACTIVE "",DELETESCRIPT "a",DELETESCRIPT "b",RENAMESCRIPT "a" "b",RENAMESCRIPT "b" "c"'.split(b",")),
    *(b'PUTSCRIPT "a" "keep;",PUTSCRIPT "a" "if {",CHECKSCRIPT "stop;",UNAUTHENTICATE,STARTTLS'.split(b",")),
    b'PUTSCRIPT "b" {5+}\r\nstop;',
    b"PUTSCRIPT {1+}\r\na {300000+}\r\n" + b"#" * 300_000,
    b'AUTHENTICATE "SCRAM-SHA-256" "biws"',
    b'AUTHENTICATE "PLAIN"',
    LOGIN,
)
ENDS = (*[b"\r\n"] * 20, b"\n", b"\r", b"", b"x" * 600)
ANSWER = re.compile(rb'(OK|NO|BYE|"|\{)')


def octets_of(chance: random.Random) -> bytes:
    """Lines of likely words, now and then without a proper end."""
    lines = []
    for _ in range(chance.randrange(1, 25)):
        words = [chance.choice(GOOD)] if chance.random() < 0.7 else chance.choices(WORDS, k=chance.randrange(1, 4))
        lines.append(b" ".join(words) + chance.choice(ENDS))
    return b"".join(lines)


@pytest.fixture
def failures(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was logged with a traceback."""
    found: list[str] = []
    monkeypatch.setattr(Logger, "exception", lambda _self, event, error, **_fields: found.append(f"{event} {error!r}"))
    monkeypatch.setattr(sasl, "FAILURE_DELAY_S", 0.0)
    return found


async def talk(edge: SieveEdge, chance: random.Random, *, secure: bool) -> bytes:
    """One session; in clear it ends with its octets, behind TLS with LOGOUTs that nothing swallows."""
    client = await edge.connect(secure=secure)
    login = LOGIN + b"\r\n" if chance.random() < 0.5 else b""
    octets = login + octets_of(chance) + (b'\r\n"*"\r\n' + b"LOGOUT\r\n" * 2000 if secure else b"")
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
    async with open_managesieve(tmp_path) as edge:
        for seed in range(SESSIONS):
            said = await talk(edge, random.Random(seed), secure=seed % 3 > 0)
            assert b"Internal error" not in said, seed
            assert said == b"" or ANSWER.match(said), seed
        assert failures == []
        await (await edge.opened()).ok(b"LISTSCRIPTS")
