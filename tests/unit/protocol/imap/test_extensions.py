"""Grammar of later extensions as pure functions (RFC 5182, RFC 5256, RFC 7162, RFC 7377, RFC 9394)."""

from __future__ import annotations

import pytest

from server.protocol.imap.commands import Fetch, Store
from server.protocol.imap.cursor import Cursor, ImapSyntaxError
from server.protocol.imap.envelope import EnvelopeAddress, EnvelopeField, first_address
from server.protocol.imap.fetch import FetchModifiers
from server.protocol.imap.multisearch import MailboxFilter, MailboxSource, MultiSearch
from server.protocol.imap.pages import PartialRange, parse_partial_range
from server.protocol.imap.parse import CommandSyntaxError, parse_command
from server.protocol.imap.results import format_esearch, format_search, told
from server.protocol.imap.search import ResultOptions, Search, SearchReturn
from server.protocol.imap.search_keys import AllKey, ModSeqKey, NumbersKey, ObjectKey, WithinKey
from server.protocol.imap.select import Qresync, Select
from server.protocol.imap.sequence import SequenceSet, contains, gaps
from server.protocol.imap.sort import Sort, SortCriterion, SortKey, Thread, ThreadAlgorithm
from server.protocol.imap.threads import Branch, ThreadNode, format_threads


def _set(*ranges: tuple[int, int]) -> SequenceSet:
    return SequenceSet(ranges)


@pytest.mark.parametrize(
    ("text", "command"),
    [
        (b"SELECT x (CONDSTORE)", Select("x", read_only=False, condstore=True)),
        (b"EXAMINE x (QRESYNC (7 9))", Select("x", read_only=True, qresync=Qresync(7, 9))),
        (
            b"SELECT x (QRESYNC (7 9223372036854775807 1:3,9) CONDSTORE)",
            Select("x", read_only=False, condstore=True, qresync=Qresync(7, 2**63 - 1, _set((1, 3), (9, 9)))),
        ),
        (
            b"SELECT x (QRESYNC (7 9 (1:2 4:5)))",
            Select("x", read_only=False, qresync=Qresync(7, 9, None, (_set((1, 2)), _set((4, 5))))),
        ),
        (
            b"SELECT x (QRESYNC (7 9 1 (1 4)))",
            Select("x", read_only=False, qresync=Qresync(7, 9, _set((1, 1)), (_set((1, 1)), _set((4, 4))))),
        ),
    ],
)
def test_select_parameters(text: bytes, command: Select) -> None:
    """RFC 7162 §7."""
    assert parse_command(b"a " + text).command == command


@pytest.mark.parametrize(
    "text",
    [
        b"SELECT x ()",
        b"SELECT x (BOGUS)",
        b"SELECT x (CONDSTORE",
        b"SELECT x (QRESYNC)",
        b"SELECT x (QRESYNC (0 1))",
        b"SELECT x (QRESYNC (1))",
        b"SELECT x (QRESYNC (1 9223372036854775808))",
        b"SELECT x (QRESYNC (1 1 1:*))",
        b"SELECT x (QRESYNC (1 1 $))",
        b"SELECT x (QRESYNC (1 1 1 (1)))",
        b"FETCH 1 FLAGS (CHANGEDSINCE)",
        b"FETCH 1 FLAGS (BOGUS 1)",
        b"FETCH 1 FLAGS (CHANGEDSINCE 1 VANISHED)",
        b"UID FETCH 1 FLAGS (VANISHED)",
        b"UID FETCH 1 FLAGS (PARTIAL 0:1)",
        b"STORE 1 (BOGUS 1) FLAGS (x)",
        b"STORE 1 (UNCHANGEDSINCE x) FLAGS (x)",
        b"SORT (SIZE) UTF-8",
        b"SORT (REVERSE) UTF-8 ALL",
        b"SORT (" + b"SIZE " * 20 + b"SIZE) UTF-8 ALL",
        b"THREAD REFS UTF-8 ALL",
        b"SEARCH RETURN (PARTIAL) ALL",
        b"SEARCH YOUNGER 0",
        b"ESEARCH IN (mailboxes (a b) ALL",
        b"ESEARCH IN (mailboxes (" + b"a " * 50 + b"a)) ALL",
        b"ESEARCH IN (" + b"personal " * 50 + b"personal) ALL",
    ],
)
def test_outside_the_grammar(text: bytes) -> None:
    with pytest.raises(CommandSyntaxError):
        parse_command(b"a " + text)


