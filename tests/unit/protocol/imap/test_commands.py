"""Commands as values (RFC 9051 §6, §9)."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain import flags as bits
from server.protocol.imap.append import Append, MessageHead, parse_behind
from server.protocol.imap.commands import (
    Authenticate,
    Command,
    Copy,
    Enable,
    Fetch,
    Id,
    Login,
    Lsub,
    MailboxVerb,
    OnMailbox,
    Rename,
    Status,
    Store,
    StoreMode,
    UidExpunge,
    Word,
)
from server.protocol.imap.create import Create
from server.protocol.imap.cursor import ImapSyntaxError
from server.protocol.imap.fetch import FetchAttribute
from server.protocol.imap.flags import FlagSet
from server.protocol.imap.listing import List, ListReturn, ListSelect, StatusItem
from server.protocol.imap.parse import CommandSyntaxError, parse_append, parse_command, tag_of
from server.protocol.imap.search import BadCharset
from server.protocol.imap.select import Select
from server.protocol.imap.sequence import SequenceSet

ONE = SequenceSet(((1, 1),))


@pytest.mark.parametrize(
    ("text", "name", "command"),
    [
        (b"NOOP", "NOOP", Word.NOOP),
        (b"noop", "NOOP", Word.NOOP),
        (b"LOGIN alice secret", "LOGIN", Login(b"alice", b"secret")),
        (b'LOGIN "al\\"ice" {3}\r\na b', "LOGIN", Login(b'al"ice', b"a b")),
        (b'LOGIN {2+}\r\nab ""', "LOGIN", Login(b"ab", b"")),
        (b"AUTHENTICATE plain", "AUTHENTICATE", Authenticate("PLAIN", None)),
        (b"AUTHENTICATE PLAIN AGEAYg==", "AUTHENTICATE", Authenticate("PLAIN", b"AGEAYg==")),
        (b"AUTHENTICATE PLAIN =", "AUTHENTICATE", Authenticate("PLAIN", b"=")),
        (b"SELECT INBOX", "SELECT", Select("INBOX", read_only=False)),
        (b'EXAMINE "a b"', "EXAMINE", Select("a b", read_only=True)),
        (b"CREATE Entw&APw-rfe", "CREATE", Create("Entwürfe")),
        ("CREATE Entwürfe".encode(), "CREATE", None),
        ('CREATE "Entwürfe"'.encode(), "CREATE", Create("Entwürfe")),
        (b"DELETE [x]", "DELETE", OnMailbox(MailboxVerb.DELETE, "[x]")),
        (b"RENAME a b", "RENAME", Rename("a", "b")),
        (b'LSUB "" %', "LSUB", Lsub(List("", ("%",)))),
        (b"STATUS INBOX (MESSAGES size)", "STATUS", Status("INBOX", (StatusItem.MESSAGES, StatusItem.SIZE))),
        (b"FETCH 1 FLAGS", "FETCH", Fetch(ONE, (FetchAttribute.FLAGS,), False)),
        (b"uid fetch 1 (UID)", "UID FETCH", Fetch(ONE, (FetchAttribute.UID,), True)),
        (b"STORE 1 FLAGS ()", "STORE", Store(ONE, StoreMode.REPLACE, FlagSet(), False, False)),
        (
            b"UID STORE 1 +FLAGS.SILENT (\\Seen x)",
            "UID STORE",
            Store(ONE, StoreMode.ADD, FlagSet(bits.SEEN, ("x",)), True, True),
        ),
        (b"STORE 1 -FLAGS \\Seen x", "STORE", Store(ONE, StoreMode.REMOVE, FlagSet(bits.SEEN, ("x",)), False, False)),
        (b"COPY 1 x", "COPY", Copy(ONE, "x", False, False)),
        (b"UID MOVE 1 x", "UID MOVE", Copy(ONE, "x", True, True)),
        (b"UID EXPUNGE 1", "UID EXPUNGE", UidExpunge(ONE)),
        (b"ID NIL", "ID", Id()),
        (b'ID ("name" "x" "version" NIL)', "ID", Id()),
        (b"ID ()", "ID", Id()),
        (b"ENABLE condstore x", "ENABLE", Enable((b"CONDSTORE", b"X"))),
    ],
)
def test_commands(text: bytes, name: str, command: Command | None) -> None:
    if command is None:
        with pytest.raises(CommandSyntaxError):
            parse_command(b"a1 " + text)
        return
    tagged = parse_command(b"a1 " + text)
    assert (tagged.tag, tagged.name, tagged.command) == (b"a1", name, command)


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        (b"", b"*"),
        (b"a", b"*"),
        (b" NOOP", b"*"),
        (b"+ NOOP", b"*"),
        (b"a(b NOOP", b"*"),
        (b"a  NOOP", b"a"),
        (b"a ", b"a"),
        (b"a NOOP ", b"a"),
        (b"a NOOP x", b"a"),
        (b"a UID NOOP", b"a"),
        (b"a UID", b"a"),
        (b"a BOGUS", b"a"),
        (b"a LOGIN x", b"a"),
        (b"a LOGIN x y z", b"a"),
        (b'a LOGIN "x y', b"a"),
        (b'a LOGIN "x\\y" z', b"a"),
        (b"a LOGIN {3}\r\nab", b"a"),
        (b"a LOGIN {2}\r\na\x00 b", b"a"),
        (b"a LOGIN a\x00 b", b"a"),
        (b"a SELECT", b"a"),
        (b"a SELECT &", b"a"),
        (b'a SELECT "\xff"', b"a"),
        (b"a FETCH 1", b"a"),
        (b"a FETCH 1 ()", b"a"),
        (b"a FETCH 1 (FLAGS", b"a"),
        (b"a FETCH 1 BOGUS", b"a"),
        (b"a STORE 1 FLAGZ (x)", b"a"),
        (b"a STORE 1 ++FLAGS (x)", b"a"),
        (b"a STATUS x ()", b"a"),
        (b"a STATUS x (BOGUS)", b"a"),
        (b"a ID x", b"a"),
        (b'a ID ("x")', b"a"),
        (b"a ID (" + b'"x" NIL ' * 31 + b")", b"a"),
        (b"a ENABLE", b"a"),
        (b"a ENABLE " + b" ".join([b"x"] * 31), b"a"),
        (b"a AUTHENTICATE", b"a"),
    ],
)
def test_malformed_commands_keep_their_tag(text: bytes, tag: bytes) -> None:
    with pytest.raises(CommandSyntaxError) as caught:
        parse_command(text)
    assert caught.value.tag == tag


@given(st.binary(max_size=200))
def test_only_declared_errors_come_out(text: bytes) -> None:
    """ST6: arbitrary octets raise CommandSyntaxError or BadCharset, nothing else."""
    for prefix in (b"", b"a ", b"a UID FETCH 1 BODY[", b"a SEARCH ", b"a LIST ", b"a APPEND "):
        try:
            parse_command(prefix + text)
        except (CommandSyntaxError, BadCharset):
            pass


@pytest.mark.parametrize(
    ("text", "command"),
    [
        (b'"" *', List("", ("*",))),
        (b"a/ %", List("a/", ("%",))),
        (b'"" ""', List("", ("",))),
        (
            b'(SUBSCRIBED RECURSIVEMATCH) "" "%" RETURN (CHILDREN STATUS (UNSEEN))',
            List(
                "",
                ("%",),
                frozenset({ListSelect.SUBSCRIBED, ListSelect.RECURSIVEMATCH}),
                frozenset({ListReturn.CHILDREN}),
                (StatusItem.UNSEEN,),
                True,
            ),
        ),
        (b'() "" (a b)', List("", ("a", "b"), extended=True)),
        (b'"" % RETURN ()', List("", ("%",), extended=True)),
    ],
)
def test_list(text: bytes, command: List) -> None:
    """RFC 5258 §6, RFC 5819 §4."""
    assert parse_command(b"a LIST " + text).command == command


@pytest.mark.parametrize(
    "text",
    [
        b'(RECURSIVEMATCH) "" *',
        b'(BOGUS) "" *',
        b'"" * RETURN (BOGUS)',
        b'"" * RETRUN ()',
        b'"" (' + b"x " * 20 + b"x)",
        b'"" ' + b"x" * 513,
        b'"" "\xff"',
    ],
)
def test_malformed_list(text: bytes) -> None:
    with pytest.raises(CommandSyntaxError):
        parse_command(b"a LIST " + text)


@pytest.mark.parametrize(
    ("text", "append"),
    [
        (b"a APPEND INBOX {5}\r\n", Append("INBOX", MessageHead())),
        (b"a append {5}\r\nINBOX {5+}\r\n", Append("INBOX", MessageHead())),
        (b"a APPEND x (\\Seen) {5}\r\n", Append("x", MessageHead(FlagSet(bits.SEEN)))),
        (
            b'a APPEND x (k) " 1-Jan-2026 00:00:00 +0000" {5}\r\n',
            Append("x", MessageHead(FlagSet(0, ("k",)), datetime(2026, 1, 1, tzinfo=UTC))),
        ),
    ],
)
def test_append_up_to_its_message(text: bytes, append: Append) -> None:
    assert parse_append(text) == (b"a", append)


@pytest.mark.parametrize("text", [b"a APPEND {5}\r\n", b"a LOGIN {5}\r\n", b"+ {5}\r\n", b"a UID FETCH {1}\r\n"])
def test_other_literals_are_not_a_message(text: bytes) -> None:
    assert parse_append(text) is None


@pytest.mark.parametrize("text", [b"a APPEND x y {5}\r\n", b"a APPEND x (\\Bogus) {5}\r\n", b'a APPEND "x {5}\r\n'])
def test_malformed_append(text: bytes) -> None:
    with pytest.raises(CommandSyntaxError):
        parse_append(text)


def test_append_without_a_literal_is_malformed() -> None:
    with pytest.raises(CommandSyntaxError) as caught:
        parse_command(b"a APPEND INBOX x")
    assert caught.value.tag == b"a"


@pytest.mark.parametrize(
    ("text", "tag"), [(b"a NOOP", b"a"), (b"a", b"*"), (b"", b"*"), (b"\x00", b"*"), (b"x{5}\r\n", b"x")]
)
def test_tag_of(text: bytes, tag: bytes) -> None:
    assert tag_of(text) == tag


@pytest.mark.parametrize(
    ("text", "command"),
    [
        (b"a APPEND x ~{5}\r\n", Append("x", MessageHead(binary=True))),
        (b"a APPEND x UTF8 (~{5+}\r\n", Append("x", MessageHead(binary=True, wrapped=True))),
        (b"a REPLACE 4 x {5}\r\n", Append("x", MessageHead(), SequenceSet(((4, 4),)))),
        (b"a UID REPLACE * x (\\Seen) {5}\r\n", Append("x", MessageHead(FlagSet(1)), SequenceSet(((0, 0),)), uid=True)),
    ],
)
def test_forms_of_append_and_replace(text: bytes, command: Append) -> None:
    """RFC 3516 §4.4, RFC 6855 §4, RFC 8508 §3."""
    assert parse_append(text) == (b"a", command)


@pytest.mark.parametrize(
    "text",
    [b"a REPLACE 1:2 x {5}\r\n", b"a REPLACE 1,2 x {5}\r\n", b"a APPEND x UTF8 ({5}\r\n", b"a APPEND x UTF9 (~{5}\r\n"],
)
def test_forms_that_are_none(text: bytes) -> None:
    with pytest.raises(CommandSyntaxError):
        parse_append(text)


def test_what_stands_behind_a_message() -> None:
    """RFC 3502 §6."""
    assert parse_behind(b"", MessageHead()) is None
    assert parse_behind(b")", MessageHead(wrapped=True)) is None
    assert parse_behind(b" (\\Seen) {3}\r\n", MessageHead()) == MessageHead(FlagSet(1))
    for text in (b"x", b" ", b") {3}\r\n", b" INBOX {3}\r\n"):
        with pytest.raises(ImapSyntaxError):
            parse_behind(text, MessageHead())
