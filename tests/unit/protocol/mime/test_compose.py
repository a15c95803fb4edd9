"""Composition (T10, ST10: any Unicode in each field, reparsed, is the intent or was refused)."""

from __future__ import annotations

import email
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from email.policy import compat32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.address import Address
from server.domain.errors import InvalidInput
from server.protocol.mime.addresses import parse_mailboxes
from server.protocol.mime.compose import FILENAME_MAX, HEADERS_MAX, Attachment, Draft, compose
from server.protocol.mime.encoded_words import decode_text
from server.protocol.mime.folding import TEXT_MAX, NamedAddress
from server.protocol.mime.section import extract_binary
from server.protocol.mime.structure import parse_structure
from server.protocol.mime.text import decode_part

_DRAFT = Draft(
    author=NamedAddress(Address("alice", "example.org"), "Alice"),
    to=[NamedAddress(Address("bob", "example.net"))],
    date=datetime(2026, 3, 2, 10, 20, 30, tzinfo=UTC),
    message_id="<1@example.org>",
)
_BASE_FIELDS = [
    "Date",
    "From",
    "To",
    "Subject",
    "Message-ID",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
]


def _well_formed(octets: bytes) -> None:
    assert b"\r" not in octets.replace(b"\r\n", b"")
    assert b"\n" not in octets.replace(b"\r\n", b"")
    assert max(len(line) for line in octets.split(b"\r\n")) <= 998
    assert octets.endswith(b"\r\n")


def _names(octets: bytes) -> list[str]:
    return email.message_from_bytes(octets, policy=compat32).keys()


def test_a_plain_message_is_plain() -> None:
    octets = compose(replace(_DRAFT, subject="Hello", text="One\nTwo"))
    assert octets == (
        b"Date: Mon, 02 Mar 2026 10:20:30 +0000\r\nFrom: Alice <alice@example.org>\r\nTo: bob@example.net\r\n"
        b"Subject: Hello\r\nMessage-ID: <1@example.org>\r\nMIME-Version: 1.0\r\n"
        b"Content-Type: text/plain; charset=us-ascii\r\nContent-Transfer-Encoding: 7bit\r\n\r\nOne\r\nTwo\r\n"
    )


def test_text_html_and_files_nest_as_readers_expect() -> None:
    """RFC 2046 §5.1.3, §5.1.4; RFC 2387 for images of the HTML."""
    octets = compose(
        replace(
            _DRAFT,
            text="t",
            html="<img src=cid:i@x>",
            attachments=[
                Attachment(filename="a.pdf", content_type="application/pdf", data=b"\x00\xff"),
                Attachment(filename="i.png", content_type="image/png", data=b"png", content_id="i@x"),
            ],
        )
    )
    structure = parse_structure(octets)
    kinds = [(part.depth, (part.kind + b"/" + part.subtype).decode()) for part in structure.walk()]
    assert kinds == [
        (0, "multipart/mixed"),
        (1, "multipart/alternative"),
        (2, "text/plain"),
        (2, "multipart/related"),
        (3, "text/html"),
        (3, "image/png"),
        (1, "application/pdf"),
    ]
    assert extract_binary(octets, structure.root, (2,)) == b"\x00\xff"


def test_sender_reply_to_and_thread_fields() -> None:
    people = [NamedAddress(Address(f"person{n}", "example.net"), f"Person, {n}") for n in range(4)]
    octets = compose(
        replace(
            _DRAFT,
            sender=people[0],
            reply_to=people[:1],
            cc=people,
            in_reply_to=["<a@b>"],
            references=["<c@d>", "<a@b>"],
        )
    )
    fields = parse_structure(octets).fields
    assert fields.first(b"sender") == b' "Person, 0" <person0@example.net>'
    assert fields.first(b"reply-to") == fields.first(b"sender")
    assert [box.name for box in parse_mailboxes(fields.first(b"cc") or b"")] == [entry.name for entry in people]
    assert all(len(line) <= 78 for line in octets.split(b"\r\n"))
    assert fields.first(b"references") == b" <c@d> <a@b>"


def test_text_outside_latin_letters_is_base64() -> None:
    octets = compose(replace(_DRAFT, text="日本語 " * 100))
    assert parse_structure(octets).root.encoding == b"base64"


@pytest.mark.parametrize("count", [HEADERS_MAX - 1, HEADERS_MAX, HEADERS_MAX + 1])
def test_header_count_limit(count: int) -> None:
    draft = replace(_DRAFT, headers=[("X-A", "b")] * count)
    if count > HEADERS_MAX:
        with pytest.raises(InvalidInput):
            compose(draft)
    else:
        assert compose(draft).count(b"X-A: b\r\n") == count


