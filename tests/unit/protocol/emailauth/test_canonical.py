"""DKIM canonicalisation (RFC 6376 §3.4) against a plain line-by-line statement of the rules."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.protocol.emailauth.canonical import relaxed_body, relaxed_field, simple_body


def _plain_simple(body: bytes) -> bytes:
    if not body:
        return b"\r\n"
    if not body.endswith(b"\r\n"):
        return body + b"\r\n"
    while body.endswith(b"\r\n"):
        body = body[:-2]
    return body + b"\r\n"


def _plain_relaxed(body: bytes) -> bytes:
    lines = body.split(b"\r\n")
    if lines[-1] == b"":
        lines.pop()
    lines = [re.sub(rb"[ \t]+", b" ", line).removesuffix(b" ") for line in lines]
    while lines and lines[-1] == b"":
        lines.pop()
    return b"".join(line + b"\r\n" for line in lines)


BODIES = st.lists(st.sampled_from([b" ", b"  ", b"\t", b"\r\n", b"\r", b"\n", b"a", b"bc"]), max_size=30).map(b"".join)


@given(BODIES)
def test_simple_body_is_the_rule(body: bytes) -> None:
    """RFC 6376 §3.4.3."""
    assert bytes(simple_body(memoryview(body))) == _plain_simple(body)


@given(BODIES)
def test_relaxed_body_is_the_rule(body: bytes) -> None:
    """RFC 6376 §3.4.4."""
    assert bytes(relaxed_body(memoryview(body))) == _plain_relaxed(body)


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        (b"A: X\r\n", b"a:X\r\n"),  # RFC 6376 §3.4.5
        (b"B : Y\t\r\n\tZ  \r\n", b"b:Y Z\r\n"),  # RFC 6376 §3.4.5
        (b"C:\r\n", b"c:\r\n"),
        (b"D: a\x0bb \x0c c\r\n", b"d:a\x0bb \x0c c\r\n"),
        (b"E:\r\n \r\n x\r\n", b"e:x\r\n"),
    ],
)
def test_relaxed_field(raw: bytes, wanted: bytes) -> None:
    assert relaxed_field(raw) == wanted


def test_rfc_6376_example_body() -> None:
    """RFC 6376 §3.4.5."""
    body = memoryview(b" C \r\nD \t E\r\n\r\n\r\n")
    assert bytes(relaxed_body(body)) == b" C\r\nD E\r\n"
    assert bytes(simple_body(body)) == b" C \r\nD \t E\r\n"


@pytest.mark.parametrize("unit", [b" ", b"\t ", b"\r\n", b" \r\n", b"\r", b"a ", b"a\t"])
def test_canonicalising_a_megabyte_of_runs_is_linear(unit: bytes) -> None:
    body = memoryview(b"x" + unit * (1_000_000 // len(unit)))
    relaxed_body(body)
    simple_body(body)
