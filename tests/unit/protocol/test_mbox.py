"""The mbox format: RFC 4155 and what programs make of it."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.domain.flags import ALL_FLAGS, ANSWERED, DELETED, FLAGGED, SEEN
from server.protocol.mbox import MboxMessage, format_mbox, split_mbox

DATE = datetime(1996, 1, 3, 1, 5, 34, tzinfo=UTC)


def split(data: bytes, *, final: bool = True) -> list[MboxMessage]:
    return list(split_mbox(data, final=final))


def test_a_from_line_begins_a_message_and_an_empty_line_ends_it_rfc4155_appendix_a() -> None:
    one, two = split(
        b"From a@example.test Wed Jan  3 01:05:34 1996\nSubject: 1\n\nbody\n\n"
        b"From b@example.test Wed Jan  3 01:05:35 1996\nSubject: 2\n\nbody\n\n"
    )
    assert (one.octets, two.octets) == (b"Subject: 1\n\nbody\n", b"Subject: 2\n\nbody\n")
    assert one.date == DATE
    assert (one.start, one.end) == (0, two.start)


@pytest.mark.parametrize(
    "line",
    [
        b"From - Wed Jan 03 01:05:34 1996",
        b"From a@b Wed Jan  3 01:05:34 GMT 1996",
        b"From a@b Wed Jan  3 01:05:34 1996 +0000",
        b"From a@b Wed Jan  3 02:05:34 +0100 1996",
        b'From "a b"@c Wed Jan  3 01:05:34 1996 remote from x',
    ],
)
def test_dates_of_from_lines_are_read_in_the_forms_of_programs(line: bytes) -> None:
    (message,) = split(line + b"\nSubject: 1\n\nbody\n")
    assert message.date == DATE


def test_a_line_that_only_begins_with_from_is_text() -> None:
    (message,) = split(b"From a@b Wed Jan  3 01:05:34 1996\nSubject: 1\n\nDear all,\n\nFrom now on it is 5.\n\n")
    assert message.octets.endswith(b"From now on it is 5.\n")


def test_a_from_line_without_an_empty_line_before_it_is_text() -> None:
    assert len(split(b"From a@b Wed Jan  3 01:05:34 1996\nSubject: 1\n\nx\nFrom a@b Wed Jan  3 01:05:34 1996\n\n")) == 1


def test_quoted_from_lines_lose_one_mark_mboxrd() -> None:
    (message,) = split(b"From a@b Wed Jan  3 01:05:34 1996\n\n>From a\n>>From b\n> From c\n")
    assert message.octets == b"\nFrom a\n>From b\n> From c\n"


def test_content_length_is_believed_where_a_from_line_follows_mboxcl2() -> None:
    body = b"x\n\nFrom a@b Wed Jan  3 01:05:34 1996\n\nstill the same mail\n"
    first = b"From a@b Wed Jan  3 01:05:34 1996\nContent-Length: %d\n\n%s\n" % (len(body), body)
    one, two = split(first + b"From c@d Wed Jan  3 01:05:34 1996\n\n2\n")
    assert one.octets.endswith(body)
    assert two.octets == b"\n2\n"


def test_a_wrong_content_length_is_not_believed() -> None:
    messages = split(
        b"From a@b Wed Jan  3 01:05:34 1996\nContent-Length: 3\n\nlonger\n\nFrom c Jan  3 01:05:34 1996\n\n2\n"
    )
    assert len(messages) == 2


def test_crlf_files_are_split_and_kept_as_they_are() -> None:
    one, two = split(
        b"From a@b Wed Jan  3 01:05:34 1996\r\nSubject: 1\r\n\r\nx\r\n\r\n"
        b"From a@b Wed Jan  3 01:05:34 1996\r\n\r\ny\r\n"
    )
    assert one.octets == b"Subject: 1\r\n\r\nx\r\n"
    assert two.octets == b"\r\ny\r\n"


def test_flags_of_status_fields_and_of_mozilla() -> None:
    head = b"From - Wed Jan 03 01:05:34 1996\n"
    (message,) = split(head + b"Status: RO\nSubject: x\nX-Status: AF\nX-Keywords: $Label1 work\n\nx\n")
    assert message.flags == SEEN | ANSWERED | FLAGGED
    assert message.keywords == ("$Label1", "work")
    (mozilla,) = split(head + b"X-Mozilla-Status: 0005\nX-Mozilla-Keys: $label2        \n\nx\n")
    assert (mozilla.flags, mozilla.keywords) == (SEEN | FLAGGED, ("$label2",))
    (gone,) = split(head + b"X-Mozilla-Status: 0009\n\nx\n")
    assert gone.internal
    (deleted,) = split(head + b"X-Status: D\n\nx\n")
    assert deleted.flags == DELETED


def test_a_last_message_that_may_go_on_is_left_for_the_next_piece() -> None:
    data = b"From a@b Wed Jan  3 01:05:34 1996\n\n1\n\nFrom a@b Wed Jan  3 01:05:34 1996\n\n2"
    (one,) = split(data, final=False)
    assert [m.octets for m in split(data[one.end :] + b" more\n")] == [b"\n2 more\n"]


def test_octets_before_the_first_from_line_are_no_message() -> None:
    assert split(b"some text\nwithout any From line\n") == []
    assert len(split(b"junk\n\nFrom a@b Wed Jan  3 01:05:34 1996\n\n1\n")) == 1


_line = st.sampled_from(
    [b"", b"text", b"From a@b Wed Jan  3 01:05:34 1996", b">From x 1:00 1999", b">>From ", b"Status: x"]
)
_message = st.builds(
    lambda head, body: b"".join(x + b"\r\n" for x in [b"Subject: x", *head, b"", *body]),
    st.lists(st.sampled_from([b"Status: x", b"X-Status: y", b"X-Keywords: z", b"A: b"]), max_size=4),
    st.lists(_line, max_size=6),
)


@given(
    st.lists(
        st.tuples(_message, st.integers(0, ALL_FLAGS), st.lists(st.sampled_from(["a", "$b"]), unique=True)), max_size=4
    )
)
@settings(max_examples=200, deadline=None)
def test_what_is_written_is_read_again(mails: list[tuple[bytes, int, list[str]]]) -> None:
    data = b"".join(
        format_mbox(octets, sender=b"a@b", date=DATE, flags=flags, keywords=tuple(words))
        for octets, flags, words in mails
    )
    found = split(data)
    assert [m.octets.replace(b"\n", b"\r\n") for m in found] == [octets for octets, _, _ in mails]
    assert [(m.flags, m.keywords, m.date) for m in found] == [(flags, tuple(words), DATE) for _, flags, words in mails]


@given(st.binary(max_size=300), st.booleans())
@settings(max_examples=200, deadline=None)
def test_any_octets_are_split_without_an_error(data: bytes, final: bool) -> None:
    text = re.sub(rb"x", b"\n\nFrom a 1:00 1999\n", data)
    last = 0
    for message in split_mbox(text, final=final):
        assert message.start >= last
        last = message.end


@pytest.mark.parametrize(
    "unit", [b"From a 1:00 1999\n\n", b"From a 1:00 1999\nContent-Length: 3\n\n", b"From ", b">>>>", b"\n"]
)
def test_hostile_files_cost_no_more_than_their_length(unit: bytes) -> None:
    """T12: half a million From_ lines, or one line without end, are split well within the limit of a test."""
    data = unit * (2 * 1024 * 1024 // len(unit))
    assert sum(1 for _ in split_mbox(data, final=True)) <= 2 * 1024 * 1024 // len(unit)


@pytest.mark.parametrize("window", [1, 3, 7, 64])
def test_windows_of_a_search_change_nothing(window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    bodies = [
        b"a: b\n\nFrom me\n>From you\n>>From all\n",
        b"x" * 50 + b"\n\n" + b">From " * 9 + b"\n",
        b"c: d\n\n\n\nFrom \n",
    ]
    date = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)

    def whole() -> bytes:
        return b"".join(format_mbox(body, sender=b"a@b", date=date, flags=0, keywords=()) for body in bodies)

    before = whole()
    expected = list(split_mbox(before, final=True))
    monkeypatch.setattr("server.protocol.mbox.WINDOW", window)
    assert whole() == before
    assert list(split_mbox(before, final=True)) == expected
    assert [message.octets for message in expected] == bodies