@pytest.mark.parametrize("size", [0, 1, FILENAME_MAX, FILENAME_MAX + 1])
def test_file_name_limit(size: int) -> None:
    draft = replace(_DRAFT, attachments=[Attachment(filename="x" * size, content_type="a/b", data=b"")])
    if 0 < size <= FILENAME_MAX:
        assert parse_structure(compose(draft)).root.filename == "x" * size
    else:
        with pytest.raises(InvalidInput):
            compose(draft)


@pytest.mark.parametrize("content_type", ["multipart/mixed", "message/rfc822", "text", "a/b; c=d", ""])
def test_types_that_are_no_files_are_refused(content_type: str) -> None:
    with pytest.raises(InvalidInput):
        compose(replace(_DRAFT, attachments=[Attachment(filename="x", content_type=content_type, data=b"")]))


def test_equal_files_are_all_kept() -> None:
    file = Attachment(filename="a", content_type="a/b", data=b"x", content_id="i@x")
    octets = compose(replace(_DRAFT, html="x", attachments=[file, file, replace(file, content_id=None)]))
    assert sum(part.filename == "a" for part in parse_structure(octets).walk()) == 3


def test_a_boundary_never_occurs_in_a_part() -> None:
    once = compose(replace(_DRAFT, text="x", html="y"))
    declared = parse_structure(once).root.declared
    assert declared is not None
    boundary = declared.octets(b"boundary") or b""
    octets = compose(replace(_DRAFT, text="--" + boundary.decode(), html="y"))
    assert len(parse_structure(octets).root.children) == 2


def test_utf8_addresses_stay_utf8() -> None:
    """RFC 6532 §3.2."""
    octets = compose(replace(_DRAFT, author=NamedAddress(Address("grüße", "example.org"), "Grüße")))
    assert "=?= <grüße@example.org>\r\n".encode() in octets


_BAD = ["\r", "\n", "\x00", "a\r\nBcc: x@y", "\x1b", "\x7f", "\x85", "\u2028", "\u2029", "\ud800"]


@pytest.mark.parametrize("bad", _BAD)
@pytest.mark.parametrize(
    ("field", "pointer"),
    [
        ("subject", "/subject"),
        ("name", "/from/0/name"),
        ("to", "/to/0/name"),
        ("local", "/from/0/address"),
        ("domain", "/from/0/address"),
        ("header", "/headers/X-A"),
        ("header_name", "/headers"),
        ("in_reply_to", "/in_reply_to"),
        ("message_id", "/message_id"),
        ("filename", "/attachments/0/filename"),
        ("content_type", "/attachments/0/content_type"),
        ("content_id", "/attachments/0/content_id"),
    ],
)
def test_control_characters_are_refused_with_their_place(field: str, pointer: str, bad: str) -> None:
    """T10; CVE-2024-6923, CVE-2026-1299."""
    text = f"a{bad}b"
    file = Attachment(filename="f", content_type="a/b", data=b"")
    drafts = {
        "subject": replace(_DRAFT, subject=text),
        "name": replace(_DRAFT, author=NamedAddress(Address("a", "b.test"), text)),
        "to": replace(_DRAFT, to=[NamedAddress(Address("a", "b.test"), text)]),
        "local": replace(_DRAFT, author=NamedAddress(Address(text, "b.test"))),
        "domain": replace(_DRAFT, author=NamedAddress(Address("a", text))),
        "header": replace(_DRAFT, headers=[("X-A", text)]),
        "header_name": replace(_DRAFT, headers=[(text, "x")]),
        "in_reply_to": replace(_DRAFT, in_reply_to=[f"<{text}@c>"]),
        "message_id": replace(_DRAFT, message_id=f"<{text}@c>"),
        "filename": replace(_DRAFT, attachments=[replace(file, filename=text)]),
        "content_type": replace(_DRAFT, attachments=[replace(file, content_type=f"a/{text}")]),
        "content_id": replace(_DRAFT, attachments=[replace(file, content_id=f"{text}@c")]),
    }
    with pytest.raises(InvalidInput) as caught:
        compose(drafts[field])
    assert caught.value.pointer == pointer


