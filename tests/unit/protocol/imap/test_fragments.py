"""Framing: lines and literals, limits before allocation (RFC 9051 §4.3, RFC 7888)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.protocol.imap.fragments import (
    LINE_MAX,
    LINE_MAX_BEFORE_LOGIN,
    LITERAL_MAX,
    LITERALS_MAX,
    NON_SYNC_LITERAL_MAX,
    CommandText,
    FragmentEvent,
    Fragmentizer,
    LineTooLong,
    LiteralAnnounced,
    LiteralChunk,
)


def _drain(fragments: Fragmentizer) -> list[FragmentEvent]:
    """All events, every literal accepted."""
    events: list[FragmentEvent] = []
    while (event := fragments.next_event()) is not None:
        if isinstance(event, LiteralAnnounced):
            assert fragments.accept_literal()
            continue
        events.append(event)
        if isinstance(event, LineTooLong):
            break
    return events


def _logged_in() -> Fragmentizer:
    fragments = Fragmentizer()
    fragments.logged_in()
    return fragments


COMMANDS = [
    b"a NOOP",
    b"a LOGIN {5+}\r\nalice {3+}\r\nfoo",
    b"b X {0+}\r\n",
    b"c SEARCH TEXT {6+}\r\na\r\nb\r\n",
]


@given(st.lists(st.sampled_from(COMMANDS), min_size=1), st.lists(st.integers(1, 40)))
def test_framing_does_not_depend_on_how_octets_arrive(commands: list[bytes], cuts: list[int]) -> None:
    """RFC 9051 §4.3: a command ends at the CRLF that is not inside a literal."""
    wire = b"".join(command + b"\r\n" for command in commands)
    fragments = _logged_in()
    found: list[FragmentEvent] = []
    for cut in [*cuts, len(wire)]:
        piece, wire = wire[:cut], wire[cut:]
        fragments.receive(piece)
        found += _drain(fragments)
    assert found == [CommandText(command) for command in commands]


def test_an_octet_at_a_time() -> None:
    fragments = _logged_in()
    found: list[FragmentEvent] = []
    for octet in b"".join(command + b"\r\n" for command in COMMANDS):
        fragments.receive(bytes([octet]))
        found += _drain(fragments)
    assert found == [CommandText(command) for command in COMMANDS]


@given(st.binary(max_size=2000))
def test_no_octets_raise(data: bytes) -> None:
    fragments = Fragmentizer()
    fragments.receive(data)
    for _ in range(2001):
        event = fragments.next_event()
        if event is None or isinstance(event, LineTooLong):
            break
        if isinstance(event, LiteralAnnounced) and not fragments.accept_literal():
            fragments.refuse_literal()


def test_bare_newline_is_marked() -> None:
    fragments = Fragmentizer()
    fragments.receive(b"a NOOP\nb NOOP\r\n")
    assert _drain(fragments) == [CommandText(b"a NOOP", True), CommandText(b"b NOOP")]


@pytest.mark.parametrize(("logged_in", "limit"), [(False, LINE_MAX_BEFORE_LOGIN), (True, LINE_MAX)])
def test_line_limit(logged_in: bool, limit: int) -> None:
    """reliability.md §8: 8 KiB before login, 64 KiB after; the line end counts."""
    for size, fits in ((limit - 1, True), (limit, True), (limit + 1, False)):
        fragments = Fragmentizer()
        if logged_in:
            fragments.logged_in()
        fragments.receive(b"a" * (size - 2) + b"\r\n")
        assert isinstance(fragments.next_event(), CommandText if fits else LineTooLong)


def test_a_line_without_end_is_stopped_at_its_limit() -> None:
    """T14: `NOOP (((` without LF."""
    fragments = Fragmentizer()
    fragments.receive(b"a NOOP " + b"(" * LINE_MAX_BEFORE_LOGIN)
    assert isinstance(fragments.next_event(), LineTooLong)


def test_the_line_limit_counts_the_whole_command() -> None:
    fragments = _logged_in()
    fragments.receive(b"a X " + b"b" * (LINE_MAX // 2) + b" {1+}\r\nc" + b"d" * (LINE_MAX // 2) + b"\r\n")
    assert isinstance(_drain(fragments)[-1], LineTooLong)


@pytest.mark.parametrize(
    ("announcement", "fits"),
    [
        (b"{%d}" % (LITERAL_MAX - 1), True),
        (b"{%d}" % LITERAL_MAX, True),
        (b"{%d}" % (LITERAL_MAX + 1), False),
        (b"{4294967295}", False),
        (b"{99999999999999999999}", False),
        (b"{%d+}" % (NON_SYNC_LITERAL_MAX - 1), True),
        (b"{%d+}" % NON_SYNC_LITERAL_MAX, True),
        (b"{%d+}" % (NON_SYNC_LITERAL_MAX + 1), False),
    ],
)
def test_literal_limits(announcement: bytes, fits: bool) -> None:
    """reliability.md §8; RFC 7888 §5: LITERAL- ends at 4096 octets."""
    fragments = _logged_in()
    fragments.receive(b"a X " + announcement + b"\r\n")
    assert isinstance(fragments.next_event(), LiteralAnnounced)
    assert fragments.accept_literal() is fits


def test_all_literals_of_a_command_together_are_limited() -> None:
    fragments = _logged_in()
    taken = 0
    fragments.receive(b"a X")
    while True:
        fragments.receive(b" {%d}\r\n" % LITERAL_MAX)
        assert isinstance(fragments.next_event(), LiteralAnnounced)
        if not fragments.accept_literal():
            break
        taken += LITERAL_MAX
        fragments.receive(b"x" * LITERAL_MAX)
    assert taken == LITERALS_MAX


def test_a_refused_literal_leaves_the_stream_in_step() -> None:
    fragments = Fragmentizer()
    fragments.receive(b"a X {999999}\r\nb NOOP\r\n")
    assert isinstance(fragments.next_event(), LiteralAnnounced)
    fragments.refuse_literal()
    assert fragments.next_event() == CommandText(b"b NOOP")


@given(st.binary(max_size=300), st.lists(st.integers(1, 50)))
def test_a_streamed_literal_comes_in_chunks(body: bytes, cuts: list[int]) -> None:
    fragments = _logged_in()
    fragments.receive(b"a APPEND x {%d}\r\n" % len(body))
    assert fragments.next_event() == LiteralAnnounced(b"a APPEND x {%d}\r\n" % len(body), len(body), True)
    fragments.stream_literal()
    wire = body + b" rest\r\n"
    chunks: list[LiteralChunk] = []
    tail: list[FragmentEvent] = []
    for cut in [*cuts, len(wire)]:
        fragments.receive(wire[:cut])
        wire = wire[cut:]
        while (event := fragments.next_event()) is not None:
            (chunks if isinstance(event, LiteralChunk) else tail).append(event)  # type: ignore[arg-type]
    assert b"".join(chunk.data for chunk in chunks) == body
    assert [chunk.last for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert tail == [CommandText(b" rest")]


def test_lines_outside_commands() -> None:
    fragments = Fragmentizer()
    fragments.receive(b"DO")
    assert fragments.next_line(10) is None
    fragments.receive(b"NE\r\nmore")
    assert fragments.next_line(10) == b"DONE"
    assert fragments.buffered_octets == 4
    fragments.receive(b"x" * 20)
    assert isinstance(fragments.next_line(10), LineTooLong)


def test_what_was_buffered_can_be_handed_over() -> None:
    fragments = Fragmentizer()
    fragments.receive(b"\x16\x03\x01")
    assert fragments.take_buffered() == b"\x16\x03\x01"
    assert fragments.buffered_octets == 0
