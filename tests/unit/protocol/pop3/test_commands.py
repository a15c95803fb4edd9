"""POP3 command lines (RFC 1939 §9, RFC 2449 §5, RFC 5034 §4, RFC 6856 §2)."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.protocol.pop3.commands import (
    Auth,
    Command,
    Listing,
    OnMessage,
    Pass,
    Pop3SyntaxError,
    Top,
    User,
    Word,
    parse_command,
)


@pytest.mark.parametrize(
    ("line", "command"),
    [
        (b"USER mrose", User(b"mrose")),
        (b"user gr\xc3\xbc\xc3\x9fe@example.org", User("grüße@example.org".encode())),
        (b"PASS tanstaaf", Pass(b"tanstaaf")),
        (b"PASS  two  spaces ", Pass(b" two  spaces ")),
        (b"PASS ", Pass(b"")),
        (b"stat", Word.STAT),
        (b"STAT ", Word.STAT),
        (b"LIST", Listing("LIST", None)),
        (b"LIST 2", Listing("LIST", 2)),
        (b"UIDL", Listing("UIDL", None)),
        (b"UIDL 0000000001", Listing("UIDL", 1)),
        (b"RETR 1", OnMessage("RETR", 1)),
        (b"DELE 9999999999", OnMessage("DELE", 9_999_999_999)),
        (b"TOP 1 0", Top(1, 0)),
        (b"AUTH", Auth("")),
        (b"AUTH plain", Auth("PLAIN")),
        (b"AUTH PLAIN AGEAYg==", Auth("PLAIN", b"AGEAYg==")),
        (b"AUTH SCRAM-SHA-256 =", Auth("SCRAM-SHA-256", b"=")),
        *((word.value.encode(), word) for word in Word),
    ],
)
def test_commands(line: bytes, command: Command) -> None:
    assert parse_command(line) == command


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b" ",
        b" STAT",
        b"STATS",
        b"STAT 1",
        b"USER",
        b"USER ",
        b"USER a b",
        b"PASS",
        b"PASS\ta",
        b"LIST 1 2",
        b"LIST -1",
        b"LIST +1",
        b"LIST 1x",
        b"LIST 12345678901",
        b"LIST \xd9\xa1",
        b"RETR",
        b"RETR  1",
        b"TOP 1",
        b"TOP 1  2",
        b"TOP 1 2 3",
        b"AUTH PL\xc3\xa4IN",
        b"AUTH PLAIN a\0b",
        b"AUTH PLAIN a b",
        b"AUTH " + b"x" * 21,
        b"APOP mrose c4c9334bac560ecc979e58001b3e22fb",
        b"\xff\xfe",
        b"\0",
    ],
)
def test_what_is_no_command(line: bytes) -> None:
    with pytest.raises(Pop3SyntaxError):
        parse_command(line)


@given(st.binary(max_size=512))
def test_any_line_is_a_command_or_an_error(line: bytes) -> None:
    with contextlib.suppress(Pop3SyntaxError):
        parse_command(line)


@given(st.sampled_from(["USER", "PASS", "LIST", "RETR", "TOP", "AUTH", "STAT"]), st.binary(max_size=40))
def test_any_argument_is_taken_or_an_error(name: str, rest: bytes) -> None:
    with contextlib.suppress(Pop3SyntaxError):
        parse_command(name.encode() + b" " + rest)


def test_passwords_are_not_shown() -> None:
    assert "secret" not in repr(parse_command(b"PASS secret")) + repr(parse_command(b"AUTH PLAIN secret"))
