"""Header fields that one program reads as From and another does not (T19, sender ambiguity)."""

from __future__ import annotations

import pytest

from server.protocol.mime.headers import split_header
from server.services.reception.sanity import MANY_FROM, NO_FROM, check_header

MINE = b"From: a@b.example\r\n"
LIKE_FROM = [b"From\x0b", b"\x0cFrom", b"From\xc2\xa0", b"\xef\xbb\xbfFrom", b"F\x7from", b"From \x01", b"fro\xc2\xadm"]


@pytest.mark.parametrize("name", LIKE_FROM)
def test_a_name_that_some_reader_takes_for_from_counts(name: bytes) -> None:
    other = name + b": boss@bank.example\r\n"
    for header in (MINE + other, other + MINE):
        assert check_header(split_header(header + b"\r\n"), max_hops=50) is MANY_FROM
    assert check_header(split_header(other + b"\r\n"), max_hops=50) is NO_FROM


@pytest.mark.parametrize("field", [b"X-From: x", b"Resent-From: x@y.example", b"From-Host: x", b"garbage from x"])
def test_other_names_do_not(field: bytes) -> None:
    assert check_header(split_header(MINE + field + b"\r\n\r\n"), max_hops=50) is None
