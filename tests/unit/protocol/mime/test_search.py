"""Text search in one message (RFC 3501 §6.4.4)."""

from __future__ import annotations

import time

import pytest

from server.protocol.mime.document import DECODED_MAX
from server.protocol.mime.search import MessageText
from server.protocol.mime.structure import parse_structure

_OCTETS = (
    b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= an\r\n  alle\r\nX-Empty:\r\nTo: a@b.test\r\n"
    b"Content-Type: multipart/mixed; boundary=b\r\n\r\npreamble words\r\n"
    b"--b\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    b"Stra=DFe und W=\r\nald\r\nnebenan\r\n"
    b"--b\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\nPGI+Zm9vPC9iPg==\r\n"
    b"--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: Inside\r\n\r\nDeep text\r\n"
    b"--b\r\nContent-Type: application/octet-stream\r\n\r\nbinary words\r\n--b--\r\n"
)


def _text(octets: bytes = _OCTETS) -> MessageText:
    return MessageText(octets, parse_structure(octets))


@pytest.mark.parametrize(
    ("name", "needle", "found"),
    [
        (b"subject", "grüsse", True),
        (b"subject", "GRÜßE AN ALLE", True),
        (b"subject", "utf-8", False),
        (b"to", "B.TEST", True),
        (b"to", "@b.te", True),
        (b"to", "est", False),
        (b"to", "@", True),
        (b"x-empty", "", True),
        (b"x-none", "", False),
    ],
)
def test_header_search(name: bytes, needle: str, found: bool) -> None:
    assert _text().header_contains(name, needle) == found


@pytest.mark.parametrize(
    ("needle", "in_body", "in_text"),
    [
        ("STRASSE", True, True),
        ("und wald nebenan", True, True),
        ("deep TEXT", True, True),
        ("inside", True, True),
        ("foo", True, True),
        ("wald neb", True, True),
        ("ald", False, False),
        ("%", False, False),
        ("=", False, True),
        ("grüße", False, True),
        ("a@b.test", False, True),
        ("binary words", False, False),
        ("preamble", False, False),
    ],
)
def test_body_and_text_search(needle: str, in_body: bool, in_text: bool) -> None:
    text = _text()
    assert text.body_contains(needle) == in_body
    assert text.text_contains(needle) == in_text


def test_texts_beyond_the_bound_are_not_opened() -> None:
    part = b"--b\r\n\r\n" + b"x " * (DECODED_MAX // 8) + b"\r\n"
    octets = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + part * 5 + b"--b\r\n\r\nneedle\r\n--b--\r\n"
    text = _text(octets)
    assert not text.body_contains("needle")
    assert text.body_contains("x x x")


def test_search_work_is_bounded() -> None:
    octets = b"Content-Type: text/html\r\n\r\n" + b"<b>x</b> " * 3_000_000 + b"needle"
    started = time.process_time()
    assert not _text(octets).body_contains("needle")
    assert time.process_time() - started < 2.0
