"""Grammar of CREATE with a use, quotas, annotations, access control and compression, as pure functions."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.domain.rights import ALL_RIGHTS, ordered, parse_rights, shown
from server.protocol.imap.acl import AclVerb, OnAcl, RightsChange, SetAcl
from server.protocol.imap.commands import Command
from server.protocol.imap.compress import Compress
from server.protocol.imap.create import Create
from server.protocol.imap.format import format_mailbox
from server.protocol.imap.metadata import GetMetadata, SetMetadata
from server.protocol.imap.parse import CommandSyntaxError, parse_command
from server.protocol.imap.quota import GetQuota, GetQuotaRoot
from server.protocol.imap.search import BadCharset


@pytest.mark.parametrize(
    ("text", "command"),
    [
        (b"CREATE MySpecial (USE (\\Drafts \\Sent))", Create("MySpecial", ("drafts", "sent"))),
        (b"create x (use ())", Create("x")),
        (b'GETQUOTA ""', GetQuota(b"")),
        (b"GETQUOTAROOT INBOX", GetQuotaRoot("INBOX")),
        (b'GETMETADATA "INBOX" /private/comment', GetMetadata("INBOX", ("/private/comment",))),
        (
            b'GETMETADATA (MAXSIZE 1024 DEPTH infinity) "" (/shared /Private/a)',
            GetMetadata("", ("/shared", "/private/a"), 1024, None),
        ),
        (
            b"SETMETADATA INBOX (/private/comment {33+}\r\nMy new comment across\r\ntwo lines. /shared/x NIL)",
            SetMetadata("INBOX", (("/private/comment", b"My new comment across\r\ntwo lines."), ("/shared/x", None))),
        ),
        (b"SETMETADATA INBOX (/private/a ~{1+}\r\nx)", SetMetadata("INBOX", (("/private/a", b"x"),))),
        (b"SETACL INBOX/Drafts David lrswida", SetAcl("INBOX/Drafts", "David", RightsChange.REPLACE, "lrswixtea")),
        (b"SETACL INBOX/Drafts John +lr", SetAcl("INBOX/Drafts", "John", RightsChange.ADD, "lr")),
        (b"SETACL x y -cd", SetAcl("x", "y", RightsChange.REMOVE, "kxte")),
        (b"DELETEACL INBOX Fred", OnAcl(AclVerb.DELETEACL, "INBOX", "Fred")),
        (b"GETACL INBOX", OnAcl(AclVerb.GETACL, "INBOX")),
        (b"LISTRIGHTS ~/Mail smith", OnAcl(AclVerb.LISTRIGHTS, "~/Mail", "smith")),
        (b"MYRIGHTS INBOX", OnAcl(AclVerb.MYRIGHTS, "INBOX")),
        (b"compress deflate", Compress("DEFLATE")),
    ],
)
def test_commands_of_the_rfcs(text: bytes, command: Command) -> None:
    """RFC 6154 §3, RFC 9208 §4.1, RFC 5464 §4, RFC 4314 §3, RFC 4978 §3."""
    assert parse_command(b"a " + text).command == command


@pytest.mark.parametrize(
    "text",
    [
        b"CREATE x (USE \\Drafts)",
        b"CREATE x (USE (Drafts))",
        b"CREATE x ()",
        b"CREATE x (USE (" + b"\\a " * 11 + b"\\a))",
        b"GETMETADATA (DEPTH 2) x /private/a",
        b"GETMETADATA (MAXSIZE) x /private/a",
        b"GETMETADATA x /private",
        b"GETMETADATA x ()",
        b"SETMETADATA x ()",
        b"SETMETADATA x (/private/a)",
        b"SETMETADATA x (/private/a atom)",
        b"SETMETADATA x (" + b" ".join(b"/private/%d NIL" % n for n in range(101)) + b")",
        b"SETACL x y",
        b"SETACL x y lrz",
        b"GETACL x y",
        b"LISTRIGHTS x",
        b"MYRIGHTS",
        b"COMPRESS",
        b"GETQUOTA",
    ],
)
def test_what_is_outside_the_grammar(text: bytes) -> None:
    with pytest.raises(CommandSyntaxError):
        parse_command(b"a " + text)


def test_rights_letters() -> None:
    """RFC 4314 §2.1.1: obsolete letters stand for others, and are shown where one of those is."""
    assert parse_rights("dlc") == "lkxte"
    assert shown("lk") == "lkc"
    assert shown("lt") == "ltd"
    assert shown("lrs") == "lrs"
    assert ordered("aetl") == "ltea"
    assert parse_rights(ALL_RIGHTS) == ALL_RIGHTS


@pytest.mark.parametrize(
    ("name", "octets"),
    [("INBOX", b"INBOX"), ("a b", b'"a b"'), ("Ü", '"Ü"'.encode()), ('Ü"\\', '"Ü\\"\\\\"'.encode()), ("&-", b"&-")],
)
def test_names_in_utf8(name: str, octets: bytes) -> None:
    """RFC 6855 §3."""
    assert format_mailbox(name, utf8=True) == octets


_VERBS = [
    b"CREATE", b"GETQUOTA", b"GETQUOTAROOT", b"GETMETADATA", b"SETMETADATA", b"SETACL", b"GETACL", b"LISTRIGHTS",
    b"DELETEACL", b"MYRIGHTS", b"COMPRESS", b"FETCH 1", b"LIST", b"STATUS",
]  # fmt: skip
_TOKENS = [
    b"(", b")", b" ", b"INBOX", b'"x y"', b"{3+}\r\nabc", b"~", b"/private/a", b"/shared", b"NIL", b"USE", b"\\Sent",
    b"MAXSIZE", b"DEPTH", b"1", b"infinity", b"+lr", b"RETURN", b"METADATA", b"MYRIGHTS", b"BINARY[1]<0.1>",
    b"BINARY.SIZE[", b"]", b"PREVIEW (LAZY)", b"MAILBOXID", b"\xff", b"\x00", "ü".encode(), b"&", b"*",
]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(_VERBS), st.lists(st.sampled_from(_TOKENS), max_size=12), st.booleans(), st.booleans())
def test_any_tokens_parse_or_are_refused(verb: bytes, tokens: list[bytes], spaced: bool, utf8: bool) -> None:
    text = b"a " + verb + b" " + (b" " if spaced else b"").join(tokens)
    try:
        parse_command(text, utf8=utf8)
    except (CommandSyntaxError, BadCharset):
        pass
