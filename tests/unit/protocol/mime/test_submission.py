"""Submissions made complete, and who their author is (RFC 6409 §8, RFC 5322 §3.6.2, product.md item 5)."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.protocol.mime.headers import split_header
from server.protocol.mime.structure import parse_structure
from server.protocol.mime.submission import (
    LINE_MAX,
    AuthorProblem,
    analyse_author,
    complete_submission,
    has_long_line,
)
from server.protocol.mime.text import decode_part

_DATE = b"Mon, 02 Mar 2026 10:20:30 +0000"
_WHOLE = b"Date: x\r\nMessage-ID: <a@b>\r\nFrom: a@b.test\r\n\r\nbcc: in the body\r\n"


def _complete(octets: bytes) -> bytes:
    return complete_submission(octets, date=_DATE, message_id=b"<new@host>")


def test_a_complete_message_is_the_same_object() -> None:
    assert _complete(_WHOLE) is _WHOLE


def test_missing_fields_are_added_in_front() -> None:
    assert _complete(b"From: a@b\r\n\r\nx") == b"Date: " + _DATE + b"\r\nMessage-ID: <new@host>\r\nFrom: a@b\r\n\r\nx"
    assert _complete(b"date : x\r\n\r\nx") == b"Message-ID: <new@host>\r\ndate : x\r\n\r\nx"


@pytest.mark.parametrize(
    "field",
    [b"Bcc: c@d\r\n", b"BCC : c@d,\r\n e@f,\r\n\tg@h\r\n", b"bcc:\r\n", b"Resent-Bcc: x@y\r\n"],
)
def test_blind_copies_are_taken_out_of_the_header_only(field: bytes) -> None:
    """RFC 5322 §3.6.3."""
    octets = _WHOLE.replace(b"From:", field + b"From:", 1)
    assert _complete(octets) == _WHOLE
    assert _complete(field + _WHOLE) == _WHOLE


def test_a_blind_copy_beyond_the_header_limits_is_taken_out() -> None:
    head = b"X: y\r\n" * 2500 + b"X: " + b"z" * (1024 * 1024) + b"\r\nBcc: secret@d.test\r\n"
    assert b"secret" not in _complete(head + _WHOLE)


def test_a_message_of_header_only() -> None:
    assert _complete(b"Bcc: x") == b"Date: " + _DATE + b"\r\nMessage-ID: <new@host>\r\n"
    assert _complete(b"From: x") == b"Date: " + _DATE + b"\r\nMessage-ID: <new@host>\r\nFrom: x\r\n"


@pytest.mark.parametrize("line_end", [b"\r\n", b"\n"])
@pytest.mark.parametrize("before", [0, 1, 70, 995, 998])
@pytest.mark.parametrize("size", [LINE_MAX - 1, LINE_MAX, LINE_MAX + 1])
@pytest.mark.parametrize("final", [True, False])
def test_line_limit(size: int, before: int, line_end: bytes, *, final: bool) -> None:
    octets = b"y" * before + line_end + b"x" * size + (line_end if final else b"")
    assert has_long_line(octets) == (size > LINE_MAX)


@given(st.lists(st.tuples(st.integers(0, 1100), st.sampled_from([b"\r\n", b"\n"])), max_size=6))
def test_long_lines_are_found_as_by_splitting(lines: list[tuple[int, bytes]]) -> None:
    octets = b"".join(b"x" * size + line_end for size, line_end in lines)
    assert has_long_line(octets) == any(size > LINE_MAX for size, _ in lines)


@pytest.mark.parametrize("version", [b"MIME-Version: 1.0\r\n", b""])
@pytest.mark.parametrize(
    "encoding", [b"", b"Content-Transfer-Encoding: 8bit\r\n", b"content-transfer-encoding:\r\n 7bit\r\n"]
)
def test_long_text_lines_are_reencoded(encoding: bytes, version: bytes) -> None:
    """product.md §6: lines over 998 octets are re-encoded on submission."""
    body = ("é" * 2000 + "\r\nshort = line \r\n").encode()
    octets = _complete(
        encoding
        + version
        + b"Content-Type: text/plain; charset=utf-8\r\n"
        + _WHOLE.split(b"\r\n\r\n")[0]
        + b"\r\n\r\n"
        + body
    )
    assert not has_long_line(octets)
    structure = parse_structure(octets)
    assert decode_part(octets, structure.root) == body.decode()
    assert structure.fields.count(b"content-transfer-encoding") == 1
    assert structure.fields.first(b"mime-version") == b" 1.0"


def test_long_lines_in_parts_are_reencoded_unless_signed() -> None:
    def message(subtype: bytes) -> bytes:
        parts = [b"Content-Type: text/html\r\n\r\n" + b"h" * 1200, b"\r\n" + b"p" * 1200, b"Content-Type: a/b\r\n\r\nz"]
        head = (
            b"MIME-Version: 1.0\r\nContent-Type: multipart/"
            + subtype
            + b"; boundary=b\r\n"
            + _WHOLE.split(b"\r\n\r\n")[0]
        )
        return head + b"\r\n\r\n" + b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + b"--b--\r\n"

    octets = _complete(message(b"mixed"))
    assert not has_long_line(octets)
    texts = [decode_part(octets, part) for part in parse_structure(octets).root.children]
    assert texts == ["h" * 1200, "p" * 1200, "z"]
    signed = message(b"signed")
    assert _complete(signed) is signed


def test_thousands_of_long_parts_are_copied_once() -> None:
    octets = b"Content-Type: multipart/mixed; boundary=b\r\n" + _WHOLE + (b"--b\r\n\r\n" + b"x" * 1200 + b"\r\n") * 5000
    started = time.process_time()
    assert not has_long_line(_complete(octets))
    assert time.process_time() - started < 1.0


def test_ten_megabytes_are_completed_in_a_moment() -> None:
    octets = _WHOLE + b"x" * 70 + b"\r\n" * 5_000_000
    started = time.process_time()
    _complete(octets)
    assert time.process_time() - started < 0.5


@pytest.mark.parametrize(
    ("head", "problem", "domains"),
    [
        (b"From: A B <a@b.test>\r\n", None, ["b.test"]),
        (b"From : a@b.test\r\n", None, ["b.test"]),
        (b"Subject: x\r\n", AuthorProblem.MISSING, []),
        (b"From: a@b.test\r\nFrom : c@d.test\r\n", AuthorProblem.REPEATED, ["b.test", "d.test"]),
        (b"From: a@b.test, c@d.test\r\n", AuthorProblem.SEVERAL, ["b.test", "d.test"]),
        (b"From: G: a@b.test;\r\n", AuthorProblem.GROUP, ["b.test"]),
        (b"From: \r\n", AuthorProblem.UNCLEAR, []),
        (b"From: a(x)@b.test\r\n", AuthorProblem.UNCLEAR, ["b.test"]),
        (b"From: a\x00@b.test\r\n", AuthorProblem.UNCLEAR, ["b.test"]),
        (b"From: =?utf-8?q?a=40x.test?=@b.test\r\n", AuthorProblem.UNCLEAR, ["b.test"]),
        (b"From: <a@b.test> <c@d.test>\r\n", AuthorProblem.UNCLEAR, ["b.test"]),
        (b"From: <@x.test:a@b.test>\r\n", AuthorProblem.UNCLEAR, ["b.test"]),
    ],
)
def test_author_of_a_message(head: bytes, problem: AuthorProblem | None, domains: list[str]) -> None:
    """Sender ambiguity, threat-regressions.md; RFC 7489 §6.6.1."""
    author = analyse_author(split_header(head + b"\r\n"))
    assert author.problem == problem
    assert [box.domain for box in author.mailboxes] == domains


@given(st.binary(max_size=300))
def test_any_octets_can_be_completed(octets: bytes) -> None:
    completed = _complete(octets)
    fields = split_header(completed)
    assert fields.count(b"date") >= 1
    assert fields.count(b"bcc") == 0
