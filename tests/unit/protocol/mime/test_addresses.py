"""Address lists (RFC 5322 §3.4, §4.4, appendix A; sender tricks of threat-regressions.md)."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.protocol.mime.addresses import ADDRESSES_MAX, Mailbox, parse_address_list, parse_mailboxes


def _boxes(value: bytes) -> list[tuple[str, str, str]]:
    return [(box.name, box.local, box.domain) for box in parse_mailboxes(value)]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b" john@Example.com", [("", "john", "example.com")]),
        (b"John Doe <jdoe@machine.example>", [("John Doe", "jdoe", "machine.example")]),
        (b'"Joe Q. Public" <john.q.public@example.com>', [("Joe Q. Public", "john.q.public", "example.com")]),
        (
            b"Mary Smith <mary@x.test>, jdoe@example.org, Who? <one@y.test>",
            [("Mary Smith", "mary", "x.test"), ("", "jdoe", "example.org"), ("Who?", "one", "y.test")],
        ),
        (
            b'<boss@nil.test>, "Giant; \\"Big\\" Box" <sysservices@example.net>',
            [("", "boss", "nil.test"), ('Giant; "Big" Box', "sysservices", "example.net")],
        ),
        (
            b"Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>",
            [("Pete", "pete", "silly.test")],
        ),
        (
            b"Mary Smith\r\n <@node.test:mary@example.net>, , jdoe@test  . example",
            [("Mary Smith", "mary", "example.net"), ("", "jdoe", "test.example")],
        ),
        (b"Joe Q. Public <john.q.public@example.com>", [("Joe Q. Public", "john.q.public", "example.com")]),
        (b"user@host.example (Full Name)", [("Full Name", "user", "host.example")]),
        (b"=?utf-8?q?Gr=C3=BC=C3=9Fe?= <a@b.example>", [("Grüße", "a", "b.example")]),
        (
            b"=?utf-8?q?Smith,_J:?= <a@b.example>, c@d.example",
            [("Smith, J:", "a", "b.example"), ("", "c", "d.example")],
        ),
        (b'"=?utf-8?b?R3LDvMOfZQ==?=" <a@b.example>', [("Grüße", "a", "b.example")]),
        ("Grüße <grüße@exämple.test>".encode(), [("Grüße", "grüße", "exämple.test")]),
        (b'"john doe"@example.com', [("", "john doe", "example.com")]),
        (b"a@[192.0.2.1]", [("", "a", "[192.0.2.1]")]),
        (b"a@[IPv6:2001:db8::1]", [("", "a", "[ipv6:2001:db8::1]")]),
        (b"", []),
        (b" , ,, ", []),
        (b"@", [("", "", "")]),
    ],
)
def test_addresses_of_rfc_5322_appendix_a_and_of_daily_mail(value: bytes, expected: list[tuple[str, str, str]]) -> None:
    assert _boxes(value) == expected


def test_group_members_are_marked_and_groups_have_ends() -> None:
    """RFC 5322 §3.4, appendix A.1.3."""
    value = b"A Group:Ed Jones <c@a.test>,joe@where.test,John <jdoe@one.test>;, x@y.test"
    entries = parse_address_list(value)
    assert [(e.name, e.local, e.group_starts) for e in entries] == [
        (b"A Group", None, True),
        (b"Ed Jones", b"c", False),
        (None, b"joe", False),
        (b"John", b"jdoe", False),
        (None, None, False),
        (None, b"x", False),
    ]
    assert [box.in_group for box in parse_mailboxes(value)] == [True, True, True, False]


def test_empty_group() -> None:
    entries = parse_address_list(b"Undisclosed recipients:(nobody(that I know))  ;")
    assert [(e.name, e.group_starts) for e in entries] == [(b"Undisclosed recipients", True), (None, False)]


def test_route_is_kept_for_the_envelope() -> None:
    """RFC 5322 §4.4 obs-route."""
    (entry,) = parse_address_list(b"<@a.test,@b.test:joe@c.test>")
    assert (entry.route, entry.local, entry.domain) == (b"@a.test,@b.test", b"joe", b"c.test")
    assert entry.odd


@pytest.mark.parametrize(
    "value",
    [
        b"a@b.test@c.test",
        b"<a@b.test> <c@d.test>",
        b"a(x)@b.test",
        b"a@b.test <c@d.test>",
        b"<a@b.test>c@d.test",
        b"=?utf-8?q?a=40b.test?=@c.test",
        b"a@=?utf-8?q?b?=.test",
        b"a\x00@b.test",
        b"a",
        b"<>",
        b"<a@b.test",
        b"a b@c.test",
        b"a@b c.test",
        b"a@(x)b.test",
        b'"a@b.test" c@d.test',
        b"<@x.test:a@b.test>",
        b"<<a@b.test>>",
        b"a\\@b.test",
        b"[a@b.test",
        b"(x) a@b.test (y)",
        b"=?utf-8?q?<a@b.test>,?= <c@d.test>",
    ],
)
def test_what_two_programs_may_read_differently_is_odd(value: bytes) -> None:
    assert all(entry.odd for entry in parse_address_list(value))


@pytest.mark.parametrize(
    "value",
    [b"a@b.test", b'"a, b" <c@d.test>', b"=?utf-8?q?x=40y?= <c@d.test>", b"c@d.test (C D)", b"J. Doe <j@d.test>"],
)
def test_plain_addresses_are_not_odd(value: bytes) -> None:
    (entry,) = parse_address_list(value)
    assert not entry.odd


def test_display_name_tricks_do_not_move_the_address() -> None:
    """CVE-2023-27043: what stands in quotes is a name, what stands in brackets is the address."""
    (entry,) = parse_address_list(b'"alice@example.org)" <bob@evil.test>')
    assert (entry.local, entry.domain) == (b"bob", b"evil.test")
    assert len(parse_address_list(b'"a" <b@c.test>, d@e.test')) == 2


@pytest.mark.parametrize("count", [ADDRESSES_MAX - 1, ADDRESSES_MAX, ADDRESSES_MAX + 1])
@pytest.mark.parametrize("address", [b"a@b.c,", b"a@b.c(x),"])
def test_address_limit(count: int, address: bytes) -> None:
    assert len(parse_address_list(address * count)) == min(count, ADDRESSES_MAX)


def test_control_characters_never_reach_the_text() -> None:
    (box,) = parse_mailboxes(b"=?utf-8?q?a=0D=0AEvil:_y=00?= <a@b.test>")
    assert box == Mailbox(name="a Evil: y ", local="a", domain="b.test")


@pytest.mark.parametrize(
    "value",
    [b"(" * 100_000, b'"a" ' * 25_000, b"<" * 100_000, b"@" * 100_000, b":" * 100_000, b"[" * 100_000, b"\\" * 100_000,
     b'"\\' * 50_000, b"a " * 50_000 + b"@", b"a." * 50_000, b"(a)" * 33_000, b";" * 100_000, b"<@a," * 25_000],
)  # fmt: skip
def test_hostile_values_are_linear(value: bytes) -> None:
    """Y13, T13: none of these raises, and each takes far less than a second of CPU."""
    started = time.process_time()
    parse_mailboxes(value)
    assert time.process_time() - started < 1.0


_PIECES = [b"a", b"b.c", b"@", b"<", b">", b",", b":", b";", b"(", b")", b'"', b"\\", b"[", b"]", b".", b" ", b"\r\n "]
_PIECES += [b"=?utf-8?q?x?=", b"\x00", b"\xff", b"\xc3\xbc"]
_NAMES = st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=20)
_LOCALS = st.from_regex(r"[a-z]{1,8}(\.[a-z]{1,5})?", fullmatch=True)
_DOMAINS = st.from_regex(r"[a-z]{1,8}\.[a-z]{2,3}", fullmatch=True)


@given(st.lists(st.sampled_from(_PIECES), max_size=30))
def test_any_tokens_parse_without_error(pieces: list[bytes]) -> None:
    for box in parse_mailboxes(b"".join(pieces)):
        assert (box.name + box.local + box.domain).isprintable()
        box.addr_spec.encode("utf-8")


@given(st.lists(st.tuples(_NAMES, _LOCALS, _DOMAINS), min_size=1, max_size=8))
def test_quoted_names_come_back(people: list[tuple[str, str, str]]) -> None:
    def quote(name: str) -> str:
        return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '" '

    people = [(name.replace("=?", "=."), local, domain) for name, local, domain in people]
    value = ", ".join(f"{quote(name)}<{local}@{domain}>" for name, local, domain in people).encode()
    assert _boxes(value) == people
