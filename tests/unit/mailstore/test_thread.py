"""Threads as pure functions (RFC 5256 §3)."""

from __future__ import annotations

import pytest

from server.protocol.imap.sort import ThreadAlgorithm
from server.protocol.imap.threads import format_threads
from server.protocol.mime.base_subject import base_subject
from server.services.mailstore.thread import make_threads
from server.store.repositories.message_order import ThreadRow

REFERENCES = ThreadAlgorithm.REFERENCES


def _row(uid: int, subject: str, references: str = "", *, date: int | None = None, id_: str | None = "") -> ThreadRow:
    identifier = f"<{uid}>" if id_ == "" else id_
    named = tuple(f"<{number}>" for number in references.split())
    return ThreadRow(uid, uid if date is None else date, base_subject(subject).casefold(), subject, identifier, named)


def _shown(*rows: ThreadRow, algorithm: ThreadAlgorithm = REFERENCES) -> str:
    shown = format_threads(make_threads(algorithm, rows), lambda uid: uid)
    return shown.removeprefix(b"* THREAD").strip().decode()


@pytest.mark.parametrize(
    ("rows", "shown"),
    [
        # RFC 5256 §4's shape: a chain, and branches below it.
        (
            [
                _row(2, "a"),
                _row(3, "b"),
                _row(6, "Re: b", "3"),
                _row(4, "Re: b", "3 6"),
                _row(23, "Re: b", "3 6 4"),
                _row(44, "Re: b", "3 6"),
                _row(7, "Re: b", "3 6 44"),
                _row(96, "Re: b", "3 6 44 7"),
            ],
            "(2)(3 6 (4 23)(44 7 96))",
        ),
        # A parent that is not there: its children are siblings.
        ([_row(1, "x", "9"), _row(2, "y", "9")], "((1)(2))"),
        # One child alone takes its place.
        ([_row(1, "x", "8 9")], "(1)"),
        # A missing link in the middle is left out.
        ([_row(1, "x"), _row(3, "Re: x", "1 2")], "(1 3)"),
        # Step 5: a reply without references joins by its subject.
        ([_row(1, "x"), _row(2, "Re: x")], "(1 2)"),
        ([_row(2, "Re: x", date=1), _row(3, "x", date=2)], "(3 2)"),
        ([_row(1, "x"), _row(2, "x")], "((1)(2))"),
        ([_row(1, "x"), _row(2, "x"), _row(3, "Re: x")], "((1)(2)(3))"),
        ([_row(1, ""), _row(2, "")], "(1)(2)"),
        # Siblings and threads by date.
        (
            [_row(1, "a", date=9), _row(2, "b", date=5), _row(3, "Re: b", "2", date=8), _row(4, "Re: b", "2", date=7)],
            "(2 (4)(3))(1)",
        ),
        # Messages with one id: the first has it.
        ([_row(1, "a", id_="<i>"), _row(2, "b", id_="<i>"), ThreadRow(3, 3, "c", "c", "<3>", ("<i>",))], "(1 3)(2)"),
        ([_row(1, "a", id_=None), _row(2, "b", id_=None)], "(1)(2)"),
        # Circles.
        ([_row(1, "a", "1")], "(1)"),
        ([_row(1, "a", "2"), _row(2, "b", "1")], "(2 1)"),
        ([_row(1, "a", "3"), _row(2, "b", "1"), _row(3, "c", "2")], "(3 1 2)"),
    ],
)
def test_references(rows: list[ThreadRow], shown: str) -> None:
    assert _shown(*rows) == shown


def test_ordered_subject() -> None:
    """RFC 5256 §3 ORDEREDSUBJECT."""
    rows = [_row(1, "b", date=5), _row(2, "Re: a", date=3), _row(3, "a", date=1), _row(4, "a (fwd)", date=4)]
    assert _shown(*rows, algorithm=ThreadAlgorithm.ORDEREDSUBJECT) == "(3 (2)(4))(1)"


def test_long_chains_and_wide_threads_are_linear() -> None:
    """Neither recursion nor time ends them: quadratic work would not come to its end here."""
    count = 20_000
    chain = [_row(uid, "x", f"{uid - 1}" if uid > 1 else "") for uid in range(1, count + 1)]
    wide = [_row(uid, "x", "1" if uid > 1 else "") for uid in range(1, count + 1)]
    backwards = [_row(uid, "x", f"{uid + 1}") for uid in range(1, count + 1)]
    assert _shown(*chain).count("(") == 1
    assert _shown(*wide).count("(") == count
    assert _shown(*backwards).startswith(f"({count} ")