@pytest.mark.parametrize(
    "name",
    [
        "From",
        "bcc",
        "Subject",
        "Content-Type",
        "Received",
        "DKIM-Signature",
        "Resent-To",
        "ARC-Seal",
        "a b",
        "a:",
        "",
        "é",
    ],
)
def test_fields_that_are_not_the_callers_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        compose(replace(_DRAFT, headers=[(name, "x")]))


def test_thread_fields_by_headers() -> None:
    octets = compose(
        replace(_DRAFT, headers=[("References", "<a@b> <c@d>"), ("In-Reply-To", "<c@d>"), ("X-Empty", "")])
    )
    assert b"\r\nReferences: <a@b> <c@d>\r\nIn-Reply-To: <c@d>\r\nX-Empty: \r\n" in octets
    for headers in ([("References", "x")], [("References", "<a@b>")] * 2):
        with pytest.raises(InvalidInput):
            compose(replace(_DRAFT, headers=headers))


@pytest.mark.parametrize("size", [TEXT_MAX - 1, TEXT_MAX, TEXT_MAX + 1])
@pytest.mark.parametrize("char", ["x", "€", "a "])
def test_text_limit(size: int, char: str) -> None:
    subject = (char * size)[:size]
    if size > TEXT_MAX:
        with pytest.raises(InvalidInput):
            compose(replace(_DRAFT, subject=subject))
        return
    octets = compose(replace(_DRAFT, subject=subject))
    _well_formed(octets)
    assert decode_text(parse_structure(octets).fields.first(b"subject") or b"") == subject


def test_bodies_with_nul_or_surrogates_are_refused() -> None:
    for draft, pointer in ((replace(_DRAFT, text="a\x00"), "/text"), (replace(_DRAFT, html="\ud800"), "/html")):
        with pytest.raises(InvalidInput) as caught:
            compose(draft)
        assert caught.value.pointer == pointer


_CHARS = st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"])
_PIECES = ["=?utf-8?q?x?=", " ", "  ", "=0d=0a", ",", "<", ">", "@", '"', "\\", "(", ":", "é", "x" * 1000, "J."]
_TEXTS = st.one_of(st.text(_CHARS, max_size=120), st.lists(st.sampled_from(_PIECES)).map("".join))


@given(subject=_TEXTS, names=st.lists(_TEXTS.map(lambda text: text[:998]), min_size=1, max_size=4), value=_TEXTS)
def test_any_header_text_comes_back_and_adds_no_field(subject: str, names: Sequence[str], value: str) -> None:
    to = [NamedAddress(Address("b", "c.test"), name) for name in names]
    octets = compose(replace(_DRAFT, subject=subject, to=to, headers=[("X-A", value)], text="x"))
    _well_formed(octets)
    fields = parse_structure(octets).fields
    assert decode_text(fields.first(b"subject") or b"") == subject
    assert decode_text(fields.first(b"x-a") or b"") == value
    assert [(box.name, box.addr_spec) for box in parse_mailboxes(fields.first(b"to") or b"")] == [
        (name, "b@c.test") for name in names
    ]
    assert _names(octets) == [*_BASE_FIELDS[:5], "X-A", *_BASE_FIELDS[5:]]


@given(filename=_TEXTS.map(lambda text: text[:255]).filter(bool), data=st.binary(max_size=300))
def test_any_file_name_and_content_comes_back(filename: str, data: bytes) -> None:
    octets = compose(
        replace(_DRAFT, text="x", attachments=[Attachment(filename=filename, content_type="a/b", data=data)])
    )
    _well_formed(octets)
    structure = parse_structure(octets)
    assert structure.root.children[1].filename == filename
    assert extract_binary(octets, structure.root, (2,)) == data


@given(
    st.one_of(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=300),
        st.lists(st.sampled_from(["a", " ", "\t", ".", "\r", "\n", "\r\n", "From ", "=", "é", "x" * 1000, "--=_"])).map(
            "".join
        ),
    )
)
def test_any_body_comes_back(text: str) -> None:
    octets = compose(replace(_DRAFT, text=text, html=text))
    _well_formed(octets)
    expected = text.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\r\n")
    if expected and not expected.endswith("\r\n"):
        expected += "\r\n"
    assert [decode_part(octets, part) for part in parse_structure(octets).root.children] == [expected, expected]


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=300))
def test_the_standard_library_reads_the_same_body(text: str) -> None:
    octets = compose(replace(_DRAFT, text=text))
    message = email.message_from_bytes(octets, policy=compat32)
    payload = message.get_payload(decode=True)
    assert isinstance(payload, bytes)
    structure = parse_structure(octets)
    assert payload.decode() == decode_part(octets, structure.root)