def test_match_data_pairs_numbers_with_uids() -> None:
    """RFC 7162 §3.2.5.2; a huge set costs nothing before it is walked."""
    known = Qresync(1, 1, None, (_set((1, 3)), _set((5, 5), (8, 4_000_000_000))))
    assert list(known.pairs()) == [(1, 5), (2, 8), (3, 9)]
    assert list(Qresync(1, 1).pairs()) == []


def test_modifiers() -> None:
    """RFC 7162 §7, RFC 9394 §3.2."""
    command = parse_command(b"a UID FETCH 1:* (FLAGS) (CHANGEDSINCE 5 VANISHED PARTIAL -1:-5)").command
    assert isinstance(command, Fetch)
    assert command.modifiers == FetchModifiers(5, True, PartialRange(1, 5, from_end=True))
    command = parse_command(b"a STORE 1 (UNCHANGEDSINCE 0) -FLAGS.SILENT (x)").command
    assert isinstance(command, Store)
    assert command.unchanged_since == 0


@pytest.mark.parametrize(
    ("text", "page", "of_five"),
    [
        (b"1:2", PartialRange(1, 2), [1, 2]),
        (b"3:2", PartialRange(2, 3), [2, 3]),
        (b"5:9", PartialRange(5, 9), [5]),
        (b"6:9", PartialRange(6, 9), []),
        (b"-1:-2", PartialRange(1, 2, from_end=True), [4, 5]),
        (b"-5:-4", PartialRange(4, 5, from_end=True), [1, 2]),
        (b"-4:-9", PartialRange(4, 9, from_end=True), [1, 2]),
        (b"-6:-9", PartialRange(6, 9, from_end=True), []),
    ],
)
def test_pages(text: bytes, page: PartialRange, of_five: list[int]) -> None:
    """RFC 9394 §3.1."""
    assert parse_partial_range(Cursor(text)) == page
    assert list(page.of([1, 2, 3, 4, 5])) == of_five


@pytest.mark.parametrize("text", [b"", b"1", b"1:-2", b"-1:2", b"0:1", b"1:0", b"1:4294967296", b"1:2x", b"*:1"])
def test_no_pages(text: bytes) -> None:
    with pytest.raises(ImapSyntaxError):
        parse_partial_range(Cursor(text))


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (b"$", NumbersKey(SequenceSet((), saved=True), False)),
        (b"UID $", NumbersKey(SequenceSet((), saved=True), True)),
        (b"OLDER 5", WithinKey(5, True)),
        (b"YOUNGER 5", WithinKey(5, False)),
        (b"MODSEQ 7", ModSeqKey(7)),
        (b'MODSEQ "/flags/\\\\seen" shared 7', ModSeqKey(7)),
        (b"EMAILID M12", ObjectKey("M12", False)),
        (b"THREADID T12", ObjectKey("T12", True)),
        (b"SAVEDATESUPPORTED", AllKey()),
    ],
)
def test_search_keys(text: bytes, key: object) -> None:
    command = parse_command(b"a SEARCH " + text).command
    assert isinstance(command, Search)
    assert command.key == key


def test_sort_and_thread() -> None:
    """RFC 5256 §5."""
    criteria = (SortCriterion(SortKey.SUBJECT), SortCriterion(SortKey.DATE, True))
    assert parse_command(b"a SORT (subject REVERSE date) UTF-8 ALL").command == Sort(criteria, AllKey(), None, False)
    options = ResultOptions(frozenset({SearchReturn.COUNT}))
    assert parse_command(b"a UID SORT RETURN (COUNT) (SIZE) US-ASCII ALL").command == Sort(
        (SortCriterion(SortKey.SIZE),), AllKey(), options, True
    )
    thread = Thread(ThreadAlgorithm.REFERENCES, AllKey(), True)
    assert parse_command(b"a UID THREAD references UTF-8 ALL").command == thread


def test_sources() -> None:
    """RFC 7377 §3, RFC 5465 §8."""
    command = parse_command(b'a ESEARCH IN (subtree ("a b" c) selected) RETURN (COUNT) ALL').command
    sources = (MailboxSource(MailboxFilter.SUBTREE, ("a b", "c")), MailboxSource(MailboxFilter.SELECTED))
    assert command == MultiSearch(sources, AllKey(), ResultOptions(frozenset({SearchReturn.COUNT})))
    assert not command.only_selected
    command = parse_command(b"a ESEARCH 1").command
    assert isinstance(command, MultiSearch)
    assert command.only_selected


