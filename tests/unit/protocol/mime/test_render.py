"""ENVELOPE, BODY, BODYSTRUCTURE and list texts (RFC 3501 §7.4.2, RFC 9051 §7.5.2)."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.protocol.mime.render import LIST_MAX, TEXT_MAX, nstring, render
from server.protocol.mime.structure import parse_structure
from tests.unit.protocol.mime.test_structure import RFC_2046_5_1_1

_MIXED = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
_DIGEST = b"Content-Type: multipart/digest; boundary=b\r\n\r\n"
RFC_3501_8 = b"""Date: Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\r
From: Terry Gray <gray@cac.washington.edu>\r
Subject: IMAP4rev1 WG mtg summary and minutes\r
To: imap@cac.washington.edu\r
cc: minutes@CNRI.Reston.VA.US, John Klensin <KLENSIN@MIT.EDU>\r
Message-Id: <B27397-0100000@cac.washington.edu>\r
MIME-Version: 1.0\r
Content-Type: TEXT/PLAIN; CHARSET=US-ASCII\r
\r
"""


def test_the_envelope_of_rfc_3501_section_8() -> None:
    rendered = render(RFC_3501_8 + b"x\r\n" * 92)
    assert rendered.envelope == (
        b'("Wed, 17 Jul 1996 02:23:25 -0700 (PDT)" "IMAP4rev1 WG mtg summary and minutes" '
        b'(("Terry Gray" NIL "gray" "cac.washington.edu")) (("Terry Gray" NIL "gray" "cac.washington.edu")) '
        b'(("Terry Gray" NIL "gray" "cac.washington.edu")) ((NIL NIL "imap" "cac.washington.edu")) '
        b'((NIL NIL "minutes" "CNRI.Reston.VA.US")("John Klensin" NIL "KLENSIN" "MIT.EDU")) NIL NIL '
        b'"<B27397-0100000@cac.washington.edu>")'
    )
    assert rendered.body == b'("text" "plain" ("charset" "US-ASCII") NIL NIL "7bit" 276 92)'
    assert rendered.bodystructure == b'("text" "plain" ("charset" "US-ASCII") NIL NIL "7bit" 276 92 NIL NIL NIL NIL)'
    assert rendered.sent_at == datetime(1996, 7, 17, 9, 23, 25, tzinfo=UTC)
    assert rendered.message_id_header == "<B27397-0100000@cac.washington.edu>"


def test_a_tree_at_hand_is_not_made_again() -> None:
    assert render(RFC_2046_5_1_1, parse_structure(RFC_2046_5_1_1)) == render(RFC_2046_5_1_1)


def test_multipart_lists() -> None:
    rendered = render(RFC_2046_5_1_1)
    assert rendered.body == (
        b'(("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 80 1)'
        b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 78 2) "mixed")'
    )
    assert rendered.bodystructure == (
        b'(("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 80 1 NIL NIL NIL NIL)'
        b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 78 2 NIL NIL NIL NIL) '
        b'"mixed" ("boundary" "simple boundary") NIL NIL NIL)'
    )
    assert rendered.preview.startswith("This is implicitly typed plain US-ASCII text. It does")
    assert not rendered.has_attachments


def test_message_part_has_envelope_body_and_lines() -> None:
    octets = b"Content-Type: message/rfc822\r\nContent-ID: <1@x>\r\n\r\nSubject: in\r\n\r\none\r\ntwo\r\n"
    rendered = render(octets)
    inner = b'"text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 10 2'
    head = b'("message" "rfc822" NIL "<1@x>" NIL "7bit" 25 (NIL "in" NIL NIL NIL NIL NIL NIL NIL NIL) '
    assert rendered.body == head + b"(" + inner + b") 4)"
    assert rendered.bodystructure == head + b"(" + inner + b" NIL NIL NIL NIL) 4 NIL NIL NIL NIL)"
    assert rendered.has_attachments


def test_extension_data() -> None:
    octets = (
        b"Content-Type: image/png\r\nContent-MD5: Q2hlY2s=\r\nContent-Transfer-Encoding: BASE64\r\n"
        b'Content-Disposition: ATTACHMENT; filename="a \\"b\\".png"\r\nContent-Language: de, en\r\n'
        b"Content-Location: http://x.test/\r\nContent-Description: A picture\r\n\r\nAAAA\r\n"
    )
    assert render(octets).bodystructure == (
        b'("image" "png" NIL NIL "A picture" "base64" 6 "Q2hlY2s=" ("attachment" ("filename" "a \\"b\\".png")) '
        b'("de" "en") "http://x.test/")'
    )


def test_groups_and_defaults_in_the_envelope() -> None:
    octets = b"From: a@b.test\r\nReply-To: r@b.test\r\nTo: G:x@y.test;, who\r\nIn-Reply-To: <a@b>\r\n <c@d>\r\n\r\n"
    address = b'((NIL NIL "a" "b.test"))'
    assert render(octets).envelope == (
        b"(NIL NIL " + address + b" " + address + b' ((NIL NIL "r" "b.test")) '
        b'((NIL NIL "G" NIL)(NIL NIL "x" "y.test")(NIL NIL NIL NIL)(NIL NIL "who" "")) NIL NIL "<a@b> <c@d>" NIL)'
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, b"NIL"),
        (b"", b'""'),
        (b"plain", b'"plain"'),
        (b'a "b" \\', b'"a \\"b\\" \\\\"'),
        (b"\xc3\xbc", b"{2}\r\n\xc3\xbc"),
        (b"a\x00b", b'"a b"'),
        (b"a\r\nb", b"{4}\r\na\r\nb"),
        (b'"\xff', b'{2}\r\n"\xff'),
    ],
)
def test_strings_are_quoted_or_literals(value: bytes | None, expected: bytes) -> None:
    """RFC 3501 §4.3, §9 nstring."""
    assert nstring(value) == expected


def test_texts_for_lists_are_decoded() -> None:
    octets = (
        b"From: =?utf-8?q?J=C3=B6rg?= <joerg@example.org>\r\nTo: b@c.test, D <d@e.test>\r\nCc: f@g.test\r\n"
        b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n raw\r\nContent-Type: text/html; charset=iso-8859-1\r\n\r\n"
        b"<html><head><title>no</title><style>p{}</style></head>"
        b"<body><p>Gr\xfc\xdfe&nbsp;&amp;\n more</p><!-- no --></body>"
    )
    rendered = render(octets)
    assert rendered.sender == "Jörg <joerg@example.org>"
    assert rendered.recipients == "b@c.test, D <d@e.test>, f@g.test"
    assert rendered.subject == "Grüße raw"
    assert rendered.preview == "Grüße & more"
    assert rendered.message_id_header is None
    assert rendered.sent_at is None


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (b"Content-Type: application/pdf\r\n\r\n", True),
        (b"Content-Type: text/plain\r\nContent-Disposition: attachment\r\n\r\n", True),
        (b"Content-Type: text/csv; name=a.csv\r\n\r\n", True),
        (b"Content-Type: image/png\r\nContent-ID: <x>\r\nContent-Disposition: inline; filename=a.png\r\n\r\n", False),
        (b"Content-Type: image/png\r\n\r\n", True),
        (b"Content-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\n", True),
        (b"Content-Type: application/pgp-signature; name=s.asc\r\n\r\n", False),
        (b"Content-Type: application/pkcs7-signature\r\nContent-Disposition: attachment\r\n\r\n", False),
        (b"Content-Type: text/html\r\n\r\n", False),
        (b"Content-Type: text/calendar\r\n\r\n", False),
    ],
)
def test_what_counts_as_attachment(part: bytes, expected: bool) -> None:
    octets = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nhi\r\n--b\r\n" + part + b"\r\n--b--\r\n"
    assert render(octets).has_attachments == expected


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([b"Content-Type: text/html\r\n\r\n<p>h", b"\r\nplain"], "plain"),
        ([b"Content-Disposition: attachment\r\n\r\nfile", b"Content-Type: text/html\r\n\r\n<p>h"], "h"),
        ([b"Content-Type: a/b\r\n\r\nx"], ""),
        ([b"Content-Transfer-Encoding: x-unknown\r\n\r\nx"], "x"),
        ([b"\r\n" + b"\r\n" * 1000 + b"late \x00 text"], "late text"),
    ],
)
def test_preview_is_of_the_part_a_reader_sees(parts: list[bytes], expected: str) -> None:
    octets = _MIXED + b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + b"--b--\r\n"
    assert render(octets).preview == expected


@pytest.mark.parametrize("size", [TEXT_MAX - 1, TEXT_MAX, TEXT_MAX + 1])
def test_list_texts_are_cut(size: int) -> None:
    rendered = render(b"Subject: " + b"x" * size + b"\r\n\r\n" + b"word " * 1000)
    assert len(rendered.subject) == min(size, TEXT_MAX)
    assert len(rendered.preview) <= 256


def test_a_flood_of_parts_becomes_an_opaque_list() -> None:
    part = b"--b\r\nContent-Description: " + b"x" * 100 + b"\r\n\r\n\r\n"
    rendered = render(b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + part * 8000)
    assert len(rendered.bodystructure) < LIST_MAX
    assert rendered.bodystructure.startswith(b'("application" "octet-stream"')


@pytest.mark.parametrize(
    "octets",
    [
        b"To: " + b"a@b," * 25_000 + b"\r\n" + b"Cc: a@b\r\n" * 1000,
        _DIGEST + (b"--b\r\n\r\nTo: " + b"a@b," * 200 + b"\r\n\r\n") * 10_000,
        b"Subject: " + b"=?utf-8?b?4oKs?= " * 50_000 + b"\r\n\r\n",
        b"Subject: " + b"=?" * 50_000 + b"\r\n\r\n",
        b"Content-Type: text/html\r\n\r\n" + b"<a " * 1_000_000,
        b"Content-Type: text/html\r\n\r\n" + b"<style>" * 1_000_000,
        b"Content-Type: text/html\r\n\r\n" + b"<!--" * 1_000_000,
        b"Content-Type: text/html\r\n\r\n" + b"&" * 1_000_000,
        b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + b" \t" * 1_000_000,
        _MIXED + b"--b\r\nContent-Disposition: a;" + b"a=b;" * 250 + b"\r\n\r\n" * 5000,
        b"References: " + b"<" * 100_000 + b"\r\nMessage-ID: " + b'<"' * 50_000 + b"\r\n\r\n",
        b"From: " + b'"a"' * 2000 + b"\r\nContent-Type: " + b"a;" * 4000 + b"\r\n\r\n",
    ],
    ids=range(12),
)  # fmt: skip
def test_bombs_render_in_less_than_a_second(octets: bytes) -> None:
    """T11, T13."""
    started = time.process_time()
    render(octets)
    assert time.process_time() - started < 1.0


_STRING = re.compile(rb'"(?:[^"\\\r\n\x00\x80-\xff]|\\["\\])*"')


def _balanced(rendered: bytes) -> bool:
    """Read a rendered list as an IMAP client does: literals by their length, quoted strings, atoms, parentheses."""
    at = depth = 0
    while at < len(rendered):
        if rendered[at : at + 1] == b"{":
            close = rendered.index(b"}\r\n", at)
            at = close + 3 + int(rendered[at + 1 : close])
            continue
        if rendered[at : at + 1] == b'"':
            string = _STRING.match(rendered, at)
            assert string is not None
            at = string.end()
            continue
        octet = rendered[at : at + 1]
        assert octet in b"() NIL0123456789"
        depth += (octet == b"(") - (octet == b")")
        at += 1
        assert depth > 0 or at == len(rendered)
    return depth == 0


_FIELDS = [b"From: ", b"To: ", b"Subject: ", b"Date: ", b"Message-ID: ", b"Content-Type: ", b"Content-ID: ", b""]
_FIELDS += [b"Content-Disposition: ", b"Content-Language: ", b"Content-Transfer-Encoding: "]
_VALUES = [b"a@b", b"G:", b";", b'"', b"\\", b"(", b"<x@y>", b"\xff", b"\x00", b"\r", b"\r\n ", b"message/rfc822"]
_VALUES += [b"multipart/mixed; boundary=b", b"text/html", b"; a=b", b"base64", b"\r\n\r\n", b"--b\r\n", b"{3}", b"="]


@given(st.lists(st.tuples(st.sampled_from(_FIELDS), st.lists(st.sampled_from(_VALUES), max_size=5)), max_size=12))
def test_any_message_renders_to_lists_a_client_can_read(pieces: list[tuple[bytes, list[bytes]]]) -> None:
    octets = b"".join(name + b"".join(values) + b"\r\n" for name, values in pieces)
    rendered = render(octets)
    assert _balanced(rendered.envelope)
    assert _balanced(rendered.body)
    assert _balanced(rendered.bodystructure)
    for text in (rendered.subject, rendered.sender, rendered.recipients, rendered.preview):
        text.encode("utf-8")
        assert not set(text) & {"\r", "\n", "\x00"}


@given(st.binary(max_size=300))
def test_any_octets_render(octets: bytes) -> None:
    assert _balanced(render(octets).envelope)
