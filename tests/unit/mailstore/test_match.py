"""A key splits messages into yes, perhaps and no, and never wrongly (RFC 9051 §6.4.4)."""

from __future__ import annotations

from array import array
from types import SimpleNamespace
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from server.domain.flags import ANSWERED, FLAGGED, SEEN
from server.protocol.imap.search_keys import (
    AllKey,
    AndKey,
    FlagKey,
    HeaderKey,
    KeywordKey,
    NotKey,
    OrKey,
    RecentKey,
    SearchKey,
    SizeKey,
)
from server.services.mailstore.match import Candidates, Slice, Terms, split, within
from server.services.mailstore.sync import MailboxView

COUNT = 12
UIDS = array("I", range(3, 3 + 2 * COUNT, 2))
TEXTS = tuple(HeaderKey("from", name) for name in ("ann", "bob"))


def _view() -> MailboxView:
    view = SimpleNamespace(
        uids=UIDS,
        flags=array("B", [(place * 7) % 32 for place in range(COUNT)]),
        keywords=["One two" if place % 3 else "" for place in range(COUNT)],
        modseqs=array("Q", range(COUNT)),
        sizes=array("Q", [place * 100 for place in range(COUNT)]),
        internal_dates_us=array("q", range(COUNT)),
        index=lambda uid: UIDS.index(uid) if uid in UIDS else None,
    )
    return cast(MailboxView, view)


_LEAVES: st.SearchStrategy[SearchKey] = st.sampled_from(
    [
        AllKey(),
        *(FlagKey(bit, present) for bit in (SEEN, ANSWERED, FLAGGED) for present in (True, False)),
        KeywordKey("one", True),
        KeywordKey("one", False),
        RecentKey(True),
        SizeKey(500, True),
        SizeKey(500, False),
        *TEXTS,
    ]
)
KEYS = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        st.builds(NotKey, inner),
        st.builds(OrKey, inner, inner),
        st.builds(AndKey, st.lists(inner, min_size=1, max_size=3).map(tuple)),
    ),
    max_leaves=10,
)


def _holds(key: SearchKey, view: MailboxView, place: int, truth: dict[SearchKey, set[int]]) -> bool:
    """What the key means, message by message."""
    match key:
        case AllKey():
            return True
        case FlagKey(bit, present):
            return bool(view.flags[place] & bit) is present
        case KeywordKey(keyword, present):
            return (keyword in view.keywords[place].lower().split()) is present
        case RecentKey(present):
            return (view.uids[place] >= 15) is present
        case SizeKey(octets, larger):
            return view.sizes[place] > octets if larger else view.sizes[place] < octets
        case HeaderKey():
            return view.uids[place] in truth[key]
        case NotKey(inner):
            return not _holds(inner, view, place, truth)
        case OrKey(left, right):
            return _holds(left, view, place, truth) or _holds(right, view, place, truth)
        case AndKey(keys):
            return all(_holds(part, view, place, truth) for part in keys)
        case _:
            raise AssertionError(key)


UID_SETS = st.sets(st.sampled_from(list(UIDS)))


@given(key=KEYS, ann=UID_SETS, bob=UID_SETS, unindexed=UID_SETS, indexed=st.booleans(), exact=st.booleans())
def test_yes_and_no_are_right_and_perhaps_is_the_rest(
    key: SearchKey, ann: set[int], bob: set[int], unindexed: set[int], indexed: bool, exact: bool
) -> None:
    view = _view()
    truth: dict[SearchKey, set[int]] = {TEXTS[0]: ann, TEXTS[1]: bob}
    known = {text: Candidates(uids=truth[text] - unindexed, unindexed=unindexed, exact=exact) for text in TEXTS}
    terms = Terms(ranges={}, recent_from=15, now_us=0, candidates=known if indexed else {})
    messages = Slice(view, range(1, COUNT + 1), view.uids)
    yes, perhaps = split(messages, key, terms)
    assert yes == sorted(set(yes))
    assert perhaps == sorted(set(perhaps))
    assert not set(yes) & set(perhaps)
    for place in range(COUNT):
        if place in yes:
            assert _holds(key, view, place, truth)
        elif place not in perhaps:
            assert not _holds(key, view, place, truth)
    if indexed and exact and not unindexed:
        assert perhaps == []


def test_a_slice_leaves_out_what_is_gone() -> None:
    view = _view()
    messages = Slice(view, [1, 2, 3, 9], [3, 4, 7, 9])
    assert list(messages.uids) == [3, 7, 9]
    assert list(messages.numbers) == [1, 3, 9]
    assert list(messages.sizes) == [0, 200, 300]
    whole = Slice(view, range(2, 5), view.uids[1:4])
    assert list(whole.sizes) == [100, 200, 300]
    assert list(Slice(view, [], []).flags) == []


@given(
    st.lists(st.integers(1, 40), unique=True).map(sorted),
    st.lists(st.tuples(st.integers(1, 60), st.integers(0, 20)), max_size=9),
    st.integers(1, 40),
)
def test_numbers_match_by_range_as_they_do_one_by_one(
    places: list[int], spans: list[tuple[int, int]], repeat: int
) -> None:
    values = list(range(2, 2 + 3 * 60, 3))
    wanted = {number for first, length in spans for number in range(first, first + length + 1)}
    ranges = [(number, number) for number in sorted(wanted)][::repeat]
    expected = [place for place in places if values[place] in {first for first, _ in ranges}]
    assert within(ranges, values, places) == expected
    assert within([(5, 90)], values, range(60)) == [place for place in range(60) if 5 <= values[place] <= 90]
