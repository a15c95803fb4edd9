"""ManageSieve grammar (RFC 5804 §4)."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.protocol.managesieve import (
    NAME_MAX,
    QUOTED_MAX,
    Announced,
    Authenticate,
    CheckScript,
    Command,
    HaveSpace,
    ManageSieveSyntaxError,
    Noop,
    OnScript,
    PutScript,
    RenameScript,
    ScriptVerb,
    Verb,
    announced,
    format_capability,
    format_response,
    format_string,
    parse_command,
    parse_name,
    parse_string,
)


@pytest.mark.parametrize(
    ("segments", "command"),
    [
        ([b'Authenticate "DIGEST-MD5"'], Authenticate("DIGEST-MD5")),
        ([b'AUTHENTICATE "plain" "QQ=="'], Authenticate("PLAIN", b"QQ==")),
        ([b'Authenticate "PLAIN" {4+}', b"QQ==", b""], Authenticate("PLAIN", b"QQ==")),
        ([b'HAVESPACE "myscript" 999999'], HaveSpace("myscript", 999_999)),
        ([b'Putscript "foo" {6+}', b"#c\nkee", b""], PutScript("foo", b"#c\nkee")),
        ([b"PUTSCRIPT {3+}", b"foo", b" {1+}", b"#", b""], PutScript("foo", b"#")),
        ([b"PUTSCRIPT {3+}", b"foo", b' "#"'], PutScript("foo", b"#")),
        ([b"CheckScript {2+}", b"\r\n", b""], CheckScript(b"\r\n")),
        ([b'Setactive "vacationscript"'], OnScript(ScriptVerb.SETACTIVE, "vacationscript")),
        ([b'Setactive ""'], OnScript(ScriptVerb.SETACTIVE, "")),
        ([b'Getscript "a \\"b\\" \\\\c"'], OnScript(ScriptVerb.GETSCRIPT, 'a "b" \\c')),
        ([b'Deletescript "foo"'], OnScript(ScriptVerb.DELETESCRIPT, "foo")),
        ([b'Renamescript "foo" "bar"'], RenameScript("foo", "bar")),
        ([b"NOOP"], Noop(None)),
        ([b"NOOP "], Noop(None)),
        ([b'NOOP "x" '], Noop(b"x")),
        ([b"NOOP {1+}", b"x", b" "], Noop(b"x")),
        ([b'NOOP "STARTTLS-SYNC-42"'], Noop(b"STARTTLS-SYNC-42")),
        *(([verb.value.lower().encode()], verb) for verb in Verb),
    ],
)
def test_commands(segments: list[bytes], command: Command) -> None:
    assert parse_command(segments) == command


@pytest.mark.parametrize(
    "segments",
    [
        [b""],
        [b" NOOP"],
        [b"NOOP x"],
        [b'NOOP  "x"'],
        [b'NOOP "x""y"'],
        [b'NOOP "x'],
        [b'NOOP "a\\b"'],
        [b'NOOP "a\0b"'],
        [b"NOOP 5"],
        [b"LOGOUT 5"],
        [b'HAVESPACE "a" "5"'],
        [b'HAVESPACE "a" 4294967296'],
        [b'HAVESPACE "a" 5x'],
        [b'HAVESPACE "a" -5'],
        [b"NOOP{1+}", b"x", b""],
        [b'NOOP "x"{1+}', b"x", b""],
        [b"NOOP {1+}", b"x", b"y"],
        [b"NOOP {1+}", b"x", b'"y"'],
        [b'GETSCRIPT "%s"' % (b"x" * (QUOTED_MAX + 1))],
        [b'GETSCRIPT ""'],
        [b'GETSCRIPT "\xff"'],
        [b'PUTSCRIPT "a"'],
        [b"\xff\xfe"],
    ],
)
def test_what_is_no_command(segments: list[bytes]) -> None:
    with pytest.raises(ManageSieveSyntaxError):
        parse_command(segments)


@given(st.binary(max_size=60), st.booleans(), st.binary(max_size=9))
def test_any_command_is_parsed_or_an_error(line: bytes, literal: bool, rest: bytes) -> None:
    with contextlib.suppress(ManageSieveSyntaxError):
        parse_command([line + b" {3+}", b"abc", rest] if literal else [line])


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (b"NOOP {0+}", Announced(0, synchronising=False)),
        (b"NOOP {12}", Announced(12, synchronising=True)),
        (b'NOOP "{12+}"', None),
        (b"NOOP {12+} ", None),
        (b"NOOP {+}", None),
        (b"NOOP {-1+}", None),
        (b"NOOP {%s+}" % (b"9" * 20), Announced(int("9" * 20), synchronising=False)),
    ],
)
def test_announcements(line: bytes, found: Announced | None) -> None:
    assert announced(line) == found


@given(st.binary(max_size=2 * QUOTED_MAX))
def test_strings_come_back(octets: bytes) -> None:
    text = format_string(octets)
    if text.startswith(b"{"):
        assert text == b"{%d}\r\n%s" % (len(octets), octets)
    else:
        assert b"\r" not in text
        assert b"\n" not in text
        assert parse_string([text]) == octets


@pytest.mark.parametrize("name", ["a", "x" * NAME_MAX, "Grüße 你好", "../../etc/passwd", "a/b"])
def test_names(name: str) -> None:
    """RFC 5804 §1.6: names are data in a table, never paths."""
    assert parse_name(name.encode()) == name


@pytest.mark.parametrize("name", ["", "x" * (NAME_MAX + 1), "a\x1fb", "a\x7fb", "a\x85b", "a\u2028b", "a\u2029b"])
def test_names_that_can_not_be(name: str) -> None:
    with pytest.raises(ManageSieveSyntaxError):
        parse_name(name.encode())


@pytest.mark.parametrize("segments", [[b"x"], [b'"a" "b"'], [b"5"], [b""]])
def test_answers_are_one_string(segments: list[bytes]) -> None:
    with pytest.raises(ManageSieveSyntaxError):
        parse_string(segments)


def test_responses() -> None:
    assert format_response(b"OK") == b"OK\r\n"
    assert format_response(b"NO", "a\r\nb", b"QUOTA/MAXSIZE") == b"NO (QUOTA/MAXSIZE) {4}\r\na\r\nb\r\n"
    assert format_capability("SASL", "") == b'"SASL" ""\r\n'
    assert format_capability("STARTTLS") == b'"STARTTLS"\r\n'
