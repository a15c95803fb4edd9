"""Addresses out of rendered ENVELOPEs (RFC 3501 section 7.4.2)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.protocol.mime.envelope import ADDRESSES_SHOWN, EnvelopeAddresses, Person, envelope_addresses
from server.protocol.mime.render import render


def addresses(*fields: bytes) -> EnvelopeAddresses:
    return envelope_addresses(render(b"\r\n".join((*fields, b"", b""))).envelope)


def test_names_are_decoded_and_reply_to_falls_back_to_from() -> None:
    found = addresses(
        b"From: =?utf-8?q?J=C3=B6rg?= <Joerg@Example.NET>", b'To: "A \\"B\\" C" <a@b.example>, plain@c.example'
    )
    assert found.sender == (Person("Jörg", "Joerg@example.net"),)
    assert found.reply_to == found.sender
    assert found.to == (Person('A "B" C', "a@b.example"), Person("", "plain@c.example"))
    assert found.cc == ()


def test_raw_8bit_names_come_as_literals_and_are_read() -> None:
    assert addresses("From: Grüße <g@b.example>".encode()).sender == (Person("Grüße", "g@b.example"),)


def test_groups_show_their_members() -> None:
    assert addresses(b"To: friends: a@b.example, c@d.example;").to == (
        Person("", "a@b.example"),
        Person("", "c@d.example"),
    )


def test_long_lists_are_cut() -> None:
    many = b"To: " + b", ".join(b"u%d@b.example" % number for number in range(300))
    assert len(addresses(many).to) == ADDRESSES_SHOWN


@pytest.mark.parametrize(
    "octets", [b"", b"NIL", b"(", b")", b"(NIL NIL)", b"(a)", b'("x', b"{99}\r\nab", b"((((", b'(NIL "s" 1)']
)
def test_what_is_no_envelope_has_no_addresses(octets: bytes) -> None:
    assert envelope_addresses(octets) == EnvelopeAddresses()


@given(st.binary(max_size=200))
def test_it_never_fails(octets: bytes) -> None:
    envelope_addresses(octets)
    envelope_addresses(render(octets).envelope)
