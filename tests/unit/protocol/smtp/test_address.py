"""Mailbox grammar (RFC 5321 §4.1.2, RFC 6531 §3.3, security.md Y1, T08)."""

from __future__ import annotations

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from server.domain.address import Address
from server.domain.errors import InvalidInput
from server.protocol.smtp.address import AddressSyntaxError, parse_address, parse_domain, parse_path

ATEXT = set((string.ascii_letters + string.digits + "!#$%&'*+-/=?^_`{|}~").encode())
QTEXT = set(range(32, 127)) - {0x22, 0x5C}


def path(octets: bytes, *, smtputf8: bool = False) -> Address | None:
    address, rest = parse_path(octets, smtputf8=smtputf8)
    assert rest == b""
    return address


@pytest.mark.parametrize(
    ("octets", "address"),
    [
        (b"<a@b>", Address("a", "b")),
        (b"<A.b+c@Example.ORG>", Address("A.b+c", "example.org")),
        (b'<"a b"@c.d>', Address("a b", "c.d")),
        (b'<"a\\"b\\\\"@c.d>', Address('a"b\\', "c.d")),
        (b'<"a.b"@c.d>', Address("a.b", "c.d")),
        (b'<"u@ext"@loc.example>', Address("u@ext", "loc.example")),
        (b'<"a>b"@c.d>', Address("a>b", "c.d")),
        (b'<""@c.d>', Address("", "c.d")),
        (b"<a@[127.0.0.1]>", Address("a", "[127.0.0.1]")),
        (b"<a@[IPv6:2001:DB8:0::1]>", Address("a", "[IPv6:2001:db8::1]")),
        (b"<u%ext@loc.example>", Address("u%ext", "loc.example")),
        (b"<ext!u@loc.example>", Address("ext!u", "loc.example")),
        (b"<a@x--y.example>", Address("a", "x--y.example")),
        (b"<>", None),
    ],
)
def test_paths_of_the_grammar_are_parsed(octets: bytes, address: Address | None) -> None:
    assert path(octets) == address


@pytest.mark.parametrize(
    "octets",
    [
        b"", b"<", b"a@b", b"<a>", b"<@b>", b"<a@>", b"<a@b", b"< a@b>", b"<a @b>", b"<a@b >", b"<a@ b>",
        b"<@x.example:a@b>", b"<@x,@y:a@b>", b"<a@b@c>", b"<.a@b>", b"<a.@b>", b"<a..b@c>",
        b"<a@b.>", b"<a@.b>", b"<a@b..c>", b"<a@-b>", b"<a@b->", b"<a@b_c>", b"<a@[127.0.0.256]>", b"<a@[127.1]>",
        b"<a@[1.2.3.4>", b"<a@[IPv6:1.2.3.4]>", b"<a@[IPv6:fe80::1%eth0]>", b"<a@[x-y:z]>", b"<a@[]>",
        b"<(x)a@b>", b"<a(x)@b>", b"<a@b(x)>", b'<"a@b>', b'<"a"b@c>', b'<a"b"@c>', b'<"a"."b"@c>', b'<"a\\"@b>',
        b'<"a\r\nb"@c>', b'<"a\x00b"@c>', b"<a,b@c>", b"<a;b@c>", b"<a:b@c>", b"<a\\b@c>",
        b"<=?utf-8?q?x=0D=0AEvil:_y?=@c.d>", b"<=?utf-8?q?admin?=@c.d>", b'<"=?utf-8?q?admin?="@c.d>',
        b"<a@=?utf-8?q?c?=.d>", b"<a@b\x00>", b"<a@b\x7f>", b"<a\xff@b>", "<ä@b>".encode(), "<a@ä>".encode(),
    ],
)  # fmt: skip
def test_everything_else_is_refused(octets: bytes) -> None:
    with pytest.raises(AddressSyntaxError):
        path(octets)


def _local_accepted(octets: bytes) -> bool:
    try:
        return path(b"<" + octets + b"@c.d>") is not None
    except AddressSyntaxError:
        return False


def test_each_octet_in_a_dot_string() -> None:
    """RFC 5322 §3.2.3 "atext"."""
    accepted = {value for value in range(256) if _local_accepted(b"x" + bytes([value]) + b"x")}
    assert accepted == ATEXT | {ord(".")}


def test_each_octet_in_a_quoted_string() -> None:
    """RFC 5321 §4.1.2 "qtextSMTP"."""
    assert {value for value in range(256) if _local_accepted(b'"x' + bytes([value]) + b'"')} == QTEXT


def test_each_octet_in_a_quoted_pair() -> None:
    """RFC 5321 §4.1.2 "quoted-pairSMTP"."""
    assert {value for value in range(256) if _local_accepted(b'"x\\' + bytes([value]) + b'x"')} == set(range(32, 127))


def test_each_octet_in_a_domain() -> None:
    """RFC 5321 §4.1.2 "sub-domain"."""

    def accepted(value: int) -> bool:
        try:
            return parse_path(b"<a@x" + bytes([value]) + b"x.d>", smtputf8=False)[1] == b""
        except AddressSyntaxError:
            return False

    letters = set((string.ascii_letters + string.digits + "-.").encode())
    assert {value for value in range(256) if accepted(value)} == letters


