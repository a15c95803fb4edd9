"""Field values: encoded words, charsets, parameters, dates, identifiers."""

from __future__ import annotations

import codecs
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.protocol.mime.charset import decode_charset
from server.protocol.mime.dates import format_date, parse_date
from server.protocol.mime.encoded_words import WORD_MAX, decode_text, encode_words
from server.protocol.mime.message_ids import (
    MESSAGE_ID_MAX,
    REFERENCES_MAX,
    is_message_id,
    parse_message_id,
    parse_message_ids,
)
from server.protocol.mime.params import PARAMETERS_MAX, media_type, parse_parameterised
from server.protocol.mime.transfer import decode_transfer, encode_base64, encode_quoted_printable


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"plain", "plain"),
        (b" folded\r\n text ", "folded text"),
        (b"=?ISO-8859-1?Q?a?=", "a"),
        (b"=?ISO-8859-1?Q?a?= b", "a b"),
        (b"=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=", "ab"),
        (b"=?ISO-8859-1?Q?a?=  =?ISO-8859-1?Q?b?=", "ab"),
        (b"=?ISO-8859-1?Q?a?=\r\n    =?ISO-8859-1?Q?b?=", "ab"),
        (b"=?ISO-8859-1?Q?a_b?=", "a b"),
        (b"=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?=", "a b"),
        (b"=?US-ASCII*EN?Q?Keith_Moore?=", "Keith Moore"),
        (b"=?ISO-8859-1?B?SWYgeW91IGNhbiByZWFkIHRoaXMgeW8=?=", "If you can read this yo"),
        (b"=?utf-8?B?4oKs?= =?utf-8?B?4g==?=\r\n =?utf-8?B?gqw=?=", "€€"),
        (b"=?utf-8?Q?with space?=", "with space"),
        ("raw Grüße".encode(), "raw Grüße"),
        ("raw Grüße".encode("latin-1"), "raw Grüße"),
        (b"=?unknown-8bit?Q?Gr=FC=DFe?=", "Grüße"),
        (b"=?rot13?Q?abc?=", "abc"),
        (b"=?utf-8?X?abc?=", "=?utf-8?X?abc?="),
        (b"=?utf-8?Q?abc", "=?utf-8?Q?abc"),
        (b"a=?utf-8?Q?b?=c", "abc"),
        (b"=?utf-8?q?a=0D=0ABcc:_x=00?=", "a Bcc: x "),
        ("a\u2028b".encode(), "a b"),
        (b"=?utf-7?Q?+2AA-?=", "\ufffd"),
        (b"", ""),
    ],
)
def test_decoding_of_header_text(value: bytes, text: str) -> None:
    """RFC 2047 §8 examples, and what mail really holds."""
    assert decode_text(value) == text


@given(st.binary(max_size=300))
def test_any_octets_decode_to_clean_text(value: bytes) -> None:
    text = decode_text(b"=?utf-8?q?" + value + b"?= =?utf-7?b?" + value)
    text.encode("utf-8")
    assert not set(text) & {"\r", "\n", "\x00", "\u2028"}


@given(st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=200))
def test_encoded_words_come_back_and_fit(text: str) -> None:
    """RFC 2047 §2: at most 75 octets a word."""
    words = encode_words(text)
    assert all(len(word) <= WORD_MAX and word.isascii() and b" " not in word for word in words)
    assert decode_text(b"\r\n ".join(words)) == text


@pytest.mark.parametrize(
    ("octets", "encoding", "expected"),
    [
        (b"a=3D\r\n", b"", b"a=3D\r\n"),
        (b"a=3D\r\n", b"8bit", b"a=3D\r\n"),
        (b"a=3D =\r\nb  \r\nc=\t\r\n", b"quoted-printable", b"a= b\r\nc"),
        (b"a=XY=", b"quoted-printable", b"a=XY"),
        (b"QUJD\r\nRA==\r\n", b"base64", b"ABCD"),
        (b"Q*U-J\xffD R", b"base64", b"ABC"),
        (b"QUI", b"base64", b"AB"),
        (b"QUJDRA==QUJD", b"base64", b"ABCD"),
        (b"x", b"x-uuencode", None),
    ],
)
def test_transfer_encodings(octets: bytes, encoding: bytes, expected: bytes | None) -> None:
    """RFC 2045 §6.7, §6.8: what is damaged is decoded as far as it goes."""
    assert decode_transfer(octets, encoding) == expected


@given(st.binary(max_size=400))
def test_transfer_encodings_come_back(octets: bytes) -> None:
    assert decode_transfer(encode_base64(octets), b"base64") == octets
    encoded = encode_quoted_printable(octets)
    assert decode_transfer(encoded, b"quoted-printable") == octets
    assert max(map(len, (encode_base64(octets) + encoded).split(b"\r\n"))) <= 76


