"""The client's side of IMAP: whatever servers send is read, or refused before it is kept."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.domain.flags import FLAGGED, SEEN
from server.protocol.imap.client import (
    LINE_MAX,
    TEXT_MAX,
    Response,
    ResponseReader,
    flags_of,
    folder_of,
    foreign_prefixes,
    format_quoted,
    format_uids,
    items_of,
    number_of,
)
from server.protocol.imap.cursor import ImapSyntaxError


def read(data: bytes, *, step: int = 0, literal_max: int = 1000) -> list[Response]:
    reader = ResponseReader(literal_max=literal_max)
    found: list[Response] = []
    for start in range(0, len(data), step or len(data)):
        reader.receive(data[start : start + (step or len(data))])
        while (response := reader.next_response()) is not None:
            found.append(response)
    return found


SESSION = (
    b"* OK [CAPABILITY IMAP4rev1] ready\r\n"
    b'* LIST (\\HasNoChildren \\Sent) "/" "Sent &- Items"\r\n'
    b"* LIST () NIL {5}\r\nInbox\r\n"
    b'* 12 FETCH (UID 7 FLAGS (\\Seen $x) INTERNALDATE "17-Jul-1996 02:44:25 -0700" BODY[] {4}\r\n'
    b"a\r\nb RFC822.SIZE 4)\r\n"
    b"* SEARCH 1 2 3\r\n"
    b"+ go on\r\n"
    b"A1 OK [READ-ONLY] done\n"
)


@pytest.mark.parametrize("step", [0, 1, 7])
def test_responses_are_read_however_they_are_cut(step: int) -> None:
    greeting, sent, inbox, fetch, search, go_on, done = read(SESSION, step=step)
    assert (greeting.tag, greeting.kind, greeting.code) == (b"*", b"OK", (b"CAPABILITY", b"IMAP4rev1"))
    folder = folder_of(sent.values)
    assert folder is not None
    assert (folder.levels, "\\sent" in folder.attributes) == (("Sent & Items",), True)
    other = folder_of(inbox.values)
    assert other is not None
    assert (other.raw, other.delimiter) == (b"Inbox", "")
    items = items_of(fetch.values[0])
    assert (fetch.number, number_of(items[b"UID"]), items[b"BODY[]"]) == (12, 7, b"a\r\nb")
    assert flags_of(items[b"FLAGS"]) == (SEEN, ("$x",))
    assert search.values == (b"1", b"2", b"3")
    assert go_on.tag == b"+"
    assert (done.tag, done.kind, done.code, done.text) == (b"A1", b"OK", (b"READ-ONLY",), "done")


def test_a_slash_that_is_no_delimiter_there_does_not_become_one_here() -> None:
    (response,) = read(b'* LIST () "." "a/b.c"\r\n')
    folder = folder_of(response.values)
    assert folder is not None
    assert folder.levels == ("a_b", "c")


def test_odd_but_readable_responses_are_read() -> None:
    assert read(b"* 3 FETCH (FLAGS (\\Flagged)  UID 9)\r\n")[0].number == 3
    assert (
        flags_of(items_of(read(b"* 3 FETCH (FLAGS (\\flagged \\Recent \\Odd))\r\n")[0].values[0])[b"FLAGS"])[0]
        == FLAGGED
    )
    assert read(b"\r\n* OK\r\n")[0].kind == b"OK"
    assert read(b"* BYE\r\n")[0].kind == b"BYE"
    assert items_of(None) == {}


def test_other_namespaces_are_told_apart_rfc2342() -> None:
    (response,) = read(b'* NAMESPACE (("" "/")) (("user/" "/")) (("Public Folders/" "/")("#news." "."))\r\n')
    assert foreign_prefixes(response.values) == (b"user/", b"Public Folders/", b"#news.")


@pytest.mark.parametrize(
    "data",
    [
        b"* 1 FETCH (BODY[] {1001}\r\n",
        b"x" * (LINE_MAX + 1),
        b"* FLAGS " + b"(" * 30 + b"\r\n",
        b'* LIST () "/" "no end\r\n',
        b'* LIST () "/" "' + b"x" * TEXT_MAX + b'"\r\n',
        b"* 1 FETCH (X {600}\r\n" + b"x" * 600 + b" Y {600}\r\n",
        b"HTTP/1.1 400 Bad Request\r\n",
    ],
)
def test_what_is_too_much_or_no_imap_is_refused(data: bytes) -> None:
    with pytest.raises(ImapSyntaxError):
        read(data)


@pytest.mark.parametrize("piece", [b"[", b"a[", b"[ ", b'"[" ', b"()", b"a ", b'"\\"" '])
def test_reading_values_takes_one_pass_over_the_line(piece: bytes) -> None:
    line = b"* LIST " + piece * ((TEXT_MAX - 100) // len(piece)) + b"\r\n"
    began = time.thread_time()
    read(line, step=len(line))
    assert time.thread_time() - began < 1.0  # Seconds of processor time; a second pass for each value takes several.


@given(st.binary(max_size=300), st.integers(1, 50))
@settings(max_examples=200, deadline=None)
def test_any_octets_are_read_or_refused(noise: bytes, step: int) -> None:
    try:
        read(b"* " + noise + b"\r\n", step=step)
        read(SESSION[: len(noise)] + noise + SESSION[len(noise) :], step=step)
    except ImapSyntaxError:
        return


def test_names_are_quoted_and_uids_written_as_ranges() -> None:
    assert format_quoted(b'a"\\b') == b'"a\\"\\\\b"'
    assert format_quoted(b"a\r\n") is None
    assert format_uids([1, 2, 3, 5, 8, 9]) == b"1:3,5,8:9"