@pytest.mark.parametrize(
    ("octets", "fits"),
    [
        (b"<" + b"l" * 63 + b"@d.e>", True),
        (b"<" + b"l" * 64 + b"@d.e>", True),
        (b"<" + b"l" * 65 + b"@d.e>", False),
        (b'<"' + b"l" * 62 + b'"@d.e>', True),
        (b'<"' + b"l" * 63 + b'"@d.e>', False),
        (b"<a@" + b"d" * 62 + b".e>", True),
        (b"<a@" + b"d" * 63 + b".e>", True),
        (b"<a@" + b"d" * 64 + b".e>", False),
        (b"<a@" + b".".join([b"d" * 62] * 4)[:251] + b">", True),
        (b"<a@" + b".".join([b"d" * 62] * 4) + b"e>", True),
        (b"<ab@" + b".".join([b"d" * 62] * 4) + b"e>", False),
    ],
)
def test_lengths_at_their_limits(octets: bytes, fits: bool) -> None:
    """RFC 5321 §4.5.3.1: local part 64, label 63, mailbox 254 octets."""
    if fits:
        assert path(octets) is not None
    else:
        with pytest.raises(AddressSyntaxError):
            path(octets)


def test_international_addresses_need_smtputf8_and_become_a_labels() -> None:
    """RFC 6531 §3.3, RFC 5890 §2.3.2.1."""
    assert path("<jürgen@Bücher.example>".encode(), smtputf8=True) == Address("jürgen", "xn--bcher-kva.example")
    assert path('<"jür gen"@b.example>'.encode(), smtputf8=True) == Address("jür gen", "b.example")


@pytest.mark.parametrize(
    "octets",
    [
        b"<a\xff@b.c>", b"<\xc3\x28@b.c>", b"<\xed\xa0\x80@b.c>", b"<a@\xff.c>", "<a\u2028@b.c>".encode(),
        "<a\u0085@b.c>".encode(), "<a\u202e@b.c>".encode(), "<a\u00a0@b.c>".encode(), "<a@loc\u3002de>".encode(),
        "<a@\u2028.c>".encode(), "<a@b\u200d.c>".encode(), ("<a@" + "ä" * 64 + ".de>").encode(),
        ("<" + "ä" * 33 + "@b.c>").encode(),
    ],
)  # fmt: skip
def test_international_addresses_out_of_bounds_are_refused(octets: bytes) -> None:
    with pytest.raises(AddressSyntaxError):
        path(octets, smtputf8=True)


def test_a_decomposed_local_part_is_composed() -> None:
    """RFC 6532 §3.1 asks for NFC, so one spelling finds the account."""
    assert path("<u\u0308@b.c>".encode(), smtputf8=True) == Address("ü", "b.c")


def test_what_follows_the_path_is_handed_back() -> None:
    assert parse_path(b"<a@b> SIZE=1", smtputf8=False) == (Address("a", "b"), b" SIZE=1")
    assert parse_path(b"<> RET=FULL", smtputf8=False) == (None, b" RET=FULL")


@pytest.mark.parametrize("text", ["", "a", "<a@b>", "a@b ", " a@b", "a@b>", "a@b\n", "\ud800@b", "a@b, c@d", "a@b@c"])
def test_an_address_alone_is_strict_too(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_address(text)


def test_an_address_alone() -> None:
    assert parse_address("Bob.Smith@EXAMPLE.org") == Address("Bob.Smith", "example.org")
    assert parse_address("用户@例子.example") == Address("用户", "xn--fsqu00a.example")


@pytest.mark.parametrize("text", ["", ".", "a.", "-a", "a b", "[127.0.0.1]", "a" * 64, "a/b", "ä..b", "xn--\u00e4"])
def test_no_domains(text: str) -> None:
    with pytest.raises(AddressSyntaxError):
        parse_domain(text)


@given(st.binary(max_size=300))
@example(b"<a@b>")
@example("<ä@ä>".encode())
def test_any_octets_give_an_address_or_a_syntax_error(octets: bytes) -> None:
    for smtputf8 in (False, True):
        try:
            address, rest = parse_path(octets, smtputf8=smtputf8)
        except AddressSyntaxError:
            continue
        assert octets.endswith(rest)
        if address is not None:
            _check(address, smtputf8=smtputf8)


@given(st.text(alphabet=st.characters(), max_size=70), st.text(max_size=70))
def test_any_text_gives_an_address_or_a_syntax_error(local: str, domain: str) -> None:
    try:
        address = parse_address(f"{local}@{domain}")
    except AddressSyntaxError:
        return
    _check(address, smtputf8=True)


@given(
    st.text(alphabet=string.ascii_letters + string.digits + "!#$%&'*+-/=?^_`{|}~. \"\\@(),:;<>[]", max_size=31),
    st.lists(st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True), min_size=1, max_size=5),
)
def test_what_is_written_is_read_back(local: str, labels: list[str]) -> None:
    address = Address(local, ".".join(labels))
    try:
        assert parse_address(str(address)) == address
    except AddressSyntaxError as error:
        assert "encoded words" in error.public  # noqa: PT017


def _check(address: Address, *, smtputf8: bool) -> None:
    text = str(address)
    assert text.isprintable()
    assert smtputf8 or text.isascii()
    assert address.domain.isascii()
    assert address.domain == address.domain.lower() or address.domain.startswith("[IPv6:")
    assert len(text.encode()) <= 254 + 2
    if not address.needs_smtputf8:
        assert parse_path(f"<{text}>".encode(), smtputf8=False) == (address, b"")