@pytest.mark.parametrize(
    ("label", "octets", "text"),
    [
        ("iso-2022-jp", "日本語".encode("iso2022_jp"), "日本語"),
        ("ISO-2022-JP-MS", b"\x1b$B-!\x1b(B!", "①!"),
        ("ks_c_5601-1987", "한국어 똠".encode("cp949"), "한국어 똠"),
        ("gb2312", "镕€".encode("gb18030"), "镕€"),
        ("GBK", "中文".encode("gbk"), "中文"),
        ("big5", "中文".encode("big5"), "中文"),
        ("shift_jis", "①～".encode("cp932"), "①～"),
        ("koi8-r", "Привет".encode("koi8-r"), "Привет"),
        ("windows-1251", "Привет".encode("cp1251"), "Привет"),
        ("iso-8859-1", b"\x93x\x94", "“x”"),
        ("iso-8859-8-i", "שלום".encode("iso8859-8"), "שלום"),
        ("utf-16", "Grüße".encode("utf-16"), "Grüße"),
        ("us-ascii", b"Gr\xfc", "Grü"),
        ("UTF8", b"\xc3\xbc", "ü"),
        ("", b"\xc3\xbc", "ü"),
        ("utf-8", b"abc\xc3", "abc\ufffd"),
        ("x" * 10_000, b"a", "a"),
    ],
)
def test_charset_labels_mean_what_senders_mean(label: str, octets: bytes, text: str) -> None:
    assert decode_charset(octets, label) == text


@pytest.mark.parametrize("label", ["unicode_escape", "idna", "punycode", "zlib", "hex", "encodings.aliases", "mbcs"])
def test_a_label_never_reaches_pythons_codec_search(label: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codecs, "lookup", lambda name: pytest.fail(f"looked up {name}"))
    assert decode_charset(b"\\x41", label) == "\\x41"


def test_parameters_of_rfc_2231() -> None:
    """RFC 2231 §3, §4, §4.1 examples."""
    field = parse_parameterised(
        b" application/x-stuff\r\n; title*0*=us-ascii'en'This%20is%20even%20more%20"
        b'\r\n; title*1*=%2A%2A%2Afun%2A%2A%2A%20\r\n; title*2="isn\'t it!"'
    )
    assert field.value == b"application/x-stuff"
    assert field.text(b"title") == "This is even more ***fun*** isn't it!"
    field = parse_parameterised(
        b'message/external-body; access-type=URL; URL*0="ftp://";\r\n URL*1="cs.utk.edu/pub/moore/bulk-mailer/x.tar"'
    )
    assert field.octets(b"url") == b"ftp://cs.utk.edu/pub/moore/bulk-mailer/x.tar"
    assert parse_parameterised(b"a/b; filename*=UTF-8''na%C3%AFve%20%e2%82%ac.txt").text(b"filename") == "naïve €.txt"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"text/plain; charset=us-ascii (Plain text)", {b"charset": b"us-ascii"}),
        (b'text/plain; charset="us-ascii"', {b"charset": b"us-ascii"}),
        (b'TEXT/Plain; Charset = "a\\"b;c" ; x=y', {b"charset": b'a"b;c', b"x": b"y"}),
        (b"a/b; name=My File.pdf; x=1", {b"name": b"My File.pdf", b"x": b"1"}),
        (b"a/b; name=one; name=two", {b"name": b"one"}),
        (b'a/b; name="open; x=1', {b"name": b"open; x=1"}),
        (b"a/b;;;x;=y;z=", {b"z": b""}),
        (b"a/b; a*0=1; a*2=3; a*1*=%32", {b"a*": b"1%323"}),
        (b"a/b", {}),
        (b"", {}),
    ],
)
def test_parameters_as_written_by_senders(value: bytes, expected: dict[bytes, bytes]) -> None:
    assert dict(parse_parameterised(value).parameters) == expected


def test_encoded_word_in_a_quoted_file_name_is_decoded() -> None:
    field = parse_parameterised(b'attachment; filename="=?utf-8?B?R3LDvMOfZQ==?=.pdf"')
    assert field.text(b"filename") == "Grüße.pdf"


def test_media_type_needs_two_tokens() -> None:
    """RFC 2045 §5.2: anything else is text/plain, which the caller decides."""
    assert media_type(b"text/html") == (b"text", b"html")
    assert media_type(b"image/svg+xml") == (b"image", b"svg+xml")
    assert [media_type(value) for value in (b"", b"text", b"text/", b"/x", b"a b/c", b"a/b/c", b"a/b c")] == [None] * 7


@pytest.mark.parametrize("count", [PARAMETERS_MAX - 1, PARAMETERS_MAX, PARAMETERS_MAX + 1])
def test_parameter_limit(count: int) -> None:
    value = b"a/b" + b"".join(b";p%d=v" % number for number in range(count))
    assert len(parse_parameterised(value).parameters) == min(count, PARAMETERS_MAX)