@pytest.mark.parametrize(
    ("ranges", "numbers", "missing"),
    [
        ([(1, 5)], [], [(1, 5)]),
        ([(1, 5)], [1, 2, 3, 4, 5], []),
        ([(1, 5)], [3], [(1, 2), (4, 5)]),
        ([(1, 5)], [1, 5, 9], [(2, 4)]),
        ([(2, 3), (7, 9)], [1, 3, 8], [(2, 2), (7, 7), (9, 9)]),
        ([], [1], []),
    ],
)
def test_gaps(ranges: list[tuple[int, int]], numbers: list[int], missing: list[tuple[int, int]]) -> None:
    assert gaps(ranges, numbers) == missing


def test_contains() -> None:
    ranges = [(2, 3), (7, 7)]
    assert [number for number in range(10) if contains(ranges, number)] == [2, 3, 7]
    assert not contains([], 1)


def test_responses() -> None:
    """RFC 4731 §3.1, RFC 7162 §3.1.5-6, RFC 9394 §3.1."""
    assert format_search(b"SEARCH", [], None) == b"* SEARCH\r\n"
    assert format_search(b"SORT", [3, 1], 9) == b"* SORT 3 1 (MODSEQ 9)\r\n"
    assert format_search(b"SEARCH", [], 9) == b"* SEARCH\r\n"
    every = ResultOptions(frozenset({SearchReturn.MIN, SearchReturn.MAX, SearchReturn.ALL, SearchReturn.COUNT}))
    assert (
        format_esearch(b'TAG "a"', [3, 4, 1], every, uid=True, modseq=9)
        == b'* ESEARCH (TAG "a") UID MIN 3 MAX 1 ALL 3:4,1 COUNT 3 MODSEQ 9\r\n'
    )
    assert format_esearch(b'TAG "a"', [], every, uid=False, modseq=9) == b'* ESEARCH (TAG "a") COUNT 0\r\n'
    ends = ResultOptions(frozenset({SearchReturn.MIN, SearchReturn.MAX}))
    assert told(ends, [2, 5, 9]) == [2, 9]
    assert told(every, [2, 5, 9]) == [2, 5, 9]
    paged = ResultOptions(frozenset({SearchReturn.PARTIAL}), PartialRange(2, 2))
    assert told(paged, [2, 5, 9]) == [5]
    assert told(None, []) == []


def test_threads_are_written_without_recursion() -> None:
    """RFC 5256 §4."""
    assert format_threads([], int) == b"* THREAD\r\n"
    tree = Branch(3, [Branch(6, [Branch(4, [ThreadNode(23)]), ThreadNode(44)])])
    assert format_threads([ThreadNode(2), tree], int) == b"* THREAD (2)(3 6 (4 23)(44))\r\n"
    orphans = Branch(None, [ThreadNode(3), Branch(5, [ThreadNode(6)])])
    assert format_threads([orphans], lambda uid: uid * 10) == b"* THREAD ((30)(50 60))\r\n"
    deep: ThreadNode = ThreadNode(1)
    for _ in range(5000):
        deep = Branch(1, [deep, ThreadNode(2)])
    assert format_threads([deep], int).count(b"(") == 10_001


@pytest.mark.parametrize(
    ("envelope", "field", "address"),
    [
        (
            b'("date" "subject" (("Ann \\"A\\"" NIL "ann" "x.org")) NIL NIL NIL NIL NIL NIL NIL)',
            EnvelopeField.FROM,
            EnvelopeAddress(b'Ann "A"', b"ann", b"x.org"),
        ),
        (
            b'(NIL {4}\r\n(NIL ((NIL NIL "f" "x")) ((NIL NIL "s" "x")) NIL ((NIL NIL "t" "x")(NIL NIL "u" "y")) NIL)',
            EnvelopeField.TO,
            EnvelopeAddress(b"", b"t", b"x"),
        ),
        (
            b'(NIL NIL NIL NIL NIL NIL ((NIL NIL "group" NIL)(NIL NIL "c" "x")) NIL NIL NIL)',
            EnvelopeField.CC,
            EnvelopeAddress(b"", b"group", b""),
        ),
        (b"(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)", EnvelopeField.FROM, None),
        (b"(NIL NIL garbage", EnvelopeField.CC, None),
        (b"", EnvelopeField.TO, None),
    ],
)
def test_first_address(envelope: bytes, field: EnvelopeField, address: EnvelopeAddress | None) -> None:
    """RFC 9051 §7.5.2."""
    assert first_address(envelope, field) == address
