"""Body sections (RFC 3501 §6.4.5, RFC 3516 §4)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.protocol.mime.section import (
    Section,
    SectionText,
    UnknownTransferEncoding,
    extract,
    extract_binary,
    partial,
)
from server.protocol.mime.structure import parse_structure

# The tree of the example in RFC 3501 §6.4.5: 1 text, 2 binary, 3 message (3.1, 3.2), 4 multipart (4.1, 4.2 message).
_INNER = (
    b"Subject: inner\r\nX-A: 1\r\n folded\r\nContent-Type: multipart/mixed; boundary=i\r\n\r\n"
    b"--i\r\nContent-ID: <31>\r\n\r\n3.1\r\n--i\r\nContent-Type: application/x\r\n\r\n3.2\r\n--i--\r\n"
)
_PLAIN = b"Subject: plain\r\n\r\n4.2.1"
_FOUR = (
    b"Content-Type: multipart/mixed; boundary=f\r\n\r\n--f\r\nContent-Type: image/gif\r\n\r\n4.1\r\n"
    b"--f\r\nContent-Type: message/rfc822\r\n\r\n" + _PLAIN + b"\r\n--f--"
)
_HEAD = b"Subject: outer\r\nContent-Type: multipart/mixed; boundary=o\r\nx-a: 2\r\n\r\n"
_BODY = (
    b"--o\r\n\r\n1\r\n"
    b"--o\r\nContent-Type: application/y\r\nContent-Transfer-Encoding: base64\r\n\r\nAAEC\r\n"
    b"--o\r\nContent-Type: message/rfc822\r\n\r\n" + _INNER + b"\r\n--o\r\n" + _FOUR + b"\r\n--o--\r\n"
)
_MESSAGE = _HEAD + _BODY
_STRUCTURE = parse_structure(_MESSAGE)
_T = SectionText


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ((), None, _MESSAGE),
        ((), _T.HEADER, _HEAD),
        ((), _T.TEXT, _BODY),
        ((), _T.MIME, None),
        ((1,), None, b"1"),
        ((1,), _T.MIME, b"\r\n"),
        ((1,), _T.HEADER, None),
        ((1, 1), None, None),
        ((2,), None, b"AAEC"),
        ((3,), None, _INNER),
        ((3,), _T.HEADER, _INNER[: _INNER.index(b"--i")]),
        ((3,), _T.TEXT, _INNER[_INNER.index(b"--i") :]),
        ((3,), _T.MIME, b"Content-Type: message/rfc822\r\n\r\n"),
        ((3, 1), None, b"3.1"),
        ((3, 1), _T.MIME, b"Content-ID: <31>\r\n\r\n"),
        ((3, 2), None, b"3.2"),
        ((3, 3), None, None),
        ((4, 1), None, b"4.1"),
        ((4, 2), None, _PLAIN),
        ((4, 2), _T.HEADER, b"Subject: plain\r\n\r\n"),
        ((4, 2, 1), None, b"4.2.1"),
        ((4, 2, 2), None, None),
        ((5,), None, None),
        ((0,), None, None),
    ],
)
def test_sections_of_the_tree_in_rfc_3501(
    path: tuple[int, ...], text: SectionText | None, expected: bytes | None
) -> None:
    assert extract(_MESSAGE, _STRUCTURE.root, Section(path=path, text=text)) == expected


def test_part_1_of_a_simple_message_is_its_body() -> None:
    octets = b"Subject: x\r\n\r\nbody"
    structure = parse_structure(octets)
    assert extract(octets, structure.root, Section(path=(1,))) == b"body"
    assert extract(octets, structure.root, Section(path=(1,), text=_T.MIME)) == b"Subject: x\r\n\r\n"
    assert extract(octets, structure.root, Section(path=(2,))) is None
    assert extract(octets, structure.root, Section(path=(1, 1))) is None


def test_a_message_inside_a_simple_message() -> None:
    octets = b"Content-Type: message/rfc822\r\n\r\n" + _PLAIN
    structure = parse_structure(octets)
    assert extract(octets, structure.root, Section(path=(1,))) == _PLAIN
    assert extract(octets, structure.root, Section(path=(1,), text=_T.HEADER)) == b"Subject: plain\r\n\r\n"
    assert extract(octets, structure.root, Section(path=(1, 1))) == b"4.2.1"


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ((), _T.HEADER_FIELDS, b"Subject: outer\r\n\r\n"),
        ((), _T.HEADER_FIELDS_NOT, b"Content-Type: multipart/mixed; boundary=o\r\nx-a: 2\r\n\r\n"),
        ((3,), _T.HEADER_FIELDS, b"Subject: inner\r\n\r\n"),
        ((3,), _T.HEADER_FIELDS_NOT, b"X-A: 1\r\n folded\r\nContent-Type: multipart/mixed; boundary=i\r\n\r\n"),
        ((1,), _T.HEADER_FIELDS, None),
    ],
)
def test_header_fields(path: tuple[int, ...], text: SectionText, expected: bytes | None) -> None:
    section = Section(path=path, text=text, names=frozenset((b"subject", b"none")))
    assert extract(_MESSAGE, _STRUCTURE.root, section) == expected


def test_partial() -> None:
    assert partial(b"abcdef", 2, 3) == b"cde"
    assert partial(b"abcdef", 4, 100) == b"ef"
    assert partial(b"abcdef", 6, 1) == b""


def test_binary_undoes_the_transfer_encoding() -> None:
    """RFC 3516 §4.1, §4.3."""
    assert extract_binary(_MESSAGE, _STRUCTURE.root, (2,)) == b"\x00\x01\x02"
    assert extract_binary(_MESSAGE, _STRUCTURE.root, (3,)) == _INNER
    assert extract_binary(_MESSAGE, _STRUCTURE.root, (9,)) is None
    assert extract_binary(_MESSAGE, _STRUCTURE.root, ()) == _MESSAGE
    octets = b"Content-Transfer-Encoding: x-uuencode\r\n\r\nx"
    with pytest.raises(UnknownTransferEncoding):
        extract_binary(octets, parse_structure(octets).root, (1,))


@given(st.lists(st.integers(0, 5), max_size=6), st.sampled_from([None, *SectionText]))
def test_any_path_is_octets_or_none(path: list[int], text: SectionText | None) -> None:
    found = extract(_MESSAGE, _STRUCTURE.root, Section(path=tuple(path), text=text))
    assert found is None or found.removesuffix(b"\r\n") in _MESSAGE