@given(st.binary(max_size=200))
def test_any_octets_parse_as_parameters(value: bytes) -> None:
    for written in (value, b'a/b; n*0*="' + value, b"a/b;n*=x'y'" + value):
        text = parse_parameterised(written).text(b"n") or ""
        text.encode("utf-8")
        assert not set(text) & {"\r", "\n", "\x00"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"Fri, 21 Nov 1997 09:55:06 -0600", (1997, 11, 21, 15, 55, 6)),
        (b"Tue, 1 Jul 2003 10:52:37 +0200", (2003, 7, 1, 8, 52, 37)),
        (b"Thu,\r\n 13\r\n Feb\r\n 1969\r\n 23:32\r\n -0330 (Newfoundland Time)", (1969, 2, 14, 3, 2, 0)),
        (b"21 Nov 97 09:55:06 GMT", (1997, 11, 21, 9, 55, 6)),
        (b"Fri, 21 Nov 1997 09(comment):   55  :  06 -0600", (1997, 11, 21, 15, 55, 6)),
        (b"1 Jan 49 00:00 EST", (2049, 1, 1, 5, 0, 0)),
        (b"1 Jan 102 00:00 PDT", (2002, 1, 1, 7, 0, 0)),
        (b"Mon, 2 Mar 2026 10:20:60 Z", (2026, 3, 2, 10, 20, 59)),
        (b"Mon, 2 Mar 2026 10:20:30", (2026, 3, 2, 10, 20, 30)),
        (b"Mon, 2 Mar 2026 10:20:30 K", (2026, 3, 2, 10, 20, 30)),
    ],
)
def test_dates_of_rfc_5322(value: bytes, expected: tuple[int, int, int, int, int, int]) -> None:
    """RFC 5322 §3.3, §4.3, appendices A.5 and A.6.2."""
    assert parse_date(value) == datetime(*expected, tzinfo=UTC)


@pytest.mark.parametrize(
    "value",
    [b"", b"yesterday", b"32 Jan 2026 00:00 +0000", b"1 Foo 2026 00:00 +0000", b"1 Jan 2026 25:00 +0000",
     b"1 Jan 0000 00:00 +0000", b"1 Jan 0001 00:00 +9999", b"(" * 300, b"1 Jan 2026", b"\xff"],
)  # fmt: skip
def test_what_is_no_date_is_none(value: bytes) -> None:
    assert parse_date(value) is None


@given(st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(9998, 1, 1)), st.integers(-14 * 60, 14 * 60))
def test_written_dates_come_back(naive: datetime, minutes: int) -> None:
    instant = naive.replace(tzinfo=UTC, microsecond=0)
    assert parse_date(format_date(instant, offset=timedelta(minutes=minutes))) == instant


def test_format_of_a_date_is_rfc_5322() -> None:
    instant = datetime(2026, 3, 2, 9, 5, 7, tzinfo=UTC)
    assert format_date(instant) == b"Mon, 02 Mar 2026 09:05:07 +0000"
    assert format_date(instant, offset=-timedelta(hours=3, minutes=30)) == b"Mon, 02 Mar 2026 05:35:07 -0330"


@given(st.binary(max_size=100))
def test_any_octets_are_a_date_or_none(value: bytes) -> None:
    parse_date(value)
    parse_date(b"1 Jan 2026 " + value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"<1234@local.machine.example>", [b"<1234@local.machine.example>"]),
        (b" <a@b>\r\n <c@d>(x)<e@f> ", [b"<a@b>", b"<c@d>", b"<e@f>"]),
        (b"<a @b>", [b"<a@b>"]),
        (b'<"a b"@c>', [b'<"a b"@c>']),
        (b"<[>", [b"<[>"]),
        (b"a@b", []),
        (b"<>", []),
        (b"<a<b@c>", [b"<b@c>"]),
    ],
)
def test_identifiers(value: bytes, expected: list[bytes]) -> None:
    assert parse_message_ids(value) == expected
    assert parse_message_id(value) == (expected[0] if expected else None)


@pytest.mark.parametrize("size", [MESSAGE_ID_MAX - 1, MESSAGE_ID_MAX, MESSAGE_ID_MAX + 1])
def test_identifier_size_limit(size: int) -> None:
    value = b"<" + b"a" * (size - 4) + b"@b>"
    assert parse_message_ids(value) == ([value] if size <= MESSAGE_ID_MAX else [])
    assert is_message_id(value.decode()) == (size <= MESSAGE_ID_MAX)


def test_references_limit() -> None:
    assert len(parse_message_ids(b"<a@b>" * (REFERENCES_MAX + 1))) == REFERENCES_MAX


@pytest.mark.parametrize("text", ["<a@b>\r\n", "a@b", "<a b@c>", "<a@b><c@d>", "<é@b>", "<a@>", "<@b>", "<a@b\x00>"])
def test_identifiers_we_do_not_write(text: str) -> None:
    assert not is_message_id(text)


def test_latin_1_that_ends_in_an_accented_letter_is_latin_1() -> None:
    """The last octet of `café` begins a character of UTF-8, which is no reason to take it for one."""
    assert decode_text(b"=?iso-8859-1?q?caf=E9?=") == "café"
    assert decode_text(b"=?iso-8859-1?q?caf=C3=A9?=") == "café"
